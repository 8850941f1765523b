"""`distill-lab grade --self-test LAB`: does each submission get what is due to it?

The grading command grades a class of made-up submissions whose marks are known; its grades.csv and
its students' marks are compared with these.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from distill_lab.course.grading import course
from distill_lab.course.grading.course import GradedLab
from distill_lab.course.grading.grade_class import Grade, grade, require_grading
from distill_lab.course.grading.marks.marks import from_json
from distill_lab.course.grading.reference import points_of_right_steps
from distill_lab.course.grading.selftest import forgeries, made_up, odd_notebooks
from distill_lab.course.grading.selftest.made_up import MadeUp


def self_test(name: str, settings: Grade, brief: bool = False) -> int:
    """Prints a line for each submission that got something else; 1 if there is any. `brief` leaves
    out the submissions that are much the same in all labs."""
    require_grading()
    lab = course.find_lab(name, settings.labs)
    made = made_up_class(lab, settings.labs, brief)
    with tempfile.TemporaryDirectory() as folder:
        submissions, out = Path(folder) / "submissions", Path(folder) / "grades"
        write(made, submissions)
        patient = dataclasses.replace(settings, out=out, cell_seconds=15.0, call_seconds=5.0)
        status = grade(name, submissions, patient)
        wrong = [line for one in made if (line := difference(one, lab, out))]
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(made) - len(wrong)} of {len(made)} made-up submissions got what is due to them.")
    return 1 if wrong or status else 0


def made_up_class(lab: GradedLab, labs: Path, brief: bool = False) -> list[MadeUp]:
    """The right answers, the untouched notebook and the checks' wrong answers; then odd notebooks
    of honest students, files that are no notebooks, and forgeries."""
    made = [made_up.right(lab, labs), made_up.reference(lab), made_up.untouched(lab)]
    made += made_up.mutants(lab)
    if not brief:
        made += odd_notebooks.odd_but_right(lab, labs)
        made += [*odd_notebooks.unreadable(lab), *forgeries.forgeries(lab)]
    return made


def write(made: Sequence[MadeUp], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for one in made:
        (folder / f"{one.name}.ipynb").write_bytes(one.data)


def difference(one: MadeUp, lab: GradedLab, out: Path) -> str:
    """What differs from what the submission must get, as a line; "" if nothing does."""
    with open(out / "grades.csv", encoding="utf-8", newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["student"] == one.name)
    points = tuple(int(row[exercise.name]) for exercise in lab.exercises)
    if points != one.points:
        return f"{one.name}: expected points {one.points}, found {points}."
    if one.is_plain and row["review"] != "0":
        return f"{one.name}: expected nothing to be looked at, found {row['review']} remarks."
    marks = (out / "students" / f"{one.name}.json").read_text(encoding="utf-8")
    if one.right_steps and (steps := points_of_right_steps(from_json(marks))) != one.right_steps:
        return f"{one.name}: expected steps of {one.right_steps} to be right, found {steps}."
    for text in one.says:
        if json.dumps(text, ensure_ascii=False)[1:-1] not in marks:
            return f"{one.name}: expected {text!r} in its marks, found it nowhere."
    return ""
