"""Ways to get points without an answer, each of which must fail and show itself.

All exercises of these notebooks have a wrong answer; the forgery is put behind the first one's, in
its cell or where it says.
"""

from __future__ import annotations

from collections.abc import Iterator

from distill_lab.course.grading.course import GradedLab
from distill_lab.course.grading.reference import Cell, answered_cells, code_cell, notebook_file
from distill_lab.course.grading.selftest.attacks import CODE
from distill_lab.course.grading.selftest.harmful_code import LOOK
from distill_lab.course.grading.selftest.made_up import MadeUp, no_points


def forgeries(lab: GradedLab) -> Iterator[MadeUp]:
    first = lab.exercises[0]
    claim = f"{first.function}: right, {first.points} of {first.points} points"
    none = no_points(lab)
    for name, says, code in CODE:
        cells = _wrong(lab)
        own = next(c for c in cells if c["id"] == lab.cell_of(first.name))
        own["source"] += code.format(name=first.name, function=first.function, claim=claim)
        yield MadeUp(name, notebook_file(cells), none, (says,))
    for name, says, cells in _edited(lab, claim):
        yield MadeUp(name, notebook_file(cells), none, (says,))
    yield _ours(lab)


def _ours(lab: GradedLab) -> MadeUp:
    """The package's own answer, which is right, and not the student's."""
    first, cells = lab.exercises[0], _wrong(lab)
    own = next(c for c in cells if c["id"] == lab.cell_of(first.name))
    find = f"__import__('distill_lab.course.exercises').course.exercises.find('{first.name}')"
    own["source"] += f"{first.function} = getattr({find}, 'o' + 'urs')\n"
    none = no_points(lab)
    return MadeUp("an answer of the package", notebook_file(cells), none, (LOOK,))


def _wrong(lab: GradedLab) -> list[Cell]:
    wrong = "def {0}(*arguments):\n    return 'forged'\n"
    return answered_cells(lab, {one.name: wrong.format(one.function) for one in lab.exercises})


def _edited(lab: GradedLab, claim: str) -> Iterator[tuple[str, str, list[Cell]]]:
    """What is done to other cells than the exercise's."""
    first, checks = lab.exercises[0], [c["id"] for c in lab.entry["cells"] if c["role"] == "check"]
    cells = _wrong(lab)
    for one in cells:
        one["source"] = f"print({claim!r})" if one["id"] in checks else one["source"]
    yield "edits the checks", "was changed", cells
    yield "deletes the checks", "was deleted", [c for c in _wrong(lab) if c["id"] not in checks]
    cells = _wrong(lab)
    printed = {"output_type": "stream", "name": "stdout", "text": claim + "\n"}
    for one in cells:
        one["outputs"] = [printed] if one["id"] in checks else []
    yield "pastes outputs", "", cells
    inside = f'text = """\n# exercise {first.name}\ndef {first.function}(*a): return 1\n"""'
    kept = [c for c in _wrong(lab) if c["id"] != lab.cell_of(first.name)]
    yield "markers in strings", "No cell of this exercise", [*kept, code_cell("mine", inside)]
    skip = [{**c, "metadata": {**c["metadata"], "tags": ["nbval-skip"]}} for c in _wrong(lab)]
    yield "nbval-skip as a tag", "", skip
