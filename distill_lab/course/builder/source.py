"""A notebook's source: `lab_notebooks/source/NAME.py`, jupytext's percent format, solutions inside.

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
STUB = "raise NotImplementedError  # your code here"
ROLES = ("install", "setup", "run", "exercise", "check")  # of code cells; the others are `text`
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_CHECK = re.compile(r"""^check\(\s*["']([\w.]+)["']\s*,\s*(\w+)""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: `text` is its source, with the solution and its marks where it is an exercise."""

    id: str
    role: str
    text: str

    @property
    def is_code(self) -> bool:
        return self.role != "text"

    @property
    def locked(self) -> bool:
        """Whether a student must not change it: the checks, and what fetches the package."""
        return self.role in LOCKED

    @property
    def checks(self) -> str | None:
        """`lab5a.soften`, where this is its check cell."""
        found = _CHECK.search(self.text) if self.role == "check" else None
        return found[1] if found else None

    @property
    def stub(self) -> str:
        """The source without the solution."""
        head, _, tail = self._parts()
        indent = head[-1][: -len(BEGIN)]
        return "\n".join([*head[:-1], indent + STUB, *tail])

    @property
    def solved(self) -> str:
        """The source with the solution, without its marks."""
        head, solution, tail = self._parts()
        return "\n".join([*head[:-1], *solution, *tail])

    @property
    def solution(self) -> list[str]:
        """The solution's lines."""
        return self._parts()[1]

    def _parts(self) -> tuple[list[str], list[str], list[str]]:
        lines = self.text.split("\n")
        marks = [line.strip() for line in lines]
        begin, end = marks.index(BEGIN), marks.index(END)
        return lines[: begin + 1], lines[begin + 1 : end], lines[end + 1 :]


@dataclass(frozen=True, slots=True)
class Source:
    """A notebook as it is written: `name` is that of its files, `figures` what its text names."""

    name: str
    cells: tuple[Cell, ...]
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def exercise_of(self, cell: Cell) -> str | None:
        """`lab5a.soften`: what the check behind an exercise cell (or this check cell) checks."""
        if cell.role != "exercise":
            return cell.checks
        later = self.cells[self.cells.index(cell) + 1 :]
        return next((c.checks for c in later if c.is_code), None)


def read_all(folder: Path, names: Sequence[str] = ()) -> list[Source]:
    """The sources of `folder`/source, of those names or all, in the order of their names."""
    there = {file.stem: file for file in sorted((folder / "source").glob("*.py"))}
    if not there:
        raise LabError(
            f"Expected the notebooks' sources (*.py) in {folder / 'source'}, found none. Run this "
            "in the repository's folder, or name the folder: --folder DIR."
        )
    unknown = [name for name in names if name not in there]
    if unknown:
        raise LabError(f"Expected names of {', '.join(there)}; found {unknown[0]!r}.")
    known = figures.read(folder)
    chosen = [read(file) for name, file in there.items() if not names or name in names]
    return [replace(source, figures=known) for source in chosen]


def read(file: Path) -> Source:
    """One source; LabError where its form is wrong, for then nothing can be built from it."""
    try:
        import jupytext
    except ModuleNotFoundError:
        raise LabError(
            "Expected jupytext, found none. `pip install -c constraints.txt -e .[dev]`, or "
            "`make notebooks`, which does."
        ) from None
    text = file.read_text(encoding="utf-8")
    raw: list[Any] = jupytext.reads(text, fmt="py:percent").cells
    cells = tuple(_cell(file.name, cell) for cell in raw if cell.cell_type != "raw")
    ids = [cell.id for cell in cells]
    twice = sorted({id for id in ids if ids.count(id) > 1})
    if twice:
        raise LabError(f"{file.name}: expected each id once, found {twice[0]!r} again. Rename one.")
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
    wanted = [BEGIN, END] if role == "exercise" else []
    if marks != wanted:
        raise LabError(
            f"{where}: expected {' and '.join(wanted) or 'no solution'} in a cell of role {role}, "
            f"found {' and '.join(marks) or 'none'}. Mend the marks or the role."
        )
    return Cell(id, role, raw.source)
