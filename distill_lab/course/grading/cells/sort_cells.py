"""Tells a submission's cells apart: exercises, changed and added cells; and remarks on them."""

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


def sort_cells(lab: GradedLab, cells: Sequence[matching.Cell], sheet: MarkSheet) -> Parts:
    """The parts that are graded; remarks on them go into the mark sheet."""
    matches = matching.exercise_cells(cells, lab.entry)
    _remark_on_locked(lab, cells, sheet)
    exercises: dict[str, str | None] = {}
    for exercise in lab.exercises:
        match = matches[exercise.name]
        exercises[exercise.name] = match.source
        _remark_on_match(exercise.name, match, sheet)
    taken = {id(cell): lab.cell_of(name) for name, match in matches.items() for cell in match.cells}
    added, changed = _other_cells(lab, cells, taken)
    for name, source in exercises.items():
        _remark_on_source(name, source or "", sheet)
    parts = Parts(exercises, added, changed)
    for source in (*changed.values(), *parts.others):
        _remark_on_source("", source, sheet)
    for name, things in reached(lab, parts).items():
        sheet.void(name, f"Its answer reaches {', '.join(things)}: read it.")
    return parts


def _remark_on_match(name: str, match: matching.Match, sheet: MarkSheet) -> None:
    if match.cell is None:
        sheet.missing.add(name)
        text = (
            "No cell of this exercise was found: copy it from a fresh notebook, with its first "
            f"line `{marker(name)}`, and write your function below it."
        )
        sheet.remark("notice", name, text)
    if len(match.answers) > 1:
        text = (
            f"{len(match.answers)} cells answer this exercise, and the last of them counts. Delete "
            "the others."
        )
        sheet.remark("notice", name, text)


def _remark_on_locked(lab: GradedLab, cells: Sequence[matching.Cell], sheet: MarkSheet) -> None:
    """Check and install cells that are not the course's: its own are used."""
    for line, what in matching.not_ours(cells, lab.entry):
        text = (
            f"This {line['role']} cell was {what}. The course's own was used: nothing is lost. To "
            "have it back, copy it from a fresh notebook."
        )
        sheet.remark("notice", line["id"], text)


def _other_cells(
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


def _remark_on_source(name: str, source: str, sheet: MarkSheet) -> None:
    """Remarks on marks without effect, and on cells that are longer than anybody writes."""
    for mark in _MARKS.findall(source):
        text = f"`{mark.strip()}` in a cell of yours has no effect: all checks are run."
        sheet.remark("notice", name, text)
    lines = source.split("\n")
    longest = max(map(len, lines))
    if len(lines) > MOST_LINES or longest > MOST_CHARACTERS:
        text = f"A cell has {len(lines):,} lines, the longest of {longest:,} characters: read it."
        sheet.remark("review", name, text)
