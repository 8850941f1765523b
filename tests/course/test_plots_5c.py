"""Lab 5c's pictures: their alternative text comes from the data, and nothing to draw is said."""

from __future__ import annotations

import pytest

from distill_lab.course.plots.lab5c import gradient_norms, hesitations, softened


def test_softened_says_each_share():
    plot = softened(["a", "b"], {1: [0.9, 0.1], 2: [0.75, 0.25], 4: [0.6, 0.4]})
    assert plot.png is not None
    assert plot.png.startswith(b"\x89PNG")
    for part in ("T = 1: a 90 %, b 10 %", "T = 2: a 75 %, b 25 %", "T = 4: a 60 %, b 40 %"):
        assert part in plot.alt


def test_tokens_that_look_the_same_have_bars_of_their_own():
    assert "a 60 %, a 40 %" in softened(["a", "a"], {1: [0.6, 0.4]}).alt


def test_without_t_squared_is_a_t_squared_th():
    plot = gradient_norms([1, 4], [0.5, 0.32])
    assert "with T² 0.5 at T = 1 and 0.32 at T = 4" in plot.alt
    assert "without 0.5 at T = 1 and 0.02 at T = 4" in plot.alt
    assert plot.png is not None


def test_hesitations_names_the_fewest_tokens_that_hold_nine_tenths():
    plot = hesitations([" The", "mill", " Ana", "."], [0.3, 0.05, 0.62, 0.0])
    assert plot.alt.startswith("2 of 4 tokens hold nine tenths")
    assert "'Ana' 0.62, 'The' 0.30." in plot.alt
    assert hesitations(["a"] * 60, [0.1] * 60).alt.startswith("54 of 60")


@pytest.mark.parametrize(
    "plot", [softened([], {}), gradient_norms([], []), hesitations([], []), hesitations(["a"], [0])]
)
def test_nothing_to_draw(plot):
    assert plot.png is None
    assert plot.alt.startswith("Nothing to draw")
