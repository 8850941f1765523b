"""The exercise bootstrap_interval of Lab 5d. Nobody draws the same resamples as we do, so what is
checked is what any right answer has in common: ends near those of very many resamples.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from distill_lab.checks.exercise import Exercise, Function, Step, WrongError, brief
from distill_lab.stats import bootstrap_interval

SEEDS = 12  # of intervals that are averaged: their ends then lie within 0.03 standard errors
CLOSE = 0.2  # standard errors that an averaged end may be off; the 90 % interval's are off by 0.32


def _scores(rng: random.Random, n: int = 30) -> list[float]:
    """F1 scores as they are: many at 0 and at 100, some between."""
    return [rng.choice((0.0, 100.0, round(rng.uniform(20, 90), 1))) for _ in range(n)]


def _ask(function: Function, scores: Sequence[float], seed: int) -> tuple[float, float]:
    """The two ends; WrongError where it gave no two numbers."""
    found: Any = function(list(scores), seed)
    try:
        low, high = (float(end) for end in found)
    except (TypeError, ValueError):
        raise WrongError(
            f"bootstrap_interval({brief(list(scores), 60)}, {seed})\nyours:    {brief(found)}\n"
            "expected: two numbers, (low, high)"
        ) from None
    return low, high


def _mean_ends(function: Function, scores: Sequence[float]) -> tuple[float, float]:
    """The ends, averaged over seeds so that the draw hardly matters."""
    ends = [_ask(function, scores, seed) for seed in range(SEEDS)]
    return float(np.mean([low for low, _ in ends])), float(np.mean([high for _, high in ends]))


@functools.lru_cache(maxsize=8)
def _expected(scores: tuple[float, ...]) -> tuple[float, float, float]:
    """The ends from 10,000 resamples, and the standard error of the mean."""
    values, n = np.asarray(scores), len(scores)
    means = values[np.random.default_rng(0).integers(n, size=(10_000, n))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high), float(values.std() / np.sqrt(n))


def _wrong(scores: Sequence[float], yours: object, said: str) -> WrongError:
    low, high, _ = _expected(tuple(scores))
    return WrongError(
        f"bootstrap_interval of {len(scores)} scores, mean {np.mean(scores):.1f}\n"
        f"yours:    {brief(yours)}\nexpected: about ({low:.1f}, {high:.1f})\n{said}"
    )


def _resamples(function: Function, rng: random.Random) -> None:
    """The width says how the means were drawn."""
    for scores in ([0.0] * 10 + [100.0] * 10, _scores(rng)):
        yours = _ask(function, scores, 0)
        low, high, error = _expected(tuple(scores))
        share = (yours[1] - yours[0]) / (high - low)
        if yours[0] > yours[1]:
            raise _wrong(scores, yours, "The low end comes first.")
        if share < 0.1:
            said = (
                "No width: without replacement each resample is all scores again, and one mean "
                "alone is no interval. Draw with replacement, 1,000 times."
            )
            raise _wrong(scores, yours, said)
        if not yours[0] - error < (low + high) / 2 < yours[1] + error:
            said = (
                "The mean of the scores lies outside: np.percentile counts in percent, 2.5 and "
                "97.5, not 0.025 and 0.975."
            )
            raise _wrong(scores, yours, said)
        if share > 2:
            said = (
                "This is how far single scores lie apart. The interval is one of the mean: each "
                "resample draws as many scores as there are, and gives one mean."
            )
            raise _wrong(scores, yours, said)
        if not 0.7 < share < 1.4:
            said = "Each resample draws as many scores as there are, not more and not fewer."
            raise _wrong(scores, yours, said)


def _percentiles(function: Function, rng: random.Random) -> None:
    """The ends, averaged: 2.5 and 97.5 percent of the means lie outside them."""
    scores = _scores(rng, 40)
    yours = _mean_ends(function, scores)
    low, high, error = _expected(tuple(scores))
    if abs(yours[0] - low) <= CLOSE * error and abs(yours[1] - high) <= CLOSE * error:  # not NaN
        return
    narrow = (yours[1] - yours[0]) < (high - low)
    said = (
        "Too narrow: 95 percent inside leaves 2.5 on each side, so np.percentile(means, [2.5, "
        "97.5]); at 5 and 95 only 90 are inside."
        if narrow
        else "Too wide: 95 percent inside leaves 2.5 on each side; np.percentile counts in percent."
    )
    shown = tuple(round(end, 2) for end in yours)
    raise _wrong(scores, shown, f"(ends averaged over {SEEDS} seeds) {said}")


def _seed(function: Function, rng: random.Random) -> None:
    scores, seeds = _scores(rng), rng.sample(range(1000), 4)
    first, again, *others = (
        tuple(round(end, 6) for end in _ask(function, scores, seed)) for seed in (seeds[0], *seeds)
    )
    if again != first:
        said = "The same seed gave another interval: make the generator from `seed`, inside."
        raise _wrong(scores, first, said)
    ends = [end for found in (first, *others) for end in found]
    if not min(scores) <= min(ends) <= max(ends) <= max(scores):
        raise _wrong(scores, first, "No mean of these scores is so small or so large.")
    if set(others) == {first}:
        said = "Four seeds gave the same interval: the generator does not use `seed`."
        raise _wrong(scores, first, said)


BOOTSTRAP_INTERVAL = Exercise(
    "lab5d",
    "bootstrap_interval",
    bootstrap_interval,
    (
        Step("means of as many scores, drawn with replacement", 2, _resamples),
        Step("95 percent of the means are inside", 1, _percentiles),
        Step("the seed fixes it", 1, _seed),
    ),
    (
        "rng = np.random.default_rng(seed); rng.choice(scores, size=len(scores)) is one resample.",
        "Take the mean of each of 1,000 resamples: that is how the mean would vary from one set "
        "of questions to the next.",
        "low, high = np.percentile(means, [2.5, 97.5]).",
    ),
)
