"""A student's cell, taken apart: its statements as Python, without what belongs to IPython."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from distill_lab.checks.matching import parsed

_DEFINES = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IPYTHONS = ("system", "getoutput", "run_line_magic", "run_cell_magic")  # !pip, %matplotlib
_NESTED = tuple(f"get_ipython().{name}(" for name in _IPYTHONS)


def split(source: str) -> list[str]:
    """Each statement by itself; a cell that is no Python whole, so that running it says why."""
    if parsed(source) is None:
        return [source]
    try:
        return [ast.unparse(node) for node in _nodes(source)]
    except RecursionError:
        return [source]


def new(course: str, student: str) -> list[str]:
    """The student's statements in a cell of the course that the course's does not have."""
    theirs = set(split(course))
    return [statement for statement in split(student) if statement not in theirs]


def definitions(source: str) -> list[str]:
    """Its imports, functions and classes."""
    return [text for node in _nodes(source) if isinstance(node, _DEFINES) if (text := _text(node))]


def _text(node: ast.stmt) -> str:
    """As Python; "" for one that is nested too deep, which `split` leaves to the kernel."""
    try:
        return ast.unparse(node)
    except RecursionError:
        return ""


def imports(source: str, used: AbstractSet[str]) -> list[str]:
    """Its imports of the names that are used (others may load half the package)."""
    found = [node for node in _nodes(source) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return [ast.unparse(node) for node in found if used & {_bound(alias) for alias in node.names}]


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


def _nodes(source: str) -> list[ast.stmt]:
    """Its statements, but IPython's own and what begins a run or ends the kernel: grading has
    neither a shell nor a run, and what needs one fails at once. Within others (`if IN_COLAB:` above
    a `!pip install`) they become `pass`."""
    tree = parsed(source)
    kept = [node for node in tree.body if not _is_left_out(node)] if tree else []
    try:
        return [_Quiet().visit(copy.deepcopy(node)) for node in kept]
    except RecursionError:
        return kept


class _Quiet(ast.NodeTransformer):
    """IPython's statements (`get_ipython().system(…)`), wherever they stand, as `pass`."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        is_ipythons = ast.unparse(node).startswith(_NESTED)
        return ast.copy_location(ast.Pass(), node) if is_ipythons else node


def _is_left_out(node: ast.stmt) -> bool:
    call = node.value if isinstance(node, (ast.Expr, ast.Assign)) else None
    function = call.func if isinstance(call, ast.Call) else None
    if isinstance(function, ast.Attribute):
        return function.attr in _IPYTHONS
    name = function or (call if isinstance(node, ast.Expr) else None)
    return isinstance(name, ast.Name) and name.id in ("begin", "quit", "exit")


def _bound(alias: ast.alias) -> str:
    return alias.asname or alias.name.partition(".")[0]
