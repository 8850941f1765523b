"""`distill-lab notebooks build`, `check` and `figures`: from one source a lab to what students get.

lab_notebooks/source/NAME.py         the only one to edit: percent format, with solutions
lab_notebooks/NAME.ipynb             what students get: stubs, no outputs
lab_notebooks/solutions/NAME.ipynb   solved, run on `tiny`, with its outputs
lab_notebooks/manifest.json          for the grader: cells, points, hashes
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_lab.course.builder import execute, figures, in_step, outputs, source
from distill_lab.course.builder.figures import Measure as Measure
from distill_lab.course.builder.make import (
    Address,
    manifest,
    solution,
    solution_file,
    student,
    student_file,
    text_of,
)
from distill_lab.run.records import write_text


@dataclass(frozen=True, slots=True)
class Build:
    """Write the notebooks of all labs, the solved ones with their outputs."""

    names: tuple[str, ...] = ()
    """Only these notebooks (the manifest is always whole)."""
    repository: str | None = None
    """OWNER/NAME on GitHub for the badge and the install cell; else the one in pyproject.toml."""
    folder: Path = Path("lab_notebooks")
    """Where the sources and the notebooks lie."""
    work: Path | None = None
    """The folder to run them in, kept: stages that are done there are not run again."""
    keep: bool = False
    """Run only what has changed: solved notebooks whose code is the same keep their outputs."""


@dataclass(frozen=True, slots=True)
class Check:
    """Say whether the notebooks are in step with their sources, and tidy. Nothing is run."""

    folder: Path = Path("lab_notebooks")
    """Where the sources and the notebooks lie."""


def build(asked: Build) -> list[str]:
    """Writes the notebooks and the manifest; what `check` then says. LabError where a source or
    a cell is wrong: then that notebook is left as it was."""
    sources = source.read_all(asked.folder)
    chosen = source.read_all(asked.folder, asked.names)
    address = Address(asked.repository)
    with tempfile.TemporaryDirectory() as temporary:
        work = asked.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for one in chosen:
            start = time.perf_counter()
            what = _build_one(asked, one, address, work)
            print(f"{one.name}: {what}, {time.perf_counter() - start:.0f} s", flush=True)
    write_text(asked.folder / "manifest.json", manifest(sources, address))
    return list(in_step.findings(asked.folder, sources, address))


def _build_one(asked: Build, one: source.Source, address: Address, work: Path) -> str:
    solved = solution(one, address)
    old = in_step.solved_before(asked.folder, one.name) if asked.keep else None
    if old is not None and _code(solved) == _code(old):
        in_step.with_outputs(solved, old)
        what = "outputs kept"
    else:
        execute.run(solved, one.name, work)
        outputs.clean(solved, work)
        what = "run"
    write_text(student_file(asked.folder, one.name), text_of(student(one, address)))
    write_text(solution_file(asked.folder, one.name), text_of(solved))
    return what


def _code(notebook: Any) -> list[tuple[str, str]]:
    """What the outputs depend on. The install cell, which has another repository in a fork, does
    nothing where notebooks are built."""
    return [
        (cell.id, "" if cell.metadata.get("role") == "install" else cell.source)
        for cell in in_step.code_cells(notebook)
    ]


def check(asked: Check) -> list[str]:
    """What is wrong, one line each."""
    sources = source.read_all(asked.folder)
    return list(in_step.findings(asked.folder, sources, in_step.built_for(asked.folder)))


def measure(asked: Measure) -> list[str]:
    """Prints which figures are others now; what `check` says of the numbers then."""
    for line in figures.measure(asked):
        print(line)
    return list(in_step.numbers(asked.folder, source.read_all(asked.folder)))
