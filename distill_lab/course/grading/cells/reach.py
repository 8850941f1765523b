"""What a student's answer reaches, as its text says: the names that its function uses, the
statements that bind or change these, wherever they stand, what those use, and so on.

An answer must reach nothing of this package but what the exercises' stubs import, and nothing by
which Python itself is taken apart. Cells that only look at something are not reached. Nothing is
run for this, and whoever hides a word well enough is not found.
"""

from __future__ import annotations

import builtins
import importlib.util
from collections import defaultdict
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import distill_lab
from distill_lab.course.grading.cells.assemble import Parts
from distill_lab.course.grading.cells.scopes import Imported, Unit, unit
from distill_lab.course.grading.cells.statements import (
    Statement,
    new_statements,
    statements,
    written_file,
)
from distill_lab.course.grading.graded_lab import GradedLab

_OURS = "distill_lab"
# From these, notebooks import what is defined elsewhere: here. Others stand in `_MODULE_OF`.
_FACES = {
    "checks": "course.exercises",
    "install": "course.colab_install",
    "notebook": "course.display",
    "squad_scores": "tasks.squad.scores",
}
# Whoever changes something in these changes how answers are checked.
_CHECKING = tuple(f"{_OURS}.{name}" for name in ("checks", "course.exercises"))
# In these an answer is handed over, and nothing comes back but itself.
_HARMLESS = frozenset(f"{_OURS}.course.exercises.{name}" for name in ("check", "hint", "or_ours"))
# By these any object of the process is found, or any module loaded.
_MODULES = frozenset(
    "IPython __main__ _ctypes _pickle builtins cffi cloudpickle code codeop ctypes dill gc "
    "importlib inspect ipykernel marshal pickle pkgutil pydoc runpy zipimport".split()
)
_NAMES = frozenset("__builtins__ __import__ __loader__ __spec__ eval exec globals vars".split())
_ATTRIBUTES = frozenset(
    "__builtins__ __closure__ __code__ __dict__ __getattribute__ __globals__ __loader__ "
    "__subclasses__ _current_frames _getframe ag_frame ast_transformers attrgetter(…) cr_frame "
    "f_back f_builtins f_globals f_locals getattr(…) gi_frame meta_path methodcaller(…) modules "
    "path_hooks run_cell setprofile settrace tb_frame user_global_ns user_ns".split()
)
# They change what is elsewhere, so each statement that has one counts, wherever it stands.
_EFFECTS = frozenset(
    "__setattr__ __setitem__ ast_transformers ctypes eval exec get_objects get_referrers meta_path "
    "path_hooks push run_cell setattr setprofile settrace user_global_ns user_ns".split()
)
_NAMESPACES = frozenset("globals locals vars".split())  # these where one of the next is called
_UPDATES = frozenset("setdefault update".split())
# What comes from outside of Python may have been put there by any cell.
_CHANNELS = frozenset(
    "environ fromfile genfromtxt getenv load loadtxt memmap mmap open read_bytes read_csv "
    "read_json read_text shelve sqlite3".split()
)
_KNOWN = frozenset([*dir(builtins), "__name__", "display", "get_ipython"])


def reached(lab: GradedLab, parts: Parts) -> dict[str, list[str]]:
    """Of each exercise whose answer reaches something that it must not: what."""
    notebook = _Notebook(lab, parts)
    stubs = {
        thing for one in lab.exercises for thing in _imported(lab.sources[lab.cell_of(one.name)])
    }
    found: dict[str, list[str]] = {}
    for one in lab.exercises:
        own = f"{one.ours.__module__}.{one.ours.__name__}"  # another stub's, say
        things = _Walk(notebook, one.function).things() - (stubs - {own}) - _HARMLESS
        if things and parts.exercises[one.name]:
            found[one.name] = sorted(things)
    return found


def _imported(source: str) -> Iterator[str]:
    return (_home(found.thing) for one in statements(source) for found in unit(one).imports)


def _home(thing: str) -> str:
    """The full name of what a notebook imports from one of our five public modules."""
    module, _, name = thing.removeprefix(f"{_OURS}.").rpartition(".")
    if thing == f"{_OURS}.notebook.begin":
        return f"{_OURS}.course.lab.begin"
    home = distill_lab._MODULE_OF.get(name) if module == "" else _FACES.get(module)
    return f"{_OURS}.{home}.{name}" if home else thing


class _Notebook:
    """A notebook's statements, and in which of them each name is bound, used and changed."""

    def __init__(self, lab: GradedLab, parts: Parts) -> None:
        self.units = [unit(one) for one in _students(lab, parts)]
        self.modules: dict[str, list[Unit]] = defaultdict(list)
        for name, source in filter(None, map(written_file, parts.others)):
            self.modules[Path(name).stem] += map(unit, statements(source))
        self.binders, self.users = _index(self.units, "binds"), _index(self.units, "uses")
        self.given = _index(_of_course(lab), "binds")
        imported = {name for one in self.units if one.is_import for name in one.binds}
        self.others = imported | {*self.given, *_KNOWN, ""}
        for one in self.units:
            if one.alias_of.partition(".")[0] in self.others - {""}:
                self.others |= one.binds
        data = {name for one in self.units if _is_data(one) for name in one.binds}
        self.changers: dict[str, list[Unit]] = defaultdict(list)
        for one in self.units:
            for name in one.stores | (one.touches & data):
                self.changers[name].append(one)
        self.effects = [one for one in self.units if self._has_effects(one)]
        self.stars = [one for one in self.units if any(i.name == "*" for i in one.imports)]

    def changed(self, target: str, depth: int = 9) -> Iterator[str]:
        """The full names that what is set may have, as its name may be bound more than once."""
        root, _, rest = target.partition(".")
        for one in self.binders.get(root) or self.given.get(root, []):
            for thing in (found.thing for found in one.imports if found.name == root):
                yield f"{root if thing.startswith(f'{root}.') else thing}.{rest}"
            if one.alias_of and depth:
                yield from self.changed(f"{one.alias_of}.{rest}", depth - 1)

    def _has_effects(self, one: Unit) -> bool:
        """Whether it may change what none of the notebook's own names is bound to."""
        in_names = one.names & _NAMESPACES and one.attributes & _UPDATES
        return bool(one.words & _EFFECTS or in_names or one.stores & self.others)


def _students(lab: GradedLab, parts: Parts) -> Iterator[Statement]:
    for source in (*parts.answers, *parts.others):
        yield from statements(source)
    for name, source in parts.changed.items():
        yield from new_statements(lab.sources[name], source)


def _of_course(lab: GradedLab) -> Iterator[Unit]:
    """Its imports, which are there for all cells."""
    for line in lab.lines("setup", "run", "exercise"):
        units = map(unit, statements(lab.sources[line["id"]]))
        yield from (one for one in units if one.is_import)


def _index(units: Iterable[Unit], of: str) -> dict[str, list[Unit]]:
    found: dict[str, list[Unit]] = defaultdict(list)
    for one in units:
        for name in getattr(one, of):
            found[name].append(one)
    return dict(found)


def _is_data(one: Unit) -> bool:
    return not (one.is_import or one.defines)


@dataclass(slots=True)
class _Walk:
    """From an exercise's function through its notebook. `found`: full names of what it must not
    reach; `waiting`: names to be looked up; the rest is what was looked at."""

    notebook: _Notebook
    function: str
    found: set[str] = field(default_factory=set)
    waiting: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    read: set[int] = field(default_factory=set)
    live: set[int] = field(default_factory=set)

    def things(self) -> set[str]:
        self._need([self.function])
        self._look_up()
        for one in self.notebook.effects:
            # what is set is no matter (`distill_lab.reporting.plots.COLOR = …`): to what, is
            self._statement(one, one.uses - one.only_stores, is_effect=True)
            names = (name for target in one.targets for name in self.notebook.changed(target))
            self.found |= {name for name in names if name.startswith(_CHECKING)}
        self._look_up()
        return self.found

    def _look_up(self) -> None:
        while self.waiting:
            self._name(self.waiting.pop())

    def _need(self, names: AbstractSet[str] | list[str]) -> None:
        self.waiting += set(names) - self.names
        self.names |= set(names)

    def _name(self, name: str) -> None:
        """The statements that bind or change it; where none binds it, those that may bind any."""
        book = self.notebook
        binders = book.binders.get(name) or book.given.get(name, [])
        for one in binders:
            if one.is_import:
                self._import(found for found in one.imports if found.name == name)
            elif one.defines not in ("", name):  # global
                self._changes(one)
            else:
                self._statement(one, one.uses)
        for one in book.changers.get(name, []):
            self._changes(one)
        if not binders and name not in _KNOWN:
            for one in book.stars:
                self._import(one.imports)
            if name.startswith("_") or name == "Out":  # what the shell remembers of any cell
                self._all()

    def _changes(self, one: Unit) -> None:
        """A function that changes something does so where it is called."""
        self._statement(one, one.uses)
        if one.defines not in ("", self.function) and id(one) not in self.live:
            self.live.add(id(one))
            for user in self.notebook.users.get(one.defines, []):
                self._changes(user)

    def _statement(self, one: Unit, uses: AbstractSet[str], is_effect: bool = False) -> None:
        if id(one) in self.read:
            return
        self.read.add(id(one))
        self._need(uses)
        self.found |= (one.names & _NAMES) | (one.attributes & _ATTRIBUTES)
        self.found |= {_OURS for text in one.texts if _OURS in text}
        self._import(one.imports)
        if one.words & _CHANNELS and not is_effect:
            self._all()

    def _import(self, imports: Iterable[Imported]) -> None:
        for one in imports:
            root = one.thing.partition(".")[0]
            if root == _OURS or root in _MODULES:
                self.found.add(_home(one.thing))
            elif root in self.notebook.modules:
                for inner in self.notebook.modules[root]:
                    self._statement(inner, set())
            elif root and not _is_installed(root):  # a file that some cell wrote
                self._all()

    def _all(self) -> None:
        for one in self.notebook.units:
            self._statement(one, one.uses)


@lru_cache(maxsize=1000)
def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
