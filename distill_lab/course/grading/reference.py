"""A notebook with the package's own answers: where sessions ended for no known reason, its marks
tell whether grading itself works on this machine. The self-test makes its class from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distill_lab.course.exercises.exercise import Exercise
from distill_lab.course.exercises.lab5c.museum import EXHIBITS
from distill_lab.course.grading.course import GradedLab
from distill_lab.course.grading.marks.marks import Result

Cell = dict[str, Any]
# Exercises whose answers are data, with the arguments that they are asked for.
DATA = {"lab5c.mend": tuple(EXHIBITS)}


def reference_notebook(lab: GradedLab) -> bytes:
    """Its answers are right, but no student's: each exercise waits for a review, and its steps say
    what it would get. Those that are data get their points."""
    return notebook_file(answered_cells(lab, {one.name: our_answer(one) for one in lab.exercises}))


def points_of_right_steps(result: Result) -> tuple[int, ...]:
    """For each exercise, the points of its right steps, whether it gets them or waits."""
    return tuple(sum(s.points for s in mark.steps if s.right) for mark in result.marks)


def our_answer(exercise: Exercise) -> str:
    """The source of a cell that answers with the package's own function."""
    find = f'__import__("distill_lab.course.exercises", fromlist=["find"]).find("{exercise.name}")'
    return answer_source(exercise.name, exercise.ours, f"{find}.ours")


def answer_source(exercise: str, function: Callable[..., Any], expression: str) -> str:
    """The source of a cell that answers with `function`, which `expression` evaluates to. An answer
    that is data is written out: the kernel may not read the package's own."""
    name = exercise.partition(".")[2]
    if exercise in DATA:
        table = {argument: function(argument) for argument in DATA[exercise]}
        return f"{name} = {table!r}.get"
    return f"{name} = {expression}"


def course_cells(lab: GradedLab) -> list[Cell]:
    """The code cells of the notebook that students get."""
    names = [line["id"] for line in lab.entry["cells"] if line["role"] != "text"]
    return [code_cell(name, lab.sources[name]) for name in names]


def answered_cells(lab: GradedLab, answers: Mapping[str, str]) -> list[Cell]:
    """The same, with these sources in the exercises' cells."""
    cells = course_cells(lab)
    for exercise, source in answers.items():
        own = next(c for c in cells if c["id"] == lab.cell_of(exercise))
        own["source"] = source
    return cells


def code_cell(name: str, source: str) -> Cell:
    fields: Cell = {"cell_type": "code", "execution_count": None, "outputs": []}
    return {**fields, "id": name, "metadata": {"id": name}, "source": source}


def notebook_file(cells: Sequence[Cell]) -> bytes:
    whole = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole).encode()
