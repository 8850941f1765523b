"""What a report says in sentences: each reading by its own words, and that times are unsure."""

from __future__ import annotations

from typing import Any

from distill_lab.pipeline.pruning.results.findings import Finding
from distill_lab.pipeline.pruning.results.readings import MEASURES, MeasureName
from distill_lab.pipeline.pruning.results.words import busy, headline, megabytes


def finding(plus: str, minus: str, measure: MeasureName, value: float, half: float) -> Finding:
    unit = next(m.unit for m in MEASURES["sst2"] if m.name == measure)
    better = (value < 0) != (measure == "accuracy")
    ends = (value - half, value + half)
    return Finding(plus, minus, measure, unit, value, ends, 1, (value,), None, better)


def model(state: str, method: str | None = None, **costs: Any) -> dict[str, Any]:
    given = {"bytes_dense": 2_350_000, "decode_times": 1.0, "waited": 0.0, **costs}
    return {"name": method or state, "state": state, "method": method, "accuracy": 84.46,
            "costs": given}  # fmt: skip


def test_a_sentence_tells_better_worse_and_not_shown_apart():
    pair = ("wanda:0.5", "magnitude-row:0.5")
    other = ("wanda:0.3", "magnitude-row:0.3")
    recovered = ("wanda:0.5 + KL", "wanda:0.5 + CE")
    found = [
        finding(*other, "accuracy", 9, 1),  # half of the weights is what is asked
        finding(*pair, "accuracy", -0.1, 1.2),
        finding(*pair, "label_nll", 0.03, 0.01),
        finding(*pair, "text_nll", -0.009, 0.005),
        finding(*recovered, "accuracy", 1.5, 1),
        finding("wanda:0.5 + KL", "wanda:0.5", "accuracy", 1.5, 1),
    ]
    assert headline({"task": "sst2", "models": {"dense": model("dense")}}, found) == [
        "At equal zeros wanda:0.5 beside magnitude-row:0.5 is better in text NLL (−0.009 nats a "
        "token, −0.014 to −0.004), worse in label NLL (+0.030 nats, +0.020 to +0.040), not shown "
        "to differ in accuracy (−0.1 points, −1.3 to +1.1).",
        "After as many steps wanda:0.5 + KL beside wanda:0.5 + CE is better in accuracy "
        "(+1.5 points, +0.5 to +2.5).",
        "In brackets: the difference and its 95 % interval over reviews.",
    ]


def test_without_a_comparison_there_is_the_dense_model_and_what_zeros_bought():
    models = {
        "dense": model("dense"),
        "wanda:0.5": model("pruned", "wanda", decode_times=1.02),
        "magnitude-row:0.5": model("pruned", "magnitude-row", decode_times=0.97),
        "blocks:1": model("pruned", "blocks", bytes_dense=1_910_000, decode_times=1.25),
    }
    assert headline({"task": "sst2", "models": models}, []) == [
        "The dense model labels 84.5 % of the reviews rightly.",
        "Zeros alone leave the file at 2.35 MB and decode at 0.97 to 1.02 times the dense model's "
        "speed; blocks makes 1.91 MB of it and 1.25 times.",
    ]


def test_a_busy_machine_is_named():
    quiet = {"dense": model("dense", waited=None), "wanda:0.5": model("pruned", waited=0.05)}
    assert busy(quiet) == ""
    said = busy({**quiet, "blocks:1": model("pruned", waited=0.4)})
    assert "waited up to 40 % of the time for a core" in said


def test_sizes():
    assert [megabytes(n) for n in (None, 2_345_000, 538_240_000)] == ["–", "2.35", "538"]
