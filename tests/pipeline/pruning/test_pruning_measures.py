"""Means, differences and their intervals, against hand-written numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from distill_lab.pipeline.pruning.methods import parse
from distill_lab.pipeline.pruning.records import DENSE, ReviewScore, Variant
from distill_lab.pipeline.pruning.results.costs import costs
from distill_lab.pipeline.pruning.results.findings import contrasts, findings
from distill_lab.pipeline.pruning.results.measures import difference, means
from distill_lab.pipeline.pruning.results.readings import ReviewReadings
from distill_lab.pipeline.pruning.settings import MeasureSettings
from distill_lab.reporting.stats import bootstrap_interval

HOW = MeasureSettings(bootstrap=200)
LABELS = [1, 0, 1, 0]


def scores(margins: list[float], nlls: list[float], tokens: list[int]) -> list[ReviewScore]:
    """Of each review the logits (0, margin)."""
    rows = zip(margins, nlls, tokens, strict=True)
    return [ReviewScore(str(n), 0.0, m, nll, t) for n, (m, nll, t) in enumerate(rows)]


DENSE_READS = ReviewReadings(LABELS, [scores([2, -1, 1, -1], [2, 4, 6, 8], [2, 4, 6, 8])])
PRUNED = ReviewReadings(LABELS, [scores([2, 1, -1, -1], [4, 8, 12, 16], [2, 4, 6, 8])])
TWO_SEEDS = ReviewReadings(
    LABELS,
    [
        scores([2, -1, -1, -1], [4, 8, 12, 16], [2, 4, 6, 8]),
        scores([2, -1, 1, -1], [2, 4, 6, 8], [2, 4, 6, 8]),
    ],
)


def test_means_of_a_model_by_hand():
    found = means(PRUNED, DENSE_READS, HOW)
    nll = math.log1p(math.exp(-2)) + 2 * math.log1p(math.exp(1)) + math.log1p(math.exp(-1))
    assert found["accuracy"] == 50
    assert found["label_nll"] == pytest.approx(nll / 4, abs=1e-4)
    assert found["text_nll"] == 2  # 40 nats over 20 tokens, not the mean of four ratios
    assert found["perplexity"] == pytest.approx(math.exp(2), rel=1e-3)
    assert found["share_positive"] == 50
    assert found["agreement"] == 50  # with the dense model's labels: 1 and 4 alike
    assert found["auc"] == 62.5  # of four pairs two are right, one is equal
    assert (found["n"], found["seeds"]) == (4, 1)


def test_seeds_are_averaged_within_a_review():
    found = means(TWO_SEEDS, DENSE_READS, HOW)
    assert found["accuracy"] == 87.5
    assert found["by_seed"]["accuracy"] == [75, 100]
    assert found["by_seed"]["text_nll"] == [2, 1]
    assert found["text_nll"] == 1.5
    assert found["accuracy_ci95"] == [
        round(end, 2) for end in bootstrap_interval([100, 100, 50, 100], HOW.seed, HOW.bootstrap)
    ]


def test_a_difference_pairs_reviews_and_seeds():
    made = difference(TWO_SEEDS, PRUNED, "accuracy", HOW)
    assert made.by_seed == [25, 50]
    assert made.value == 37.5
    expected = bootstrap_interval([0, 100, 50, 0], HOW.seed, HOW.bootstrap)
    assert made.ci95 == expected
    low, high = made.seeds_t95 or (0, 0)
    half = 12.706 * np.std([25, 50], ddof=1) / math.sqrt(2)
    assert (low, high) == pytest.approx((37.5 - half, 37.5 + half))
    assert difference(PRUNED, DENSE_READS, "accuracy", HOW).seeds_t95 is None


def test_a_text_nll_is_weighed_by_tokens():
    made = difference(PRUNED, DENSE_READS, "text_nll", HOW)
    assert made.value == 1  # 20 nats more over 20 tokens
    assert made.ci95 == pytest.approx((1, 1))  # of each text as much a token


def test_what_is_compared():
    methods = ("magnitude-row:0.5", "magnitude-tensor:0.5", "magnitude-row:0.3", "wanda:0.5",
               "wanda:2:4", "magnitude-row:2:4", "blocks:1")  # fmt: skip
    asked = [DENSE, *(Variant(parse(text)) for text in methods)]
    blocks = parse("blocks:1")
    asked += [Variant(blocks, recovery, seed) for recovery in ("kl", "ce") for seed in (0, 1)]
    assert [*contrasts(asked)] == [
        ("wanda:0.5", "magnitude-row:0.5"),
        ("wanda:0.5", "magnitude-tensor:0.5"),
        ("wanda:2:4", "magnitude-row:2:4"),
        ("blocks:1 + KL", "blocks:1 + CE"),
        ("blocks:1 + KL", "blocks:1"),
        ("blocks:1 + CE", "blocks:1"),
    ]


def test_a_reading_knows_which_way_is_better():
    asked = [DENSE, Variant(parse("wanda:0.5")), Variant(parse("magnitude-row:0.5"))]
    good = ReviewReadings(LABELS * 25, [DENSE_READS.of_seeds[0] * 25])
    worse = scores([2, 1, -1, -1], [3, 8, 15, 17], [2, 4, 6, 8])
    bad = ReviewReadings(LABELS * 25, [worse * 25])
    of = {"dense": good, "wanda:0.5": good, "magnitude-row:0.5": bad}
    assert [f.reading for f in findings(contrasts(asked), of, HOW)] == ["better"] * 3
    of["wanda:0.5"], of["magnitude-row:0.5"] = bad, good
    assert [f.reading for f in findings(contrasts(asked), of, HOW)] == ["worse"] * 3
    of["wanda:0.5"] = good
    assert [f.reading for f in findings(contrasts(asked), of, HOW)] == ["may be chance"] * 3


def test_costs_by_hand():
    own = {"prefill": [1.0, 2.0, 1.0], "decode": [0.010, 0.020, 0.012]}
    dense = {"prefill": [1.0, 1.0, 3.0], "decode": [0.020, 0.020, 0.012]}
    ledger = {"linear_weights": 80, "zeros_linears": 40, "parameters": 100, "zeros_all": 41,
              "bytes_dense": 400, "bytes_bitmask": 250, "bytes_gguf": None,
              "gguf_reason": "too narrow", "refilled": 0, "peak_bytes": 500,
              "speed": {"own": own, "dense": dense, "waited": 0.25}}  # fmt: skip
    found = costs(ledger)
    assert (found["zeros_linears"], found["zeros_all"]) == (0.5, 0.41)
    assert found["decode_ms"] == 12
    assert found["decode_times"] == 1  # of the rounds' ratios 2, 1, 1
    assert found["decode_range"] == [1, 2]
    assert found["prefill_times"] == 1  # of 1, 0.5, 3: not the ratio of the medians
    assert found["waited"] == 0.25
    del ledger["speed"]
    assert "decode_ms" not in costs(ledger)
