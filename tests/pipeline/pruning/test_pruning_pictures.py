"""The pictures of a report on pruning: marks stand where their models' numbers are."""

from __future__ import annotations

import re
from typing import Any

import pytest
from matplotlib.figure import Figure

from distill_lab.pipeline.pruning.results import pictures
from distill_lab.pipeline.pruning.results.readings import MEASURES


def model(name: str, zeros: float, perplexity: float, accuracy: float) -> dict[str, Any]:
    """A model of report.json by the name of its method, such as wanda:2:4."""
    method, _, amount = name.partition(":")
    return {
        "name": name, "state": "pruned" if amount else "dense", "method": method,
        "pattern": amount if ":" in amount else None, "costs": {"zeros_linears": zeros},
        "perplexity": perplexity, "perplexity_ci95": [0.9 * perplexity, 1.1 * perplexity],
        "accuracy": accuracy, "accuracy_ci95": [accuracy - 2, accuracy + 2],
    }  # fmt: skip


MODELS = [
    model("dense", 0, 68, 94), model("magnitude-row:0.3", 0.3, 69, 94),
    model("magnitude-row:0.5", 0.5, 72, 93), model("magnitude-row:0.7", 0.7, 149, 85),
    model("magnitude-row:2:4", 0.5, 83, 91), model("wanda:0.3", 0.3, 68.5, 94),
    model("wanda:0.5", 0.5, 71, 92), model("wanda:0.7", 0.7, 120, 84),
    model("wanda:2:4", 0.5, 80, 90),
]  # fmt: skip


@pytest.mark.parametrize("aside", [-0.4, 0.4])
def test_an_open_mark_stands_at_its_share_of_zeros_as_the_others_of_its_score(aside):
    ax: Any = Figure().subplots()
    pictures._line(ax, "accuracy", "wanda", MODELS[5:], 94, aside)
    [mark] = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([50 + aside], [90])
    assert list(ax.lines[0].get_xdata()) == [0, 30 + aside, 50 + aside, 70 + aside]
    [named] = ax.texts
    assert (named.get_text(), named.xy) == ("2:4", (50 + aside, 90))


def test_the_picture_is_told_in_words_and_names_every_model():
    plot = pictures.sparsity({m["name"]: m for m in MODELS}, MEASURES["sst2"][0])
    assert plot.png
    for m in MODELS[1:]:
        assert f"{m['name']} perplexity {m['perplexity']:.4g}, accuracy" in plot.alt


@pytest.mark.parametrize("task", MEASURES)
def test_what_is_said_of_a_picture_is_of_its_task(task):
    said = " ".join(text for _, text in pictures.titles(task).values())
    assert re.findall(r"\b(reviews|questions)\b", said)
    assert ("review" in said) == (task == "sst2")
