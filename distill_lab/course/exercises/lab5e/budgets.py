"""Lab 5e's exercise budget: the operations that a student took, all tries together."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from distill_lab.course.exercises.comparing import alike, brief
from distill_lab.course.exercises.exercise import Exercise, Function, Step, difference, expect
from distill_lab.course.exercises.result_types import NUMBER
from distill_lab.run.operations import Budget, operations

Tokens = Mapping[str, int]
COUNTS = ("teacher_wrote", "teacher_read", "student_wrote", "student_read", "trained")


def budget(teacher: int, student: int, tokens: Tokens, tries: int) -> float:
    """The operations of these tokens, as studies count them, times the settings tried."""
    return tries * operations(Budget(**tokens), teacher, student)


Case = tuple[int, int, dict[str, int], int]  # the arguments of budget


def _instead(case: Case) -> dict[str, float]:
    """What is often written for it, and its result."""
    teacher, student, tokens, tries = case
    wrote, read, said, prompts, trained = (tokens[name] for name in COUNTS)

    def total(of_teacher: int, of_student: int, times: int) -> float:
        sampled = 2 * teacher * of_teacher + 2 * student * of_student
        return tries * (sampled + times * student * trained)

    asked = wrote + read, said + prompts
    return {
        "A trained token costs 6 for each parameter, not 2: forward 2, and backward 4.":
            total(*asked, 2),
        "The backward pass alone is 4: forward and backward together are 6.": total(*asked, 4),
        "A trained token costs 6 for each parameter, not 3.": total(*asked, 3),
        "The teacher is trained on nothing: it is the student's parameters that a trained token "
        "costs.": tries * (2 * teacher * asked[0] + 2 * student * asked[1] + 6 * teacher * trained),
        "The prompts are read too: a token that is read costs what one that is written costs.":
            total(wrote, said, 6),
        "What the student read is left out: its prompts cost what its own tokens cost.":
            total(wrote + read, said, 6),
        "What the teacher read is left out: its prompts, and what it scored.":
            total(wrote, said + prompts, 6),
        "The teacher is not charged: without its samples there would be nothing to learn from.":
            total(0, said + prompts, 6),
        "The student's own samples are not charged.": total(wrote + read, 0, 6),
        "The student's parameters count for the teacher's tokens: each model has its own.":
            tries * (2 * student * (sum(asked)) + 6 * student * trained),
        "The teacher's parameters count for the student's tokens: each model has its own.":
            tries * (2 * teacher * (sum(asked)) + 6 * student * trained),
        "Tokens are counted here, and operations are asked for: 2 or 6 for each parameter.":
            float(tries * sum(tokens.values())),
        "What is only read or written costs 2 for each parameter, not 6.":
            tries * 6.0 * (teacher * asked[0] + student * (asked[1] + trained)),
        "A token costs 2 for each parameter that it goes through, not 1.":
            tries * (teacher * asked[0] + student * asked[1] + 6.0 * student * trained),
    }  # fmt: skip


def _counted(function: Function, teacher: int, student: int, **counts: int) -> None:
    case: Case = teacher, student, {name: counts.get(name, 0) for name in COUNTS}, 1
    right = budget(*case)
    known = {name: value for name, value in _instead(case).items() if value not in (0, right)}
    zero = _ZERO[next(iter(counts))]
    expect(function, case, right, {**known, zero: 0.0})


def _sizes(rng: random.Random) -> tuple[int, int]:
    return rng.randint(500, 900), rng.randint(50, 400)


def _trained(function: Function, rng: random.Random) -> None:
    _counted(function, 1000, 100, trained=10)
    _counted(function, *_sizes(rng), trained=rng.randint(11, 99))


def _student(function: Function, rng: random.Random) -> None:
    _counted(function, 1000, 100, student_wrote=10)
    _counted(function, 1000, 100, student_read=10)
    wrote, read = rng.randint(11, 99), rng.randint(100, 199)
    _counted(function, *_sizes(rng), student_wrote=wrote, student_read=read)


def _teacher(function: Function, rng: random.Random) -> None:
    _counted(function, 1000, 100, teacher_wrote=10)
    _counted(function, 1000, 100, teacher_read=10)
    wrote, read = rng.randint(11, 99), rng.randint(100, 199)
    _counted(function, *_sizes(rng), teacher_wrote=wrote, teacher_read=read)


def _tries(function: Function, rng: random.Random) -> None:
    """Of what it says of one try itself, so that no mistake is counted here again."""
    tokens = {name: rng.randint(10, 99) for name in COUNTS}
    teacher, student = _sizes(rng)
    tries = rng.randint(3, 9)
    one = function(teacher, student, dict(tokens), 1)
    several = function(teacher, student, dict(tokens), tries)
    if one <= 0 or not alike(several, tries * one):
        call = f"budget({teacher}, {student}, {brief(tokens)}, tries={tries})"
        raise difference(call, brief(several), f"{tries} times {brief(one)}, one try's", _EACH)


_EACH = "Each setting that was tried took as much, and found what is reported only because all "
_EACH += "were tried."
_ZERO: dict[str, Any] = {
    "trained": "What the student was trained on is left out.",
    "student_wrote": "The student's own samples are not charged: it writes them before it learns.",
    "student_read": "What the student read is left out: its prompts cost what its own tokens cost.",
    "teacher_wrote": "The teacher is not charged: without its samples there would be nothing to "
    "learn from.",
    "teacher_read": "What the teacher read is left out: its prompts, and what it scored.",
}
BUDGET = Exercise(
    "lab5e",
    "budget",
    budget,
    (
        Step("six for a parameter and a token that is trained on", 1, _trained),
        Step("two for what the student wrote and read", 1, _student),
        Step("two for what the teacher wrote and read", 1, _teacher),
        Step("all settings that were tried", 1, _tries),
    ),
    (
        "Three sums: 2 * teacher * (its tokens), 2 * student * (its tokens), 6 * student * "
        'tokens["trained"].',
        "A token that is only read (a prompt, or a text that the teacher scores) goes forward "
        "once, as one that is written does: both cost 2 for each parameter.",
        "Each try costs all of that again: the sum times tries.",
    ),
    NUMBER,
    minutes=10,
    difficulty="easy",
)
