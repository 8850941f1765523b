"""The course's side of a lab: its notebook as students get it, and what the manifest says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from distill_lab import checks
from distill_lab.checks import manifests
from distill_lab.checks.exercise import Exercise
from distill_lab.grading.marks import Mark
from distill_lab.grading.read import cells
from distill_lab.records import LabError


@dataclass(frozen=True)
class Lab:
    """`part`: lab5a; `notebook`: the name of its files; `entry`: its part of the manifest;
    `sources`: its cells by id."""

    part: str
    notebook: str
    entry: Mapping[str, Any]
    sources: Mapping[str, str]

    @cached_property
    def exercises(self) -> tuple[Exercise, ...]:
        """In the notebook's order."""
        return tuple(checks.find(one["exercise"]) for one in self.entry["cells"] if "points" in one)

    def cell_of(self, exercise: str) -> str:
        """The id of its cell."""
        return next(c["id"] for c in self.entry["cells"] if c.get("exercise") == exercise)

    @property
    def unmarked(self) -> tuple[Mark, ...]:
        """The marks before anything ran."""
        said = "It was not reached."
        return tuple(Mark(one.name, "missing", 0, one.points, (), said) for one in self.exercises)


def find(lab: str, folder: Path) -> Lab:
    """The lab `lab5a`, or by its notebook's name, as it lies in `folder`."""
    books = manifests.read(folder / "manifest.json")
    graded = {_part(entry): name for name, entry in books.items() if entry["points"]}
    name = graded.get(lab.lower(), lab)
    if name not in graded.values():
        raise LabError(f"Expected one of {', '.join(graded)}; found {lab!r}.")
    student = cells((folder / f"{name}.ipynb").read_bytes())
    sources = {cell["id"]: cell["source"] for cell in student}
    return Lab(_part(books[name]), name, books[name], sources)


def _part(entry: Mapping[str, Any]) -> str:
    """`lab5a` of `lab5a.soften`."""
    return next((c["exercise"].partition(".")[0] for c in entry["cells"] if "exercise" in c), "")
