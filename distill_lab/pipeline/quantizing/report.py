"""Stage 5: what each bit costs and buys: report.json, report.md, report.html and plots/. All
numbers are computed here from the records of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_lab.pipeline.pruning.report import of_run, render, write_report
from distill_lab.pipeline.pruning.results.costs import times
from distill_lab.pipeline.pruning.results.findings import Finding, findings
from distill_lab.pipeline.pruning.results.measures import means
from distill_lab.pipeline.pruning.results.readings import Readings, by_name, readings_by_name
from distill_lab.pipeline.pruning.results.words import busy
from distill_lab.pipeline.pruning.settings import TaskConfig
from distill_lab.pipeline.quantizing.records import (
    Measured,
    QuantizationFolder,
    QuantizedModel,
    models,
)
from distill_lab.pipeline.quantizing.results import pictures, words
from distill_lab.pipeline.quantizing.results.distances import distances, kl_finding
from distill_lab.pipeline.quantizing.results.words import table as table
from distill_lab.pipeline.quantizing.settings import QuantizationConfig
from distill_lab.reporting.figures import Plot
from distill_lab.run.json_files import read_json


def build(config: QuantizationConfig, out: Path) -> dict[str, Any]:
    """Writes the report of the run in `out`, and gives what stands in report.json.

    Scores and intervals are 0 to 100, KL and NLLs in nats, times in milliseconds a token. LabError
    for a missing file, and for scores of other reviews or questions.
    """
    folder = QuantizationFolder(out)
    left_out = folder.left_out()
    asked = [model for model in models(config) if not (model.way and model.way.text in left_out)]
    of = readings_by_name(asked, config.data.task, folder)
    found = _findings(asked, of, config, folder)
    sensitivity = folder.sensitivity if config.quantize.n_sensitivity else None
    report = {
        **of_run(config, folder),
        "models": numbers(asked, of, config, folder),
        "left_out": left_out,
        "sensitivity": read_json(sensitivity, "what linears stand") if sensitivity else {},
        "findings": [finding.as_json() for finding in found],
    }
    drawn = pictures.draw(report)
    write_report(folder, report, drawn, lambda ending: _render(ending, report, found, drawn))
    return report


def _findings(
    asked: Sequence[QuantizedModel],
    of: Mapping[str, Readings],
    config: QuantizationConfig,
    folder: QuantizationFolder,
) -> list[Finding]:
    """Of each pair the scores and the KL, but not the NLL of the dense model's answers: that is
    less where a model is only surer of them, as training by CE on them makes it."""
    ids = [entry.id for entry in folder.entries(config.data.task)[1].read()]
    named, found = by_name(asked), list[Finding]()
    for plus, minus in words.contrasts(asked):
        scores = findings([(plus, minus)], of, config.evaluate)
        found += [f for f in scores if f.measure not in ("answer_nll", "text_nll")]
        found.append(kl_finding(named[plus], named[minus], ids, folder, config.evaluate))
    return found


def numbers(
    asked: Sequence[Measured],
    of: Mapping[str, Readings],
    config: TaskConfig,
    folder: QuantizationFolder,
) -> dict[str, Any]:
    """Of each name what its models score, how far they are from the dense one, the first of them,
    and what they weigh and take."""
    dense = of[QuantizedModel().name]
    ids = [entry.id for entry in folder.entries(config.data.task)[1].read()]
    found: dict[str, Any] = {}
    for name, seeds in by_name(asked).items():
        is_dense = seeds[0].place == QuantizedModel().place
        ledger = folder.read_ledger(seeds[0])
        found[name] = {
            "name": name,
            "computes": seeds[0].computes,
            **means(of[name], dense, config.evaluate),
            **({} if is_dense else distances(seeds, ids, folder, config.evaluate)),
            "costs": {
                "bytes": ledger["bytes"],
                "parameters": ledger["parameters"],
                "bits": round(8 * ledger["bytes"] / ledger["parameters"], 3),
                **times(ledger),
            },
        }
    return found


def _render(
    ending: str, report: Mapping[str, Any], found: Sequence[Finding], drawn: Sequence[Plot]
) -> str:
    """The page or its Markdown."""
    return render(
        f"quantization.{ending}.jinja",
        report,
        drawn,
        command="quantize",
        uncompared="neither codes that are chosen beside rounding nor a training was asked for",
        findings=found,
        headline=words.headline(report, found),
        titles=pictures.titles(report["task"]),
        table=words.table(report),
        busy=busy(report["models"], "quantize evaluate"),
    )
