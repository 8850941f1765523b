"""The exercises' checks, for notebooks: `check`, `hint`, `solution`, `or_ours`,
`before_submitting`.

    check("lab5a.soften", soften)            # right, wrong, error or not attempted, and why
    hint("lab5a.soften")                     # one hint; hint("lab5a.soften", 2) is the next
    solution("lab5a.soften")                 # our answer, after two tries of one's own
    soften = or_ours("lab5a.soften", soften) # yours where it is right, else the package's own
    before_submitting()                      # what would be lost if the notebook were handed in

Each part of the lab has a folder with its exercises (`exercises.lab5a` …); the wrong answers with
which the checks are tested are in `exercises.mutants`.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from distill_lab.course.exercises import solutions
from distill_lab.course.exercises.exercise import Exercise, Outcome, judge, plain_result
from distill_lab.course.exercises.submitting import before_submitting
from distill_lab.run.records import LabError

__all__ = ["before_submitting", "check", "find", "hint", "or_ours", "solution"]

Function = Callable[..., Any]


def find(name: str) -> Exercise:
    """The exercise `lab5a.soften`; LabError where there is none of that name."""
    part, _, function = name.partition(".")
    try:
        exercises: tuple[Exercise, ...] = importlib.import_module(
            f"distill_lab.course.exercises.{part}"
        ).EXERCISES
    except ModuleNotFoundError:
        raise LabError(f"Expected an exercise such as lab5a.soften, found {name!r}.") from None
    for exercise in exercises:
        if exercise.function == function:
            return exercise
    known = ", ".join(f"{part}.{exercise.function}" for exercise in exercises)
    raise LabError(f"Expected one of {known}, found {name!r}.")


def check(name: str, function: Function, seed: int = 0) -> None:
    """Prints the outcome of each step, with the smallest case that went wrong; never raises what
    `function` raises."""
    exercise = find(name)
    outcome = judge(exercise, function, seed)
    solutions.count(exercise, function, outcome)
    print(report(exercise, outcome))
    attempted_in_vain = outcome.state in ("wrong", "error")
    if attempted_in_vain and not solutions.is_grading and not solutions.tries_left(name):
        print(f'  from distill_lab.checks import solution; solution("{name}") shows ours.')


def hint(name: str, n: int = 1) -> None:
    """Prints hint n (from 1) of an exercise; each says more than the one before."""
    hints = find(name).hints
    if not 1 <= n <= len(hints):
        raise LabError(f"hint({name!r}, {n}): expected 1 to {len(hints)}.")
    more = f'  (hint("{name}", {n + 1}) says more)' if n < len(hints) else ""
    print(f"Hint {n} of {len(hints)}: {hints[n - 1]}{more}")


def solution(name: str) -> None:
    """Prints our answer, as the solved notebook has it, once two different functions of the
    student's own were checked, or a right one. LabError where it cannot be found."""
    exercise = find(name)
    if solutions.is_grading:
        print(f"{exercise.function}: no solution is shown while marks are given.")
    elif left := solutions.tries_left(name):
        tries = "one more try" if left == 1 else f"{left} tries"
        print(
            f"{exercise.function}: first {tries} of your own in this session: change your "
            f'function, and run its check. hint("{name}") helps.'
        )
    else:
        print(solutions.text_of(exercise))


def or_ours(name: str, function: Function) -> Function:
    """`function` where it is right, with its results in plain form; else the package's own, and a
    line that says so: a notebook runs to its end whatever is left open."""
    exercise = find(name)
    outcome = judge(exercise, function)
    if outcome.state == "right":

        @functools.wraps(function)
        def in_plain_form(*arguments: Any, **named: Any) -> Any:
            return plain_result(function(*arguments, **named), exercise.result_type)

        return in_plain_form
    print(f"{exercise.function}: yours is {outcome.state}, so the package's own is used below.")
    return exercise.ours


def report(exercise: Exercise, outcome: Outcome) -> str:
    """The outcome as text: one line if all is right or nothing is attempted, else one a step."""
    whole = f"{exercise.function}: {outcome.state}"
    if outcome.state == "not attempted":
        return f'{whole}. Write it above, and run this again; hint("{exercise.name}") helps.'
    lines = [f"{whole}, {outcome.points} of {exercise.points} points"]
    if outcome.state == "right":
        return lines[0]
    for step, wrong in zip(exercise.steps, outcome.wrong, strict=True):
        lines.append(f"  {'wrong' if wrong else 'right'}: {step.title}")
        lines += [f"         {line}" for line in str(wrong).splitlines()] if wrong else []
    return "\n".join([*lines, f'  hint("{exercise.name}") helps.'])
