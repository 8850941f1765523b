"""Where the figures of the prose come from, and the command that measures them again.

lab_notebooks/figures/tiny.json     of a run, computed by `notebooks figures --run DIR`
lab_notebooks/figures/cells.json    what cells of the solved notebooks show, read out of them
lab_notebooks/figures/NAME.json     measured once: its `source` says how
benchmarks/results/results.json     the engine beside its peers
distill_lab/reporting/paper.py                the paper's tables

A figure's key begins with the file's name, `tiny.sft.em`; a benchmark's with `bench`, the paper's
with `paper` or, for the share that a student keeps, with `kept`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from distill_lab.course.builder.prose import Figure
from distill_lab.reporting import paper
from distill_lab.run.records import write_text

CELLS = "cells.json"
_BENCH = Path("benchmarks", "results", "results.json")


@dataclass(frozen=True, slots=True)
class Measure:
    """Compute the figures that the prose names: of a run, and of what the solved notebooks show."""

    run: Path | None = None
    """The folder of a finished run, with Lab 5b's ablations; without it its figures stay."""
    folder: Path = Path("lab_notebooks")
    """Where the sources and the notebooks lie."""


def read(folder: Path) -> dict[str, Figure]:
    """All figures by key."""
    figures = _of_paper() | _of_benchmarks(folder.parent / _BENCH)
    for file in sorted((folder / "figures").glob("*.json")):
        figures |= {f"{file.stem}.{key}": value for key, value in _load(file)["figures"].items()}
    return figures


def measure(asked: Measure) -> list[str]:
    """Writes the figures, and says what has changed, a line each."""
    places = asked.folder / "figures"
    said: list[str] = []
    if asked.run:
        from distill_lab.course.builder import run_figures  # loads torch

        profile, figures = run_figures.compute(asked.run)
        said += _write(places / f"{profile}.json", figures, run_figures.SOURCE)
    if (places / CELLS).exists():
        found = {key: value for key, value in _shown(asked.folder) if value is not None}
        said += _write(places / CELLS, found)
    return said


def stale(folder: Path) -> Iterator[str]:
    """The figures of cells that show something else by now."""
    places = folder / "figures" / CELLS
    kept = _load(places)["figures"] if places.exists() else {}
    for key, value in _shown(folder) if places.exists() else ():
        if value is None or value != kept.get(key):
            yield (
                f"figures/{CELLS}, {key}: expected {value} as its cell shows it, found "
                f"{kept.get(key)}. Run `distill-lab notebooks figures`."
            )


def _load(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def _write(file: Path, figures: Mapping[str, Figure], source: str = "") -> list[str]:
    """A line for each figure that is new, gone or another."""
    old = _load(file) if file.exists() else {"source": source, "figures": {}}
    names = sorted(old["figures"].keys() | figures.keys())
    text = json.dumps({**old, "figures": figures}, indent=1, ensure_ascii=False)
    write_text(file, text + "\n")
    pairs = [(f"{file.stem}.{n}", old["figures"].get(n), figures.get(n)) for n in names]
    return [f"{name}: {was} → {now}" for name, was, now in pairs if was != now]


def _shown(folder: Path) -> Iterator[tuple[str, Figure | None]]:
    """What each cell that a figure is read from shows: `cells` holds for a key the notebook, the
    cell's id and a pattern whose group is the figure. None where it is not to be found.
    """
    for key, (name, id, pattern) in _load(folder / "figures" / CELLS)["cells"].items():
        file = folder / "solutions" / f"{name}.ipynb"
        cells: list[Any] = _load(file)["cells"] if file.exists() else []
        outputs = [output for cell in cells if cell["id"] == id for output in cell["outputs"]]
        found = re.search(pattern, "\n".join(map(_text, outputs)))
        yield key, _number(found[1]) if found else None


def _text(output: Mapping[str, Any]) -> str:
    return "".join(output.get("text", output.get("data", {}).get("text/plain", "")))


def _number(text: str) -> int | float:
    bare = text.replace(",", "")
    return int(bare) if bare.isdigit() else float(bare)


def _of_benchmarks(file: Path) -> dict[str, Figure]:
    """Of each case and contender: its time over that of the first, which is ours, as `cpu` and
    `wall`; extra `peak` memory in MB; and how many times as fast ours samples, `rate`."""
    cases = _load(file)["cases"] if file.exists() else []
    first = {case["name"]: case for case in reversed(cases)}  # of one that grows, the smallest
    return {f"bench.{key}": value for case in first.values() for key, value in _of_case(case)}


def _of_case(case: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    medians = case["medians"]
    ours = medians[case["contenders"][0]]
    for name, found in medians.items():
        for what in ("cpu", "wall"):
            if found.get(what) and ours.get(what):
                yield f"{case['name']}.{name}.{what}", found[what] / ours[what]
        if found.get("peak"):
            yield f"{case['name']}.{name}.peak", round(found["peak"] / 1e6)
        if all(tokens := [_tokens(case, one) for one in (case["contenders"][0], name)]):
            rate = tokens[0] / ours["wall"] / (tokens[1] / found["wall"])
            yield f"{case['name']}.{name}.rate", rate


def _tokens(case: Mapping[str, Any], contender: str) -> float:
    """Useful tokens of a run; 0 where nothing was sampled."""
    runs = case["runs"].get(contender) or [{"found": {}}]
    return median(run["found"].get("tokens", 0) for run in runs)


def _of_paper() -> dict[str, Figure]:
    """`paper.Qwen-7B.math500`, `kept.Qwen-7B.math500` in percent, `paper.table-5` as Markdown, and
    the facts of its text, `paper.samples`."""
    figures: dict[str, Figure] = {f"paper.{key}": value for key, value in paper.FACTS.items()}
    figures |= {f"reruns.{key}": value for key, value in paper.RERUN.items()}
    for number, rows in paper.TABLES.items():
        figures[f"paper.table-{number}"] = _markdown(rows)
        for row in rows:
            name = row.model.removeprefix("R1-Distill-")
            for benchmark in paper.BENCHMARKS:
                score = row.score(benchmark.key)
                if score is not None:
                    figures[f"paper.{name}.{benchmark.key}"] = score
                if row in paper.STUDENTS and (kept := paper.retention(row.model, benchmark.key)):
                    figures[f"kept.{name}.{benchmark.key}"] = 100 * kept
    return figures


def _markdown(rows: tuple[paper.Row, ...]) -> str:
    head = ["model", *(benchmark.title for benchmark in paper.BENCHMARKS)]
    lines = [[row.model, *(_cell(row.score(b.key)) for b in paper.BENCHMARKS)] for row in rows]
    rule = "|".join(["", *["---"] * len(head), ""])
    text = [f"| {' | '.join(line)} |" for line in (head, *lines)]
    return "\n".join([text[0], rule, *text[1:]])


def _cell(score: float | None) -> str:
    return "–" if score is None else str(score)
