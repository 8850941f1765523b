"""What a source must keep to, so that its notebook is thin, gradable and open to all. Each finding
is one line: where, what was expected, what was found, what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import distill_lab
from distill_lab.course import exercises
from distill_lab.course.builder.outputs import CHECKED
from distill_lab.course.builder.source import Cell, Source
from distill_lab.run.records import LabError

MOST_LINES = 12  # of a code cell, its nbval mark not counted
MOST_SOLUTION_LINES = 15
CODE_CELLS = (8, 16)  # install and setup not counted; the last is `before_submitting()`
_PLACE_JOIN = re.compile(r"zip\((?=[^)]*traces)(?=[^)]*verdicts)")
_MARKS = (CHECKED, "# NBVAL_IGNORE_OUTPUT")


def findings(source: Source) -> Iterator[str]:
    """All that is wrong with a source."""
    counted = [c for c in source.cells if c.is_code and c.role not in ("install", "setup")]
    if not CODE_CELLS[0] <= len(counted) <= CODE_CELLS[1]:
        yield (
            f"{source.name}: expected {CODE_CELLS[0]} to {CODE_CELLS[1]} code cells beside install "
            f"and setup, found {len(counted)}. One idea a cell: split or join some."
        )
    for number, cell in enumerate(source.cells):
        yield from (
            f"{source.name}, cell {cell.id}: {text}" for text in _cell(source, number, cell)
        )


def _cell(source: Source, number: int, cell: Cell) -> Iterator[str]:
    if cell.is_code:
        try:
            _tree(cell.text)
        except SyntaxError as error:
            yield f"expected Python, found {error.msg} in line {error.lineno}. Mend it."
            return
    yield from _exercise(source, number) if cell.role == "exercise" else _other(cell)


def _exercise(source: Source, number: int) -> Iterator[str]:
    """An exercise is short, is one function, and is checked at once, by the check of its name."""
    cell = source.cells[number]
    if len(cell.solution) > MOST_SOLUTION_LINES:
        yield (
            f"expected at most {MOST_SOLUTION_LINES} lines of solution, found "
            f"{len(cell.solution)}. Give a part of it in the package, or make two exercises."
        )
    body = _tree(cell.solved).body
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    if len(functions) != 1:
        yield f"expected one function, found {len(functions)}. Move the others to the package."
    following = next((c for c in source.cells[number + 1 :] if c.is_code), None)
    checked = following.checks if following else None
    if checked is None or [checked.partition(".")[2]] != functions[:1]:
        wanted = functions[0] if functions else "its function"
        yield (
            f"expected a check cell behind it with check(…, {wanted}), found "
            f'{checked or "none"}. Add one with role="check".'
        )
        return
    try:
        exercises.find(checked)
    except LabError as error:
        yield str(error)


def _other(cell: Cell) -> Iterator[str]:
    if cell.role == "text":
        if re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=[\"'][^\"'])", cell.text):
            yield "expected a picture with a text for those who cannot see it, found none. Add it."
        return
    if cell.role == "install":
        return
    lines = cell.text.split("\n")
    marks = _MARKS[:1] if cell.role == "check" else _MARKS
    if lines[0] not in marks:
        yield f"expected {' or '.join(marks)} as its first line, found {lines[0][:40]!r}. Add it."
    n_lines = len([line for line in lines if line.strip() and line.strip() not in _MARKS])
    if n_lines > MOST_LINES:
        yield (
            f"expected at most {MOST_LINES} lines, found {n_lines}. Split it, or move what it does "
            "to the package."
        )
    if _PLACE_JOIN.search(cell.text):
        yield (
            "expected traces and verdicts joined by question and sample, found them joined by "
            "place, where they are of different traces. Take lab.judged."
        )
    ours = sorted(_defined(cell.text) & _package())
    if ours:
        yield f"expected an import of {ours[0]} from the package, found its definition. Import it."


def _tree(text: str) -> ast.Module:
    """A cell's code; lines for IPython or the shell are left out."""
    lines = text.split("\n")
    return ast.parse("\n".join("" if line.startswith(("%", "!")) else line for line in lines))


def _defined(text: str) -> set[str]:
    """The names of all functions that a cell defines, lambdas with a name too."""
    names: set[str] = set()
    for node in ast.walk(_tree(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


@cache
def _package() -> frozenset[str]:
    """The names of the functions of the package's modules (methods and private ones aside)."""
    names: set[str] = set()
    for file in Path(distill_lab.__file__).parent.rglob("*.py"):
        if file.name.endswith("_mutants.py"):
            continue
        body = ast.parse(file.read_text(encoding="utf-8")).body
        names |= {node.name for node in body if isinstance(node, ast.FunctionDef)}
    return frozenset(name for name in names if not name.startswith("_"))
