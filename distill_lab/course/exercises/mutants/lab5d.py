"""Wrong answers to the exercises of Lab 5d, each with the steps that it must lose."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from distill_lab.course.exercises.exercise import Mutant, mutants_of
from distill_lab.course.exercises.lab5d import F1, GAP_CLOSED, NORMALIZE
from distill_lab.course.exercises.lab5d.bootstrap_interval import BOOTSTRAP_INTERVAL
from distill_lab.tasks.squad.scores import normalize_answer

SPACES, PUNCTUATION, ARTICLES, ORDER = (step.title for step in NORMALIZE.steps)
FORMULA, NORMALISED, REPEATED, NOTHING = (step.title for step in F1.steps)
RESAMPLES, PERCENTILES, SEED = (step.title for step in BOOTSTRAP_INTERVAL.steps)
SHARE, BEYOND, NO_WAY = (step.title for step in GAP_CLOSED.steps)
_GONE = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")


def articles_out_of_words(text: str) -> str:
    return " ".join(re.sub(r"the|\ban?\b", " ", text.lower().translate(_GONE)).split())


def articles_before_lower_case(text: str) -> str:
    return " ".join(_ARTICLE.sub(" ", text.translate(_GONE)).lower().split())


def articles_before_punctuation(text: str) -> str:
    return " ".join(_ARTICLE.sub(" ", text.lower()).translate(_GONE).split())


def keeps_inner_spaces(text: str) -> str:
    return _ARTICLE.sub("", text.lower().translate(_GONE)).strip()


def punctuation_to_spaces(text: str) -> str:
    spaced = re.sub(rf"[{re.escape(string.punctuation)}]", " ", text.lower())
    return " ".join(_ARTICLE.sub(" ", spaced).split())


def keeps_case(text: str) -> str:
    bare = re.sub(r"\b(a|an|the)\b", " ", text.translate(_GONE), flags=re.IGNORECASE)
    return " ".join(bare.split())


def keeps_punctuation(text: str) -> str:
    return " ".join(_ARTICLE.sub(" ", text.lower()).split())


def articles_in_front_only(text: str) -> str:
    text = " ".join(text.lower().translate(_GONE).split())
    return re.sub(r"^(a|an|the) ", "", text)


def _f1(found: Sequence[str], wanted: Sequence[str], shared: int) -> float:
    if not found or not wanted:
        return 100.0 * (found == wanted)
    return 200.0 * shared / (len(found) + len(wanted))


def _words(text: str) -> list[str]:
    return normalize_answer(text).split()


def _shared(found: Sequence[str], wanted: Sequence[str]) -> int:
    return (Counter(found) & Counter(wanted)).total()


def sets_for_multisets(prediction: str, reference: str) -> float:
    found, wanted = sorted(set(_words(prediction))), sorted(set(_words(reference)))
    return _f1(found, wanted, len(set(found) & set(wanted)))


def counts_each_found_word(prediction: str, reference: str) -> float:
    found, wanted = _words(prediction), _words(reference)
    if not found or not wanted:
        return 100.0 * (found == wanted)
    precision = sum(word in wanted for word in found) / len(found)
    recall = sum(word in found for word in wanted) / len(wanted)
    return 200 * precision * recall / (precision + recall) if precision else 0.0


def both_empty_gives_0(prediction: str, reference: str) -> float:
    found, wanted = _words(prediction), _words(reference)
    return _f1(found, wanted, _shared(found, wanted)) if found and wanted else 0.0


def divides_by_zero(prediction: str, reference: str) -> float:
    found, wanted = _words(prediction), _words(reference)
    shared = _shared(found, wanted)
    precision, recall = shared / len(found), shared / len(wanted)
    return 200 * precision * recall / (precision + recall)


def raw_words(prediction: str, reference: str) -> float:
    found, wanted = prediction.split(), reference.split()
    if not normalize_answer(reference):
        return 100.0 * (not normalize_answer(prediction))
    return _f1(found, wanted, _shared(found, wanted))


def average_for_harmonic_mean(prediction: str, reference: str) -> float:
    found, wanted = _words(prediction), _words(reference)
    if not found or not wanted:
        return 100.0 * (found == wanted)
    shared = _shared(found, wanted)
    return 50 * (shared / len(found) + shared / len(wanted))


def from_0_to_1(prediction: str, reference: str) -> float:
    found, wanted = _words(prediction), _words(reference)
    return _f1(found, wanted, _shared(found, wanted)) / 100


def exact_match(prediction: str, reference: str) -> float:
    return 100.0 * (normalize_answer(prediction) == normalize_answer(reference))


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


def from_5_to_95(scores: Sequence[float], seed: int) -> Interval:
    return _interval(scores, seed, ends=(5, 95))


def percent_as_shares(scores: Sequence[float], seed: int) -> Interval:
    return _interval(scores, seed, ends=(0.025, 0.975))


def of_one_draw(scores: Sequence[float], seed: int) -> Interval:
    return _interval(scores, seed, resamples=1)


def of_the_scores(scores: Sequence[float], seed: int) -> Interval:
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)


def always_a_hundred(scores: Sequence[float], seed: int) -> Interval:
    return _interval(scores, seed, size=100)


def without_a_seed(scores: Sequence[float], seed: int) -> Interval:
    return _interval(scores, None)


def the_seed_itself(scores: Sequence[float], seed: int) -> Interval:
    return seed, seed + 1


def with_one_seed(scores: Sequence[float], seed: int) -> Interval:
    return _interval(scores, 0)


def percentage_points(base: float, student: float, teacher: float) -> float | None:
    return None if teacher <= base else student - base


def share_kept(base: float, student: float, teacher: float) -> float | None:
    return None if teacher <= base else student / teacher


def infinite(base: float, student: float, teacher: float) -> float | None:
    if teacher == base:
        return float("inf")
    return None if teacher < base else (student - base) / (teacher - base)


def unguarded(base: float, student: float, teacher: float) -> float:
    return (student - base) / (teacher - base)


def teacher_below_base(base: float, student: float, teacher: float) -> float | None:
    return None if teacher == base else (student - base) / (teacher - base)


def cut_to_0_and_1(base: float, student: float, teacher: float) -> float | None:
    return None if teacher <= base else min(1, max(0, (student - base) / (teacher - base)))


MUTANTS: tuple[Mutant, ...] = (
    *mutants_of(
        "lab5d.normalize",
        (articles_out_of_words, (ARTICLES, ORDER), "whole words"),
        (articles_before_lower_case, (ORDER,), "Lower the case before"),
        (articles_before_punctuation, (ORDER,), "Punctuation goes before articles"),
        (keeps_inner_spaces, (SPACES,), "Spaces inside count"),
        (punctuation_to_spaces, (PUNCTUATION,), "not a space"),
        (keeps_case, (SPACES,), "Lower case is wanted"),
        (keeps_punctuation, (PUNCTUATION,), "Punctuation must go"),
        (articles_in_front_only, (ARTICLES,), "not only in front"),
    ),
    *mutants_of(
        "lab5d.f1",
        (sets_for_multisets, (REPEATED,), "not once (a set)"),
        (counts_each_found_word, (REPEATED,), "said twice is found only once"),
        (both_empty_gives_0, (NOTHING,), "SQuAD 2.0"),
        (divides_by_zero, (NOTHING,), "before precision and recall are divided"),
        (raw_words, (NORMALISED,), "Both texts are normalised"),
        (average_for_harmonic_mean, (FORMULA,), "harmonic mean"),
        (from_0_to_1, (FORMULA,), "0 to 100 here"),
        (exact_match, (FORMULA, NORMALISED, REPEATED), "exact match"),
    ),
    *mutants_of(
        "lab5d.bootstrap_interval",
        (without_replacement, (RESAMPLES, PERCENTILES, SEED), "without replacement"),
        (from_5_to_95, (PERCENTILES,), "at 5 and 95"),
        (percent_as_shares, (RESAMPLES, PERCENTILES), "not 0.025"),
        (of_one_draw, (RESAMPLES, PERCENTILES), "one mean alone is no interval"),
        (of_the_scores, (RESAMPLES, PERCENTILES, SEED), "how far single scores lie apart"),
        (always_a_hundred, (RESAMPLES, PERCENTILES), "as many scores as there are"),
        (without_a_seed, (SEED,), "make the generator from `seed`"),
        (with_one_seed, (SEED,), "does not use `seed`"),
        (the_seed_itself, (RESAMPLES, PERCENTILES, SEED), "expected"),
    ),
    *mutants_of(
        "lab5d.gap_closed",
        (percentage_points, (SHARE,), "percentage points"),
        (share_kept, (SHARE, BEYOND), "student / teacher"),
        (infinite, (NO_WAY,), "no way to go"),
        (unguarded, (NO_WAY,), "Ask before you divide"),
        (teacher_below_base, (NO_WAY,), "turns the sign round"),
        (cut_to_0_and_1, (BEYOND,), "cut nothing off"),
    ),
)
