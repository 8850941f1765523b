"""The folder in which a study works, the cells that failed, and why. It loads no models, as
joblib's workers import it first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from distill_lab.run.json_text import first_line
from distill_lab.run.records import LabError
from distill_lab.studies.running.cell_configs import Cell


@dataclass(frozen=True, slots=True)
class Work:
    """The folder, and why cells failed, by their ids."""

    path: Path
    failed: dict[str, str] = field(default_factory=dict)

    def folder(self, what: str, key: str) -> Path:
        """Where `traces`, `examples`, `targets`, `students` or `held_out` with this key lie."""
        return self.path / what / key

    @contextmanager
    def naming(self, cells: Sequence[Cell]) -> Iterator[None]:
        """An error is noted as the reason why these cells failed; the others go on."""
        try:
            yield
        except Exception as error:
            self.fail(cells, reason_of(error))

    def fail(self, cells: Sequence[Cell], reason: str) -> None:
        """Notes why these cells failed; the first reason stays."""
        for cell in cells:
            self.failed.setdefault(cell.id, reason)

    @contextmanager
    def logged(self) -> Iterator[None]:
        """What stages print, their progress bars too, goes to the folder's log."""
        self.path.mkdir(parents=True, exist_ok=True)
        log = self.path / "log.txt"
        with log.open("a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
            yield

    def left(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells that have not failed."""
        return [cell for cell in cells if cell.id not in self.failed]


class Mistake(str):
    """A reason that is the user's mistake."""


def reason_of(error: Exception) -> str:
    """The error in one line; one that is not the user's mistake with its type."""
    if isinstance(error, LabError):
        return Mistake(" ".join(str(error).split()))
    return f"{type(error).__name__}: {first_line(error)}"


def grouped(cells: Sequence[Cell], key: Callable[[Cell], str]) -> dict[str, list[Cell]]:
    """The cells by what they share, in their order."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return groups
