"""Wrong answers to the exercises of Lab 5d, each with the steps that it must lose."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from distill_lab.course.exercises.exercise import Function, Mutant, mutants_of
from distill_lab.course.exercises.lab5d import F1, GAP_CLOSED, NORMALIZE
from distill_lab.course.exercises.lab5d.bootstrap_interval import BOOTSTRAP_INTERVAL
from distill_lab.tasks.squad.scores import normalize_answer

SPACES, PUNCTUATION, ARTICLES, ORDER = (step.title for step in NORMALIZE.steps)
FORMULA, NORMALISED, REPEATED, NOTHING = (step.title for step in F1.steps)
RESAMPLES, PERCENTILES, SEED = (step.title for step in BOOTSTRAP_INTERVAL.steps)
SHARE, BEYOND, NO_WAY = (step.title for step in GAP_CLOSED.steps)
_GONE = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")


def _without_marks(text: str) -> str:
    return text.translate(_GONE)


def _without_articles(text: str) -> str:
    return _ARTICLE.sub(" ", text)


def _single(text: str) -> str:
    return " ".join(text.split())


def punctuation_to_spaces(text: str) -> str:
    spaced = re.sub(rf"[{re.escape(string.punctuation)}]", " ", text.lower())
    return _single(_without_articles(spaced))


def keeps_case(text: str) -> str:
    return _single(re.sub(_ARTICLE.pattern, " ", _without_marks(text), flags=re.IGNORECASE))


def _f1(given: Sequence[str], wanted: Sequence[str], shared: int) -> float:
    if not given or not wanted:
        return 100.0 * (given == wanted)
    return 200.0 * shared / (len(given) + len(wanted))


def _words(*texts: str) -> list[list[str]]:
    return [normalize_answer(text).split() for text in texts]


def _shared(given: Sequence[str], wanted: Sequence[str]) -> int:
    return (Counter(given) & Counter(wanted)).total()


def right_f1(prediction: str, reference: str) -> float:
    given, wanted = _words(prediction, reference)
    return _f1(given, wanted, _shared(given, wanted))


def sets_for_multisets(prediction: str, reference: str) -> float:
    given, wanted = (sorted(set(words)) for words in _words(prediction, reference))
    return _f1(given, wanted, _shared(given, wanted))


def counts_each_found_word(prediction: str, reference: str) -> float:
    given, wanted = _words(prediction, reference)
    if not given or not wanted:
        return 100.0 * (given == wanted)
    precision = sum(word in wanted for word in given) / len(given)
    recall = sum(word in given for word in wanted) / len(wanted)
    return 200 * precision * recall / (precision + recall) if precision else 0.0


def divides_by_zero(prediction: str, reference: str) -> float:
    given, wanted = _words(prediction, reference)
    precision, recall = (_shared(given, wanted) / len(words) for words in (given, wanted))
    return 200 * precision * recall / (precision + recall)


def raw_words(prediction: str, reference: str) -> float:
    given, wanted = prediction.split(), reference.split()
    if not normalize_answer(reference):
        return 100.0 * (not normalize_answer(prediction))
    return _f1(given, wanted, _shared(given, wanted))


def average_for_harmonic_mean(prediction: str, reference: str) -> float:
    given, wanted = _words(prediction, reference)
    if not given or not wanted:
        return 100.0 * (given == wanted)
    return 50 * sum(_shared(given, wanted) / len(words) for words in (given, wanted))


Interval = tuple[float, float]


def _interval(
    scores: Sequence[float],
    seed: int | None,
    size: int | None = None,
    ends: tuple[float, float] = (2.5, 97.5),
    resamples: int = 1000,
) -> Interval:
    rng, size = np.random.default_rng(seed), size or len(scores)
    means = rng.choice(scores, size=(resamples, size)).mean(axis=1)
    low, high = np.percentile(means, ends)
    return float(low), float(high)


def without_replacement(scores: Sequence[float], seed: int) -> Interval:
    rng = np.random.default_rng(seed)
    means = [float(rng.permutation(scores).mean()) for _ in range(20)]
    return min(means), max(means)


def _where_better(share: Callable[[float, float, float], float]) -> Function:
    """None where the teacher is no better than base."""
    return lambda base, student, teacher: None if teacher <= base else share(base, student, teacher)


def unguarded(base: float, student: float, teacher: float) -> float:
    return (student - base) / (teacher - base)


def infinite(base: float, student: float, teacher: float) -> float | None:
    if teacher == base:
        return float("inf")
    return None if teacher < base else unguarded(base, student, teacher)


def teacher_below_base(base: float, student: float, teacher: float) -> float | None:
    return None if teacher == base else unguarded(base, student, teacher)


MUTANTS: tuple[Mutant, ...] = (
    *mutants_of(
        "lab5d.normalize",
        ("articles out of words",
         lambda text: _single(re.sub(r"the|\ban?\b", " ", _without_marks(text.lower()))),
         (ARTICLES, ORDER), "whole words"),
        ("articles before lower case",
         lambda text: _single(_without_articles(_without_marks(text)).lower()),
         (ORDER,), "Lower the case before"),
        ("articles before punctuation",
         lambda text: _single(_without_marks(_without_articles(text.lower()))),
         (ORDER,), "Punctuation goes before articles"),
        ("inner spaces kept",
         lambda text: _ARTICLE.sub("", _without_marks(text.lower())).strip(),
         (SPACES,), "Spaces inside count"),
        ("punctuation to spaces", punctuation_to_spaces, (PUNCTUATION,), "not a space"),
        ("case kept", keeps_case, (SPACES,), "Lower case is wanted"),
        ("punctuation kept", lambda text: _single(_without_articles(text.lower())),
         (PUNCTUATION,), "Punctuation must go"),
        ("articles in front only",
         lambda text: re.sub(r"^(a|an|the) ", "", _single(_without_marks(text.lower()))),
         (ARTICLES,), "not only in front"),
    ),
    *mutants_of(
        "lab5d.f1",
        ("sets for multisets", sets_for_multisets, (REPEATED,), "not once (a set)"),
        ("each found word counted", counts_each_found_word, (REPEATED,),
         "said twice is found only once"),
        ("both empty gives 0", lambda *texts: right_f1(*texts) if all(_words(*texts)) else 0.0,
         (NOTHING,), "SQuAD 2.0"),
        ("division by zero", divides_by_zero, (NOTHING,),
         "before precision and recall are divided"),
        ("raw words", raw_words, (NORMALISED,), "Both texts are normalised"),
        ("average for harmonic mean", average_for_harmonic_mean, (FORMULA,), "harmonic mean"),
        ("from 0 to 1", lambda *texts: right_f1(*texts) / 100, (FORMULA,), "0 to 100 here"),
        ("exact match", lambda one, other: 100.0 * (_words(one) == _words(other)),
         (FORMULA, NORMALISED, REPEATED), "exact match"),
    ),
    *mutants_of(
        "lab5d.bootstrap_interval",
        ("without replacement", without_replacement, (RESAMPLES, PERCENTILES, SEED),
         "without replacement"),
        ("from 5 to 95", lambda scores, seed: _interval(scores, seed, ends=(5, 95)),
         (PERCENTILES,), "at 5 and 95"),
        ("percent as shares", lambda scores, seed: _interval(scores, seed, ends=(0.025, 0.975)),
         (RESAMPLES, PERCENTILES), "not 0.025"),
        ("of one draw", lambda scores, seed: _interval(scores, seed, resamples=1),
         (RESAMPLES, PERCENTILES), "one mean alone is no interval"),
        ("of the scores", lambda scores, seed: [*map(float, np.percentile(scores, [2.5, 97.5]))],
         (RESAMPLES, PERCENTILES, SEED), "how far single scores lie apart"),
        ("always a hundred", lambda scores, seed: _interval(scores, seed, size=100),
         (RESAMPLES, PERCENTILES), "as many scores as there are"),
        ("without a seed", lambda scores, seed: _interval(scores, None), (SEED,),
         "make the generator from `seed`"),
        ("with one seed", lambda scores, seed: _interval(scores, 0), (SEED,),
         "does not use `seed`"),
        ("the seed itself", lambda scores, seed: (seed, seed + 1),
         (RESAMPLES, PERCENTILES, SEED), "expected"),
    ),
    *mutants_of(
        "lab5d.gap_closed",
        ("percentage points", _where_better(lambda base, student, teacher: student - base),
         (SHARE,), "percentage points"),
        ("the share kept", _where_better(lambda base, student, teacher: student / teacher),
         (SHARE, BEYOND), "student / teacher"),
        ("infinite", infinite, (NO_WAY,), "no way to go"),
        ("unguarded", unguarded, (NO_WAY,), "Ask before you divide"),
        ("teacher below base", teacher_below_base, (NO_WAY,), "turns the sign round"),
        ("cut to 0 and 1", _where_better(lambda *scores: min(1, max(0, unguarded(*scores)))),
         (BEYOND,), "cut nothing off"),
    ),
)  # fmt: skip
