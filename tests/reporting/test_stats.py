"""Intervals, the gap closed, pass@k and cons@k, against hand-made or exhaustive oracles."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from distill_lab.reporting.stats import (
    bootstrap_interval,
    gap_closed,
    gap_interval,
    majority_answer,
    pass_at_k,
)
from distill_lab.run.records import LabError


def test_the_interval_is_that_of_the_normal_approximation():
    scores = [100.0] * 100 + [0.0] * 300
    low, high = bootstrap_interval(scores, resamples=4000)
    half = 1.96 * np.std(scores) / np.sqrt(len(scores))
    # without replacement both ends would be 25, from one draw each 0 and 100; a 90 % interval has
    # a half-width of 3.6 and not of 4.2
    assert low == pytest.approx(25 - half, abs=0.35)
    assert high == pytest.approx(25 + half, abs=0.35)


def test_the_interval_has_95_percent():
    rng = np.random.default_rng(1)
    samples = (rng.normal(10, 3, size=60).tolist() for _ in range(300))
    intervals = [
        bootstrap_interval(sample, seed=n, resamples=400) for n, sample in enumerate(samples)
    ]
    assert 0.90 < np.mean([low <= 10 <= high for low, high in intervals]) < 0.98


def test_the_interval_depends_on_the_seed_only():
    scores = [0.0, 10.0, 40.0, 100.0]
    assert bootstrap_interval(scores, seed=1) == bootstrap_interval(scores, seed=1)
    assert bootstrap_interval(list(range(50)), seed=1) != bootstrap_interval(
        list(range(50)), seed=2
    )


def test_the_interval_of_one_score_and_of_none():
    assert bootstrap_interval([40.0]) == (40.0, 40.0)
    with pytest.raises(LabError, match="at least one score"):
        bootstrap_interval([])


def test_gap_closed_is_a_share():
    assert gap_closed(20, 50, 80) == 0.5  # not: 30 percentage points
    assert gap_closed(20, 20, 80) == 0
    assert gap_closed(20, 90, 80) == pytest.approx(7 / 6)
    assert gap_closed(20, 10, 80) == pytest.approx(-1 / 6)
    assert gap_closed(50, 70, 50) is None  # not: infinity
    assert gap_closed(14, 36, 12) is None  # not: minus eleven times a gap that is none


def test_pass_at_k_is_the_mean_over_all_draws():
    for n in range(1, 8):
        for c, k in itertools.product(range(n + 1), range(1, n + 1)):
            draws = [any(i < c for i in draw) for draw in itertools.combinations(range(n), k)]
            assert pass_at_k(n, c, k) == pytest.approx(np.mean(draws), abs=1e-12)


def test_pass_at_k_by_hand():
    assert pass_at_k(4, 1, 2) == 0.5  # 1-(1-c/n)^k would be 0.4375, c/n 0.25
    assert pass_at_k(4, 3, 2) == 1  # fewer than k wrong ones
    assert pass_at_k(10_000, 1, 5_000) == pytest.approx(0.5)  # no overflow


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 5, 1), (4, -1, 1), (4, 1, 0)])
def test_pass_at_k_out_of_bounds(n, c, k):
    with pytest.raises(LabError, match=r"pass@k: expected"):
        pass_at_k(n, c, k)


MAJORITIES = [
    (["Paris", "Rome", "the paris.", "Rome!", "PARIS"], "Paris"),  # not: raw strings compared
    (["Rome", "Paris", "paris", "rome"], "Rome"),  # a tie: the first seen, not the last or least
    ([None, None, None, "Rome"], "Rome"),  # None has no vote
    ([None, "b", "a", "a"], "a"),
    (["", "", "x"], ""),  # the answer to an unanswerable question is an answer
    ([None], None),
    ([], None),
]


@pytest.mark.parametrize(("answers", "winner"), MAJORITIES)
def test_majority_answer(answers, winner):
    assert majority_answer(answers) == winner


def test_a_gaps_interval_draws_the_same_questions_for_all_three():
    base, teacher = [0.0] * 20, [100.0] * 9 + [0.0] * 11
    # as good as the teacher on each question: drawn apart, the share would vary
    assert gap_interval(base, teacher, teacher) == (1.0, 1.0)
    half = [score / 2 for score in teacher]
    assert gap_interval(base, half, teacher) == (0.5, 0.5)


def test_a_gaps_interval_is_that_of_many_draws():
    rng = random.Random(3)
    base, student, teacher = (
        [float(rng.random() < share) for _ in range(300)] for share in (0.1, 0.5, 0.8)
    )
    shares = []
    for _ in range(2000):
        drawn = rng.choices(range(300), k=300)
        b, s, t = (sum(of[n] for n in drawn) for of in (base, student, teacher))
        shares.append((s - b) / (t - b))
    shares.sort()
    found = gap_interval(base, student, teacher)
    assert found == pytest.approx((shares[50], shares[1949]), abs=0.015)


def test_a_gap_that_may_be_none_has_no_interval():
    assert gap_interval([0.0, 100.0], [50.0, 50.0], [100.0, 0.0]) is None
