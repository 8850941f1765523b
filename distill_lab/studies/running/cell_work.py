"""The work of one cell on one half, with all that a process of its own needs to do it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distill_lab.run.json_files import read_json
from distill_lab.run.settings import Config
from distill_lab.studies.halves import Half
from distill_lab.studies.running.cell_configs import Cell


@dataclass(frozen=True, slots=True)
class CellWork:
    """What is to be done, and where: `targets` is the folder of the teacher's targets, `held_out`
    that of its held-out traces, `made_from` that of the traces from which the cell's student
    learns, if any; `how` are the settings with which it is measured."""

    cell: Cell
    folder: Path
    targets: Path | None
    half: Half
    measures: tuple[str, ...]
    how: Config
    held_out: Path | None
    made_from: Path | None
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
