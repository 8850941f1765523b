"""What a pruned model weighs and how fast it is, beside the dense one: from its ledger."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from distill_lab.pipeline.pruning.speed import times_faster

COUNTS = ("parameters", "bytes_dense", "bytes_bitmask", "bytes_gguf", "gguf_reason", "refilled")


def costs(ledger: Mapping[str, Any]) -> dict[str, Any]:
    """Counts, bytes, shares of zeros (0 to 1); milliseconds a token and how many times as fast as
    the dense model in the same rounds, where it was timed."""
    found = {name: ledger[name] for name in COUNTS}
    found["zeros_linears"] = round(ledger["zeros_linears"] / ledger["linear_weights"], 4)
    found["zeros_all"] = round(ledger["zeros_all"] / ledger["parameters"], 4)
    return found | times(ledger)


def times(ledger: Mapping[str, Any]) -> dict[str, Any]:
    """What of these stands in the ledger of a model that was timed; else nothing."""
    if "speed" not in ledger:
        return {}
    waited = ledger["speed"]["waited"]
    found: dict[str, Any] = {"peak_bytes": ledger["peak_bytes"]}
    found["waited"] = None if waited is None else round(waited, 3)
    own, dense = ledger["speed"]["own"], ledger["speed"]["dense"]
    for part in ("prefill", "decode"):
        found[f"{part}_ms"] = float(f"{1000 * median(own[part]):.3g}")
        found[f"{part}_times"] = round(times_faster(dense[part], own[part]), 3)
        ratios = [slow / fast for slow, fast in zip(dense[part], own[part], strict=True)]
        found[f"{part}_range"] = [round(min(ratios), 3), round(max(ratios), 3)]
    return found
