"""The report in words: what the smallest files cost, what training bought, how fast packed weights
are, and the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from distill_lab.pipeline.pruning.results.findings import Finding
from distill_lab.pipeline.pruning.results.readings import MEASURES, Measure
from distill_lab.pipeline.pruning.results.words import (
    busy,
    in_columns,
    interval,
    megabytes,
    signed,
    verdict,
)
from distill_lab.pipeline.quantizing.records import QuantizedModel


def contrasts(models: Sequence[QuantizedModel]) -> Iterator[tuple[str, str]]:
    """The pairs (plus, minus) of names: each way of choosing codes and plain rounding to as many
    bits; what was trained by KL and by CE, and both and what only was rounded."""
    kept = [m for m in models if m.way and not m.recovery]
    names = {m.name for m in kept}
    for way in (m.way for m in kept if m.way):
        if way.plain != way.text and way.plain in names:
            yield way.text, way.plain
    for way in dict.fromkeys(m.way for m in models if m.recovery):
        kl, ce = (QuantizedModel(way, by).name for by in ("kl", "ce"))
        assert way is not None
        yield from ((kl, ce), (kl, way.text), (ce, way.text))


def headline(report: Mapping[str, Any], findings: Sequence[Finding]) -> list[str]:
    """The result in sentences: the smallest file that is not shown to be worse; what choosing
    codes, and training for them, bought; how fast packed weights are."""
    first = MEASURES[report["task"]][0]
    models: Mapping[str, Mapping[str, Any]] = report["models"]
    lines = [_smallest(models, first)]
    pairs: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        pairs.setdefault((finding.plus, finding.minus), []).append(finding)
    lines += [verdict(of, "At as many bits") for of in pairs.values()]
    return [line for line in (*lines, speed_sentence(report)) if line]


def _smallest(models: Mapping[str, Mapping[str, Any]], first: Measure) -> str:
    dense = models["dense"]
    others = sorted(
        (m for m in models.values() if m["name"] != "dense"), key=lambda m: m["costs"]["bytes"]
    )
    for m in others:
        low, high = m["minus_dense"][first.name]["ci95"]
        if high >= 0:  # not shown to be worse
            return (
                f"The smallest file whose {first.label} is not shown to be worse than the dense "
                f"model's is {m['name']}: {megabytes(m['costs']['bytes'])} MB of "
                f"{megabytes(dense['costs']['bytes'])} "
                f"({signed(m['minus_dense'][first.name]['difference'], first.name)} points, "
                f"{interval((low, high), first.name)})."
            )
    if not others:
        return f"The dense model's {first.label} is {dense[first.name]:.1f}."
    return f"Every smaller file is shown to be worse than the dense model in {first.label}."


def speed_sentence(report: Mapping[str, Any]) -> str:
    """Of the ways that compute in their own form: as fast as the dense model, or slower."""
    told: list[str] = []
    for m in report["models"].values():
        costs = m["costs"]
        if m["name"] == "dense" or "decode_times" not in costs:
            continue
        word = "slower" if costs["decode_range"][1] < 1 else "faster"
        word = word if not costs["decode_range"][0] <= 1 <= costs["decode_range"][1] else "no other"
        told.append(f"{m['name']} {costs['decode_times']:.2f} times ({word})")
    if not told:
        return ""
    where = report["backend"]["device"] or "this machine"
    return f"Decode beside the dense model on {where}: {', '.join(told)}."


def table(report: Mapping[str, Any]) -> str:
    """All models as a Markdown table that also reads well in a terminal."""
    first, second, _ = MEASURES[report["task"]]
    columns = ("model", "MB", "bits", "KL", "same token", f"{first.label} (95 % CI)",
               "minus dense (95 % CI)", second.label, "decode", "peak MB")  # fmt: skip
    rows = [columns, *(_row(model, first, second) for model in report["models"].values())]
    note = (
        "MB: weights on disk; bits: of the whole file for a weight; KL: nats a token from the "
        "dense model; same token: percent at which both would say the same; decode: times as fast "
        "as dense, side by side; without a number: read back as floats, it has no speed of its own."
    )
    left = [f"Left out: {name}: {why}." for name, why in report["left_out"].items()]
    lines = filter(None, (note, *left, busy(report["models"], "quantize evaluate")))
    return "\n".join([in_columns(rows), "", *lines])


def _row(model: Mapping[str, Any], first: Measure, second: Measure) -> tuple[str, ...]:
    costs, dense = model["costs"], model["name"] == "dense"
    low, high = model[f"{first.name}_ci95"]
    minus = model["minus_dense"][first.name]
    times = costs.get("decode_times")
    return (
        model["name"] + (f" ({model['seeds']} seeds)" if model["seeds"] > 1 else ""),
        megabytes(costs["bytes"]),
        f"{costs['bits']:.2f}",
        "" if dense else f"{model['kl']:.4f}",
        "" if dense else f"{model['top1']:.1f}",
        f"{model[first.name]:.1f} ({low:.1f}–{high:.1f})",
        ""
        if dense
        else f"{signed(minus['difference'], first.name)} ({interval(minus['ci95'], first.name)})",
        f"{model[second.name]:.1f}" if second.unit == "points" else f"{model[second.name]:.3f}",
        f"{times:.2f}" if times and not dense else "",
        megabytes(costs["peak_bytes"]) if "peak_bytes" in costs else "",
    )
