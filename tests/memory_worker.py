"""One piece of work and the peak of memory that it took above what was there before: on a GPU as
PyTorch counts it; on the CPU as the system does, so that it needs a process of its own:
`python tests/memory_worker.py WORK FOLDER SETTINGS`, a JSON line on stdout.

WORK is sample, fill, train or own (GRPO); FOLDER holds a model, SETTINGS are sizes.
"""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.worker import reset_peak
from distill_lab.losses.distillation import Objective
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import LanguageModel, for_training, load
from distill_lab.pipeline import train
from distill_lab.planning import memory, own_arms
from distill_lab.planning.model_shapes import shape_of
from distill_lab.run.settings import (
    Config,
    GenerateSettings,
    ModelSettings,
    OwnSettings,
    RuntimeSettings,
)
from distill_lab.run.settings import TrainSettings as Train
from distill_lab.sampling.decode import complete
from distill_lab.sampling.jobs import Job
from distill_lab.sampling.nucleus import Sampling
from distill_lab.training.batches import Encoded
from distill_lab.training.own_samples import Drawing, Prompt
from distill_lab.training.policy import PolicyTrainer
from distill_lab.training.teacher_cache.build import RowFormat, fill


def examples(n: int, length: int, completion: int) -> list[Encoded]:
    """Prompts that differ from their first token on, so that nothing is shared."""
    prompts = [[5 + i, *range(5, 4 + length - completion)] for i in range(n)]
    return [Encoded(prompt, prompt, list(range(5, 5 + completion))) for prompt in prompts]


def resident_peak() -> int:
    """The largest resident set since it was reset. Not getrusage's, which begins with that of the
    process that started this one."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def reset(device: str) -> int:
    """Forgets the peak; bytes that are there now."""
    if device == "cpu":
        reset_peak()
        return resident_peak()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def peak_of(device: str) -> int:
    return resident_peak() if device == "cpu" else torch.cuda.max_memory_allocated()


def sampled(model: LanguageModel, prompts: int, length: int, how: Sampling) -> None:
    """So many prompts of that length, answered."""
    ids = {f"{e.student_prompt[0]}": e.student_prompt for e in examples(prompts, length, 0)}
    list(complete(model, [Job(prompt, prompt) for prompt in ids], how, ids))


def policy_steps(student: LanguageModel, config: Config, folder: Path) -> None:
    """Two steps of GRPO, whose samples are as long as they may be and rewarded in turn."""
    own, rows = config.own, config.train.batch_size // config.own.group
    some = examples(2 * rows, config.train.max_length, own.max_new_tokens)
    asked = [Prompt(Job(str(i), str(i)), e.student_prompt, []) for i, e in enumerate(some)]
    drawing = Drawing(
        Sampling(own.group, 1.0, 1.0, own.max_new_tokens), config.runtime.sample_batch
    )
    how = train.hyperparameters_of(config, "float32")
    rewards = itertools.cycle([0.0, 1.0])
    trainer = PolicyTrainer(
        student, asked, drawing, Objective(), None, how, folder, "own", lambda *_: next(rewards),
        kind="dapo", scale="group",
    )  # fmt: skip
    trainer.train()


def work(name: str, folder: str, s: dict[str, Any]) -> tuple[int, memory.Parts]:
    """Does it; how much memory it took, and the prediction."""
    lora, dtype, device = s.get("lora_rank", 0), s.get("dtype", "float32"), s.get("device", "cpu")
    config = Config(
        models=ModelSettings(folder, folder, lora_rank=lora),
        generate=GenerateSettings(n_samples=s.get("n", 1), max_new_tokens=s["new"]),
        train=Train(batch_size=s.get("batch", 1), max_length=s["length"], epochs=1, alpha=0.5),
        runtime=RuntimeSettings(
            device=device, dtype=dtype, micro_batch=s.get("micro", 1), save_every=10**6
        ),
    )
    way, shape = memory.Way(dtype, device == "cuda"), shape_of(folder, "base")
    backend = choose_backend(config.runtime, lora)
    before = reset(device)
    model = load(folder, backend, "base")
    parts: dict[str, int] = {"weights": memory.weights(shape, way)}
    if name == "sample":
        n, prompts, length, new = s["n"], s["prompts"], s["length"], s["new"]
        sampled(model, prompts, length, Sampling(n, 1.0 if n > 1 else 0.0, 1.0, new))
        parts |= memory.sampling(shape, parts["weights"], n, prompts, length, new, way)
    elif name == "fill":
        some = examples(2 * s["micro"], s["length"], s["new"])
        fill(Path(folder) / "cache", model, some, RowFormat("topk", 64, (2.0,), 1000), s["micro"])
        parts |= memory.filling(shape, s["micro"], s["length"], s["new"], way)
    elif name == "own":
        config = replace(config, own=OwnSettings(group=s["n"], max_new_tokens=s["new"]))
        policy_steps(for_training(model, lora), config, Path(folder) / "student")
        parts = dict(own_arms.parts_of("grpo", config, way))
    else:
        teacher = load(folder, backend, "teacher") if s.get("online") else None
        some = examples(2 * s["batch"], s["length"], s["new"])
        student = for_training(model, lora)
        folders = Path(folder) / "student"
        objective = train.objective_of("kd" if teacher else "sft", config.train)
        hyperparameters = train.hyperparameters_of(config, backend.dtype)
        trainer = train.DistillationTrainer(
            student, some, objective, teacher, hyperparameters, folders
        )
        trainer.train()
        of_teacher = parts["weights"] if teacher else 0
        parts |= memory.training(shape, config, way, s["new"], shape if teacher else None)
        parts["teacher"] = of_teacher
    return peak_of(device) - before, parts


def main(name: str, folder: str, settings: str) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    # what a first product loads of libraries belongs to the process
    sampled(
        load("bundled", choose_backend(RuntimeSettings(device="cpu")), "base"), 2, 40, Sampling()
    )
    peak, parts = work(name, folder, json.loads(settings))
    print(json.dumps({"peak": peak, "predicted": sum(parts.values()), "parts": parts}))


if __name__ == "__main__":
    main(*sys.argv[1:])
