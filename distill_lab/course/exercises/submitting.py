"""`before_submitting()`: tells a student what they would lose by handing in the notebook as it is,
while they can still mend it. It runs nothing and changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_lab.course.exercises import manifests, matching, this_notebook
from distill_lab.course.exercises.manifests import Entry
from distill_lab.course.exercises.matching import Cell, Match

_AGAIN = "Restart the kernel, run all cells, save"
_NO_EFFECT = re.compile(r"^[ \t]*(#[ \t]*NBVAL_(?:SKIP|RAISES_EXCEPTION))\b", re.MULTILINE)
_NO_EFFECT_TAGS = ("nbval-skip", "raises-exception")


def before_submitting(notebook: str | Path | None = None) -> None:
    """Prints a line for each thing that would be lost; or one line, that all is there.

    `notebook` is its file, by default the one that is open; in Jupyter that is the file as it was
    last saved. LabError where the named file is no notebook of this course.
    """
    books = manifests.read()
    opened = this_notebook.of(Path(notebook), books) if notebook else this_notebook.find(books)
    if opened is None:
        print(
            "Which notebook this is cannot be told from here. Save it and name it: "
            'before_submitting("NAME.ipynb").'
        )
        return
    entry = books[opened.book]
    losses = list(findings(opened.cells, entry, _ran()))
    if losses:
        things = "one thing" if len(losses) == 1 else f"{len(losses)} things"
        print(f"{opened.name}: {things} to look at before you hand it in.")
        print(*(f"- {line}" for line in losses), sep="\n")
        return
    n_exercises = sum(line["role"] == "exercise" for line in entry["cells"])
    print(
        f"{opened.name}: all is there, {n_exercises} exercises, {entry['points']} points to gain."
    )


def findings(
    cells: Sequence[Cell], entry: Entry, ran: Mapping[int, str] | None = None
) -> Iterator[str]:
    """Sentences about a notebook, the gravest first. `ran` is the source that the kernel ran, by
    execution count, where that is known."""
    matches = matching.exercise_cells(cells, entry)
    points = {line["exercise"]: line["points"] for line in entry["cells"] if "points" in line}
    for name, match in matches.items():
        yield from _lost(name, points.get(name, 0), match)
    for name, match in matches.items():
        yield from _twice(name, match)
    yield from _locked(cells, entry)
    yield from _order(cells, entry, matches, ran or {})
    yield from _without_effect(cells)


# -- points


def _lost(name: str, points: int, match: Match) -> Iterator[str]:
    """An exercise that gets nothing as it is."""
    function, worth = _function(name), "1 point" if points == 1 else f"{points} points"
    if match.source is None:
        yield (
            f"{function}: its cell is missing, and with it {worth}. Copy it from a fresh notebook, "
            f"with its first line `{manifests.marker(name)}`, and write your function there."
        )
    elif match.untouched:
        yield f"{function}: not begun yet, {worth} to gain."
    elif fault := matching.fault(match.source):
        yield f"{function}: its cell is no Python ({fault}), and gets none of {worth} so. Mend it."
    elif function not in matching.defined(match.source):
        yield (
            f"{function}: its cell defines no function of that name, and gets none of {worth} so. "
            "Name it as it was."
        )


def _twice(name: str, match: Match) -> Iterator[str]:
    function = _function(name)
    if len(match.answers) > 1:
        yield (
            f"{function}: {len(match.answers)} cells have it, and the last one counts. Delete the "
            "others, if that is not the one you mean."
        )
    elif match.others:
        own = "its id" if match.how == "id" else f"the first line `{manifests.marker(name)}`"
        yield (
            f"{function}: another cell has a function of that name. The one in the exercise's own "
            f"cell counts (it has {own}): write there what you mean."
        )


# -- locked cells


def _locked(cells: Sequence[Cell], entry: Entry) -> Iterator[str]:
    """Locked cells that were changed or deleted; the grader has its own."""
    for line, what in matching.not_ours(cells, entry):
        of = f" of {_function(line['exercise'])}" if "exercise" in line else ""
        yield (
            f"The {line['role']} cell{of} was {what}. No marks are lost, the grader puts its own "
            "there; to have it right yourself, copy it from a fresh notebook."
        )


# -- the order in which cells ran


def _order(
    cells: Sequence[Cell], entry: Entry, matches: Mapping[str, Match], ran: Mapping[int, str]
) -> Iterator[str]:
    """Exercises whose results on the page are not those of the cells on the page."""
    checks = {line["exercise"]: line["id"] for line in entry["cells"] if line["role"] == "check"}
    counts = {matching.id_of(cell): _count(cell) for cell in cells}
    stale: list[str] = []
    for name, match in matches.items():
        if match.cell is None or match.untouched:
            continue
        count, checked = _count(match.cell), counts.get(checks.get(name, "")) or 0
        as_run = ran.get(count) if count else None
        now = manifests.digest(matching.source_of(match.cell))
        changed = as_run is not None and manifests.digest(as_run) != now
        if not count or changed or 0 < checked < count:
            stale.append(_function(name))
    if stale:
        yield (
            f"{', '.join(stale)}: not run, or changed after the check beside it ran. {_AGAIN}, and "
            "look at what the checks say."
        )
    elif _jumps(cells):
        yield f"Cells were not run from top to bottom, as the grader will. {_AGAIN}, and look."


def _jumps(cells: Sequence[Cell]) -> bool:
    """Whether a cell ran after one below it. The cell that asks is still running, so its number is
    an old one, or none."""
    others = [cell for cell in cells if "before_submitting(" not in matching.source_of(cell)]
    counts = [count for count in map(_count, others) if count]
    return counts != sorted(counts)


def _count(cell: Cell) -> int:
    """Its execution count; 0 where it has not run."""
    count = cell.get("execution_count")
    return count if isinstance(count, int) else 0


def _ran() -> dict[int, str]:
    """The source that this kernel ran, by execution count."""
    shell: Any = this_notebook.kernel()
    history = getattr(getattr(shell, "history_manager", None), "input_hist_raw", [])
    return {count: source for count, source in enumerate(history) if source}


# -- what helps nobody


def _without_effect(cells: Sequence[Cell]) -> Iterator[str]:
    markers: list[str] = []
    for cell in cells:
        metadata = cell.get("metadata")
        tags = metadata.get("tags") if isinstance(metadata, Mapping) else None
        markers += [tag for tag in _NO_EFFECT_TAGS if isinstance(tags, list) and tag in tags]
        if cell.get("cell_type", "code") == "code":
            markers += _NO_EFFECT.findall(matching.source_of(cell))
    if markers:
        shown = ", ".join(f"`{marker}`" for marker in dict.fromkeys(markers))
        yield f"{shown}: has no effect, all checks are run. Take it out."


def _function(name: str) -> str:
    """`soften` of `lab5a.soften`."""
    return name.rpartition(".")[2]
