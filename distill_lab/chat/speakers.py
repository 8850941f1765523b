"""Which models answer: those of a run, or one by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from distill_lab.models.backend import Backend, choose_backend
from distill_lab.models.loading import LanguageModel, load, load_model
from distill_lab.models.sources import source_of
from distill_lab.run.arms import ARMS
from distill_lab.run.folder import RunFolder
from distill_lab.run.settings import Config, RuntimeSettings
from distill_lab.tasks.all_tasks import task_named, task_of
from distill_lab.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Speaker:
    """A model that answers, by its name in the run; `shots` worked examples stand in its prompts,
    and a completion has at most `max_new_tokens`."""

    who: str
    model: LanguageModel
    task: Task
    shots: int
    max_new_tokens: int


def of_run(config: Config, out: Path, names: Sequence[str]) -> tuple[list[Speaker], Backend]:
    """These models of a run, each asked as the run asked it, and what they are on. LabError for a
    student that is not trained yet, before any model is loaded."""
    for name in names:
        if name in ARMS:
            RunFolder(out).require_model(name)
    backend = _begin(config.runtime, config.models.lora_rank)
    task, most = task_of(config), config.evaluate.max_new_tokens
    speakers = [
        Speaker(
            name,
            load_model(name, config.models, backend, out),
            task,
            source_of(name, config.models).shots,
            most,
        )
        for name in names
    ]
    return speakers, backend


def alone(name: str, task: str, shots: int, max_new_tokens: int) -> tuple[Speaker, Backend]:
    """A model by itself, as `--models.student` would name it, and what it is on."""
    backend = _begin(RuntimeSettings())
    model = load(name, backend, "base")
    return Speaker(Path(name).name, model, task_named(task), shots, max_new_tokens), backend


def _begin(runtime: RuntimeSettings, lora_rank: int = 0) -> Backend:
    backend = choose_backend(runtime, lora_rank)
    torch.set_num_threads(backend.threads)
    return backend
