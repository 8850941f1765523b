"""The pictures of Lab 5a: drawn, and described from their data."""

from __future__ import annotations

import pytest

from distill_lab.course.plots.lab5a import lengths, next_token, passes


def test_next_token_tells_all_chances_and_what_is_left():
    plot = next_token({0.5: [0.996, 0.004], 2.0: [0.6, 0.1]}, [" Hel", " Kol"])
    assert plot.png is not None
    assert plot.png.startswith(b"\x89PNG")
    assert plot.alt == (
        "Chances of the next token: at T = 0.5 Hel 100 %, Kol <1 %, all others 0 %; "
        "at T = 2 Hel 60 %, Kol 10 %, all others 30 %."
    )


def test_passes_tells_both_ends_of_each_curve():
    plot = passes({"T = 0.3": [60.0, 70.0, 75.0], "T = 1": [50.0, 72.0, 85.4]})
    assert plot.png
    assert plot.alt == (
        "pass@k: T = 0.3 from 60 % at k = 1 to 75 % at k = 3; T = 1 from 50 % at k = 1 to 85 % "
        "at k = 3."
    )


def test_lengths_tells_medians_and_ranges():
    plot = lengths([10, 12, 30], [8, 40])
    assert plot.png
    assert "3 right ones with a median of 12 (10 to 30), 2 wrong ones" in plot.alt
    assert "(8 to 40)" in plot.alt


@pytest.mark.parametrize("plot", [passes({}), lengths([], [3]), lengths([3], [])])
def test_nothing_to_draw_is_said(plot):
    assert plot.png is None
    assert plot.alt.startswith("Nothing to draw: ")


@pytest.mark.parametrize("values", [[5], [5, 5], list(range(10, 300))])
def test_every_trace_is_in_a_bin(values):
    from distill_lab.course.plots.lab5a import _edges

    edges = _edges(min(values), max(values))
    assert edges[0] <= min(values)
    assert edges[-1] > max(values)
    assert len(edges) <= 26
