"""A student's cell, taken apart: its statements as Python, without what belongs to IPython."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

_TIMED = ("%%time", "%%timeit", "%%capture")  # cell magics around plain Python
_DEFINES = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def python(source: str) -> str:
    """A cell's Python: shell lines and magics left out, as a kernel for grading has neither."""
    lines = source.strip("\n").split("\n")
    if lines[0].lstrip().startswith(_TIMED):
        lines = lines[1:]
    elif lines[0].lstrip().startswith("%%"):
        return ""
    return "\n".join(_without_magic(line) for line in lines)


def _without_magic(line: str) -> str:
    bare = line.lstrip()
    if not bare.startswith(("%", "!", "?")) and not line.rstrip().endswith("?"):
        return line
    return line[: len(line) - len(bare)] + "pass"


def nodes(source: str) -> list[ast.stmt]:
    """The cell's statements. SyntaxError where it is no Python."""
    try:
        return ast.parse(python(source)).body
    except (RecursionError, MemoryError, ValueError) as error:  # nested too deep, or a null byte
        raise SyntaxError(str(error) or "nested too deep") from None


def _nodes(source: str) -> list[ast.stmt]:
    try:
        return nodes(source)
    except SyntaxError:
        return []


def split(source: str) -> list[str]:
    """Each statement by itself; a cell that is no Python whole, so that running it says why."""
    try:
        return [ast.unparse(node) for node in nodes(source)]
    except (SyntaxError, RecursionError):
        return [python(source)]


def definitions(source: str) -> list[str]:
    """Its imports, functions and classes."""
    return [ast.unparse(node) for node in _nodes(source) if isinstance(node, _DEFINES)]


def imports(source: str, used: AbstractSet[str]) -> list[str]:
    """Its imports of the names that are used (others may load half the package)."""
    found = [node for node in _nodes(source) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return [ast.unparse(node) for node in found if used & {_bound(alias) for alias in node.names}]


def _bound(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]


def named(source: str) -> Iterator[str]:
    """All names and attributes that a cell uses, and what it imports: `a.b` gives a and b."""
    for node in (inner for statement in _nodes(source) for inner in ast.walk(statement)):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2]


def imported(source: str) -> Iterator[str]:
    """What a cell imports from this package."""
    for node in _nodes(source):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("distill_lab"):
            yield from (alias.name for alias in node.names)
