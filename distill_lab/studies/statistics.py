"""How sure a difference is: questions are paired, seeds averaged within a question, and passages
resampled; the spread over seeds stands beside it.

Questions on one passage are right or wrong together, so a passage is what is drawn (a cluster
bootstrap, Davison and Hinkley 1997, section 3.8): drawing questions would make the interval too
narrow.

In shape comments Q are questions, P passages, R resamples, K columns of a statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill_lab.reporting.stats import t_interval

RESAMPLES, SEED = 2_000, 0
BINS = 15  # of equal width, in the calibration error of Guo et al. 2017

Numbers = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Statistic:
    """A number of one model that can be computed of any draw of passages.

    `sums` (P, K) adds up the questions of each passage, `sizes` (P) counts them. The number is the
    sum over a draw divided by its size; `absolute` takes each column's absolute value before the
    columns are added (the calibration error: a column is a bin).
    """

    sums: Numbers
    sizes: Numbers
    absolute: bool = False

    def of(self, draws: Numbers) -> Numbers:
        """The number for each of R draws (R, P), which say how often each passage was drawn; NaN
        for a draw without a question."""
        parts = draws @ self.sums  # (R, K)
        totals = (np.abs(parts) if self.absolute else parts).sum(-1)  # (R)
        with np.errstate(invalid="ignore", divide="ignore"):
            return totals / (draws @ self.sizes)  # (R)

    @property
    def value(self) -> float:
        """The number over all questions, each once; NaN where there are none."""
        return float(self.of(np.ones((1, len(self.sizes))))[0])


@dataclass(frozen=True, slots=True)
class Difference:
    """One side minus the other: the mean over seeds, its 95 % interval over passages, the
    difference of each seed, and their t-interval (None for a single seed)."""

    value: float
    ci95: Interval
    by_seed: list[float]
    seeds_t95: Interval | None


def mean_of(values: Sequence[float], passages: Sequence[int], counted: Sequence[bool]) -> Statistic:
    """The mean of the values (Q) of those questions that count."""
    kept = np.asarray(counted, dtype=np.float64)  # (Q)
    columns = (np.asarray(values, dtype=np.float64) * kept)[:, None]  # (Q, 1)
    return Statistic(_by_passage(columns, passages), _by_passage(kept[:, None], passages)[:, 0])


def calibration_error(
    confidence: Sequence[float],
    right: Sequence[float],
    passages: Sequence[int],
    counted: Sequence[bool],
) -> Statistic:
    """The expected calibration error of confidences and scores (Q), both 0 to 100: the distance of
    mean confidence and share right in each of 15 bins, weighted by the bin's questions."""
    kept = np.asarray(counted, dtype=np.float64)  # (Q)
    gaps = (np.asarray(confidence) - np.asarray(right)) * kept  # (Q)
    columns = gaps[:, None] * (bin_of(confidence)[:, None] == np.arange(BINS))  # (Q, BINS)
    sizes = _by_passage(kept[:, None], passages)[:, 0]
    return Statistic(_by_passage(columns, passages), sizes, absolute=True)


def error_of(confidence: Sequence[float], right: Sequence[float]) -> float:
    """The calibration error over all questions, in points of 100."""
    every = range(len(confidence))
    return calibration_error(confidence, right, every, [True] * len(every)).value


def bin_of(confidence: Sequence[float]) -> NDArray[np.int64]:
    """The bin of each confidence (0 to 100), counted from 0; the last one holds 100 too."""
    at = np.floor(np.asarray(confidence, dtype=np.float64) * BINS / 100).astype(np.int64)
    return np.clip(at, 0, BINS - 1)


def _by_passage(columns: Numbers, passages: Sequence[int]) -> Numbers:
    """The columns (Q, K) added up by passage (P, K)."""
    sums = np.zeros((max(passages) + 1, columns.shape[1]))
    np.add.at(sums, np.asarray(passages), columns)
    return sums


def passage_draws(n_passages: int, resamples: int = RESAMPLES, seed: int = SEED) -> Numbers:
    """How often each passage is drawn (R, P), where each resample draws as many as there are."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(n_passages, size=(resamples, n_passages))  # (R, P)
    return np.stack([np.bincount(drawn, minlength=n_passages) for drawn in draws]).astype(float)


def difference(plus: Sequence[Statistic], minus: Sequence[Statistic], draws: Numbers) -> Difference:
    """What `plus` is above `minus`: of each a statistic a seed, in the same order of seeds."""
    pairs = list(zip(plus, minus, strict=True))
    by_seed = [above.value - below.value for above, below in pairs]
    drawn = np.mean([above.of(draws) - below.of(draws) for above, below in pairs], axis=0)  # (R)
    return Difference(float(np.mean(by_seed)), percentiles(drawn), by_seed, t_interval(by_seed))


def mean_interval(of_seeds: Sequence[Statistic], draws: Numbers) -> Interval:
    """The 95 % interval over passages of a number averaged over seeds."""
    return percentiles(np.mean([each.of(draws) for each in of_seeds], axis=0))


def percentiles(drawn: Numbers) -> Interval:
    """The 95 % percentile interval of a statistic's draws (R); draws without a question are left
    out."""
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)
