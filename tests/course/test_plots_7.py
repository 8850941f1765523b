"""Lab 7's pictures: their alternative text comes from the data, and nothing to draw is said."""

from __future__ import annotations

import pytest
import torch

from distill_lab.course.plots.lab7 import clipped, kl_of_sharing, layer_training, rounded_row


def test_a_row_tells_how_many_values_it_uses_and_its_largest_error():
    weights = torch.tensor([-1.0, 0.25, 0.75, 1.0])
    plot = rounded_row(weights, {2: torch.tensor([-1.0, 0.0, 1.0, 1.0])})
    assert plot.alt.startswith("4 weights from -1 to 1.")
    assert "2 bits: 3 of 4 values, off by at most 0.25" in plot.alt
    assert plot.png is not None
    assert plot.png.startswith(b"\x89PNG")


def test_sharing_tells_each_kl_with_its_bits():
    plot = kl_of_sharing({"tensor": [0.001, 0.25], "row": [0.0, 0.125]}, (8, 4))
    assert "tensor: 0.001 at 8 bits, 0.25 at 4 bits; row: 0 at 8 bits, 0.125 at 4 bits" in plot.alt
    assert plot.png is not None


def test_the_chosen_share_is_told_with_its_error_over_that_of_the_whole_range():
    errors = {"a row": [3.0, 1.0, 2.0]}  # shares in any order: the whole range is the second
    plot = clipped([0.5, 1.0, 0.75], errors, {"a row": 0.75})
    assert "a row: 0.75 of the range, 2.00 of the error" in plot.alt
    assert plot.png is not None


def test_a_layers_training_is_told_from_its_beginning_to_its_end():
    plot = layer_training({"straight through": [0.2, 0.15, 0.1]}, {"GPTQ": 0.05})
    assert "straight through from 20 to 10 %; GPTQ 5 %" in plot.alt
    assert plot.png is not None


@pytest.mark.parametrize(
    "plot",
    [rounded_row([], {}), kl_of_sharing({}, (8,)), clipped([], {}, {}), layer_training({}, {})],
)
def test_nothing_to_draw(plot):
    assert plot.png is None
    assert plot.alt.startswith("Nothing to draw")
