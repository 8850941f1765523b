"""Stage 5: what pruning cost, what it bought, and what came back: report.json, report.md,
report.html and plots/. All numbers are computed here from the records of the run."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_lab.pipeline.pruning.records import (
    DENSE,
    ModelsFolder,
    PruningFolder,
    Variant,
    variants,
)
from distill_lab.pipeline.pruning.results import pictures, words
from distill_lab.pipeline.pruning.results.costs import costs
from distill_lab.pipeline.pruning.results.findings import Finding, contrasts, findings
from distill_lab.pipeline.pruning.results.measures import means
from distill_lab.pipeline.pruning.results.readings import (
    MEASURES,
    Readings,
    by_name,
    readings_by_name,
)
from distill_lab.pipeline.pruning.results.words import table as table
from distill_lab.pipeline.pruning.settings import PruningConfig, TaskConfig
from distill_lab.pipeline.report import git_state, versions
from distill_lab.reporting import templates
from distill_lab.reporting.figures import Plot
from distill_lab.reporting.page import duration
from distill_lab.run.json_files import read_json
from distill_lab.run.records import write_text
from distill_lab.run.saved_settings import flag


def build(config: PruningConfig, out: Path) -> dict[str, Any]:
    """Writes the report of the run in `out`, and gives what stands in report.json.

    Scores and intervals are 0 to 100, shares 0 to 1, NLLs in nats, times in milliseconds a token.
    LabError for a missing file, and for scores of other reviews or questions.
    """
    folder = PruningFolder(out)
    asked = variants(config)
    of = readings_by_name(asked, config.data.task, folder)
    found = findings(contrasts(asked), of, config.evaluate)
    report = _numbers(config, folder, by_name(asked), of)
    report["findings"] = [finding.as_json() for finding in found]
    drawn = pictures.draw(report)
    write_report(folder, report, drawn, lambda ending: _render(ending, report, found, drawn))
    return report


def write_report(
    folder: ModelsFolder,
    report: Mapping[str, Any],
    drawn: Sequence[Plot],
    render: Callable[[str], str],
) -> None:
    """Writes the pictures, the page and its Markdown as `render` makes them, and report.json."""
    folder.run.plots.mkdir(exist_ok=True)
    for picture in drawn:
        path = folder.run.plots / f"{picture.name}.png"
        path.write_bytes(picture.png) if picture.png else path.unlink(missing_ok=True)
    for ending in ("html", "md"):
        write_text(folder.run.report(ending), render(ending))
    text = json.dumps(report, indent=1, ensure_ascii=False)
    write_text(folder.run.report("json"), text + "\n")


def _numbers(
    config: PruningConfig,
    folder: PruningFolder,
    named: Mapping[str, Sequence[Variant]],
    of: Mapping[str, Readings],
) -> dict[str, Any]:
    dense = of[DENSE.name]
    blocks = [v for (v, *_) in named.values() if not v.recovery and folder.dropped(v).exists()]
    return {
        **of_run(config, folder),
        "models": {
            name: _of_model(seeds, of[name], dense, config, folder) for name, seeds in named.items()
        },
        "blocks": {
            variant.name: read_json(folder.dropped(variant), "which blocks went")
            for variant in blocks
        },
    }


def of_run(config: TaskConfig, folder: ModelsFolder) -> dict[str, Any]:
    """What stands in report.json of the run itself: its model, its data, what it ran on."""
    notes, entries = folder.run.read_notes(), folder.entries(config.data.task)
    backend, (train, evaluated) = notes.get("backend", {}), (len(file.read()) for file in entries)
    return {
        "profile": config.profile,
        "task": config.data.task,
        "model": config.model.name,
        "adapt": notes.get("adapt", {}),
        "data": {
            "train": {"source": config.data.train, "n": train},
            "eval": {"source": config.data.eval, "n": evaluated},
        },
        "seconds": notes.get("seconds", {}),
        "backend": {key: backend.get(key) for key in ("name", "device", "dtype", "reason")},
        "versions": versions(),
        "git": git_state(),
        "config": dataclasses.asdict(config),
    }


def _of_model(
    seeds: Sequence[Variant],
    of: Readings,
    dense: Readings,
    config: PruningConfig,
    folder: PruningFolder,
) -> dict[str, Any]:
    """What a model is, what it scores, what it weighs and takes."""
    first = seeds[0]
    method = first.method
    pattern = method.amount if method and isinstance(method.amount, tuple) else None
    return {
        "name": first.name,
        "state": first.recovery or ("pruned" if method else "dense"),
        "before": Variant(method).name if first.recovery else None,
        "method": method.name if method else None,
        "pattern": "{}:{}".format(*pattern) if pattern else None,
        **means(of, dense, config.evaluate),
        "costs": costs(folder.read_ledger(first)),
    }


def _render(
    ending: str, report: Mapping[str, Any], found: Sequence[Finding], drawn: Sequence[Plot]
) -> str:
    """The page or its Markdown."""
    return render(
        f"pruning.{ending}.jinja",
        report,
        drawn,
        command="prune",
        uncompared="neither Wanda and magnitude at equal zeros nor a recovery was asked for",
        findings=found,
        headline=words.headline(report, found),
        titles=pictures.titles(report["task"]),
        table=words.table(report),
        busy=words.busy(report["models"]),
    )


def render(name: str, report: Mapping[str, Any], drawn: Sequence[Plot], **more: Any) -> str:
    """A template filled with what each report of models has, and with `more`."""
    task = report["task"]
    return template(name).render(
        report=report,
        pictures=drawn,
        measures=MEASURES[task],
        wording=words.WORDINGS[task],
        labels=words.LABELS,
        score=words.score,
        signed=words.signed,
        interval=words.interval,
        **more,
    )


def template(name: str) -> Any:
    """A template with our filters; in HTML everything that is filled in is escaped."""
    environment = templates.environment(html=".html" in name)
    environment.filters.update(duration=duration, flag=flag, megabytes=words.megabytes)
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    return environment.get_template(name)
