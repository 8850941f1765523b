"""A cell's student is trained, if it is not there, and measured."""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path

from distill_lab.models.backend import start
from distill_lab.models.loading import load_model
from distill_lab.models.sources import source_of
from distill_lab.pipeline import own_arms, train
from distill_lab.run.arms import OWN_ARMS
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError, write_text
from distill_lab.studies.budget import BUDGET, write_budget
from distill_lab.studies.cells import rounded
from distill_lab.studies.held_out import HeldOut
from distill_lab.studies.measures import measure
from distill_lab.studies.running.cell_configs import Cell
from distill_lab.studies.running.cell_work import CellWork


def train_and_measure(work: CellWork) -> None:
    """Writes the cell's scores on its half; LabError where its student diverged."""
    cell, config = work.cell, work.cell.config
    who = cell.student if cell.is_reference else cell.arm
    who = "base" if who == "start" else who  # whose settings name it as the model to begin with
    if not cell.is_reference:
        train_student(cell, work.folder, work.targets, work.made_from)
    model = load_model(who, config.models, start(config, work.folder), work.folder)
    held_out = HeldOut.load(work.held_out) if work.held_out else None
    shots = source_of(who, config.models).shots
    scores = rounded(measure(model, work.half, work.measures, work.how, held_out, shots))
    write_text(work.scores, json.dumps(scores) + "\n")


def train_student(cell: Cell, folder: Path, targets: Path | None, made_from: Path | None) -> None:
    """Trains the cell's student and writes what it took, as far as it is not done."""
    begun, config = time.monotonic(), cell.config
    if cell.arm in OWN_ARMS:
        own_arms.run(config, folder, cell.arm)
    else:
        train.run(config, folder, (cell.arm,), targets)
    _require_finite(folder, cell.arm)
    if not (folder / BUDGET).exists():
        write_budget(config, cell.arm, folder, made_from, time.monotonic() - begun)


def _require_finite(folder: Path, arm: str) -> None:
    """A student that diverged answers too, and at random. Its model is removed, so that it is
    trained again."""
    run = RunFolder(folder)
    rows = run.read_training_log(arm)
    steps = [row["step"] for row in rows if not all(map(math.isfinite, row.values()))]
    if steps:
        shutil.rmtree(run.students)
        raise LabError(
            f"expected a finite loss and gradient, found NaN or infinity at step {steps[0]}. "
            "Lower train.learning_rate."
        )
