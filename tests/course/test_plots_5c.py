"""Lab 5c's pictures: their alternative text comes from the data, and nothing to draw is said."""

from __future__ import annotations

import pytest
import torch

from distill_lab.course.display import small_multiples
from distill_lab.course.plots.lab5c import (
    gradient_norms,
    hesitations,
    likeliest_tokens,
    loss_surface,
    softened,
)


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


def test_the_likeliest_tokens_keep_their_order_and_the_others_are_added_up():
    logits = torch.tensor([0.0, 2.0, 4.0, 0.0, 0.0]) * torch.log(torch.tensor(2.0))
    draw = likeliest_tokens(logits, "abcde".__getitem__, n=2)
    # 1, 4, 16, 1, 1 of 23; at T = 2 the roots: 1, 2, 4, 1, 1 of 9
    said = small_multiples(draw, "T", [1, 2]).alt
    assert said == (
        "T = 1: c 70 %, all but these 2 tokens 13 %; T = 2: c 44 %, all but these 2 tokens 33 %."
    )


def test_the_surface_is_lowest_on_the_line_from_the_text_to_the_teacher():
    """Of the loss that is given: with one that ignores alpha nothing would move."""

    def loss(student, teacher, targets, alpha, temperature):
        assert temperature == 1.0
        ce = torch.nn.functional.cross_entropy(student, targets)
        p, q = teacher.softmax(-1), student.log_softmax(-1)
        return (1 - alpha) * ce + alpha * (p * (p.log() - q)).sum(-1).mean()

    teacher = torch.tensor([0.5, 0.3, 0.2]).log()
    draw = loss_surface(loss, teacher, ["wolf", "dog", "car"], steps=20)
    said = small_multiples(draw, "α", [0, 0.5, 1]).alt
    assert "α = 0: lowest at wolf 90 %, dog 5 %, car 5 %" in said  # the grid's corner
    assert "α = 0.5: lowest at wolf 75 %, dog 15 %, car 10 %" in said
    assert "α = 1: lowest at wolf 50 %, dog 30 %, car 20 %" in said
