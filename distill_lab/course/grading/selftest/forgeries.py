"""Ways to get points without an answer, each of which must fail and show itself.

All exercises of these notebooks have a wrong answer; the forgery is put behind the first one's, in
its cell or where it says.
"""

from __future__ import annotations

from collections.abc import Iterator

from distill_lab.course.grading.course import GradedLab
from distill_lab.course.grading.reference import Cell, answered_cells, code_cell, notebook_file
from distill_lab.course.grading.selftest.attacks import CODE
from distill_lab.course.grading.selftest.harmful_code import REACHES
from distill_lab.course.grading.selftest.made_up import MadeUp, no_points

WRONG = "def {0}(*arguments):\n    return 'forged'\n"
# the package's own answer, which is right, and not the student's
OURS = """{function} = getattr(
    __import__('distill_lab.course.exercises').course.exercises.find('{name}'), 'o' + 'urs')
"""


def forgeries(lab: GradedLab) -> Iterator[MadeUp]:
    first = lab.exercises[0]
    claim = f"{first.function}: right, {first.points} of {first.points} points"
    for name, says, code in (*CODE, ("an answer of the package", REACHES, OURS)):
        cells = _wrong(lab)
        own = next(cell for cell in cells if cell["id"] == lab.cell_of(first.name))
        own["source"] += code.format(name=first.name, function=first.function, claim=claim)
        yield MadeUp(name, notebook_file(cells), no_points(lab), (says,))
    for name, says, cells in _edited(lab, claim):
        yield MadeUp(name, notebook_file(cells), no_points(lab), (says,))


def _wrong(lab: GradedLab) -> list[Cell]:
    return answered_cells(lab, {one.name: WRONG.format(one.function) for one in lab.exercises})


def _edited(lab: GradedLab, claim: str) -> Iterator[tuple[str, str, list[Cell]]]:
    """What is done to other cells than the exercise's."""
    first, checks = lab.exercises[0], [line["id"] for line in lab.lines("check")]
    cells = _wrong(lab)
    for cell in cells:
        cell["source"] = f"print({claim!r})" if cell["id"] in checks else cell["source"]
    yield "edits the checks", "was changed", cells
    yield "deletes the checks", "was deleted", [c for c in _wrong(lab) if c["id"] not in checks]
    printed = {"output_type": "stream", "name": "stdout", "text": claim + "\n"}
    cells = _wrong(lab)
    for cell in cells:
        cell["outputs"] = [printed] if cell["id"] in checks else []
    yield "pastes outputs", "", cells
    marker = f'text = """\n# exercise {first.name}\ndef {first.function}(*a): return 1\n"""'
    others = [cell for cell in _wrong(lab) if cell["id"] != lab.cell_of(first.name)]
    yield "markers in strings", "No cell of this exercise", [*others, code_cell("mine", marker)]
    skip = [{**c, "metadata": {**c["metadata"], "tags": ["nbval-skip"]}} for c in _wrong(lab)]
    yield "nbval-skip as a tag", "", skip
