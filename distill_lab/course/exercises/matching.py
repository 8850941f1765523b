"""Finds the cell of each exercise in a notebook, whatever an editor or a student did to it.

Three ways are tried in this order, until one finds an answer (a cell that is not an untouched
stub): the cell's id, its first line `# exercise lab5a.soften`, and a function of that name at its
top level. Cells are plain dictionaries, as JSON has them.
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

# cell magics around plain Python; below any other magic there is another language
_AROUND_PYTHON = re.compile(r"%%(time|timeit|capture|prun)\b.*")
_MOST_OF_IPYTHON = 2_000_000  # characters: IPython reads a cell anew for each of its lines
_MARKER = re.compile(r"#\s*exercise\s+([\w.]+)\s*")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # a null byte, deep nesting


@dataclass(frozen=True, slots=True)
class Match:
    """The cells of one exercise. `cell` is the one that counts, or None; `how` it was found.

    `cells` are all of the exercise's, in the notebook's order: the untouched stubs, and `answers`,
    of which the last counts. `others` define its function too, but do not count, because a cell
    with its id or its first line has an answer.
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
        """Whether all its cells are stubs."""
        return self.cell is not None and not self.answers


def exercise_cells(cells: Sequence[Cell], entry: Entry) -> dict[str, Match]:
    """The match of each exercise in the manifest's entry, by the exercise's name."""
    code = [cell for cell in cells if cell.get("cell_type", "code") == "code"]
    lines = [line for line in entry["cells"] if line["role"] == "exercise"]
    return {line["exercise"]: _match(code, line) for line in lines}


def not_ours(cells: Sequence[Cell], entry: Entry) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The manifest's lines of locked cells whose text is nowhere in the notebook, under whatever
    id, and whether each was `changed` or `deleted`."""
    ids = {name for cell in cells for name in ids_of(cell)}
    texts = {digest(source_of(cell)) for cell in cells}
    for line in entry["cells"]:
        if line["role"] in LOCKED and line["sha256"] not in texts:
            yield line, "changed" if line["id"] in ids else "deleted"


def _match(code: Sequence[Cell], line: Mapping[str, Any]) -> Match:
    function = line["exercise"].rpartition(".")[2]
    ways: dict[How, Callable[[Cell], bool]] = {
        "id": lambda cell: line["id"] in ids_of(cell),
        "first line": lambda cell: marked(source_of(cell)) == line["exercise"],
        "function name": lambda cell: function in functions(source_of(cell)),
    }
    candidates: dict[How, list[Cell]]
    candidates = {how: [cell for cell in code if is_its(cell)] for how, is_its in ways.items()}
    stubs = _identities(cell for cell in code if is_stub(source_of(cell), line))
    own = set(stubs)
    for how, same in candidates.items():
        own |= _identities(same)
        answers = _answers([cell for cell in same if id(cell) not in stubs], function)
        if answers:
            mine = [cell for cell in code if id(cell) in own]
            others = _identities(c for cells in candidates.values() for c in cells) - own
            rest = [cell for cell in code if id(cell) in others]
            return Match(answers[-1], how, tuple(mine), tuple(answers), tuple(rest))
    for how, same in candidates.items():
        if same:
            return Match(same[-1], how, tuple(same), (), ())
    return Match(None, "", (), (), ())


def _identities(cells: Iterable[Cell]) -> set[int]:
    """To tell these very cells from others with the same content."""
    return {id(cell) for cell in cells}


def _answers(cells: Sequence[Cell], function: str) -> list[Cell]:
    """The cells that define the function, or are not valid Python yet; all of them where none does.
    A copy of the exercise's cell in which the student only tried something has the same id, and
    must not count."""
    definite = [
        cell
        for cell in cells
        if parsed(source_of(cell)) is None or function in defined(source_of(cell))
    ]
    return definite or list(cells)


# -- a cell


def source_of(cell: Cell) -> str:
    """Its text, which a file may have as a list of lines."""
    source = cell.get("source", "")
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def ids_of(cell: Cell) -> tuple[str, ...]:
    """Its ids, the one in its metadata first: Colab keeps no other, and a copy of the cell that was
    made in Jupyter still has it."""
    metadata = cell.get("metadata")
    inner = metadata.get("id") if isinstance(metadata, Mapping) else None
    return tuple(str(name) for name in (inner, cell.get("id")) if name)


def id_of(cell: Cell) -> str:
    """Its id in the course's notebook; a cell of the student's own has another, or ""."""
    return next(iter(ids_of(cell)), "")


def is_stub(source: str, line: Mapping[str, Any]) -> bool:
    """Whether it is the exercise as students get it: the same text, with or without its first line,
    or the function with nothing in it but `raise NotImplementedError`."""
    if line.get("sha256") in (digest(source), digest(f"{marker(line['exercise'])}\n{source}")):
        return True
    function = line["exercise"].rpartition(".")[2]
    bodies = [node.body for node in _functions(source) if node.name == function]
    return bool(bodies) and all(map(_is_unwritten, bodies))


def _is_unwritten(body: Sequence[ast.stmt]) -> bool:
    """Whether it is `raise NotImplementedError` alone, docstrings aside."""
    statements = [
        node
        for node in body
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]
    if len(statements) != 1 or not isinstance(statements[0], ast.Raise):
        return False
    raised = statements[0].exc
    if isinstance(raised, ast.Call) and not (raised.args or raised.keywords):
        raised = raised.func
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


# -- its code


def marked(source: str) -> str:
    """`lab5a.soften`, where that is the cell's first line; else ""."""
    first = _MARKER.fullmatch(_below_magic(source).strip().split("\n")[0])
    return first[1] if first else ""


def functions(source: str) -> set[str]:
    """The names of the functions that it defines at the top level; none where it is no Python."""
    return {node.name for node in _functions(source)}


def defined(source: str) -> set[str]:
    """The names that it binds at the top level, by `def`, import or assignment."""
    names = functions(source)
    for statement in _body(source):
        if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.alias):
                names.add(node.asname or node.name)
    return names


def _functions(source: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in _body(source) if isinstance(node, _FUNCTIONS)]


def _body(source: str) -> list[ast.stmt]:
    tree = parsed(source)
    return tree.body if tree else []


@dataclass(frozen=True, slots=True)
class Reading:
    """A cell as Python: `text` is the cell without what belongs to IPython, `tree` its syntax."""

    text: str
    tree: ast.Module


def parsed(source: str) -> ast.Module | None:
    """A cell's syntax tree, without IPython's additions; None where it is no Python."""
    cell = reading(source)
    return cell.tree if cell else None


@lru_cache(maxsize=20_000)  # each cell is looked at for each exercise
def reading(source: str) -> Reading | None:
    """The cell as Python; None where it is none. It is tried as it is, then as IPython reads it,
    and last with `pass` for IPython's lines."""
    text = _below_magic(source)
    for read in (str, _as_ipython_reads, _without_magic):
        candidate = read(text)
        try:
            return Reading(candidate, ast.parse(candidate))
        except _UNREADABLE:
            continue
    return None


def fault(source: str) -> str:
    """Why it is no Python; "" where it is."""
    if parsed(source) is not None:
        return ""
    try:
        ast.parse(_without_magic(_below_magic(source)))
    except SyntaxError as error:
        return f"{error.msg} in line {error.lineno}"
    except _UNREADABLE as error:
        return str(error) or type(error).__name__
    return ""


def _below_magic(source: str) -> str:
    """The cell with blank lines for its cell magics; "" where it is another language (%%bash)."""
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
    except (ImportError, *_UNREADABLE):
        return text


def _without_magic(text: str) -> str:
    """Lines of IPython and of a shell become `pass`: their block keeps a statement."""
    return "\n".join(map(_python_line, text.split("\n")))


def _python_line(line: str) -> str:
    code = line.strip()
    is_ipythons = code.startswith(("%", "!", "?")) or code.endswith("?")
    return f"{line[: -len(line.lstrip())]}pass" if is_ipythons else line
