"""What the labs on pruning and on quantization share: each begins a run of one dense model, and of
what is made of it, and goes through it one stage at a time."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from distill_lab.course.display import show
from distill_lab.course.lab import brief, one_of
from distill_lab.pipeline.pruning.records import Model, ModelsFolder
from distill_lab.pipeline.pruning.settings import TaskConfig
from distill_lab.pipeline.runner import quiet
from distill_lab.reporting.plots import Plot

C = TypeVar("C", bound=TaskConfig)
M = TypeVar("M", bound=Model)


def begin_run(
    command: str,
    function: str,
    config: C,
    reason: str,
    profiles: Iterable[str],
    claim: Callable[[C, Path], None],
    out: str | Path | None,
) -> Path:
    """Makes `config` the settings of the folder that is returned, and prints what was chosen.

    command: the stages' name in the program (`prune`), after which the folder is named where `out`
    is None: `runs/prune-<profile>`, or that in the folder that DISTILL_LAB_RUNS names. function:
    what the notebook called. claim: makes the settings the folder's, or raises LabError where
    something was made with others.
    """
    quiet()
    # without ipywidgets tqdm warns and prints its bars as text, which is what we want
    warnings.filterwarnings("ignore", message="IProgress not found")
    from distill_lab.models.backend import prepare

    prepare(config.runtime.as_of_a_run())
    runs = Path(os.environ.get("DISTILL_LAB_RUNS", "runs"))
    folder = Path(out or runs / f"{command}-{config.profile}")
    claim(config, folder)
    finished = ", ".join(ModelsFolder(folder, command).run.read_notes().get("seconds", {}))
    others = ", ".join(profiles)
    print(f"Profile {config.profile}: {reason}. {function}(name) takes another: {others}.")
    print(f"The run is in {brief(folder)}; finished stages: {finished or 'none yet'}.")
    return folder


def recommended(name: str | None) -> tuple[str, str]:
    """The profile that was asked for, or one that this machine can run; and why."""
    import torch

    if name is not None:
        return name, "you asked for it"
    if torch.cuda.is_available():
        return "colab", "a CUDA GPU is there"
    return "tiny", "there is no CUDA GPU, and this one takes about two minutes on a CPU"


def show_picture(drawn: Sequence[Plot], name: str) -> None:
    """Shows the picture of that name. LabError where there is none."""
    pictures = {picture.name: picture for picture in drawn}
    one_of(tuple(pictures), name)
    show(pictures[name])


def named(models: Iterable[M], name: str) -> M:
    """The model of that name in the tables, of several seeds the first. LabError where there is
    none."""
    known: dict[str, M] = {}
    for model in models:
        known.setdefault(model.name, model)
    one_of(tuple(known), name)
    return known[name]


def run_stages(
    stages: Sequence[str], known: Mapping[str, Any], run_stage: Callable[[str], None]
) -> None:
    """Runs these stages in order. LabError for a name that is no stage."""
    for stage in stages:
        one_of(tuple(known), stage)
        run_stage(stage)
