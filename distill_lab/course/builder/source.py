"""The source of a notebook: `lab_notebooks/source/NAME.py`, in jupytext's percent format.

# %% id="soften" role="exercise"
def soften(logits, temperature):
    \"\"\"What it must do; this stays in the student's copy.\"\"\"
    ### BEGIN SOLUTION
    return torch.softmax(logits / temperature, dim=-1)
    ### END SOLUTION
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from distill_lab.course.builder import figures
from distill_lab.course.builder.prose import Figure
from distill_lab.course.exercises.manifests import LOCKED
from distill_lab.run.records import LabError

BEGIN = "### BEGIN SOLUTION"
END = "### END SOLUTION"
ANNOUNCED = "{exercise}"  # in the text above an exercise: what it is worth, and what it takes
STUB = "raise NotImplementedError  # your code here"
ROLES = ("install", "setup", "run", "exercise", "check")  # of code cells; text cells are `text`
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_CHECK = re.compile(r"""^check\(\s*["']([\w.]+)["']\s*,\s*(\w+)""", re.MULTILINE)
_SOLUTION = re.compile(rf"^([ \t]*){BEGIN}\n((?:.*\n)*?)[ \t]*{END}$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: `text` is its source. In an exercise it holds the solution between its marks."""

    id: str
    role: str
    text: str

    @property
    def is_code(self) -> bool:
        return self.role != "text"

    @property
    def locked(self) -> bool:
        """Whether students must not change it: the checks, and the install cell."""
        return self.role in LOCKED

    @property
    def checks(self) -> str | None:
        """The exercise that this cell checks, `lab5a.soften`; None for other cells."""
        match = _CHECK.search(self.text) if self.role == "check" else None
        return match[1] if match else None

    @property
    def stub(self) -> str:
        """The source with the stub in place of the solution."""
        return _SOLUTION.sub(rf"\1{STUB}", self.text)

    @property
    def solved(self) -> str:
        """The source with the solution, without the marks around it."""
        return _SOLUTION.sub(lambda match: match[2].rstrip("\n"), self.text)

    @property
    def solution(self) -> list[str]:
        """The solution's lines."""
        match = _SOLUTION.search(self.text)
        return match[2].splitlines() if match else []


@dataclass(frozen=True, slots=True)
class Source:
    """One notebook: `name` is its file's, and `figures` holds the numbers that its text may use."""

    name: str
    cells: tuple[Cell, ...]
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def exercise_of(self, cell: Cell) -> str | None:
        """The exercise that an exercise cell or a check cell belongs to: `lab5a.soften`."""
        if cell.role != "exercise":
            return cell.checks
        later = self.cells[self.cells.index(cell) + 1 :]
        return next((c.checks for c in later if c.is_code), None)


def read_all(folder: Path, names: Sequence[str] = ()) -> list[Source]:
    """The sources in `folder`/source, sorted by name: all of them, or those with these names."""
    files = {file.stem: file for file in sorted((folder / "source").glob("*.py"))}
    if not files:
        raise LabError(
            f"Expected the notebooks' sources (*.py) in {folder / 'source'}, found none. Run this "
            "in the repository's folder, or name the folder: --folder DIR."
        )
    unknown = [name for name in names if name not in files]
    if unknown:
        raise LabError(f"Expected names of {', '.join(files)}; found {unknown[0]!r}.")
    known = figures.read(folder)
    return [replace(read(files[n]), figures=known) for n in files if not names or n in names]


def read(file: Path) -> Source:
    """One source. Raises LabError if its form is wrong, because then nothing can be built."""
    try:
        import jupytext
    except ModuleNotFoundError:
        raise LabError(
            "Expected jupytext, found none. Run `pip install -c constraints.txt -e .[dev]`, or "
            "`make notebooks`, which does so."
        ) from None
    raw_cells: list[Any] = jupytext.reads(file.read_text(encoding="utf-8"), fmt="py:percent").cells
    cells = tuple(_cell(file.name, raw) for raw in raw_cells if raw.cell_type != "raw")
    ids = [cell.id for cell in cells]
    repeated = sorted({id for id in ids if ids.count(id) > 1})
    if repeated:
        raise LabError(
            f"{file.name}: expected each id once, found {repeated[0]!r} again. Rename one."
        )
    return Source(file.stem, cells)


def _cell(file: str, raw: Any) -> Cell:
    id, where = raw.metadata.get("id", ""), f"{file}, cell {raw.metadata.get('id') or '?'}"
    if not _ID.fullmatch(id):
        begin = raw.source.split("\n")[0][:60]
        raise LabError(
            f'{where} ({begin}): expected id="…" of letters, digits and hyphens in its `# %%` line,'
            f" found {id!r}. Give it one, and never change it again."
        )
    if raw.cell_type == "markdown":
        return Cell(id, "text", raw.source)
    role = raw.metadata.get("role", "run")
    if role not in ROLES:
        raise LabError(f"{where}: expected a role of {', '.join(ROLES)}, found {role!r}.")
    marks = [line.strip() for line in raw.source.split("\n") if line.strip() in (BEGIN, END)]
    expected = [BEGIN, END] if role == "exercise" else []
    if marks != expected:
        raise LabError(
            f"{where}: expected {' and '.join(expected) or 'no solution'} in a cell of role "
            f"{role}, found {' and '.join(marks) or 'none'}. Correct the marks or the role."
        )
    return Cell(id, role, raw.source)
