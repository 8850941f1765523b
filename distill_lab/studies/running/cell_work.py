"""The work of one cell: its student is trained, if it is not there, and measured on one half.

It may be done in another process: all that it needs is in its `CellWork`, what it makes lies in the
cell's folder.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from distill_lab.models.backend import start
from distill_lab.models.loading import load_model
from distill_lab.models.sources import source_of
from distill_lab.pipeline import train
from distill_lab.run.folder import RunFolder
from distill_lab.run.json_files import read_json
from distill_lab.run.records import LabError, write_text
from distill_lab.run.settings import Config
from distill_lab.studies.cells import rounded
from distill_lab.studies.halves import Half
from distill_lab.studies.held_out import HeldOut
from distill_lab.studies.measures import measure
from distill_lab.studies.running.cell_configs import Cell
from distill_lab.studies.running.shared_work import reason_of


@dataclass(frozen=True, slots=True)
class CellWork:
    """What is to be done, and where: `targets` is the folder of the teacher's targets, `held_out`
    that of its held-out traces, if any; `how` are the settings with which it is measured."""

    cell: Cell
    folder: Path
    targets: Path | None
    half: Half
    measures: tuple[str, ...]
    how: Config
    held_out: Path | None
    key: str  # of all that the scores depend on, the student apart
    owner: int  # the process that hands the work out

    @property
    def scores(self) -> Path:
        """Where the scores are kept."""
        return self.folder / f"scores.{self.half.name}.{self.key}.json"

    @property
    def is_done(self) -> bool:
        return self.scores.exists()

    def read_scores(self) -> dict[str, list[float]]:
        """The scores, one number a question, by measure."""
        return read_json(self.scores, "a cell's scores", "Remove it, and run the study again")


def do(work: CellWork) -> tuple[CellWork, str]:
    """The work itself, and why it failed, or ""."""
    _end_with(work.owner)
    work.folder.mkdir(parents=True, exist_ok=True)
    log = work.folder / "log.txt"
    with log.open("a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        try:
            _train_and_measure(work)
        except Exception as error:  # whatever it was, the other cells go on
            return work, reason_of(error)
    return work, ""


def _train_and_measure(work: CellWork) -> None:
    cell, config = work.cell, work.cell.config
    who = cell.student if cell.is_reference else cell.arm
    if not cell.is_reference:
        train.run(config, work.folder, (who,), work.targets)
        _require_finite(work.folder, who)
    model = load_model(who, config.models, start(config, work.folder), work.folder)
    held_out = HeldOut.load(work.held_out) if work.held_out else None
    shots = source_of(who, config.models).shots
    scores = rounded(measure(model, work.half, work.measures, work.how, held_out, shots))
    write_text(work.scores, json.dumps(scores) + "\n")


def _require_finite(folder: Path, arm: str) -> None:
    """A student that diverged answers too, and at random. Its model is removed, so that it is
    trained again."""
    run = RunFolder(folder)
    steps = [row["step"] for row in run.read_training_log(arm) if not math.isfinite(row["loss"])]
    if steps:
        shutil.rmtree(run.students)
        raise LabError(
            f"expected a finite loss, found NaN or infinity at step {steps[0]}. Lower "
            "train.learning_rate."
        )


def _end_with(owner: int) -> None:
    """In a process of the owner's own: lets it end soon after the owner has, who may have been
    killed, so that no two train in one folder when the study goes on."""
    if os.getppid() != owner or any(each.name == _WATCH for each in threading.enumerate()):
        return

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, name=_WATCH, daemon=True).start()


_WATCH = "ends with its owner"
