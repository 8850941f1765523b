"""Submissions made up to test the grading itself: the right answers, the untouched notebook, and
all wrong answers that the checks are tested with (`exercises.mutants`)."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from distill_lab.course.exercises.exercise import Exercise, Function, Mutant
from distill_lab.course.exercises.lab5c.museum import EXHIBITS
from distill_lab.course.grading.course import GradedLab
from distill_lab.course.grading.marks.marks import Result

Cell = dict[str, Any]
_DATA = {"lab5c.mend": tuple(EXHIBITS)}  # of exercises whose answers are data, what they are asked


@dataclass(frozen=True, slots=True)
class Form:
    """A submission and what is due to it: the points of each exercise, and texts of which each
    stands in a mark, a remark or the failure. Of an `honest` one nothing waits for a review.
    `judged`: where its answers are the package's, which get no points, what they would have."""

    name: str
    data: bytes
    due: tuple[int, ...]
    says: tuple[str, ...] = ()
    honest: bool = False
    judged: tuple[int, ...] = ()


def judged(result: Result) -> tuple[int, ...]:
    """Of each exercise, what its right steps are worth, also where it waits for a look."""
    return tuple(sum(s.points for s in mark.steps if s.right) for mark in result.marks)


def right(lab: GradedLab, labs: Path) -> Form:
    """The solved notebook of the course, as it is."""
    data = (labs / "solutions" / f"{lab.notebook}.ipynb").read_bytes()
    return Form("right", data, tuple(one.points for one in lab.exercises), honest=True)


def untouched(lab: GradedLab) -> Form:
    return Form("untouched", notebook(course_cells(lab)), _none(lab), honest=True)


def reference(lab: GradedLab) -> Form:
    """The package's own answers: they are right wherever the package is."""
    data = notebook(answered(lab, {one.name: ours(one) for one in lab.exercises}))
    full = tuple(one.points for one in lab.exercises)
    return Form("reference", data, _given(lab, full), judged=full)


def _none(lab: GradedLab) -> tuple[int, ...]:
    return (0,) * len(lab.exercises)


def _given(lab: GradedLab, judged: Sequence[int]) -> tuple[int, ...]:
    """What is given of these points: those of answers that are data, handed in as such."""
    pairs = zip(lab.exercises, judged, strict=True)
    return tuple(points if one.name in _DATA else 0 for one, points in pairs)


def mutants(lab: GradedLab) -> Iterator[Form]:
    """Notebooks with a wrong answer to each exercise, as many as it takes for each to have its
    turn; an exercise that has no more is right."""
    module = f"distill_lab.course.exercises.mutants.{lab.part}"
    known: Sequence[Mutant] = importlib.import_module(module).MUTANTS
    columns = [[m for m in known if m.exercise == one.name] for one in lab.exercises]
    for number, row in enumerate(zip_longest(*columns), 1):
        answers = {one.name: ours(one) for one in lab.exercises}
        for mutant in filter(None, row):
            place = f'__import__("{module}", fromlist=["MUTANTS"]).MUTANTS[{known.index(mutant)}]'
            answers[mutant.exercise] = _text(mutant.exercise, mutant.function, f"{place}.function")
        judged = tuple(_due(m, one) for m, one in zip(row, lab.exercises, strict=True))
        says = tuple(mutant.says for mutant in row if mutant)
        given = _given(lab, judged)
        yield Form(
            f"wrong {number:02}", notebook(answered(lab, answers)), given, says, False, judged
        )


def _due(mutant: Mutant | None, exercise: Exercise) -> int:
    """What the steps are worth that it does not lose."""
    lost = mutant.loses if mutant else ()
    return sum(step.points for step in exercise.steps if step.title not in lost)


def ours(exercise: Exercise) -> str:
    find = f'__import__("distill_lab.course.exercises", fromlist=["find"]).find("{exercise.name}")'
    return _text(exercise.name, exercise.ours, f"{find}.ours")


def _text(exercise: str, function: Function, place: str) -> str:
    """A cell that answers with the package's function of that place; with what it gives, where that
    is data, which the kernel cannot read."""
    name = exercise.partition(".")[2]
    if exercise in _DATA:
        table = {asked: function(asked) for asked in _DATA[exercise]}
        return f"{name} = {table!r}.get"
    return f"{name} = {place}"


def course_cells(lab: GradedLab) -> list[Cell]:
    """The code cells of the notebook that students get."""
    code = [line for line in lab.entry["cells"] if line["role"] != "text"]
    return [cell(line["id"], lab.sources[line["id"]]) for line in code]


def answered(lab: GradedLab, answers: Mapping[str, str]) -> list[Cell]:
    """The same, with these sources in the exercises' cells."""
    cells = course_cells(lab)
    for exercise, source in answers.items():
        found = next(c for c in cells if c["id"] == lab.cell_of(exercise))
        found["source"] = source
    return cells


def cell(name: str, source: str) -> Cell:
    kind: Cell = {"cell_type": "code", "execution_count": None, "outputs": []}
    return {**kind, "id": name, "metadata": {"id": name}, "source": source}


def notebook(cells: Sequence[Cell]) -> bytes:
    whole = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole).encode()
