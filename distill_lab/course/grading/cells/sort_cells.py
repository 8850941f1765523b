"""A submission's cells, told apart: exercises, changed and added cells; and what is to be said."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from distill_lab.course.exercises import matching
from distill_lab.course.exercises.manifests import LOCKED, digest, marker
from distill_lab.course.grading.cells.assemble import Parts
from distill_lab.course.grading.cells.reach import reached
from distill_lab.course.grading.course import GradedLab
from distill_lab.course.grading.session.mark_sheet import MarkSheet

# nbval's, but for the two that the course's own cells begin with
_MARKS = re.compile(r"^[ \t]*#[ \t]*NBVAL_(?!IGNORE_OUTPUT|CHECK_OUTPUT)\w+[ \t]*$", re.MULTILINE)

MOST_LINES, MOST_CHARACTERS = 5_000, 4_000  # of a cell, and of a line


def sort_cells(lab: GradedLab, cells: Sequence[matching.Cell], record: MarkSheet) -> Parts:
    """The parts that are graded; what was noticed goes into `record`."""
    found = matching.exercise_cells(cells, lab.entry)
    _locked(lab, cells, record)
    exercises: dict[str, str | None] = {}
    for exercise in lab.exercises:
        match = found[exercise.name]
        exercises[exercise.name] = match.source
        _noticed(exercise.name, match, record)
    taken = {id(cell): lab.cell_of(name) for name, match in found.items() for cell in match.cells}
    added, changed = _others(lab, cells, taken)
    for name, source in exercises.items():
        _look(name, source or "", record)
    for source in (*changed.values(), *(one for sources in added.values() for one in sources)):
        _look("", source, record)
    parts = Parts(exercises, added, changed)
    for name, things in reached(lab, parts).items():
        record.void(name, f"Its answer reaches {', '.join(things)}: read it.")
    return parts


def _noticed(name: str, match: matching.Match, record: MarkSheet) -> None:
    if match.cell is None:
        record.missing.add(name)
        said = (
            "No cell of this exercise was found: copy it from a fresh notebook, with its first "
            f"line `{marker(name)}`, and write your function below it."
        )
        record.remark("notice", name, said)
    if len(match.answers) > 1:
        said = (
            f"{len(match.answers)} cells answer this exercise, and the last of them counts. Delete "
            "the others."
        )
        record.remark("notice", name, said)


def _locked(lab: GradedLab, cells: Sequence[matching.Cell], record: MarkSheet) -> None:
    """Check and install cells that are not the course's: its own are used."""
    for line, what in matching.not_ours(cells, lab.entry):
        said = (
            f"This {line['role']} cell was {what}. The course's own was used: nothing is lost. To "
            "have it back, copy it from a fresh notebook."
        )
        record.remark("notice", line["id"], said)


def _others(
    lab: GradedLab, cells: Sequence[matching.Cell], taken: Mapping[int, str]
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """What was added behind which cell of the course, and the open cells that were changed.
    `taken`: the exercises' own cells, by their `id()`."""
    roles = {line["id"]: line["role"] for line in lab.entry["cells"]}
    added: dict[str, list[str]] = defaultdict(list)
    changed: dict[str, str] = {}
    known = {digest(source): name for name, source in lab.sources.items()}
    behind = ""
    for cell in cells:
        name = taken.get(id(cell)) or matching.id_of(cell)
        name = name if name in roles else known.get(digest(cell["source"]), name)
        behind = name if name in roles else behind
        if cell["cell_type"] != "code" or roles.get(name) in (*LOCKED, "exercise"):
            continue
        if name not in roles or name in changed:  # a copy has the id of its cell
            added[behind].append(cell["source"])
        elif cell["source"] != lab.sources[name]:
            changed[name] = cell["source"]
    return dict(added), changed


def _look(name: str, source: str, record: MarkSheet) -> None:
    """What has no effect, and cells that are longer than anybody writes."""
    for mark in _MARKS.findall(source):
        said = f"`{mark.strip()}` in a cell of yours has no effect: all checks are run."
        record.remark("notice", name, said)
    lines = source.split("\n")
    longest = max(map(len, lines))
    if len(lines) > MOST_LINES or longest > MOST_CHARACTERS:
        said = f"A cell has {len(lines):,} lines, the longest of {longest:,} characters: read it."
        record.remark("review", name, said)
