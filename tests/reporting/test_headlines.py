"""What all pictures have in common: names that do not overlap, log axes, headlines; and a report's
own pictures, as their words tell them."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import pytest
from PIL import Image, ImageColor

from distill_lab.reporting import plots, templates
from distill_lab.reporting.figures import (
    GREEN,
    KEPT,
    REFUSED,
    SHOWN,
    WIDTH,
    headline,
    in_axes,
    log_scale,
    name_lines,
    new_figure,
    png_of,
)


def test_a_picture_has_few_colours_and_the_same_bytes_each_time():
    """Two figures alike, with bands and a colour map, in which thin lines keep their colours."""
    named = (KEPT, REFUSED, GREEN, "#7a3e9d", "#8a6d00")
    figures = [new_figure(2.0, columns=2) for _ in range(2)]
    for _, (ax, heat) in figures:
        heat.imshow([[n * m for n in range(20)] for m in range(20)], cmap="Blues")
        for n, colour in enumerate(named):
            ax.fill_between([0, 1], [n, n + 1], [n + 2, n], color=colour, alpha=0.13)
            ax.plot([0, 1], [n, n + 1], color=colour)
    first, again = (png_of(figure) for figure, _ in figures)
    assert first == again
    with Image.open(io.BytesIO(first)) as picture:
        assert (picture.mode, picture.width) == ("P", WIDTH)
        there = [colour for _, colour in picture.convert("RGB").getcolors()]
    assert 16 < len(there) <= 64
    for colour in named:
        wanted = ImageColor.getrgb(colour)
        assert min(math.dist(wanted, other) for other in there) < 15, colour


def test_reports_show_a_picture_as_wide_as_notebooks_do():
    sheets = [*Path(templates.__file__).parent.glob("*.jinja")]
    widths = {
        w for sheet in sheets for w in re.findall(r"img \{[^}]*max-width: (\w+)", sheet.read_text())
    }
    assert widths == {f"{SHOWN}px"}


def texts_of(ax) -> dict[str, float]:
    """Of each annotation its height, as a share of the axes'."""
    return {text.get_text(): text.xy[1] for text in ax.texts}


def test_names_stand_at_their_lines_ends_and_are_moved_apart():
    _, (ax,) = new_figure(2.0)
    ax.set_ylim(0, 10)
    ends = {"a": 5.0, "b": 5.1, "c": 9.0}
    name_lines(ax, ends, dict.fromkeys(ends, "black"), apart=0.1)
    at = texts_of(ax)
    assert at == pytest.approx({"a": 0.5, "b": 0.6, "c": 0.9})


def test_a_place_on_a_log_axis_is_that_of_its_logarithm():
    _, (ax,) = new_figure(2.0)
    ax.set(yscale="log", ylim=(0.01, 100), xlim=(0, 4))
    assert in_axes(ax, 1, 1.0) == pytest.approx((0.25, 0.5))


def test_limits_are_those_of_what_was_drawn():
    """matplotlib puts them off until it draws."""
    _, (ax,) = new_figure(2.0)
    ax.margins(0)
    ax.plot([0, 1], [100, 200])
    assert in_axes(ax, 0.5, 150) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize(
    ("values", "scale", "ticks"),
    [
        ([8.0, 0.2], "log", ["0.2", "0.5", "1", "2", "5"]),
        ([1000.0, 0.01], "log", ["0.01", "0.1", "1", "10", "100", "1000"]),
        ([3.0, 0.0], "linear", None),  # a KL may be 0
    ],
)
def test_an_axis_is_logarithmic_where_it_can_be(values, scale, ticks):
    _, (ax,) = new_figure(2.0)
    log_scale(ax, values)
    assert ax.get_yscale() == scale
    if ticks:
        assert [label.get_text() for label in ax.get_yticklabels()] == ticks


def test_a_headline_is_whole_and_breaks_between_no_number_and_its_sign():
    figure, _ = new_figure(2.0)
    headline(figure, "The likeliest token has ninety-eight and a bit at T = 1 and 51 % in the end")
    lines = figure.get_suptitle().split("\n")
    assert len(lines) == 2
    assert max(map(len, lines)) <= 54
    assert not any(line.endswith(("T", "=", "51")) for line in lines)
    assert figure.get_size_inches()[1] > 2.3
    assert png_of(figure)


# --- a report's -----------------------------------------------------------------------------------


def found(points: float, low: float, high: float) -> dict[str, dict[str, object]]:
    other = {"points": 60.0, "low": 50.0, "high": 70.0, "score": "EM"}
    return {
        "teacher − base": other,
        "kd − base": other,
        "kd − sft": {"points": points, "low": low, "high": high, "score": "EM"},
    }


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((5.0, -0.8, 10.8), "+5.0 EM (95 % interval −0.8 to +10.8): it may be chance."),
        ((5.0, 0.8, 10.8), "+5.0 EM (95 % interval +0.8 to +10.8): kd is better."),
        ((-5.0, -9.0, -0.8), "−5.0 EM (95 % interval −9.0 to −0.8): sft is better."),
        ((0.0, 0.0, 0.0), "+0.0 EM (95 % interval +0.0 to +0.0): it may be chance."),
    ],
)
def test_the_difference_says_who_is_better_or_that_it_may_be_chance(values, says):
    picture = plots.difference(found(*values))
    assert (picture.name, picture.alt) == ("difference", f"kd minus sft: {says}")
    assert picture.png


def test_without_two_students_there_is_no_difference():
    assert plots.difference({"sft − base": found(1, 0, 2)["kd − sft"]}).png is None
    assert plots.difference({}).png is None


def test_the_gap_has_each_score_by_itself_and_its_interval_where_there_is_one():
    closed = {"sft": {"em": 0.55, "f1": -0.1}, "kd": {"em": 0.63, "f1": None}}
    picture = plots.gap(closed, {"sft": {"em": [0.4, 0.7], "f1": None}, "kd": None})
    assert picture.alt == (
        "Share of the gap between base and teacher closed: EM sft 55 % (40 to 70), kd 63 %; "
        "F1 sft −10 %."
    )
    assert plots.gap({"sft": {"em": None}, "kd": None}, {}).png is None


def test_curves_end_at_their_running_mean():
    rows = [{"step": n, "ce": 10.0 / n, "kl": 4.0 / n} for n in range(1, 81)]
    picture = plots.curves({"sft": rows, "kd": rows}, 2.0)
    end = (10 / 80 + 10 / 79 + 10 / 78) / 3
    assert f"CE of sft goes from {(10 + 5 + 10 / 3) / 3:.2f} to {end:.2f}" in picture.alt
    assert "KL of sft" not in picture.alt


def test_losses_on_what_is_held_out_are_marks_and_sft_has_a_kl_there():
    rows = [{"step": n, "ce": 10.0 / n, "kl": 4.0 / n} for n in range(1, 81)]
    held_out = {"sft": [{"step": 0, "ce": 9.0, "kl": 3.0}, {"step": 80, "ce": 0.6, "kl": 0.75}]}
    picture = plots.curves({"sft": rows, "kd": rows}, 2.0, held_out)
    assert "held out CE of sft ends at 0.60" in picture.alt
    assert "held out KL of sft ends at 0.75" in picture.alt
    assert picture.png != plots.curves({"sft": rows, "kd": rows}, 2.0).png
    alone = plots.curves({"sft": rows}, 2.0, held_out)  # a panel for the KL, as it is told there
    assert "held out KL of sft ends at 0.75" in alone.alt
