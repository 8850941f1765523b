"""Which cell of a notebook is which exercise's, whatever an editor or a student did to it.

Three ways, one after the other, until one finds an answer (a cell that is no untouched stub):
its id, the first line `# exercise lab5a.soften`, and a function of that name at the top level.
Cells are plain dictionaries, as JSON has them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from distill_lab.course.exercises.manifests import LOCKED, Entry, digest, marker

Cell = Mapping[str, Any]
How = Literal["id", "first line", "function name", ""]

# cell magics around plain Python; what stands below any other is none
_AROUND_PYTHON = re.compile(r"%%(time|timeit|capture|prun)\b.*")
_MOST_OF_IPYTHON = 2_000_000  # characters: it reads a cell anew for each of its lines
_MARKER = re.compile(r"#\s*exercise\s+([\w.]+)\s*")


@dataclass(frozen=True, slots=True)
class Match:
    """What was found of one exercise. `cell` counts, found by `how`; None: there is none.

    `cells` are all that are this exercise's, in the notebook's order: the untouched stubs, and
    `answers`, of which the last counts. `others` have its function too, and do not count, because
    a cell with its id or first line has an answer.
    """

    cell: Cell | None
    how: How
    cells: tuple[Cell, ...]
    answers: tuple[Cell, ...]
    others: tuple[Cell, ...]

    @property
    def source(self) -> str | None:
        return None if self.cell is None else source_of(self.cell)

    @property
    def untouched(self) -> bool:
        """Whether there are stubs alone."""
        return self.cell is not None and not self.answers


def exercise_cells(cells: Sequence[Cell], entry: Entry) -> dict[str, Match]:
    """For each exercise of the manifest's entry, by its name, its cells."""
    code = [cell for cell in cells if cell.get("cell_type", "code") == "code"]
    lines = [line for line in entry["cells"] if line["role"] == "exercise"]
    return {line["exercise"]: _match(code, line) for line in lines}


def not_ours(cells: Sequence[Cell], entry: Entry) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The manifest's lines of locked cells that are not there as the course has them, under
    whatever id, and whether each was `changed` or `deleted`."""
    ids = {name for cell in cells for name in ids_of(cell)}
    texts = {digest(source_of(cell)) for cell in cells}
    for line in entry["cells"]:
        if line["role"] in LOCKED and line["sha256"] not in texts:
            yield line, "changed" if line["id"] in ids else "deleted"


def _match(code: Sequence[Cell], line: Mapping[str, Any]) -> Match:
    function = line["exercise"].rpartition(".")[2]
    ways: tuple[tuple[How, Callable[[Cell], bool]], ...] = (
        ("id", lambda cell: line["id"] in ids_of(cell)),
        ("first line", lambda cell: marked(source_of(cell)) == line["exercise"]),
        ("function name", lambda cell: function in functions(source_of(cell))),
    )
    found: list[tuple[How, list[Cell]]]
    found = [(how, [cell for cell in code if is_its(cell)]) for how, is_its in ways]
    stubs = _ids(cell for cell in code if is_stub(source_of(cell), line))
    for n, (how, ours) in enumerate(found):
        answers = _answers([cell for cell in ours if id(cell) not in stubs], function)
        if answers:
            before = stubs.union(*(_ids(cells) for _, cells in found[: n + 1]))
            after = _ids(cell for _, cells in found[n + 1 :] for cell in cells)
            mine = [cell for cell in code if id(cell) in before]
            others = [cell for cell in code if id(cell) in after - before]
            return Match(answers[-1], how, tuple(mine), tuple(answers), tuple(others))
    nothing: tuple[How, list[Cell]] = ("", [])
    how, ours = next((one for one in found if one[1]), nothing)
    return Match(ours[-1] if ours else None, how, tuple(ours), (), ())


def _ids(cells: Iterable[Cell]) -> set[int]:
    """Cells that are these, and not only like these."""
    return {id(cell) for cell in cells}


def _answers(cells: Sequence[Cell], function: str) -> list[Cell]:
    """Those that define the function, or are no Python yet; else what there is. A copy of the cell
    with a few tries in it, which has its id, must not count for the function."""
    telling = [
        cell
        for cell in cells
        if parsed(source_of(cell)) is None or function in defined(source_of(cell))
    ]
    return telling or list(cells)


# -- a cell


def source_of(cell: Cell) -> str:
    """Its text, which a file may have as a list of lines."""
    source = cell.get("source", "")
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def ids_of(cell: Cell) -> tuple[str, ...]:
    """Its ids: the one in its metadata first. Colab keeps only that one, and a copy of a cell that
    was made in Jupyter has it still."""
    metadata = cell.get("metadata")
    inner = metadata.get("id") if isinstance(metadata, Mapping) else None
    return tuple(str(one) for one in (inner, cell.get("id")) if one)


def id_of(cell: Cell) -> str:
    """Its id in the course's notebook; another, or "", where it is the student's own."""
    return next(iter(ids_of(cell)), "")


def is_stub(source: str, line: Mapping[str, Any]) -> bool:
    """Whether it is the exercise as students get it: the same text, with or without its first line,
    or the function with nothing in it but `raise NotImplementedError`."""
    whole = {digest(source), digest(f"{marker(line['exercise'])}\n{source}")}
    if line.get("sha256") in whole:
        return True
    function = line["exercise"].rpartition(".")[2]
    bodies = [node.body for node in _functions(source) if node.name == function]
    return bool(bodies) and all(map(_waits, bodies))


def _waits(body: Sequence[ast.stmt]) -> bool:
    """Whether it is a docstring, if that, and `raise NotImplementedError`."""
    rest = [node for node in body if not _is_text(node)]
    raised = rest[0].exc if len(rest) == 1 and isinstance(rest[0], ast.Raise) else None
    if isinstance(raised, ast.Call) and not (raised.args or raised.keywords):
        raised = raised.func
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


# -- its code


def marked(source: str) -> str:
    """`lab5a.soften`, where that is the cell's first line; else ""."""
    found = _MARKER.fullmatch(_below_magic(source).strip().split("\n")[0])
    return found[1] if found else ""


def functions(source: str) -> set[str]:
    """The names of the functions that it defines at the top level; none where it is no Python."""
    return {node.name for node in _functions(source)}


def defined(source: str) -> set[str]:
    """The names that it binds at the top level, by `def`, import or assignment."""
    tree = parsed(source)
    found = functions(source)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for statement in [node for node in tree.body if not isinstance(node, kinds)] if tree else []:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.alias):
                found.add(node.asname or node.name)
    return found


def _functions(source: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = parsed(source)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in tree.body if isinstance(node, kinds)] if tree else []


@dataclass(frozen=True, slots=True)
class Reading:
    """A cell as Python: `tree` is that of `text`, which is the cell without what is IPython's."""

    text: str
    tree: ast.Module


def parsed(source: str) -> ast.Module | None:
    """A cell's code, IPython's additions aside; None where it is no Python."""
    found = reading(source)
    return found.tree if found else None


@lru_cache(maxsize=20_000)  # each cell is asked for each exercise
def reading(source: str) -> Reading | None:
    """The cell as Python; None where it is none."""
    found = ((text, _tree(text)) for text in _readings(source))
    return next((Reading(text, tree) for text, tree in found if tree), None)


def fault(source: str) -> str:
    """Why it is no Python; "" where it is."""
    if parsed(source) is not None:
        return ""
    try:
        ast.parse(_without_magic(_below_magic(source)))
    except SyntaxError as error:
        return f"{error.msg} in line {error.lineno}"
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__
    return ""


def _tree(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a null byte, too many brackets
        return None


def _readings(source: str) -> Iterator[str]:
    """The cell as it is, as IPython reads it, and without IPython's lines."""
    text = _below_magic(source)
    yield text
    yield _as_ipython_reads(text)
    yield _without_magic(text)


def _below_magic(source: str) -> str:
    """With blank lines for its cell magics; of a cell in another language (%%bash) nothing is
    left."""
    lines = source.split("\n")
    first = next((n for n, line in enumerate(lines) if line.strip()), 0)
    while first < len(lines) and lines[first].startswith("%%"):
        if not _AROUND_PYTHON.fullmatch(lines[first].rstrip()):
            return ""
        lines[first] = ""
        first += 1
    return "\n".join(lines)


def _as_ipython_reads(text: str) -> str:
    lines = 1 + sum(bool(re.search("[!%?]", line)) for line in text.split("\n"))
    if lines * len(text) > _MOST_OF_IPYTHON:
        return text
    try:
        from IPython.core.inputtransformer2 import TransformerManager

        return TransformerManager().transform_cell(text)
    except (ImportError, SyntaxError, ValueError, RecursionError):
        return text


def _without_magic(text: str) -> str:
    """Lines of IPython and of a shell become `pass`: their block keeps a statement."""
    return "\n".join(map(_passed, text.split("\n")))


def _passed(line: str) -> str:
    code = line.strip()
    is_ipythons = code.startswith(("%", "!", "?")) or code.endswith("?")
    return f"{line[: -len(line.lstrip())]}pass" if is_ipythons else line
