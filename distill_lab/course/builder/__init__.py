"""`distill-lab notebooks build`, `check` and `figures`: from one source per lab to the notebooks.

lab_notebooks/source/NAME.py         the only file to edit: percent format, with solutions
lab_notebooks/NAME.ipynb             what students get: stubs, no outputs
lab_notebooks/solutions/NAME.ipynb   the solved notebook, run on `tiny`, with its outputs
lab_notebooks/manifest.json          for the grader: cells, points, hashes
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_lab.course.builder import execute, figures, make, outputs, source, up_to_date
from distill_lab.course.builder.figures import Measure as Measure
from distill_lab.run.records import write_text


@dataclass(frozen=True, slots=True)
class Build:
    """Write the notebooks of all labs, the solved ones with their outputs."""

    names: tuple[str, ...] = ()
    """Build only these notebooks. The manifest always covers all of them."""
    repository: str | None = None
    """OWNER/NAME on GitHub, for the badge and the install cell. Default: as in pyproject.toml."""
    folder: Path = Path("lab_notebooks")
    """The folder that holds the sources and the notebooks."""
    work: Path | None = None
    """A folder to run the notebooks in. It is kept, and its finished stages are not run again."""
    keep: bool = False
    """Run only what has changed: a solved notebook whose code is the same keeps its outputs."""


@dataclass(frozen=True, slots=True)
class Check:
    """Say whether the notebooks match their sources and keep the rules. This runs no notebook."""

    folder: Path = Path("lab_notebooks")
    """The folder that holds the sources and the notebooks."""


def build(options: Build) -> list[str]:
    """Writes the notebooks and the manifest, and returns what `check` then finds.

    Raises LabError if a source or a cell is wrong; that notebook's files are then unchanged.
    """
    sources = source.read_all(options.folder)
    chosen = source.read_all(options.folder, options.names)
    address = make.Address(options.repository)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for lab in chosen:
            start = time.perf_counter()
            action = _build_one(options, lab, address, work)
            print(f"{lab.name}: {action}, {time.perf_counter() - start:.0f} s", flush=True)
    write_text(options.folder / "manifest.json", make.manifest(sources, address))
    return list(up_to_date.findings(options.folder, sources, address))


def _build_one(options: Build, lab: source.Source, address: make.Address, work: Path) -> str:
    """Writes the two notebooks of one source; returns what was done for the outputs."""
    solved = make.notebook(lab, address, solved=True)
    file = options.folder / make.path(lab, solved=True)
    old = up_to_date.parsed(file) if options.keep else None
    keeps_outputs = old is not None and _code(solved) == _code(old)
    if keeps_outputs:
        up_to_date.with_outputs(solved, old)
    else:
        execute.run(solved, lab.name, work)
        outputs.clean(solved, work)
    write_text(file, make.text_of(solved))
    student = make.notebook(lab, address, solved=False)
    write_text(options.folder / make.path(lab, solved=False), make.text_of(student))
    return "outputs kept" if keeps_outputs else "run"


def _code(notebook: Any) -> list[tuple[str, str]]:
    """The code that the outputs depend on. The install cell, which names another repository in a
    fork, does nothing while notebooks are built."""
    return [
        (cell.id, "" if cell.metadata.get("role") == "install" else cell.source)
        for cell in up_to_date.code_cells(notebook)
    ]


def check(options: Check) -> list[str]:
    """Returns what is wrong, one line per finding."""
    sources = source.read_all(options.folder)
    return list(up_to_date.findings(options.folder, sources, up_to_date.built_for(options.folder)))


def measure(options: Measure) -> list[str]:
    """Prints which figures have changed, and returns what `check` then finds in the numbers."""
    print(*(f"{line}\n" for line in figures.measure(options)), sep="", end="")
    return list(up_to_date.numbers(options.folder, source.read_all(options.folder)))
