"""Lab 5d, SQuAD evaluation: its four exercises. Here that on the gap closed; the others have a
module each."""

from __future__ import annotations

import math
import random
from typing import Any

from distill_lab.course.exercises.comparing import Either
from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, expect, on_results
from distill_lab.course.exercises.lab5d.bootstrap_interval import BOOTSTRAP_INTERVAL
from distill_lab.course.exercises.lab5d.f1_score import F1
from distill_lab.course.exercises.lab5d.normalize_answer import NORMALIZE
from distill_lab.course.exercises.result_types import NUMBER_OR_NONE
from distill_lab.reporting.stats import gap_closed


def _instead(base: float, student: float, teacher: float) -> dict[str, Any]:
    """What is often written for the share of the way, and its result."""
    way, done = teacher - base, student - base
    share_of_base = done / base if base else None
    without_brackets = student - base / teacher - base
    return {
        _POINTS: done,
        "This is student / teacher, the share kept: what base knew already is no gain.": (
            student / teacher
        ),
        _LEFT: 1 - done / way,
        _WHOLE_WAY: 100 * done / way,
        "Divide by the way, teacher - base, not by the teacher's score.": done / teacher,
        "Divide by the way, teacher - base, not by the base's score.": share_of_base,
        "This is upside down: the way that was gone by the whole way.": way / done,
        "The sign is turned: student - base and teacher - base.": -done / way,
        "// drops what is behind the point: / is meant.": done // way,
        "Brackets are missing: (student - base) / (teacher - base).": without_brackets,
    }


def _share(function: Function, rng: random.Random) -> None:
    expect(function, [20.0, 50.0, 95.0], 0.4, _instead(20.0, 50.0, 95.0))
    base, teacher = rng.uniform(5, 30), rng.uniform(60, 95)
    case = [base, rng.uniform(base + 1, teacher - 1), teacher]
    expect(function, case, gap_closed(*case), _instead(*case))
    zero = "A base of 0 is a base as well: ask whether the teacher is above it, not `if base`."
    expect(function, [0.0, 30.0, 60.0], 0.5, {zero: Either((None, ZeroDivisionError))})


def _beyond(function: Function, rng: random.Random) -> None:
    cut = "A student may pass its teacher, or fall behind the base: cut nothing off."
    sign = "Behind the base the share is negative."
    none = "None is for a teacher that is not above base: the student may be anywhere."
    expect(function, [20.0, 80.0, 65.0], 60 / 45, {cut: 1.0, none: None})
    expect(function, [20.0, 10.0, 60.0], -0.25, {cut: 0.0, sign: 0.25, none: None})
    expect(function, [20.0, 20.0, 60.0], 0.0, {"0 is a share as well, not None.": None})
    above = rng.uniform(70, 99)
    expect(function, [10.0, above, 60.0], (above - 10) / 50, {cut: 1.0, none: None})


def _no_way(function: Function, rng: random.Random) -> None:
    even = "The teacher is no better than base: there is no way to go, and no share of it. None."
    known: dict[str, Any] = {f"{even} ({x} is a number.)": x for x in (math.inf, -math.inf)}
    known |= {f"{even} Ask before you divide.": ZeroDivisionError, f"{even} (No NaN.)": math.nan}
    known[f"{even[:-6]}; 0 would say that the student learnt nothing."] = 0.0
    known[f"{even} (1 would say that it learnt all.)"] = 1.0
    known |= {f"{even} Give it back, raise nothing.": ValueError, f"{even} No text.": "None"}
    level = rng.uniform(20, 60)
    expect(function, [30.0, 40.0, 30.0], None, known)
    expect(function, [level, level, level], None, known)
    below = "A teacher below base turns the sign round: that too is None."
    expect(function, [50.0, 40.0, 30.0], None, {below: 0.5})
    expect(function, [14.3, 36.0, 12.4], None, {below: (36.0 - 14.3) / (12.4 - 14.3)})
    arrived = "The teacher is above base here, and the student with it: that is 1."
    expect(function, [level, level + 30, level + 30], 1.0, {arrived: None})


def _points_to_share(function: Function) -> Function:
    """The function, its percentage points divided by the whole way."""

    def share(base: float, student: float, teacher: float) -> float | None:
        points = function(base, student, teacher)
        return None if points is None else points / (teacher - base)

    return share


_POINTS = "These are percentage points; a share of the way is asked for: divide by teacher - base."
_LEFT = "This is the share that is still to go."
_WHOLE_WAY = "1 is all of the way, not 100."
_OF_WAY = "the share of the way from base to teacher"
GAP_CLOSED = Exercise(
    "lab5d",
    "gap_closed",
    gap_closed,
    (
        Step(_OF_WAY, 1, _share),
        Step("behind the base and beyond the teacher", 1, _beyond),
        Step("None where there is no way to go", 1, _no_way),
    ),
    (
        "Draw a line from base to teacher. How long is it, and how far along it is the student?",
        "(student - base) / (teacher - base), where teacher > base; else None.",
    ),
    NUMBER_OR_NONE,
    (
        Slip(_POINTS, _OF_WAY, _points_to_share),
        Slip(_WHOLE_WAY, _OF_WAY, on_results(lambda percent: percent / 100)),
        Slip(_LEFT, _OF_WAY, on_results(lambda share: 1 - share)),
    ),
    minutes=5,
    difficulty="easy",
)

EXERCISES: tuple[Exercise, ...] = (NORMALIZE, F1, BOOTSTRAP_INTERVAL, GAP_CLOSED)
