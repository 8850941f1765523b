"""Names in the picture of scores against budgets: beside their points, over no other name or point.

Measured where matplotlib drew them.
"""

from __future__ import annotations

from itertools import combinations

import pytest

from distill_lab.reporting.figures import new_figure, png_of
from distill_lab.studies.pictures.budget_plot import _name_points

SAME = {"sft": (100.0, 55.6), "kd": (101.0, 56.3)}
CLOSE = {"on-policy": (130.0, 36.2), "grpo": (195.0, 35.0), "rft": (420.0, 46.6)}
IN_A_ROW = {"sft": (2.168, 55.6), "rft": (2.182, 46.6), "kd": (2.19, 56.3), "grpo": (2.199, 35.0)}


@pytest.mark.parametrize("ends", [SAME, {**SAME, **CLOSE}, IN_A_ROW])
def test_no_name_stands_on_another_or_on_a_point(ends):
    figure, (ax,) = new_figure(2.3)
    for x, y in ends.values():
        ax.plot([x], [y], "o", markersize=6)
    ax.set_ylim(5, 80)
    ax.margins(x=0.25)
    _name_points(ax, ends, dict.fromkeys(ends, "black"), [10.4, 32.0, 74.0])
    assert png_of(figure)
    # a box has room for letters that reach further up and down than these
    boxes = {text.get_text(): text.get_window_extent().padded(-2) for text in ax.texts}
    assert boxes.keys() == ends.keys()
    for one, other in combinations(boxes.values(), 2):
        assert not one.overlaps(other)
    for name, box in boxes.items():
        others = [ax.transData.transform(place) for who, place in ends.items() if who != name]
        assert not any(box.contains(*place) for place in others), name
