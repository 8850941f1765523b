"""The exercise bootstrap_interval of Lab 5d. Nobody draws the same resamples as we do, so the
checks ask for what all right answers have in common: ends near those of very many resamples."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence

import numpy as np

from distill_lab.course.exercises.comparing import brief, error_text, hint_for_error
from distill_lab.course.exercises.exercise import (
    Exercise,
    Function,
    Slip,
    Step,
    WrongError,
    difference,
    on_results,
)
from distill_lab.course.exercises.result_types import PAIR
from distill_lab.reporting.stats import bootstrap_interval

SEEDS = 12  # of intervals that are averaged: their ends then lie within 0.03 standard errors
CLOSE = 0.2  # standard errors that an averaged end may be off; the 90 % interval's are off by 0.32


def _scores(rng: random.Random, n: int = 30) -> list[float]:
    """F1 scores as they are: many at 0 and at 100, some between."""
    return [rng.choice((0.0, 100.0, round(rng.uniform(20, 90), 1))) for _ in range(n)]


def _ask(function: Function, scores: Sequence[float], seed: int) -> tuple[float, float]:
    """The two ends; WrongError where it gave no two numbers."""
    call = f"bootstrap_interval({brief(list(scores), 60)}, {seed})"
    try:
        return function(list(scores), seed)
    except NotImplementedError:
        raise
    except WrongError as wrong:
        raise WrongError(f"{call}\n{wrong}") from None
    except Exception as error:
        hint = "A list takes one place at a time: np.array(scores)[places] takes many."
        of_lists = isinstance(error, TypeError) and "ind" in str(error)
        says = f"\n{hint}" if of_lists else hint_for_error(error)
        raise WrongError(f"{call}\nraised    {error_text(error)}{says}") from None


def _mean_ends(function: Function, scores: Sequence[float], n: int) -> tuple[float, float]:
    """The ends, averaged over n seeds so that the draw hardly matters."""
    ends = [_ask(function, scores, seed) for seed in range(n)]
    return float(np.mean([low for low, _ in ends])), float(np.mean([high for _, high in ends]))


@functools.lru_cache(maxsize=8)
def _expected(scores: tuple[float, ...]) -> tuple[float, float, float]:
    """The ends from 10,000 resamples, and the standard error of the mean."""
    values, n = np.asarray(scores), len(scores)
    means = values[np.random.default_rng(0).integers(n, size=(10_000, n))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high), float(values.std() / np.sqrt(n))


def _wrong(scores: Sequence[float], yours: object, says: str) -> WrongError:
    low, high, _ = _expected(tuple(scores))
    call = f"bootstrap_interval of {len(scores)} scores, mean {np.mean(scores):.1f}"
    return difference(call, brief(yours), f"about ({low:.1f}, {high:.1f})", says)


_SKEWED = [0.0] * 18 + [100.0] * 2  # the means are skewed as well: from 0 to 25, 10 in the middle
_NORMAL = (
    "No mean of these scores lies so far out. The mean plus and minus 1.96 standard errors is the "
    "normal approximation; the bootstrap draws scores, and takes percentiles of their means."
)


def _resamples(function: Function, rng: random.Random) -> None:
    """The width says how the means were drawn."""
    for scores in ([0.0] * 10 + [100.0] * 10, _scores(rng), _SKEWED):
        low, high = yours = _ask(function, scores, 0)
        expected_low, expected_high, error = _expected(tuple(scores))
        middle, width = (expected_low + expected_high) / 2, expected_high - expected_low
        share = (high - low) / width
        for is_wrong, says in (
            (low > high, "The low end comes first."),
            (share < 0.1, "No width: without replacement each resample is all scores again, and "
             "one mean alone is no interval. Draw with replacement, 1,000 times."),
            (low > max(scores), "These are sums: of each resample the mean is asked for."),
            (not low - error < middle < high + error, "The mean of the scores lies outside: "
             "np.percentile counts in percent, 2.5 and 97.5, not 0.025 and 0.975."),
            (share > 2, "This is how far single scores lie apart (or their medians). The interval "
             "is one of the mean: each resample draws as many scores as there are, and gives one "
             "mean."),
            (low < min(scores) or high > max(scores), _NORMAL),
            (not 0.7 < share < 1.4, "Each resample draws as many scores as there are, not more "
             "and not fewer."),
        ):  # fmt: skip
            if is_wrong:
                raise _wrong(scores, yours, says)


def _percentiles(function: Function, rng: random.Random) -> None:
    """The ends, averaged: 2.5 and 97.5 percent of the means lie outside them."""
    _near(function, _scores(rng, 40), SEEDS)
    _near(function, _SKEWED, 4)  # of whose means the ends are among few


def _near(function: Function, scores: Sequence[float], n: int) -> None:
    yours = _mean_ends(function, scores, n)
    low, high, error = _expected(tuple(scores))
    if abs(yours[0] - low) <= CLOSE * error and abs(yours[1] - high) <= CLOSE * error:  # not NaN
        return
    if yours[0] < min(scores):
        raise _wrong(scores, yours, _NORMAL)
    says = "Too wide: 95 percent inside leaves 2.5 on each side; np.percentile counts in percent."
    if yours[1] - yours[0] < high - low:
        says = (
            "Too narrow: 95 percent inside leaves 2.5 on each side, so np.percentile(means, [2.5, "
            "97.5]); at 5 and 95 only 90 are inside."
        )
    shown = tuple(round(end, 2) for end in yours)
    raise _wrong(scores, shown, f"(ends averaged over {n} seeds) {says}")


def _seed(function: Function, rng: random.Random) -> None:
    scores, seeds = _scores(rng), rng.sample(range(1000), 4)
    first, again, *others = (
        tuple(round(end, 6) for end in _ask(function, scores, seed)) for seed in (seeds[0], *seeds)
    )
    if again != first:
        says = "The same seed gave another interval: make the generator from `seed`, inside."
        raise _wrong(scores, first, says)
    ends = [end for interval in (first, *others) for end in interval]
    if not min(scores) <= min(ends) <= max(ends) <= max(scores):
        raise _wrong(scores, first, "No mean of these scores is so small or so large.")
    if set(others) == {first}:
        says = "Four seeds gave the same interval: the generator does not use `seed`."
        raise _wrong(scores, first, says)


_INSIDE = "95 percent of the means are inside"
BOOTSTRAP_INTERVAL = Exercise(
    "lab5d",
    "bootstrap_interval",
    bootstrap_interval,
    (
        Step("means of as many scores, drawn with replacement", 2, _resamples),
        Step(_INSIDE, 1, _percentiles),
        Step("the seed fixes it", 1, _seed),
    ),
    (
        "rng = np.random.default_rng(seed); rng.choice(scores, size=len(scores)) is one resample.",
        "Take the mean of each of 1,000 resamples: that is how the mean would vary from one set "
        "of questions to the next.",
        "low, high = np.percentile(means, [2.5, 97.5]).",
    ),
    PAIR,
    (
        Slip("The low end comes first.", _INSIDE, on_results(lambda ends: [*ends][::-1])),
        Slip("Three numbers came back: the two ends alone are asked for.", _INSIDE,
             on_results(lambda numbers: (min(numbers), max(numbers)))),
    ),
    minutes=15,
    difficulty="medium",
)  # fmt: skip
