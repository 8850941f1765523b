"""`python -m benchmarks [names] --repeats 5 --quick`: writes table, JSON, plot."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tyro

from benchmarks import (
    ask_bench,
    blocks_bench,
    busy_bench,
    epochs_bench,
    loss_bench,
    on_policy_bench,
    sampling_bench,
    training_bench,
)
from benchmarks.measure import ROOT, Case, Result, run_cases
from benchmarks.plot import draw
from benchmarks.table import GROWTH, markdown
from distill_lab.course.builder.figures import read as read_figures
from distill_lab.course.builder.prose import with_tables
from distill_lab.run.records import write_text

NO_PEERS = {blocks_bench.NAME, ask_bench.NAME}
PACKAGES = ("torch", "transformers", "peft", "trl", "liger-kernel", "torchtune", "distill-lab")


def main(
    names: tyro.conf.Positional[tuple[str, ...]] = (),
    repeats: int = 5,
    quick: bool = False,
    threads: int = 2,
    out: Path = ROOT / "benchmarks" / "results",
) -> None:
    """Measures the engine against its peers, side by side, or a pruned model beside the dense one.

    Args:
        names: Beginnings of the names of cases (loss, training, epochs, on-policy, busy, sampling,
            blocks, ask); none: all but blocks and ask, which have no peers.
        repeats: Runs of each contender; some cases have fewer.
        quick: Small sizes, to see that all of it runs: the figures say nothing.
        threads: CPU threads.
        out: Where results.json, table.md and bench.png go.
    """
    cases = chosen(names, quick)
    about = surroundings(repeats, threads, quick)
    began = time.monotonic()
    results: list[Result] = []
    page = ""
    for some in run_cases(cases, repeats, threads):
        results += some  # written at once: an interrupted run leaves what it has
        about["minutes"] = (time.monotonic() - began) / 60
        page = write(results, about, out)
    print(page, f"Written to {out}", sep="\n")
    if out.resolve().is_relative_to(ROOT / "benchmarks" / "results") and not quick:
        fill_tables(ROOT)
    errors = [f"{r.case.name}: {c}: {r.reasons[c]}" for r in results for c in sorted(r.failed)]
    if errors:
        sys.exit("\n".join(["Failed, by an error and not by a limit:", *errors]))


def write(results: list[Result], about: dict[str, Any], out: Path) -> str:
    """Table (which is returned), JSON and plot."""
    out.mkdir(parents=True, exist_ok=True)
    drawn = any(result.case.name in ("loss", *GROWTH) for result in results)
    alt = draw(results, about["versions"], out / "bench.png") if drawn else ""
    page = markdown(results, about, alt)
    record = {"about": about, "alt": alt, "cases": [_record(result) for result in results]}
    (out / "results.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (out / "table.md").write_text(page, encoding="utf-8")
    return page


def _record(result: Result) -> dict[str, Any]:
    """A case as JSON, with the table that the handbook shows of it, if it does."""
    more = {"table": blocks_bench.table(result)} if result.case.name == blocks_bench.NAME else {}
    return {**result.record(), **more}


def fill_tables(folder: Path) -> None:
    """Puts the measured tables in their places in the handbook of a checkout."""
    page, figures = folder / "docs" / "handbook.md", read_figures(folder / "lab_notebooks")
    tables = {name: value for name, value in figures.items() if name.startswith("bench.")}
    write_text(page, with_tables(page.read_text(encoding="utf-8"), tables))


def chosen(names: tuple[str, ...], quick: bool) -> list[Case]:
    """The cases whose name begins with one of `names`; those of growth come last."""
    cases = [case for bench in (loss_bench, training_bench, epochs_bench, on_policy_bench,
                                busy_bench, sampling_bench, blocks_bench, ask_bench)
             for case in bench.cases(quick)]  # fmt: skip
    cases.sort(key=lambda case: case.name in GROWTH)
    asked = names or tuple({case.name for case in cases} - NO_PEERS)
    found = [case for case in cases if case.name.startswith(asked)]
    if not found:
        known = ", ".join(dict.fromkeys(case.name for case in cases))
        sys.exit(f"names: expected beginnings of {known}; found {' '.join(names)}.")
    return found


def surroundings(repeats: int, threads: int, quick: bool) -> dict[str, Any]:
    """Machine, versions and settings."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "load": os.getloadavg()[0],
        "threads": threads,
        "repeats": repeats,
        "quick": quick,
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": _commit(),
        "date": date.today().isoformat(),
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    tyro.cli(main, prog="python -m benchmarks", description=main.__doc__)
