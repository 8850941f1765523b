"""How sure a score is, how much of the teacher arrived, and what many samples are worth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from distill_lab.run.records import LabError
from distill_lab.tasks.squad.scores import normalize_answer

# The 97.5 % quantiles of Student's t with 1, 2, … degrees of freedom.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def bootstrap_interval(
    scores: Sequence[float],
    seed: int = 0,
    resamples: int = 1000,
    sizes: Sequence[float] | None = None,
) -> tuple[float, float]:
    """The 95 % percentile interval of the mean, in the unit of the scores (Efron 1979).

    Each resample draws as many scores as there are, with replacement; its mean is one draw of the
    statistic. With `sizes` it is the sum of the scores over the sum of their sizes, such as nats a
    token of texts of unequal length. LabError if empty.
    """
    if not scores:
        raise LabError(
            "A bootstrap interval: expected at least one score, found none. Evaluate a question."
        )
    values, rng = np.asarray(scores, dtype=np.float64), np.random.default_rng(seed)
    # One resample at a time: all at once would be resamples x scores numbers, 80 MB for SQuAD's dev
    # set.
    of = np.asarray(sizes, dtype=np.float64) if sizes is not None else np.ones_like(values)
    draws = (rng.integers(len(values), size=len(values)) for _ in range(resamples))
    means = [values[drawn].sum() / of[drawn].sum() for drawn in draws]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % t-interval of the mean of a few values, such as the differences of the seeds; None
    for fewer than two. Beyond 31 values it is a little too wide."""
    if len(values) < 2:
        return None
    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = _T[min(len(values) - 1, len(_T)) - 1] * error
    return mean - half, mean + half


def gap_closed(base: float, student: float, teacher: float) -> float | None:
    """The share of the way from base to teacher that the student has gone: 0 none, 1 all, more than
    1 beyond the teacher.

    Negative if the student fell behind the base; None where the teacher is not above the base, for
    then there is no way to go.
    """
    return None if teacher <= base else (student - base) / (teacher - base)


def gap_interval(
    base: Sequence[float],
    student: Sequence[float],
    teacher: Sequence[float],
    seed: int = 0,
    resamples: int = 1000,
) -> tuple[float, float] | None:
    """The 95 % percentile interval of the gap closed, a share. Each resample draws the same
    questions for all three; None where in one of them the teacher is not above the base, for then
    the share has no bound."""
    values, rng = (
        np.asarray([base, student, teacher], dtype=np.float64),
        np.random.default_rng(seed),
    )
    n = values.shape[1]
    means = [values[:, rng.integers(n, size=n)].mean(axis=1) for _ in range(resamples)]
    shares = [gap_closed(*map(float, three)) for three in means]
    bounded = [share for share in shares if share is not None]
    if len(bounded) < len(shares):
        return None
    low, high = np.percentile(bounded, [2.5, 97.5])
    return float(low), float(high)


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance (0 to 1) that one of k samples is right, from n of which c were: 1 - C(n-c, k) /
    C(n, k).

    The unbiased estimator of Chen et al. 2021, equation 1; with fewer than k wrong ones every draw
    has a right one, so 1. Raises LabError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise LabError(
            f"pass@k: expected 0 <= c <= n and 1 <= k <= n, found n={n}, c={c}, k={k}. "
            "Sample at least k answers."
        )
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def majority_answer(answers: Sequence[str | None]) -> str | None:
    """The answer that most samples agree on (cons@k of the paper), in its first spelling; None if
    no sample has one.

    Answers are compared as SQuAD normalises them; None (no well-formed answer) has no vote; of
    answers with equally many votes the first wins.
    """
    spelt: dict[str, str] = {}
    votes: Counter[str] = Counter()
    for answer in answers:
        if answer is not None:
            spelt.setdefault(normalize_answer(answer), answer)
            votes[normalize_answer(answer)] += 1
    if not votes:
        return None
    winner, _ = votes.most_common(1)[0]  # of equal counts, the one met first
    return spelt[winner]
