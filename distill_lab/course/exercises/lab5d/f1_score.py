"""The exercise f1 of Lab 5d: F1 over words. The reference is `f1` below, which is
`scores.f1` for one reference answer."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

from distill_lab.course.exercises.comparing import Either
from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, expect, on_results
from distill_lab.course.exercises.lab5d.normalize_answer import a_word
from distill_lab.course.exercises.result_types import NUMBER
from distill_lab.tasks.squad import scores
from distill_lab.tasks.squad.scores import normalize_answer


def f1(prediction: str, reference: str) -> float:
    """F1 over words (0 to 100) of one prediction and one reference; where the reference is empty
    (SQuAD 2.0: there is no answer) 100 if the prediction is empty too, else 0."""
    return scores.f1(prediction, [reference] if normalize_answer(reference) else [])


def _formula(function: Function, rng: random.Random) -> None:
    known: dict[str, Any] = {
        _PERCENT: 4 / 7,
        "F1 is the harmonic mean of precision and recall, 2pr / (p + r), not their average.": (
            100 * (1 / 2 + 2 / 3) / 2
        ),
        "That is the precision alone.": 50.0,
        "That is the recall alone.": 100 * 2 / 3,
        "That is what both have by what either has, another measure (Jaccard's).": 40.0,
        "The 2 of 2pr / (p + r) is missing.": 200 / 7,
        "That is p times r, not yet their harmonic mean.": 100 / 3,
        "That is the exact match: F1 gives part of the points for part of the words.": 0.0,
        "Letters were counted: split both texts into words first.": _letters(
            "river orgar nile town", "river nile harp"
        ),
    }
    expect(function, ["river Orgar Nile town", "river Nile harp"], 400 / 7, known)
    expect(function, ["lute", "lute"], 100.0, {_PERCENT: 1.0})
    words = [a_word(rng) for _ in range(8)]
    prediction, reference = " ".join(words[:5]), " ".join(words[rng.randint(1, 4) :])
    expect(function, [prediction, reference], f1(prediction, reference))


def _letters(prediction: str, reference: str) -> float:
    shared = (Counter(prediction) & Counter(reference)).total()
    return 200 * shared / (len(prediction) + len(reference))


def _normalised(function: Function, rng: random.Random) -> None:
    raw = "Both texts are normalised first: case, punctuation and articles do not count."
    expect(function, ["The Nile.", "nile"], 100.0, {raw: 0.0})
    name, first, second = (a_word(rng) for _ in range(3))
    known = {raw: Either((0.0, 40.0, 100 / 3))}
    expect(function, [f"the {name.upper()}! {first}", f"{name} {second}"], 50.0, known)


def _repeated(function: Function, rng: random.Random) -> None:
    """Of texts of the same length, where precision, recall and all their means are one."""
    sets = "A word counts as often as it stands in both (Counter & Counter), not once (a set)."
    twice = "A word that is said twice is found only once where the reference has it once."
    known = {sets: 40.0, twice: Either((400 / 9, 50.0, 200 / 3))}
    expect(function, ["lute lute harp", "lute drum ant"], 100 / 3, known)
    expect(function, ["ja ja nein", "ja ja oui"], 200 / 3, {sets: Either((50.0, 100 / 3))})
    word, first, second = (a_word(rng) for _ in range(3))
    n = rng.randint(2, 5)
    texts = [" ".join([word] * n + [first]), " ".join([word] * (n - 1) + [second] * 2)]
    expect(function, texts, f1(*texts))


def _nothing(function: Function, rng: random.Random) -> None:
    first, second = a_word(rng), a_word(rng)
    divides = "No word in common gives 0: say so before precision and recall are divided by."
    nothing = Either((ZeroDivisionError, math.nan))
    zero: dict[str, Any] = {divides: nothing}
    zero["Nothing in common is 0, not 100."] = 100.0
    expect(function, [first, second], 0.0, zero)
    expect(function, ["", second], 0.0, zero)
    both = "Nothing to answer and nothing answered (SQuAD 2.0) is right: 100."
    guard = f"{both[:-1]}; guard the division."
    empty: dict[str, Any] = {both: 0.0, guard: nothing}
    expect(function, ["", ""], 100.0, empty)
    late = f"{both} Ask the normalised texts: an article alone is no word."
    articles = {late: Either((0.0, *nothing))}
    expect(function, [rng.choice(("the", "a", "An.")), ""], 100.0, articles)
    expect(function, [first, ""], 0.0, zero)
    expect(
        function, [f"{first} {second}", f"{first} {second}"], 100.0, {"All words are found.": 0.0}
    )


_FORMULA = "the harmonic mean of precision and recall, 0 to 100"
_PERCENT = "F1 is 0 to 100 here, as SQuAD prints it."
F1 = Exercise(
    "lab5d",
    "f1",
    f1,
    (
        Step(_FORMULA, 1, _formula),
        Step("both texts are normalised", 1, _normalised),
        Step("repeated words count as often as they stand in both", 1, _repeated),
        Step("nothing in common, nothing at all", 1, _nothing),
    ),
    (
        "Split both normalised texts into words; Counter(a) & Counter(b) keeps the smaller counts.",
        "shared = (Counter(found) & Counter(wanted)).total(); precision = shared / len(found), "
        "recall = shared / len(wanted).",
        "Before any division: if one of the lists is empty, 100.0 if both are, else 0.0; and if "
        "nothing is shared, 0.0.",
    ),
    NUMBER,
    (Slip(_PERCENT, _FORMULA, on_results(lambda share: 100 * share)),),
    minutes=15,
    difficulty="medium",
)
