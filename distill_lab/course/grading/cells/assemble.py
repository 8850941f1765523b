"""The notebook that is graded: the course's checks, with the student's code before them.

Of the course's notebook come its imports and its checks; of the student's the exercises' cells,
what they added, and of cells that they changed the statements that are new. All of it is cut into
statements, so that one that fails (there is no run here to look at, so many do) hides none behind
it. What a notebook has besides, its outputs, its metadata, its check cells, stays outside.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill_lab.course import exercises
from distill_lab.course.exercises.exercise import judge
from distill_lab.course.grading.cells.statements import (
    definitions,
    failing_statement,
    imports,
    names_used,
    new_statements,
    split_statements,
    written_file,
)
from distill_lab.course.grading.course import GradedLab


@dataclass(frozen=True, slots=True)
class Parts:
    """The student's cells, as `sort_cells` tells them apart.

    `exercises`: the source of each exercise (None: it has no cell); `added`: the cells that the
    student added, by the id of the course's cell before them ("": before all); `changed`: the
    setup and run cells that the student changed, by their id."""

    exercises: Mapping[str, str | None]
    added: Mapping[str, Sequence[str]]
    changed: Mapping[str, str]

    @property
    def answers(self) -> list[str]:
        """The exercises' sources, those that are there."""
        return [source for source in self.exercises.values() if source]

    @property
    def others(self) -> list[str]:
        """The sources that were added."""
        return [source for sources in self.added.values() for source in sources]


def assemble(lab: GradedLab, parts: Parts) -> str:
    """The notebook's file (nbformat 4.5)."""
    import nbformat

    return nbformat.writes(nbformat.v4.new_notebook(cells=list(_cells(lab, parts))))


def _cells(lab: GradedLab, parts: Parts) -> Iterator[Any]:
    yield _student("definitions", _prelude(lab, parts))
    yield from _added("first", parts.added.get("", ()))
    for line in lab.entry["cells"]:
        name, role, exercise = line["id"], line["role"], line.get("exercise", "")
        if role in ("setup", "run"):
            source = parts.changed.get(name, "")
            added = [one.text for one in new_statements(lab.sources[name], source)]
            yield _student(name, added or failing_statement(source))
        elif role == "exercise":
            statements = split_statements(parts.exercises[exercise] or "")
            yield _cell(name, "exercise", exercise, statements=statements)
        elif role == "check":
            yield _canary(name, exercise)  # behind all that the student's code did before
            yield _cell(name, "check", exercise, lab.sources[name])
        yield from _added(name, parts.added.get(name, ()))


def _added(behind: str, sources: Sequence[str]) -> Iterator[Any]:
    yield from (_student(f"{behind[:50]}-{n}", split_statements(s)) for n, s in enumerate(sources))


def _prelude(lab: GradedLab, parts: Parts) -> list[str]:
    """The files that cells write, what is used of the course's imports, and then what the student
    imports and defines, wherever that is: the order of cells does not matter. An exercise that is
    begun anew, or is no Python yet, must not take from the next one what its stub had imported."""
    checks = [lab.sources[line["id"]] for line in lab.lines("check")]
    open_cells = [lab.sources[line["id"]] for line in lab.lines("setup", "run", "exercise")]
    own = [*parts.others, *parts.changed.values()]
    student = [*parts.answers, *own]
    used = {name for source in (*checks, *student) for name in names_used(source)}
    imported = [text for source in (*open_cells, *student) for text in imports(source, used)]
    defined = [text for source in own for text in definitions(source)]
    files = [source for source in own if written_file(source)]
    return [*files, *dict.fromkeys([*imported, *defined])]


def _student(name: str, statements: Sequence[str]) -> Any:
    return _cell(name, "student", statements=statements)


def _canary(name: str, exercise: str) -> Any:
    """A cell that must fail, with what it must print and raise: a kernel that drops assertions,
    hides tracebacks, prints something else or calls every answer right shows itself."""
    nonce, checked = secrets.token_hex(4), exercises.find(exercise)
    source = (
        f"# It must fail: an untouched kernel says so.\n"
        f'__import__("builtins").print("canary {nonce}")\n'  # `print` may be rich's, and fine
        f'__import__("distill_lab.course.exercises", fromlist=["check"]).check("{exercise}", '
        f'lambda *_: "{nonce}")\n'
        f'assert not "{nonce}", "{nonce}"'
    )
    report = exercises.report(checked, judge(checked, lambda *_: nonce))
    expected = {
        "printed": f"canary {nonce}\n{report}\n",
        "raised": f"AssertionError: {nonce}",
        "crossed": nonce,
    }
    return _cell(f"canary-{name}"[:64], "canary", exercise, source, nonce=nonce, expected=expected)


def _cell(name: str, role: str, exercise: str = "", source: str = "", **more: Any) -> Any:
    from nbformat.v4 import new_code_cell

    source = source or "\n".join(more.get("statements", ()))
    metadata = {"grading": {"role": role, "exercise": exercise, **more}}
    return new_code_cell(source=source, id=name, metadata=metadata)
