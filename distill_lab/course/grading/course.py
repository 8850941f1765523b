"""The course's side of a lab: its notebook as students get it, and what the manifest says of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from distill_lab.course import exercises
from distill_lab.course.exercises import manifests
from distill_lab.course.exercises.exercise import Exercise
from distill_lab.course.grading.cells.notebook_file import read_cells
from distill_lab.course.grading.marks.marks import Mark
from distill_lab.run.records import LabError


@dataclass(frozen=True)
class GradedLab:
    """`part`: lab5a; `notebook`: the name of its files; `entry`: its part of the manifest;
    `sources`: its cells by id; `others`: the exercises of the other labs' notebooks."""

    part: str
    notebook: str
    entry: Mapping[str, Any]
    sources: Mapping[str, str]
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def exercises(self) -> tuple[Exercise, ...]:
        """In the notebook's order."""
        return tuple(
            exercises.find(line["exercise"]) for line in self.entry["cells"] if "points" in line
        )

    def is_in(self, data: bytes) -> bool:
        """Whether a file names one of its exercises, or defines its function. It is not parsed:
        that is for the session, which has limits."""
        names = _exercises(self.entry)
        texts = (*names, *(f"def {name.partition('.')[2]}(" for name in names))
        return any(text.encode() in data for text in texts)

    def other_in(self, data: bytes) -> str:
        """The notebook of another lab that a file is, "" where it may be of this one."""
        if self.is_in(data):
            return ""
        named = (
            book for book, names in self.others.items() if any(n.encode() in data for n in names)
        )
        return next(named, "")

    def lines(self, *roles: str) -> Iterator[Mapping[str, Any]]:
        """The manifest's lines of the cells with these roles, in the notebook's order."""
        return (line for line in self.entry["cells"] if line["role"] in roles)

    def cell_of(self, exercise: str) -> str:
        """The id of its cell."""
        return next(line["id"] for line in self.lines("exercise") if line["exercise"] == exercise)

    @property
    def unmarked(self) -> tuple[Mark, ...]:
        """The marks before anything ran."""
        why = "It was not reached."
        return tuple(Mark(one.name, "missing", 0, one.points, (), why) for one in self.exercises)


def find_lab(lab: str, folder: Path) -> GradedLab:
    """The lab `lab5a`, or by its notebook's name, as it lies in `folder`."""
    books = manifests.read(folder / "manifest.json")
    graded = {_part(entry): name for name, entry in books.items() if entry["points"]}
    name = graded.get(lab.lower(), lab)
    if name not in graded.values():
        near = difflib.get_close_matches(lab.lower(), graded, 1, cutoff=0.3)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise LabError(f"Expected a lab, one of {', '.join(graded)}; found {lab!r}.{meant}")
    student = read_cells((folder / f"{name}.ipynb").read_bytes())
    sources = {cell["id"]: cell["source"] for cell in student}
    others = {other: _exercises(books[other]) for other in graded.values() if other != name}
    return GradedLab(_part(books[name]), name, books[name], sources, others)


def _exercises(entry: Mapping[str, Any]) -> list[str]:
    """Their names, `lab5a.soften`, each once."""
    return list(dict.fromkeys(cell["exercise"] for cell in entry["cells"] if "exercise" in cell))


def _part(entry: Mapping[str, Any]) -> str:
    """`lab5a` of `lab5a.soften`."""
    return next((name.partition(".")[0] for name in _exercises(entry)), "")
