"""Lab 6's pictures: their alternative text comes from the data, and nothing to draw is said."""

from __future__ import annotations

import pytest
import torch

from distill_lab.course.plots.lab6 import decode_times, kept_by_input


def test_weights_kept_are_told_of_the_quietest_and_the_loudest_inputs():
    norms = torch.tensor([3.0, 1.0, 4.0, 2.0])  # the quietest is input 1, the loudest input 2
    loud = torch.tensor([[True, False, True, False], [True, False, True, True]])
    plot = kept_by_input(norms, {"all": torch.ones(2, 4, dtype=torch.bool), "loud": loud})
    assert "all 100 % at the quietest, 100 % at the loudest" in plot.alt
    assert "loud 0 % at the quietest, 100 % at the loudest" in plot.alt
    assert plot.png is not None
    assert plot.png.startswith(b"\x89PNG")


def test_input_features_are_put_into_eight_groups():
    mask = torch.zeros(1, 80, dtype=torch.bool)
    mask[0, :5] = True  # half of the quietest eighth
    assert "50 % at the quietest, 0 %" in kept_by_input(torch.arange(80.0), {"a": mask}).alt


def test_a_line_is_told_with_what_it_predicts():
    plot = decode_times({4: 6.0, 3: 5.0, 2: 4.5}, (2, 4.0), (1.0, 2.0))
    assert "4.50 ms with 2 blocks, 5.00 ms with 3 blocks, 6.00 ms with 4 blocks" in plot.alt
    assert "the line is 1.00 L + 2.00, and predicts 4.00 ms with 2 blocks" in plot.alt
    assert "1.00 L − 2.00" in decode_times({4: 2.0, 3: 1.0}, (2, 0.0), (1.0, -2.0)).alt
    assert plot.png is not None


@pytest.mark.parametrize(
    "plot", [kept_by_input([], {}), decode_times({4: 1.0}, (2, 1.0), (1.0, 0.0))]
)
def test_nothing_to_draw(plot):
    assert plot.png is None
    assert plot.alt.startswith("Nothing to draw")
