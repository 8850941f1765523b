"""A student's cell, taken apart: its statements as Python, without what belongs to IPython.

A statement is the student's own text, cut out where Python's parser says it stands: text that is
made from the parsed tree (`ast.unparse`) is not always what was written, or even Python.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from distill_lab.course.exercises.matching import reading

_DEFINES = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IPYTHONS = ("system", "getoutput", "run_line_magic", "run_cell_magic")  # !pip, %matplotlib
_FILE = re.compile(r"\s*%%(?:writefile|file)[ \t]+(?:-a[ \t]+)?(\S+)[ \t]*\n(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Statement:
    node: ast.stmt
    text: str


@lru_cache(maxsize=20_000)  # each cell is asked for again and again
def statements(source: str) -> tuple[Statement, ...]:
    """Its statements, but IPython's own and what begins a run or ends the kernel: grading has
    neither a shell nor a run, and what needs one fails at once. Within others (`if IN_COLAB:` above
    a `!pip install`) they become `pass`. There are none where the cell is no Python."""
    found = reading(source)
    if found is None:
        return ()
    data = found.text.encode()
    starts = [0, *accumulate(len(line) + 1 for line in data.split(b"\n"))]
    kept = (node for node in found.tree.body if not _is_left_out(node))
    return tuple(Statement(node, _text(node, data, starts)) for node in kept)


def split_statements(source: str) -> list[str]:
    """Each statement by itself; of a cell that is no Python, one that says why."""
    return [one.text for one in statements(source)] or failing_statement(source)


def failing_statement(source: str) -> list[str]:
    """A statement that fails as the cell does, where that is no Python. Nothing of it is run, what
    IPython would make of it included."""
    return [f"compile({source!r}, 'the cell', 'exec')"] if reading(source) is None else []


def new_statements(course: str, student: str) -> list[Statement]:
    """The student's statements in a cell of the course that the course's does not have."""
    theirs = {_meaning(one) for one in statements(course)}
    return [one for one in statements(student) if _meaning(one) not in theirs]


def definitions(source: str) -> list[str]:
    """Its imports, functions and classes."""
    return [one.text for one in statements(source) if isinstance(one.node, _DEFINES)]


def imports(source: str, used: AbstractSet[str]) -> list[str]:
    """Its imports of the names that are used (others may load half the package)."""
    return [
        one.text
        for one in statements(source)
        if isinstance(one.node, (ast.Import, ast.ImportFrom))
        and used & {_bound(alias) for alias in one.node.names}
    ]


def names_used(source: str) -> Iterator[str]:
    """All names and attributes that a cell uses, and what it imports: `a.b` gives a and b."""
    for node in (inner for one in statements(source) for inner in ast.walk(one.node)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2]


def written_file(source: str) -> tuple[str, str] | None:
    """The file that a cell writes by `%%writefile`: its name and text."""
    found = _FILE.match(source)
    return (found[1].strip("'\""), found[2]) if found else None


def _text(node: ast.stmt, data: bytes, starts: list[int]) -> str:
    """The statement as it is written, with `pass` for what is IPython's in it."""
    begin, end = _span(node, starts)
    for decorator in getattr(node, "decorator_list", [])[:1]:  # which stand before it
        begin = data.rindex(b"@", 0, _span(decorator, starts)[0])
    inner = [one for one in ast.walk(node) if isinstance(one, ast.Expr) and _is_ipythons(one.value)]
    pieces: list[bytes] = []
    for first, last in sorted(_span(one, starts) for one in inner):
        pieces += [data[begin:first], b"pass"]
        begin = last
    return b"".join([*pieces, data[begin:end]]).decode()


def _span(node: ast.stmt | ast.expr, starts: list[int]) -> tuple[int, int]:
    """Where it begins and ends, in bytes."""
    end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
    return starts[node.lineno - 1] + node.col_offset, end


def _meaning(one: Statement) -> str:
    """The same for statements that differ in comments and blanks alone."""
    try:
        return ast.dump(one.node)
    except (RecursionError, ValueError):  # nested too deep, a number of too many digits
        return one.text


def _is_left_out(node: ast.stmt) -> bool:
    call = node.value if isinstance(node, (ast.Expr, ast.Assign)) else None
    function = call.func if isinstance(call, ast.Call) else None
    if isinstance(function, ast.Attribute):
        return function.attr in _IPYTHONS
    name = function or (call if isinstance(node, ast.Expr) else None)
    return isinstance(name, ast.Name) and name.id in ("begin", "quit", "exit")


def _is_ipythons(node: ast.expr) -> bool:
    """`get_ipython().system(…)` and its like."""
    function = node.func if isinstance(node, ast.Call) else None
    shell = function.value if isinstance(function, ast.Attribute) else None
    name = shell.func if isinstance(shell, ast.Call) else None
    is_shells = isinstance(name, ast.Name) and name.id == "get_ipython"
    return is_shells and getattr(function, "attr", "") in _IPYTHONS


def _bound(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]
