"""The ledger of a chain: a row a step, what it weighs, takes and scores, and what it lost; both
orders of pruning and quantizing. All numbers are computed here from the records of the chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_lab.pipeline.chain.records import Link, chain_folder, links, orders
from distill_lab.pipeline.chain.settings import ChainConfig
from distill_lab.pipeline.pruning.records import DENSE
from distill_lab.pipeline.pruning.report import of_run, render, write_report
from distill_lab.pipeline.pruning.results import words
from distill_lab.pipeline.pruning.results.findings import Finding, findings
from distill_lab.pipeline.pruning.results.readings import MEASURES, readings_by_name
from distill_lab.pipeline.quantizing.report import numbers
from distill_lab.pipeline.quantizing.results import pictures

COLUMNS = ("after", "MB", "parameters", "ms a token", "KL", "EM (95 % CI)", "F1",
           "EM of this step", "F1 of this step", "EM from the student")  # fmt: skip
NOTE = (
    "EM and F1 of this step: what it changed, question by question, with the 95 % interval. KL: "
    "nats a token from the student, on its own answers. ms a token: decode at batch size 1, in "
    "brackets how many times as fast as the student in the same rounds; models in GGUF or in codes "
    "of ours are timed as they are read back, as floats. What is pruned after it was quantized "
    "lies in floats until it is quantized once more."
)


def build(config: ChainConfig, out: Path) -> dict[str, Any]:
    """Writes report.json, report.md, report.html and plots/, and gives what stands in the first.
    LabError for a missing file, and for scores of other questions."""
    folder = chain_folder(out)
    asked = links(config, folder.left_out())
    of = readings_by_name(asked, config.data.task, folder)
    steps = [(link.name, link.before.name) for link in asked if link.steps]
    pairs = [(after.name, before.name) for after, before in orders(asked)]
    ordered = findings(pairs, of, config.evaluate)
    report = {
        **of_run(config, folder),
        "models": numbers(asked, of, config, folder),
        "left_out": folder.left_out(),
        "steps": [finding.as_json() for finding in findings(steps, of, config.evaluate)],
        "orders": [finding.as_json() for finding in ordered],
    }
    drawn = [pictures.score_by_bytes(report["models"], MEASURES[config.data.task][0])]
    shown = {"rows": rows(report, asked), "headline": headline(report, ordered), "drawn": drawn}
    write_report(folder, report, drawn, lambda ending: _render(ending, report, **shown))
    return report


def rows(report: Mapping[str, Any], asked: Sequence[Link]) -> list[tuple[str, ...]]:
    """The ledger: COLUMNS, and below them a row a model."""
    lost = {(of["plus"], of["measure"]): of for of in report["steps"]}
    return [COLUMNS, *(_row(report["models"][link.name], lost) for link in asked)]


def _row(model: Mapping[str, Any], lost: Mapping[tuple[str, str], Any]) -> tuple[str, ...]:
    costs, (low, high) = model["costs"], model["em_ci95"]

    def told(found: Mapping[str, Any] | None, measure: str) -> str:
        if found is None:
            return ""
        ends = words.interval(found["ci95"], measure)
        return f"{words.signed(found['difference'], measure)} ({ends})"

    name = model["name"]
    from_student = model["minus_dense"]["em"] if (name, "em") in lost else None
    return (
        "student" if name == DENSE.name else name,
        words.megabytes(costs["bytes"]),
        f"{costs['parameters']:,}",
        f"{costs['decode_ms']:.3g}{'' if model['computes'] else ' as floats'} "
        f"({costs['decode_times']:.2f})",
        f"{model['kl']:.4f}" if "kl" in model else "",
        f"{model['em']:.1f} ({low:.1f}–{high:.1f})",
        f"{model['f1']:.1f}",
        told(lost.get((name, "em")), "em"),
        told(lost.get((name, "f1")), "f1"),
        told(from_student, "em"),
    )


def table(report: Mapping[str, Any], asked: Sequence[Link]) -> str:
    """The ledger as a Markdown table that also reads well in a terminal."""
    notes = [NOTE, *(f"Left out: {name}: {why}." for name, why in report["left_out"].items())]
    notes += filter(None, [words.busy(report["models"], "chain")])
    return "\n".join([words.in_columns(rows(report, asked)), "", *notes])


def headline(report: Mapping[str, Any], ordered: Sequence[Finding]) -> list[str]:
    """From the student to the smallest file of the whole chain; then the two orders."""
    models = report["models"]
    student = models[DENSE.name]
    whole = [m for name, m in models.items() if " → recover → " in name]
    lines: list[str] = []
    if whole:
        last = min(whole, key=lambda m: m["costs"]["bytes"])
        minus = last["minus_dense"]["em"]
        lines.append(
            f"From {words.megabytes(student['costs']['bytes'])} MB to "
            f"{words.megabytes(last['costs']['bytes'])} MB: {last['name']} has an EM of "
            f"{last['em']:.1f}, the student {student['em']:.1f} "
            f"({words.signed(minus['difference'], 'em')} points, "
            f"{words.interval(minus['ci95'], 'em')})."
        )
    pairs: dict[str, list[Finding]] = {}
    for finding in ordered:
        pairs.setdefault(finding.plus, []).append(finding)
    lines += [words.verdict(of, "Of both orders") for of in pairs.values()]
    return lines or [f"The student's EM is {student['em']:.1f}."]


def _render(ending: str, report: Mapping[str, Any], **shown: Any) -> str:
    """The page or its Markdown."""
    return render(
        f"chain.{ending}.jinja",
        report,
        shown["drawn"],
        command="chain",
        headline=shown["headline"],
        rows=shown["rows"],
        table=words.in_columns(shown["rows"]),
        note=NOTE,
        titles=pictures.titles(report["task"]),
        busy=words.busy(report["models"], "chain"),
    )
