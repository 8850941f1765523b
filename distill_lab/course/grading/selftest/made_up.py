"""Submissions made up to test the grading itself: the right answers, the untouched notebook, and
all wrong answers that the checks are tested with (`exercises.mutants`)."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from distill_lab.course.exercises.exercise import Exercise, Mutant
from distill_lab.course.grading.course import GradedLab
from distill_lab.course.grading.reference import (
    DATA,
    answer_source,
    answered_cells,
    course_cells,
    notebook_file,
    our_answer,
    reference_notebook,
)


@dataclass(frozen=True, slots=True)
class MadeUp:
    """A submission and what it must get: the `points` of each exercise, and `says`, texts of which
    each stands in a mark, a remark or the failure. `is_plain`: nothing of it waits for a review.
    `right_steps`: where its answers are the package's, which get no points, what they would get."""

    name: str
    data: bytes
    points: tuple[int, ...]
    says: tuple[str, ...] = ()
    is_plain: bool = False
    right_steps: tuple[int, ...] = ()


def all_points(lab: GradedLab) -> tuple[int, ...]:
    return tuple(exercise.points for exercise in lab.exercises)


def no_points(lab: GradedLab) -> tuple[int, ...]:
    return (0,) * len(lab.exercises)


def right(lab: GradedLab, labs: Path) -> MadeUp:
    """The solved notebook of the course, as it is."""
    data = (labs / "solutions" / f"{lab.notebook}.ipynb").read_bytes()
    return MadeUp("right", data, all_points(lab), is_plain=True)


def untouched(lab: GradedLab) -> MadeUp:
    return MadeUp("untouched", notebook_file(course_cells(lab)), no_points(lab), is_plain=True)


def reference(lab: GradedLab) -> MadeUp:
    """The package's own answers: they are right wherever the package is."""
    full = all_points(lab)
    return MadeUp("reference", reference_notebook(lab), _of_data(lab, full), right_steps=full)


def mutants(lab: GradedLab) -> Iterator[MadeUp]:
    """Notebooks with a wrong answer to each exercise, as many as it takes for each to have its
    turn; an exercise that has no more is right."""
    module = f"distill_lab.course.exercises.mutants.{lab.part}"
    known: Sequence[Mutant] = importlib.import_module(module).MUTANTS
    columns = [[m for m in known if m.exercise == one.name] for one in lab.exercises]
    for number, row in enumerate(zip_longest(*columns), 1):
        answers = {one.name: our_answer(one) for one in lab.exercises}
        for mutant in filter(None, row):
            table = f'__import__("{module}", fromlist=["MUTANTS"]).MUTANTS'
            expression = f"{table}[{known.index(mutant)}].function"
            answers[mutant.exercise] = answer_source(mutant.exercise, mutant.function, expression)
        right_steps = tuple(_points(m, one) for m, one in zip(row, lab.exercises, strict=True))
        yield MadeUp(
            f"wrong {number:02}",
            notebook_file(answered_cells(lab, answers)),
            _of_data(lab, right_steps),
            tuple(mutant.says for mutant in row if mutant),
            right_steps=right_steps,
        )


def _of_data(lab: GradedLab, points: Sequence[int]) -> tuple[int, ...]:
    """What is given of these points: those of answers that are data, handed in as such."""
    pairs = zip(lab.exercises, points, strict=True)
    return tuple(n if exercise.name in DATA else 0 for exercise, n in pairs)


def _points(mutant: Mutant | None, exercise: Exercise) -> int:
    """The points of the steps that the mutant does not lose."""
    lost = mutant.loses if mutant else ()
    return sum(step.points for step in exercise.steps if step.title not in lost)
