"""A whole training of three epochs, with the teacher's top 64 from a cache and with it beside.

What the cache saves depends on how much larger the teacher is: `epochs` has random models in the
proportions of the profile `colab` (7B over 0.5B), `epochs-tiny` the bundled pair, of which one is
twice the other. The cached one's time holds the teacher's one pass.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Case
from benchmarks.training_bench import RANK, random_model
from benchmarks.worker import Work
from distill_lab.run.records import Example, write_records
from distill_lab.run.settings import BUNDLED, Config, ModelSettings, TrainSettings, profile
from distill_lab.tasks.squad import questions as squad
from distill_lab.tasks.squad.task import user_text

CONTENDERS = ("cached", "online")


def cases(quick: bool) -> list[Case]:
    """Two pairs of models."""
    sizes = {"student": [256, 6], "teacher": [768, 8], "vocabulary": 16_384, "examples": 24}
    tiny = {"student": None, "teacher": None, "vocabulary": 1_000, "examples": 96}
    if quick:
        sizes |= {"student": [64, 2], "teacher": [64, 2], "vocabulary": 2_000, "examples": 8}
        tiny |= {"examples": 8}
    title = "Three epochs of training"
    return [
        Case("epochs", f"{title}, teacher 14 times the student", "epochs_bench", CONTENDERS,
             sizes, repeats=3),
        Case("epochs-tiny", f"{title}, bundled pair", "epochs_bench", CONTENDERS, tiny, repeats=3),
    ]  # fmt: skip


def prepare(contender: str, settings: dict[str, Any]) -> Work:
    """`distill-lab train`, of the arm `kd` alone."""
    from distill_lab.pipeline import train

    torch.manual_seed(0)
    folder = tempfile.TemporaryDirectory()
    out = Path(folder.name)
    config = _config(contender, settings, out)
    write_records(out / "examples.jsonl", _examples(settings["examples"]))
    (out / "students" / "sft" / "model").mkdir(parents=True)  # done already: it needs no teacher

    def work() -> dict[str, float]:
        train.run(config, out)
        log = (out / "students" / "kd" / "log.jsonl").read_text().splitlines()
        folder.cleanup()
        return {"steps": len(log), "last": json.loads(log[-1])["kl"]}

    return work


def _config(contender: str, settings: dict[str, Any], out: Path) -> Config:
    base, cache = profile("tiny"), "topk" if contender == "cached" else "none"
    names = []
    for role in ("teacher", "student"):
        shape = settings[role]
        if shape:
            model = random_model(settings["vocabulary"], *shape)
            model.lm.save_pretrained(out / role)
            model.tokenizer.save_pretrained(out / role)
        names.append(str(out / role) if shape else BUNDLED)
    return replace(
        base,
        models=ModelSettings(*names, lora_rank=RANK if settings["student"] else 0),
        train=TrainSettings(epochs=3, batch_size=8, cache=cache),
        runtime=replace(base.runtime, threads=torch.get_num_threads(), device="cpu",
                        dtype="float32"),
    )  # fmt: skip


def _examples(count: int) -> list[Example]:
    """Bundled questions, each with a completion that quotes its passage."""
    questions = squad.load(BUNDLED, "train").questions[:count]
    return [
        Example(
            q.id,
            0,
            user_text(q.context, q.question),
            f"<think>{q.context}</think> <answer>{q.answers[0]}</answer>",
        )
        for q in questions
    ]
