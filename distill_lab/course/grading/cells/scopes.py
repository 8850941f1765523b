"""One statement of a student's notebook, as far as names go: what it binds, uses and changes."""

from __future__ import annotations

import ast
import symtable
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from distill_lab.course.grading.cells.statements import Statement

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_GETTERS = ("getattr", "attrgetter", "methodcaller")


@dataclass(frozen=True, slots=True)
class Imported:
    """`thing`: its full name, of the module alone where all of it is imported (`*`); `name`: what
    it is bound to."""

    thing: str
    name: str


@dataclass(frozen=True, slots=True)
class Unit:
    """A statement at the top level of a cell. Names that are local to a function of its are none.

    `binds`, `uses`: names of the notebook that get a value here, and that are read;
    `stores`: those of which an attribute or an item is set or deleted ("": of some other value);
    `only_stores`: those of `stores` that stand nowhere else; `targets`: what is set, with its dots;
    `touches`: those of which an attribute is taken, or that are handed to a function as they are;
    `names`, `attributes`: all words of either kind, also local ones; `texts`: but for docstrings.
    """

    node: ast.stmt
    binds: frozenset[str]
    uses: frozenset[str]
    stores: frozenset[str]
    only_stores: frozenset[str]
    targets: frozenset[str]
    touches: frozenset[str]
    imports: tuple[Imported, ...]
    names: frozenset[str]
    attributes: frozenset[str]
    texts: tuple[str, ...]

    @property
    def is_import(self) -> bool:
        return isinstance(self.node, _IMPORTS)

    @property
    def alias_of(self) -> str:
        """`a.b` where the statement is `name = a.b`; "" where it is another."""
        return _dotted(self.node.value) if isinstance(self.node, ast.Assign) else ""

    @property
    def defines(self) -> str:
        """The name of the function or class that it is; "" where it is none."""
        return self.node.name if isinstance(self.node, _DEFINITIONS) else ""

    @property
    def words(self) -> frozenset[str]:
        things = {part for one in self.imports for part in one.thing.split(".")}
        return self.names | self.attributes | things


def unit(statement: Statement) -> Unit:
    node = statement.node
    nodes = list(ast.walk(node))
    binds, uses = _scopes(statement)
    targets = [_dotted(one) for one in nodes if _is_stored(one)]
    roots = Counter(target.partition(".")[0] for target in targets)
    named = Counter(one.id for one in nodes if isinstance(one, ast.Name))
    bare = {id(one.value) for one in nodes if isinstance(one, ast.Expr)}
    return Unit(
        node,
        binds,
        uses,
        frozenset(roots) & (uses | binds | {""}),
        frozenset(root for root, times in roots.items() if named[root] == times),
        frozenset(targets),
        frozenset(_touches(nodes)) & uses,
        tuple(found for one in nodes if isinstance(one, _IMPORTS) for found in _imports(one)),
        frozenset(one.id for one in nodes if isinstance(one, ast.Name)),
        frozenset([*_attributes(nodes), *_asked(nodes)]),
        tuple(_texts(nodes, bare)),
    )


def _scopes(statement: Statement) -> tuple[frozenset[str], frozenset[str]]:
    """What it binds and uses of the notebook's names."""
    try:
        whole = symtable.symtable(statement.text, "cell", "exec")
    except (SyntaxError, RecursionError, ValueError, MemoryError):  # nested too deep: all are
        names = [one for one in ast.walk(statement.node) if isinstance(one, ast.Name)]
        stored = frozenset(one.id for one in names if not isinstance(one.ctx, ast.Load))
        return stored, frozenset(one.id for one in names)
    binds, uses = set[str](), set[str]()
    for table in _tables(whole):
        for symbol in table.get_symbols():
            if table is whole or symbol.is_global():
                if symbol.is_assigned() or symbol.is_imported():
                    binds.add(symbol.get_name())
                if symbol.is_referenced():
                    uses.add(symbol.get_name())
    return frozenset(binds), frozenset(uses)


def _tables(whole: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    waiting = [whole]
    while waiting:
        table = waiting.pop()
        yield table
        waiting += table.get_children()


def _is_stored(node: ast.AST) -> bool:
    """Whether it is an attribute or an item that is set or deleted."""
    return isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load)


def _dotted(node: ast.AST) -> str:
    """`a.b.c` of `a.b[0].c`; it begins with a dot where it is a part of no name's value."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    if isinstance(node, ast.Subscript):
        return _dotted(node.value)
    return node.id if isinstance(node, ast.Name) else ""


def _touches(nodes: list[ast.AST]) -> Iterator[str]:
    for one in nodes:
        if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name):
            yield one.value.id
        elif isinstance(one, ast.Call):
            given = [*one.args, *(keyword.value for keyword in one.keywords)]
            yield from (inner.id for inner in given if isinstance(inner, ast.Name))


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[Imported]:
    for alias in node.names:
        if isinstance(node, ast.Import):
            yield Imported(alias.name, alias.asname or alias.name.partition(".")[0])
        elif alias.name == "*":
            yield Imported(node.module or "", "*")
        else:
            yield Imported(f"{node.module or ''}.{alias.name}", alias.asname or alias.name)


def _attributes(nodes: list[ast.AST]) -> Iterator[str]:
    """`modules` where it is not called: torch's models have a method of that name."""
    called = {id(one.func) for one in nodes if isinstance(one, ast.Call)}
    for one in nodes:
        if isinstance(one, ast.Attribute) and not (one.attr == "modules" and id(one) in called):
            yield one.attr


def _asked(nodes: list[ast.AST]) -> Iterator[str]:
    """The attributes that `getattr` and its like ask for; `getattr(…)` where no text says which."""
    calls = [one for one in nodes if isinstance(one, ast.Call)]
    called = {id(one.func) for one in calls}
    for one in calls:
        word = _word(one.func)
        if word in _GETTERS:
            asked = one.args[word == "getattr" :][:1]
            text = asked[0].value if asked and isinstance(asked[0], ast.Constant) else None
            yield from text.split(".") if isinstance(text, str) else [f"{word}(…)"]
    yield from (
        f"{_word(one)}(…)" for one in nodes if id(one) not in called and _word(one) in _GETTERS
    )


def _word(node: ast.AST) -> str:
    """The last word of `a.b.word`."""
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _texts(nodes: list[ast.AST], bare: set[int]) -> Iterator[str]:
    for one in nodes:
        if isinstance(one, ast.Constant) and id(one) not in bare:
            if isinstance(one.value, str):
                yield one.value
            elif isinstance(one.value, bytes):
                yield one.value.decode(errors="replace")
