"""Lab 5a, teacher generation: its three exercises. Here that on pass@k; the others have a
module each."""

from __future__ import annotations

import math
import random
from itertools import combinations
from typing import Any

from distill_lab.course.exercises.comparing import Either
from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, expect, on_results
from distill_lab.course.exercises.lab5a.extract_answer import EXTRACT_ANSWER
from distill_lab.course.exercises.lab5a.soften import SOFTEN
from distill_lab.course.exercises.result_types import NUMBER
from distill_lab.reporting.stats import pass_at_k


def _counted(n: int, c: int, k: int) -> float:
    """The share of all draws of k out of n with one of the c right ones: the definition itself."""
    draws = list(combinations(range(n), k))
    return sum(min(draw) < c for draw in draws) / len(draws)


_INTEGERS = "// divides whole numbers and drops the rest: / is meant."


def _instead(n: int, c: int, k: int) -> dict[str, Any]:
    return {
        **_WHOLE_NUMBERS,
        "That puts every trace back before the next is drawn; k different ones of the n are drawn "
        "here.": 1 - (1 - c / n) ** k,
        "That is pass@1, whatever k is.": c / n,
        _OFF_1: math.comb(n - c, k) / math.comb(n, k),
        "The wrong ones are n - c: C(n - c, k) is asked for, not C(c, k).": (
            1 - math.comb(c, k) / math.comb(n, k)
        ),
        "That is the chance that all k are right, and one is enough.": (
            math.comb(c, k) / math.comb(n, k)
        ),
        "Chances do not add up: two right ones in a draw would count twice.": k * c / n,
        _PERCENT: 100 * _counted(n, c, k),
        _INTEGERS: 1.0,
    }


_PERCENT = "A chance from 0 to 1 is asked for, not percent."
_OFF_1 = "That is the chance that all k are wrong: take it off 1."
_WHOLE_NUMBERS = {
    "math.comb takes whole numbers: // or no division at all before it.": (
        TypeError("interpreted as an integer")
    )
}


def _first(function: Function, rng: random.Random) -> None:
    n = rng.randint(20, 99)
    for case in ((4, 1, 1), (n, rng.randint(2, n // 2 - 1), 1)):
        share = case[1] / case[0]
        known: dict[str, Any] = {
            "That is the share of the wrong ones: was 1 - forgotten, or c taken for n - c?": (
                1 - share
            ),
            _PERCENT: 100 * share,
            _INTEGERS: Either((0.0, 1.0)),
            **_WHOLE_NUMBERS,
        }
        expect(function, case, share, known)


def _of_several(function: Function, rng: random.Random) -> None:
    expect(function, (5, 2, 2), _counted(5, 2, 2), _instead(5, 2, 2))
    none = "With c = 0 no draw holds a right one: the chance is 0."
    expect(function, (4, 0, 2), 0.0, {none: Either((1.0, ZeroDivisionError))})
    for _ in range(4):
        n, k = rng.randint(5, 9), rng.randint(2, 3)
        case = (n, rng.randint(1, n - k), k)
        expect(function, case, _counted(*case), _instead(*case))


def _certain(function: Function, rng: random.Random) -> None:
    n = rng.randint(4, 9)
    known: dict[str, Any] = {
        "With fewer than k wrong traces not all k can be wrong: the chance is 1, not 0.": 0.0,
        "Factorials end here: with fewer than k wrong traces the chance is 1.": ValueError,
        "With fewer than k wrong traces there is nothing to divide: the chance is 1.": (
            ZeroDivisionError
        ),
        "With fewer than k wrong traces the chance is 1: a number, not None.": None,
    }
    for case in ((3, 2, 2), (3, 3, 3), (n, n - 1, rng.randint(2, n))):
        back = {name: one for name, one in _instead(*case).items() if name.startswith("That puts")}
        expect(function, case, 1.0, {**known, **back, _PERCENT: 100.0})
    even = "With k wrong traces just one draw holds them all: it is not certain yet."
    for n, k in ((rng.randint(10, 300), 2), (rng.randint(8, 60), 3)):
        expect(function, (n, n - k, k), 1 - 1 / math.comb(n, k), {even: 1.0})


_FIRST = "k = 1 is the share of the right ones"
PASS_AT_K = Exercise(
    "lab5a",
    "pass_at_k",
    pass_at_k,
    (
        Step(_FIRST, 1, _first),
        Step("k = 2 and 3, as all draws counted one by one", 1, _of_several),
        Step("certain where fewer than k are wrong", 1, _certain),
    ),
    (
        "Ask the other way round: how likely is it that all k are wrong?",
        "There are C(n, k) draws of k traces, and C(n - c, k) of them hold wrong ones alone.",
        "math.comb(n, k) counts draws, and is 0 where k is more than n.",
    ),
    NUMBER,
    (
        Slip(_PERCENT, _FIRST, on_results(lambda chance: chance / 100)),
        Slip(_OFF_1, _FIRST, on_results(lambda chance: 1 - chance)),
    ),
    minutes=5,
    difficulty="easy",
)

EXERCISES = (EXTRACT_ANSWER, SOFTEN, PASS_AT_K)
