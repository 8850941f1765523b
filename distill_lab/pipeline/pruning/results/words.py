"""The report in words: its findings as sentences, and the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distill_lab.pipeline.pruning.methods import BLOCKS, NEURONS
from distill_lab.pipeline.pruning.results.findings import Finding
from distill_lab.pipeline.pruning.results.readings import KL, MEASURES, Measure
from distill_lab.pipeline.pruning.results.wording import WORDINGS as WORDINGS

_ALL = {measure.name: measure for measures in MEASURES.values() for measure in measures}
_ALL[KL.name] = KL
LABELS = {name: measure.label for name, measure in _ALL.items()}


def score(value: float, measure: str) -> str:
    """`84.2` points, `0.412` nats, of a KL `0.0012`."""
    if _ALL[measure].unit == "points":
        return f"{value:.1f}"
    return f"{value:.4f}" if measure == KL.name else f"{value:.3f}"


def signed(value: float, measure: str) -> str:
    """`+4.2` points, `−0.123` nats."""
    return f"{'−' if value < 0 else '+'}{score(abs(value), measure)}"


def interval(ends: Sequence[float], measure: str) -> str:
    """`−1.2 to +3.4`."""
    return " to ".join(signed(end, measure) for end in ends)


def megabytes(size: int | None) -> str:
    """`3.92`, or `538` for a large one; a dash for none."""
    return "–" if size is None else f"{size / 1e6:,.2f}" if size < 100e6 else f"{size / 1e6:,.0f}"


def headline(report: Mapping[str, Any], findings: Sequence[Finding]) -> list[str]:
    """The result in sentences: Wanda beside magnitude, at half of the weights if that was asked
    for; KL beside CE at equal steps; what zeros bought."""
    pairs: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        pairs.setdefault((finding.plus, finding.minus), []).append(finding)
    scores = [of for (plus, _), of in pairs.items() if " + " not in plus]
    halves = [of for of in scores if of[0].plus == "wanda:0.5"]
    recovered = [of for (_, minus), of in pairs.items() if minus.endswith(" + CE")]
    lines = [verdict(of, "At equal zeros") for of in halves or scores]
    lines += [verdict(of, "After as many steps") for of in recovered]
    if lines:
        noun = WORDINGS[report["task"]].noun
        lines.append(f"In brackets: the difference and its 95 % interval over {noun}.")
    if not lines:
        right = report["models"]["dense"][MEASURES[report["task"]][0].name]
        lines = [f"The dense model {WORDINGS[report['task']].does.format(f'{right:.1f} %')}."]
    return [line for line in (*lines, _speed_sentence(report["models"])) if line]


def verdict(pair: Sequence[Finding], when: str) -> str:
    """Where one model is better than another, where worse, and where that is not shown."""
    parts: list[str] = []
    for reading, phrase in (
        ("better", "better in"),
        ("worse", "worse in"),
        ("may be chance", "not shown to differ in"),
    ):
        told = [_told(finding) for finding in pair if finding.reading == reading]
        if told:
            parts.append(f"{phrase} {' and '.join(told)}")
    return f"{when} {pair[0].plus} beside {pair[0].minus} is {', '.join(parts)}."


def _told(finding: Finding) -> str:
    """`accuracy (+3.1 points, +1.0 to +5.2)`: the difference and its interval."""
    value = f"{signed(finding.difference, finding.measure)} {finding.unit}"
    ends = interval(finding.ci95, finding.measure)
    return f"{LABELS[finding.measure]} ({value}, {ends})"


def _speed_sentence(models: Mapping[str, Mapping[str, Any]]) -> str:
    """What zeros bought, and what a smaller model did."""
    pruned = [m for m in models.values() if m["state"] == "pruned"]
    zeros = [m for m in pruned if m["method"] not in (BLOCKS, NEURONS)]
    smaller = [m for m in pruned if m["method"] in (BLOCKS, NEURONS)]
    parts: list[str] = []
    if zeros:
        times = sorted({f"{m['costs']['decode_times']:.2f}" for m in zeros})
        span = " to ".join(dict.fromkeys((times[0], times[-1])))
        size = megabytes(zeros[0]["costs"]["bytes_dense"])
        parts.append(
            f"Zeros alone leave the file at {size} MB and decode at {span} times the dense "
            "model's speed"
        )
    for m in smaller:
        costs = m["costs"]
        size = megabytes(costs["bytes_dense"])
        parts.append(f"{m['name']} makes {size} MB of it and {costs['decode_times']:.2f} times")
    return f"{'; '.join(parts)}." if parts else ""


BUSY = 0.1  # share of the time in which a process that is alone may wait for a core


def busy(models: Mapping[str, Mapping[str, Any]], command: str = "prune evaluate") -> str:
    """That times are not to be trusted, where other programs ran; else nothing."""
    waited = [model["costs"].get("waited") or 0.0 for model in models.values()]
    if max(waited) <= BUSY:
        return ""
    return (
        f"The machine was busy: while models were timed, the process waited up to "
        f"{100 * max(waited):.0f} % of the time for a core. Do not trust the times; delete "
        f"ledgers/ and run distill-lab {command} again when it is idle."
    )


def table(report: Mapping[str, Any]) -> str:
    """All models as a Markdown table that also reads well in a terminal."""
    first, second, _ = MEASURES[report["task"]]
    columns = ("model", "zeros", "parameters", f"{first.label} (95 % CI)", second.label,
               "perplexity", "agrees", "MB", "decode")  # fmt: skip
    rows = [columns, *(_row(model, first, second) for model in report["models"].values())]
    note = (
        f"zeros: share of the blocks' linears; {WORDINGS[report['task']].agrees}; MB: weights as "
        "saved; decode: times as fast as dense, side by side."
    )
    return "\n".join([in_columns(rows), "", *filter(None, (note, busy(report["models"])))])


def in_columns(rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table of equally wide columns; the first row is its head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _row(model: Mapping[str, Any], first: Measure, second: Measure) -> tuple[str, ...]:
    costs = model["costs"]
    low, high = model[f"{first.name}_ci95"]
    times = costs.get("decode_times")
    return (
        model["name"] + (f" ({model['seeds']} seeds)" if model["seeds"] > 1 else ""),
        f"{100 * costs['zeros_linears']:.0f} %",
        f"{costs['parameters']:,}",
        f"{model[first.name]:.1f} ({low:.1f}–{high:.1f})",
        score(model[second.name], second.name),
        f"{model['perplexity']:,.4g}",
        f"{model['agreement']:.1f}",
        megabytes(costs["bytes_dense"]),
        f"{times:.2f}" if times and model["state"] != "dense" else "",
    )
