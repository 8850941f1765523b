"""Intervals over passages and over seeds, against hand computations, normal theory and coverage."""

from __future__ import annotations

from itertools import product

import mpmath
import numpy as np
import pytest

from distill_lab.reporting.stats import _T, bootstrap_interval
from distill_lab.studies.statistics import (
    calibration_error,
    difference,
    error_of,
    mean_interval,
    mean_of,
    passage_draws,
    percentiles,
    t_interval,
)

PASSAGES = (0, 0, 1, 1, 1, 2)


def mean(values, passages=PASSAGES, counted=None):
    return mean_of(values, passages, counted or [True] * len(values))


def test_a_mean_is_that_of_the_questions_and_not_of_the_passages():
    statistic = mean([100, 0, 0, 0, 0, 100])
    assert statistic.value == pytest.approx(200 / 6)  # means of passages: 50, 0, 100, so 50
    assert statistic.sums[:, 0].tolist() == [100, 0, 100]
    assert statistic.sizes.tolist() == [2, 3, 1]


def test_a_draw_counts_the_questions_of_the_passages_drawn():
    statistic = mean([100, 0, 0, 0, 0, 100])
    draws = np.array([[3, 0, 0], [1, 2, 0], [0, 0, 3]], dtype=float)
    assert statistic.of(draws).tolist() == [50, 100 / 8, 100]


def test_only_the_questions_that_count_are_averaged():
    values, counted = [100, 0, 40, 0, 0, 60], [True, False, True, False, False, True]
    statistic = mean(values, counted=counted)
    assert statistic.value == pytest.approx(200 / 3)
    only_last = mean(values, counted=[False] * 5 + [True])
    assert np.isnan(only_last.of(np.array([[3.0, 0, 0]]))[0])  # no question drawn: no number


def test_seeds_are_averaged_within_a_question_and_pairs_keep_their_seed():
    plus = [mean([100, 100, 0, 0, 0, 100]), mean([100, 0, 0, 0, 0, 0])]
    minus = [mean([0, 100, 0, 0, 0, 0]), mean([0, 0, 0, 100, 0, 0])]
    made = difference(plus, minus, passage_draws(3))
    assert made.by_seed == pytest.approx([200 / 6, 0])
    assert made.value == pytest.approx(100 / 6)
    # question by question, seeds averaged: 100, 0, 0, -50, 0, 50
    by_question = mean([100, 0, 0, -50, 0, 50])
    assert made.ci95 == pytest.approx(percentiles(by_question.of(passage_draws(3))))


def test_the_interval_is_exact_where_all_draws_can_be_counted():
    """With three passages there are 27 draws, each as likely: the percentiles of all of them."""
    values = [100, 0, 0, 30, 0, 100]
    sums, sizes = np.array([100, 30, 100]), np.array([2, 3, 1])
    every = [list(draw) for draw in product(range(3), repeat=3)]
    means = [sums[draw].sum() / sizes[draw].sum() for draw in every]
    draws = passage_draws(3, resamples=20_000)
    drawn = mean(values).of(draws)
    for value in set(np.round(means, 9)):
        share = np.mean(np.isclose(drawn, value))
        assert share == pytest.approx(np.mean(np.isclose(means, value)), abs=0.01)


def test_questions_of_one_passage_that_agree_make_the_interval_as_wide_as_passages_are_few():
    rng = np.random.default_rng(3)
    n, size = 100, 5
    of_passage = 100.0 * (rng.random(n) < 0.5)
    passages = np.repeat(np.arange(n), size).tolist()
    values = of_passage[passages].tolist()  # perfectly correlated
    low, high = percentiles(mean(values, passages).of(passage_draws(n)))
    expected = 2 * 1.96 * np.std(of_passage) / np.sqrt(n)
    assert high - low == pytest.approx(expected, rel=0.06)
    naive = bootstrap_interval(values)
    assert high - low == pytest.approx((naive[1] - naive[0]) * np.sqrt(size), rel=0.1)


def test_without_correlation_the_interval_is_that_over_questions():
    values = (100.0 * (np.random.default_rng(4).random(500) < 0.3)).tolist()
    passages = np.repeat(np.arange(100), 5).tolist()
    low, high = percentiles(mean(values, passages).of(passage_draws(100)))
    naive = bootstrap_interval(values, resamples=2000)
    assert high - low == pytest.approx(naive[1] - naive[0], rel=0.15)


def test_pairing_takes_out_what_both_sides_share():
    rng = np.random.default_rng(5)
    hard = 100.0 * (rng.random(300) < 0.5)  # most questions go the same way for both
    flips = rng.random(300) < 0.05
    plus = mean(np.where(flips, 100, hard).tolist(), range(300))
    minus = mean(hard.tolist(), range(300))
    draws = passage_draws(300)
    low, high = difference([plus], [minus], draws).ci95
    alone = mean_interval([plus], draws)
    assert high - low < 0.5 * (alone[1] - alone[0])


def test_coverage_of_the_interval_over_passages():
    """Of 200 made-up studies with a known difference about 95 % have it in their interval; an
    interval over questions has it in far fewer."""
    rng, draws = np.random.default_rng(6), passage_draws(60, resamples=400)
    passages = np.repeat(np.arange(60), 4).tolist()
    inside, naive = [], []
    for n in range(200):
        of_passage = rng.normal(2, 10, size=60)
        values = (of_passage[passages] + rng.normal(0, 5, size=240)).tolist()
        zero = mean([0.0] * 240, passages)
        low, high = difference([mean(values, passages)], [zero], draws).ci95
        inside.append(low <= 2 <= high)
        low, high = bootstrap_interval(values, seed=n, resamples=200)
        naive.append(low <= 2 <= high)
    assert 0.90 <= np.mean(inside) <= 0.99
    assert np.mean(naive) < 0.85


def test_draws_depend_on_the_seed_alone_and_draw_as_many_passages_as_there_are():
    draws = passage_draws(7)
    assert draws.shape == (2000, 7)
    assert set(draws.sum(1)) == {7}
    assert (draws == passage_draws(7)).all()
    assert not (draws == passage_draws(7, seed=1)).all()


def quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t, from its distribution function."""

    def excess(t):
        x = degrees / (degrees + t * t)
        return 1 - mpmath.betainc(degrees / 2, 0.5, 0, x, regularized=True) / 2 - 0.975

    return float(mpmath.findroot(excess, _T[degrees - 1]))


@pytest.mark.parametrize("degrees", range(1, 31))
def test_the_table_of_t(degrees):
    assert _T[degrees - 1] == pytest.approx(quantile(degrees), abs=6e-4)


def test_the_t_interval_by_hand():
    # mean 4, standard deviation 2 (n - 1), error 2 / sqrt(4), 3 degrees of freedom
    values = [4 - np.sqrt(6), 4 + np.sqrt(6), 4.0, 4.0]
    low, high = t_interval(values) or (0, 0)
    assert (low, high) == pytest.approx((4 - 3.182, 4 + 3.182))
    assert t_interval([3.0]) is None


def test_the_calibration_error_by_hand():
    # bins of 6.67: 10 falls into the second, 90 and 93 into the 14th, 100 into the last
    confidence, right = [10, 90, 93, 100, 100], [0, 100, 0, 100, 0]
    by_bin = abs(10 - 0) + abs(90 + 93 - 100) + abs(200 - 100)
    assert error_of(confidence, right) == pytest.approx(by_bin / 5)
    statistic = calibration_error(confidence, right, [0, 0, 0, 1, 1], [True] * 5)
    assert statistic.value == pytest.approx(by_bin / 5)
    # a passage drawn twice counts twice, and bins are joined before the absolute value
    drawn = statistic.of(np.array([[0.0, 2.0]]))[0]
    assert drawn == pytest.approx(200 / 4)
    apart = calibration_error([90, 92], [0, 100], [0, 1], [True] * 2)
    assert apart.value == pytest.approx(abs(90 + 92 - 100) / 2)  # not (90 + 8) / 2


def test_the_calibration_error_of_the_questions_that_count():
    statistic = calibration_error([50, 80], [100, 0], [0, 1], [True, False])
    assert statistic.value == pytest.approx(50)
