"""The stages of a run, one at a time: the command line and the notebooks both run them here.

A stage imports what it needs as it starts, so that importing this loads neither torch nor
transformers.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_lab.run import past_times
from distill_lab.run.distributed import from_main, is_main
from distill_lab.run.folder import RunFolder
from distill_lab.run.settings import Config, RuntimeSettings


@dataclass(frozen=True, slots=True)
class Stage:
    """`run(config, out)` returns False where all was there already. A `slow` stage resumes, and
    processes share it; a cheap one runs in the first process alone.
    """

    name: str
    help: str
    run: Callable[[Any, Path], object]
    slow: bool = False


def _data(config: Config, out: Path) -> object:
    from distill_lab.pipeline import data

    return data.run(config, out)


def _generate(config: Config, out: Path) -> object:
    from distill_lab.pipeline import generate

    return generate.run(config, out)


def _reject(config: Config, out: Path) -> object:
    from distill_lab.pipeline import reject

    return reject.run(config, out)


def _train(config: Config, out: Path) -> object:
    from distill_lab.pipeline import train

    return train.run(config, out, watch=True)


def _evaluate(config: Config, out: Path) -> object:
    from distill_lab.pipeline import evaluate

    return evaluate.run(config, out)


def _report(config: Config, out: Path) -> object:
    from distill_lab.pipeline import report

    return report.build(config, out)


STAGES = {
    stage.name: stage
    for stage in (
        Stage("data", "choose the questions", _data),
        Stage("generate", "sample several answers of the teacher to each question", _generate,
              slow=True),
        Stage("reject", "keep the correct, readable traces", _reject),
        Stage("train", "train the two students on what was kept", _train, slow=True),
        Stage("evaluate", "score base, students and teacher", _evaluate, slow=True),
        Stage("report", "write the table and plots, with the paper side by side", _report),
    )
}  # fmt: skip


def run_stage(name: str, config: Config, out: Path) -> None:
    """Runs one stage, and remembers what a slow one took on this machine."""
    stage = STAGES[name]
    took = prepare_and_run(stage, config, config.runtime, out)
    if stage.slow and took is not None:
        device = RunFolder(out).read_notes()["backend"]["device"]
        past_times.remember(name, took, config, device)


def refuse_early(config: Config) -> None:
    """Refuses a teacher that training would refuse, before it has sampled for hours."""
    if not config.train.alpha:
        return
    from distill_lab.models import backend

    backend.prepare(config.runtime)
    from distill_lab.pipeline.learning.teachers import check_tokenizers

    check_tokenizers(config)


def prepare_and_run(stage: Stage, config: Any, runtime: RuntimeSettings, out: Path) -> float | None:
    """`run_and_note`, with what this backend must do before a model is loaded."""
    if stage.slow:
        from distill_lab.models import backend

        backend.prepare(runtime)  # Unsloth must be imported before transformers
    return run_and_note(stage, config, out)


def run_and_note(stage: Stage, config: Any, out: Path) -> float | None:
    """Runs one stage and notes its seconds in run.json, added up over interruptions. Returns them;
    None where all was there already, and in processes that do not write."""
    name, start = stage.name, time.perf_counter()
    if stage.slow:
        done = stage.run(config, out)
    else:
        done = from_main(lambda: stage.run(config, out) is not False)
    if done is False:
        print(f"{name}: all there already", flush=True)
        return None
    if not is_main():
        return None
    folder = RunFolder(out)
    seconds = folder.read_notes().get("seconds", {})
    before = seconds.get(name, 0) if stage.slow else 0
    took = round(before + time.perf_counter() - start, 1)
    folder.write_note("seconds", {**seconds, name: took})
    return took


def quiet() -> None:
    """Before torch and transformers are loaded: their advice is for programmers."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # six lines about a network that is not there
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # torchao, where it is installed: of kernels for other machines
    for name in ("torchao", "torch.utils._pytree", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)
