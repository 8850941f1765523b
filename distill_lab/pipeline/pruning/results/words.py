"""The report in words: its findings as sentences, and the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distill_lab.pipeline.pruning.methods import BLOCKS, NEURONS
from distill_lab.pipeline.pruning.results.findings import Finding
from distill_lab.pipeline.pruning.results.measures import MEASURES

LABELS = {measure.name: measure.label for measure in MEASURES}


def signed(value: float, measure: str) -> str:
    """`+4.2` points, `−0.123` nats."""
    return (f"{value:+.1f}" if measure == "accuracy" else f"{value:+.3f}").replace("-", "−")


def interval(ends: Sequence[float], measure: str) -> str:
    """`−1.2 to +3.4`."""
    return " to ".join(signed(end, measure) for end in ends)


def megabytes(size: int | None) -> str:
    """`3.92`, or `538` for a large one; a dash for none."""
    return "–" if size is None else f"{size / 1e6:,.2f}" if size < 100e6 else f"{size / 1e6:,.0f}"


def told(finding: Finding) -> str:
    """`accuracy +3.1 points (95 % interval +1.0 to +5.2)`."""
    value = signed(finding.difference, finding.measure)
    ends = interval(finding.ci95, finding.measure)
    return f"{LABELS[finding.measure]} {value} {finding.unit} (95 % interval {ends})"


def headline(report: Mapping[str, Any], findings: Sequence[Finding]) -> list[str]:
    """The result in sentences: the scores, the recovery, what zeros bought."""
    lines = [_scores_sentence(report, findings), *_recovery_sentences(findings)]
    return [line for line in (*lines, _speed_sentence(report["models"])) if line]


def _scores_sentence(report: Mapping[str, Any], findings: Sequence[Finding]) -> str:
    """Wanda beside magnitude, at half of the weights if that was asked for."""
    plain = [f for f in findings if " + " not in f.plus]
    chosen = [f for f in plain if f.plus == "wanda:0.5"] or plain
    if not chosen:
        dense = report["models"]["dense"]
        return f"The dense model labels {dense['accuracy']:.1f} % of the reviews rightly."
    pair = [f for f in chosen if (f.plus, f.minus) == (chosen[0].plus, chosen[0].minus)]
    best = _first_sure(pair)
    models = report["models"]
    both = f"accuracy {models[best.plus]['accuracy']:.1f} and {models[best.minus]['accuracy']:.1f}"
    both += f", dense {models['dense']['accuracy']:.1f}"
    return f"{best.plus} is {_than(best)} {best.minus}: {told(best)} ({both})."


def _recovery_sentences(findings: Sequence[Finding]) -> list[str]:
    """KL beside CE at equal steps, a sentence for each method that recovered."""
    pairs: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        if finding.plus.endswith(" + KL") and finding.minus.endswith(" + CE"):
            pairs.setdefault((finding.plus, finding.minus), []).append(finding)
    made: list[str] = []
    for (plus, minus), of_pair in pairs.items():
        told_all = ", ".join(f"{told(f)}: {f.reading}" for f in of_pair if f.measure != "label_nll")
        made.append(f"At equal steps {plus} minus {minus}: {told_all}.")
    return made


def _first_sure(pair: Sequence[Finding]) -> Finding:
    """Accuracy if its interval leaves zero out, else the finer measures."""
    return next((finding for finding in pair if finding.sure), pair[0])


def _than(finding: Finding) -> str:
    return f"{finding.reading} than" if finding.sure else "not shown to differ from"


def _speed_sentence(models: Mapping[str, Mapping[str, Any]]) -> str:
    """What zeros bought, and what a smaller model did."""
    pruned = [m for m in models.values() if m["state"] == "pruned"]
    zeros = [m for m in pruned if m["method"] not in (BLOCKS, NEURONS)]
    smaller = [m for m in pruned if m["method"] in (BLOCKS, NEURONS)]
    parts: list[str] = []
    if zeros:
        times = [m["costs"]["decode_times"] for m in zeros]
        size = megabytes(zeros[0]["costs"]["bytes_dense"])
        parts.append(
            f"Zeros alone leave the file at {size} MB and decode at {min(times):.2f} to "
            f"{max(times):.2f} times the dense model's speed"
        )
    for m in smaller:
        costs = m["costs"]
        size = megabytes(costs["bytes_dense"])
        parts.append(f"{m['name']} makes {size} MB of it and {costs['decode_times']:.2f} times")
    return f"{'; '.join(parts)}." if parts else ""


BUSY = 0.1  # share of the time in which a process that is alone may wait for a core


def busy(models: Mapping[str, Mapping[str, Any]]) -> str:
    """That times are not to be trusted, where other programs ran; else nothing."""
    waited = [model["costs"].get("waited") or 0.0 for model in models.values()]
    if max(waited) <= BUSY:
        return ""
    return (
        f"The machine was busy: while models were timed, the process waited up to "
        f"{100 * max(waited):.0f} % of the time for a core. Do not trust the times; delete "
        "ledgers/ and run `distill-lab prune evaluate` again when it is idle."
    )


COLUMNS = ("model", "zeros", "parameters", "accuracy (95 % CI)", "label NLL", "perplexity",
           "agrees", "MB", "decode")  # fmt: skip


def table(report: Mapping[str, Any]) -> str:
    """All models as a Markdown table that also reads well in a terminal."""
    rows = [COLUMNS, *(_row(model) for model in report["models"].values())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    note = (
        "zeros: share of the blocks' linears; agrees: percent of reviews with the dense model's "
        "label; MB: weights as saved; decode: times as fast as dense, side by side."
    )
    return "\n".join(
        [lines[0], rule, *lines[1:], "", *filter(None, (note, busy(report["models"])))]
    )


def _row(model: Mapping[str, Any]) -> tuple[str, ...]:
    costs = model["costs"]
    low, high = model["accuracy_ci95"]
    times = costs.get("decode_times")
    return (
        model["name"] + (f" ({model['seeds']} seeds)" if model["seeds"] > 1 else ""),
        f"{100 * costs['zeros_linears']:.0f} %",
        f"{costs['parameters']:,}",
        f"{model['accuracy']:.1f} ({low:.1f}–{high:.1f})",
        f"{model['label_nll']:.3f}",
        f"{model['perplexity']:,.4g}",
        f"{model['agreement']:.1f}",
        megabytes(costs["bytes_dense"]),
        f"{times:.2f}" if times and model["state"] != "dense" else "",
    )
