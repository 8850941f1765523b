"""Where the prose's figures come from, and the command that measures them again.

lab_notebooks/figures/tiny.json     from a run, computed by `notebooks figures --run DIR`
lab_notebooks/figures/cells.json    read from what cells of the solved notebooks show
lab_notebooks/figures/prune-cpu.json  likewise, from a run of prune, quantize or chain of that name
lab_notebooks/figures/NAME.json     measured once: its `source` says how
lab_notebooks/studies/NAME/         the findings of a study, and the means of its cells
benchmarks/results/results.json     the engine beside other libraries; blocks/ pruned models
distill_lab/reporting/paper.py      the paper's tables

A figure's key begins with the file's name, `tiny.sft.em`. Keys of benchmarks begin with `bench`,
those of findings with `found`, of a study's cells with `study`, of the paper with `paper`, and of
the shares that its students keep with `kept`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from distill_lab.course.builder.prose import Figure
from distill_lab.reporting import paper
from distill_lab.run.records import write_text

CELLS, STUDIES = "cells.json", "studies"
_BENCHMARKS = Path("benchmarks", "results")
_TABLES = ("bench.blocks.table",)  # empty until they are measured


@dataclass(frozen=True, slots=True)
class Measure:
    """Measure the figures that the prose names: of a run, and of what the solved notebooks show."""

    run: Path | None = None
    """The folder of a finished run, of tiny with Lab 5b's ablations; or of prune, quantize or
    chain. Without it, runs' figures stay."""
    folder: Path = Path("lab_notebooks")
    """The folder that holds the sources and the notebooks."""


def read(folder: Path) -> dict[str, Figure]:
    """All figures by key."""
    figures = _of_paper() | _of_benchmarks(folder.parent / _BENCHMARKS)
    for study in sorted((folder / STUDIES).glob("*/study.json")):
        figures |= dict(_of_findings(study)) | dict(_of_cells(study))
    for file in sorted((folder / "figures").glob("*.json")):
        figures |= {f"{file.stem}.{key}": value for key, value in _load(file)["figures"].items()}
    return figures


def measure(options: Measure) -> list[str]:
    """Writes the figures, and returns a line for each that has changed."""
    folder, changes = options.folder / "figures", []
    if options.run:
        from distill_lab.course.builder import model_figures, run_figures  # loads torch

        if model_figures.is_such_a_run(options.run):
            name, figures = options.run.resolve().name, model_figures.compute(options.run)
            source = model_figures.SOURCE
        else:
            (name, figures), source = run_figures.compute(options.run), run_figures.SOURCE
        changes += _write(folder / f"{name}.json", figures, source)
    if (folder / CELLS).exists():
        shown = {key: value for key, value in _shown(options.folder) if value is not None}
        changes += _write(folder / CELLS, shown)
    return changes


def stale(folder: Path) -> Iterator[str]:
    """Finds the figures of `cells.json` that are not what their cells show now."""
    file = folder / "figures" / CELLS
    kept = _load(file)["figures"] if file.exists() else {}
    for key, value in _shown(folder) if file.exists() else ():
        if value is None or value != kept.get(key):
            yield (
                f"figures/{CELLS}, {key}: expected {value} as its cell shows it, found "
                f"{kept.get(key)}. Run `distill-lab notebooks figures`."
            )


def _load(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def _write(file: Path, figures: Mapping[str, Figure], source: str = "") -> list[str]:
    """Writes the figures, and returns a line for each that is new, gone or changed."""
    old = _load(file) if file.exists() else {"source": source, "figures": {}}
    write_text(file, json.dumps({**old, "figures": figures}, indent=1, ensure_ascii=False) + "\n")
    names = sorted(old["figures"].keys() | figures.keys())
    pairs = [(f"{file.stem}.{n}", old["figures"].get(n), figures.get(n)) for n in names]
    return [f"{name}: {before} → {now}" for name, before, now in pairs if before != now]


def _shown(folder: Path) -> Iterator[tuple[str, int | float | None]]:
    """The number that each cell of `cells.json` shows; None if the cell or the number is missing.

    `cells` maps a key to the notebook, the cell's id, and a pattern whose group is the number.
    """
    for key, (name, id, pattern) in _load(folder / "figures" / CELLS)["cells"].items():
        file = folder / "solutions" / f"{name}.ipynb"
        cells: list[Any] = _load(file)["cells"] if file.exists() else []
        outputs = [output for cell in cells if cell["id"] == id for output in cell["outputs"]]
        texts = [o.get("text", o.get("data", {}).get("text/plain", "")) for o in outputs]
        match = re.search(pattern, "\n".join("".join(lines) for lines in texts))
        yield key, json.loads(match[1].replace(",", "")) if match else None


def _of_benchmarks(folder: Path) -> dict[str, Figure]:
    """Each contender of each case beside the first one, which is ours: `cpu` and `wall` (its time
    over ours), `peak` (extra memory in MB), `rate` (how many times as fast as it we sample); and
    the `table` of a case that has one."""
    files = [folder / "results.json", *sorted(folder.glob("*/results.json"))]
    cases = [case for file in files if file.exists() for case in _load(file)["cases"]]
    smallest = {case["name"]: case for case in reversed(cases)}  # of cases that share a name
    found = {f"bench.{key}": value for case in smallest.values() for key, value in _of_case(case)}
    return {**dict.fromkeys(_TABLES, ""), **found}


def _of_case(case: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    medians, ours = case["medians"], case["contenders"][0]
    if "table" in case:
        yield f"{case['name']}.table", case["table"]
    for name, measured in medians.items():
        for clock in ("cpu", "wall"):
            if measured.get(clock) and medians[ours].get(clock):
                yield f"{case['name']}.{name}.{clock}", measured[clock] / medians[ours][clock]
        if measured.get("peak"):
            yield f"{case['name']}.{name}.peak", round(measured["peak"] / 1e6)
        if tokens := _tokens(case, name):
            rate = _tokens(case, ours) / medians[ours]["wall"] / (tokens / measured["wall"])
            yield f"{case['name']}.{name}.rate", rate


def _tokens(case: Mapping[str, Any], contender: str) -> float:
    """How many useful tokens a run sampled; 0 if it sampled none."""
    runs = case["runs"].get(contender) or [{"found": {}}]
    return median(run["found"].get("tokens", 0) for run in runs)


def _of_findings(study: Path) -> Iterator[tuple[str, Figure]]:
    """`found.ID`, the difference, and its `.low`, `.high`, `.seeds` and `.tried`; the `.least` and
    the `.most` of a single seed; what was chosen on an axis, `found.ID.alpha`."""
    for finding in _load(study)["findings"]:
        key, (low, high) = f"found.{finding['id']}", finding["ci95"]
        yield key, finding["difference"]
        yield from ((f"{key}.low", low), (f"{key}.high", high))
        yield from ((f"{key}.seeds", finding["seeds"]), (f"{key}.tried", finding["settings_tried"]))
        seeds = finding["by_seed"]
        yield from ((f"{key}.least", min(seeds)), (f"{key}.most", max(seeds)))
        for axis, value in finding["chosen"].items():
            yield f"{key}.{axis.rpartition('.')[2]}", value


def _of_cells(study: Path) -> Iterator[tuple[str, Figure]]:
    """`study.NAME.STUDENT.VALUES.MEASURE`: means over the seeds, on the half that is reported, at
    the values of all axes in their order; other signs than those of a key are hyphens."""
    with (study.parent / "study.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["half"] == "report"]
    names = list(rows[0]) if rows else []
    axes, measures = names[1 : names.index("seed")], names[names.index("n_examples") :]
    found: dict[str, list[float]] = {}
    for row in rows:
        at = ".".join(
            [study.parent.name, row["student"], *(row[axis] for axis in axes if row[axis])]
        )
        for name in measures:
            if row[name]:
                key = re.sub(r"[^\w.-]", "-", f"study.{at}.{name}")
                found.setdefault(key, []).append(float(row[name]))
    yield from ((key, fmean(values)) for key, values in found.items())


def _of_paper() -> dict[str, Figure]:
    """`paper.Qwen-7B.math500`, `kept.Qwen-7B.math500` in percent, `paper.table-5` as Markdown, and
    the facts of its text, `paper.samples`."""
    from distill_lab.course.display import markdown  # loads numpy, which `--help` need not wait for

    figures: dict[str, Figure] = {f"paper.{key}": value for key, value in paper.FACTS.items()}
    figures |= {f"reruns.{key}": value for key, value in paper.RERUN.items()}
    for number, rows in paper.TABLES.items():
        shown = paper.PERCENTS if number == 6 else paper.BENCHMARKS
        cells = [[row.model, *(row.score(each.key) for each in shown)] for row in rows]
        figures[f"paper.table-{number}"] = markdown(cells, ["model", *(b.title for b in shown)])
        for row in rows:
            name = row.model.removeprefix("R1-Distill-")
            for benchmark in paper.BENCHMARKS:
                score = row.score(benchmark.key)
                if score is not None:
                    figures[f"paper.{name}.{benchmark.key}"] = score
                if row in paper.STUDENTS and (kept := paper.retention(row.model, benchmark.key)):
                    figures[f"kept.{name}.{benchmark.key}"] = 100 * kept
    return figures
