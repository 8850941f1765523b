"""A student's marks, read from their JSON: an instructor may have changed them, and slipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

from distill_lab.course.grading.marks.marks import Mark, Result, State, from_json
from distill_lab.run.records import LabError

STATES: tuple[State, ...] = get_args(State)


def read_marks(file: Path) -> Result:
    """LabError where it cannot be read, or where points, state and steps do not agree: one line
    that names the file."""
    try:
        result = from_json(file.read_text(encoding="utf-8"))
        slip = next(filter(None, map(_slip, result.marks)), "")
    except json.JSONDecodeError as error:
        slip = f"expected JSON, found line {error.lineno} that is none ({error.msg})."
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        slip = f"expected the marks as grading writes them, found {type(error).__name__}: {error}."
    else:
        if not slip:
            return result
    raise LabError(f"{file}: {slip} Mend it; or delete the file, and it is graded again.")


def _slip(mark: Mark) -> str:
    """What does not agree in it, as a sentence; "" where all does."""
    if mark.state not in STATES:
        return f"{mark.exercise}: expected the state {_one_of(STATES)}; found {mark.state!r}."
    if type(mark.points) is not int or not 0 <= mark.points <= mark.of:
        return f"{mark.exercise}: expected points from 0 to {mark.of}, found {mark.points!r}."
    if mark.state not in (fitting := _states_with(mark)):
        expected = f"with {mark.points} of {mark.of} points the state {_one_of(fitting)}"
        return f"{mark.exercise}: expected {expected}; found {mark.state!r}."
    steps = sum(step.points for step in mark.steps if step.right)
    if mark.steps and mark.state != "void" and steps != mark.points:
        return (
            f"{mark.exercise}: expected the points of the steps that are right, {steps}, found "
            f"{mark.points}: change `right` of a step as well."
        )
    return ""


def _states_with(mark: Mark) -> tuple[State, ...]:
    """The states that so many points may have."""
    if mark.points == mark.of:
        return ("right", "missing")
    if mark.points:
        return ("partly right", "missing")
    return ("wrong", "error", "not attempted", "missing", "void")


def _one_of(states: tuple[State, ...]) -> str:
    shown = [state for state in states if state != "missing" or len(states) > 2]
    return " or ".join(map(repr, shown))
