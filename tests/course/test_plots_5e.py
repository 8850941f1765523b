"""Lab 5e's pictures: their alternative text comes from the data, and nothing to draw is said."""

from __future__ import annotations

import pytest

from distill_lab.course.plots.lab5c import hesitations
from distill_lab.course.plots.lab5e import clipped_losses, fitted, live_steps, reward_groups


def test_dead_groups_are_counted_and_the_emptiest_told_first():
    plot = reward_groups([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert plot.alt == (
        "2 of 4 groups are dead: of 3 samples each, so many are rewarded: 0, 1, 2, 3."
    )
    assert plot.png is not None
    assert plot.png.startswith(b"\x89PNG")


def test_where_a_loss_is_flat():
    ratios = [0.5, 0.8, 1.0, 1.2, 1.5]
    plot = clipped_losses(ratios, [-0.5, -0.8, -1.0, -1.2, -1.2], [0.8, 0.8, 1.0, 1.2, 1.5])
    assert "A = 1: from -0.50 at ratio 0.50 to -1.20 at 1.50, and flat at the right of 1.20" in (
        plot.alt
    )
    assert "flat at the left of 0.80" in plot.alt
    assert "nowhere flat" in clipped_losses(ratios, [-r for r in ratios], ratios).alt


def test_steps_are_told_by_halves():
    rows = [{"step": n, "reward": n / 10, "dead": 0.5} for n in range(1, 5)]
    assert live_steps(rows).alt == (
        "4 steps. reward, mean of a step: 0.15 in the first half and 0.35 in the last; "
        "dead groups, share: 0.50 in the first half and 0.50 in the last."
    )


def test_a_student_that_was_fitted_is_told_by_its_peak_and_by_what_it_shares():
    plot = fitted([0.5, 0.0, 0.5], {"one": [1.0, 0.0, 0.0], "all": [0.25, 0.5, 0.25]})
    assert "one: highest at token 1 with 100 %, and shares 50 % with the teacher" in plot.alt
    assert "all: highest at token 2 with 50 %, and shares 50 % with the teacher" in plot.alt


def test_another_quantity_of_a_token_has_its_name():
    alt = hesitations(["a", "b"], [1.0, 0.0], what="the reverse KL").alt
    assert alt.startswith("1 of 2 tokens hold nine tenths of the reverse KL (nats)")


@pytest.mark.parametrize(
    "plot",
    [reward_groups([]), clipped_losses([], [], []), live_steps([]), fitted([0.5], {})],
)
def test_nothing_to_draw(plot):
    assert plot.png is None
    assert plot.alt.startswith("Nothing to draw")
