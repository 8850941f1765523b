"""The rules for a source, which keep its notebook short, gradable and open to all readers. Each
finding is one line: where, what was expected, what was found, what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import distill_lab
from distill_lab.course import exercises
from distill_lab.course.builder.outputs import CHECKED
from distill_lab.course.builder.source import ANNOUNCED, Cell, Source
from distill_lab.run.records import LabError

MOST_LINES = 12  # of a code cell, not counting its nbval mark
MOST_SOLUTION_LINES = 15
CODE_CELLS = (4, 16)  # beside install, setup and the exercises; the last is `before_submitting()`
_JOINED_BY_POSITION = re.compile(r"zip\((?=[^)]*traces)(?=[^)]*verdicts)")
_IMAGE_WITHOUT_TEXT = re.compile(r"!\[\s*\]\(|<img(?![^>]*\balt=[\"'][^\"'])")
_STRETCH = re.compile(
    r"<details><summary>Stretch goal, without points</summary>\n\n.+</details>", re.DOTALL
)
_MARKS = (CHECKED, "# NBVAL_IGNORE_OUTPUT")


def findings(source: Source) -> Iterator[str]:
    """Everything that is wrong with a source."""
    counted = [c for c in source.cells if c.is_code and c.role == "run"]
    fewest, most = CODE_CELLS
    if not fewest <= len(counted) <= most:
        yield (
            f"{source.name}: expected {fewest} to {most} code cells beside setup and exercises, "
            f"found {len(counted)}. One idea per cell: split some, or join some."
        )
    for number, cell in enumerate(source.cells):
        yield from (f"{source.name}, cell {cell.id}: {line}" for line in _cell(source, number))


def _cell(source: Source, number: int) -> Iterator[str]:
    cell = source.cells[number]
    if cell.role == "text":
        if _IMAGE_WITHOUT_TEXT.search(cell.text):
            yield "expected a picture with a text for those who cannot see it, found none. Add it."
        return
    try:
        _tree(cell.text)
    except SyntaxError as error:
        yield f"expected Python, found {error.msg} in line {error.lineno}. Correct it."
        return
    if cell.role == "exercise":
        following = next((c for c in source.cells[number + 1 :] if c.is_code), None)
        yield from _exercise(cell, following.checks if following else None)
        yield from _around(source.cells, number)
    elif cell.role != "install":
        yield from _code(cell)


def _exercise(cell: Cell, checked: str | None) -> Iterator[str]:
    """An exercise is one short function. `checked` is what the code cell behind it checks, which
    must be this function."""
    if len(cell.solution) > MOST_SOLUTION_LINES:
        yield (
            f"expected at most {MOST_SOLUTION_LINES} lines of solution, found "
            f"{len(cell.solution)}. Move a part to the package, or make two exercises."
        )
    body = _tree(cell.solved).body
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    if len(functions) != 1:
        yield f"expected one function, found {len(functions)}. Move the others to the package."
    if checked is None or [checked.partition(".")[2]] != functions[:1]:
        yield (
            f"expected a check cell behind it with check(…, {(*functions, 'its function')[0]}), "
            f'found {checked or "none"}. Add one with role="check".'
        )
        return
    try:
        exercises.find(checked)
    except LabError as error:
        yield str(error)


def _around(cells: Sequence[Cell], number: int) -> Iterator[str]:
    """The text above an exercise says what it is worth, that behind its check where to go on."""
    above = cells[number - 1].text if number and not cells[number - 1].is_code else ""
    if (n_found := above.count(ANNOUNCED)) != 1:
        yield (
            f"expected {ANNOUNCED} once in the text directly above it, found it {n_found} times. "
            "The builder writes number, points, minutes and difficulty there."
        )
    behind = "".join(cell.text for cell in cells[number + 2 : number + 3] if not cell.is_code)
    if not _STRETCH.search(behind):
        yield (
            "expected a stretch goal in the text directly behind its check, found none. Add "
            "<details><summary>Stretch goal, without points</summary>, an empty line, one or two "
            "sentences, </details>."
        )


def _code(cell: Cell) -> Iterator[str]:
    lines = cell.text.split("\n")
    marks = _MARKS[:1] if cell.role == "check" else _MARKS
    if lines[0] not in marks:
        yield f"expected {' or '.join(marks)} as its first line, found {lines[0][:40]!r}. Add it."
    n_lines = len([line for line in lines if line.strip() and line.strip() not in _MARKS])
    if n_lines > MOST_LINES:
        yield (
            f"expected at most {MOST_LINES} lines, found {n_lines}. Split the cell, or move what "
            "it does to the package."
        )
    if _JOINED_BY_POSITION.search(cell.text):
        yield (
            "expected traces and verdicts joined by question and sample, found them joined by "
            "position, which joins different traces. Take lab.judged."
        )
    ours = sorted(_defined(cell.text) & _package())
    if ours:
        yield f"expected an import of {ours[0]} from the package, found its definition. Import it."


def _tree(text: str) -> ast.Module:
    """A cell's code, without the lines for IPython or the shell."""
    lines = text.split("\n")
    return ast.parse("\n".join("" if line.startswith(("%", "!")) else line for line in lines))


def _defined(text: str) -> set[str]:
    """The names of all functions that a cell defines, named lambdas included."""
    names: set[str] = set()
    for node in ast.walk(_tree(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


@cache
def _package() -> frozenset[str]:
    """The names of the public functions in the package's modules; methods do not count."""
    names: set[str] = set()
    for file in Path(distill_lab.__file__).parent.rglob("*.py"):
        if "mutants" not in file.parts:  # wrong answers, which nobody imports
            body = ast.parse(file.read_text(encoding="utf-8")).body
            names |= {node.name for node in body if isinstance(node, ast.FunctionDef)}
    return frozenset(name for name in names if not name.startswith("_"))
