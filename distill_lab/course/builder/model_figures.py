"""The figures of a run of `prune`, `quantize` or `chain`, from its report."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from distill_lab.course.builder.prose import Figure
from distill_lab.run.folder import require_file
from distill_lab.run.records import LabError

SOURCE = "the report of a run: distill-lab notebooks figures --run DIR"


def is_such_a_run(out: Path) -> bool:
    """Whether the folder's report is of models made of one dense model."""
    report = out / "report.json"
    return report.exists() and "dense" in json.loads(report.read_text("utf-8")).get("models", {})


def compute(out: Path) -> dict[str, Figure]:
    """The table of models; how many entries there were; each difference that the report has, with
    its ends. LabError where the report has no table."""
    report = json.loads((out / "report.json").read_text("utf-8"))
    counts = {f"n_{part}": of["n"] for part, of in report["data"].items()}
    lists = [report.get(name, ()) for name in ("findings", "steps", "orders")]
    return {"table": _table(out), **counts, **dict(_differences([*chain(*lists)]))}


def _table(out: Path) -> str:
    """The first table of report.md."""
    text = require_file(out / "report.md", "prune report").read_text("utf-8")
    for part in text.split("\n\n"):
        if part.startswith("|"):
            return part
    raise LabError(f"{out / 'report.md'}: expected a table, found none. Make the report again.")


def _differences(findings: list[dict[str, Any]]) -> Iterator[tuple[str, Figure]]:
    """`wanda-0.5-minus-magnitude-row-0.5.accuracy`, and the same with `.low` and `.high`."""
    for found in findings:
        models = f"{found['plus']}-minus-{found['minus']}"
        name = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', models)}.{found['measure']}"
        yield name, found["difference"]
        yield from zip((f"{name}.low", f"{name}.high"), found["ci95"], strict=True)
