"""`distill-lab grade --self-test LAB`: does each get what is due?

A class of made-up submissions whose marks are known is graded by the same command, and its
grades.csv held against them."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from distill_lab.course.grading import Grade, course, grade, needed
from distill_lab.course.grading.course import GradedLab
from distill_lab.course.grading.marks.marks import from_json
from distill_lab.course.grading.reference import points_of_right_steps
from distill_lab.course.grading.selftest import forgeries, honest, made_up
from distill_lab.course.grading.selftest.made_up import MadeUp


def self_test(name: str, asked: Grade, brief: bool = False) -> int:
    """A line for each submission that got something else than its due; 1 if there is any. `brief`:
    without what is much the same in all labs."""
    needed()
    lab = course.find(name, asked.labs)
    known = known_forms(lab, asked.labs) + ([] if brief else odd_forms(lab, asked.labs))
    with tempfile.TemporaryDirectory() as folder:
        submissions, out = Path(folder) / "submissions", Path(folder) / "grades"
        submissions.mkdir()
        write(known, submissions)
        patient = dataclasses.replace(asked, out=out, cell_seconds=15.0, call_seconds=5.0)
        status = grade(name, submissions, patient)
        wrong = [text for form in known if (text := differs(form, lab, out))]
    for text in wrong:
        print(text, file=sys.stderr)
    right = len(known) - len(wrong)
    print(f"{right} of {len(known)} made-up submissions got what is due to them.")
    return 1 if wrong or status else 0


def known_forms(lab: GradedLab, labs: Path) -> list[MadeUp]:
    """The right answers, the untouched notebook, and the checks' wrong answers."""
    return [
        made_up.right(lab, labs),
        made_up.reference(lab),
        made_up.untouched(lab),
        *made_up.mutants(lab),
    ]


def odd_forms(lab: GradedLab, labs: Path) -> list[MadeUp]:
    """Odd notebooks of honest students, files that are none, and forgeries."""
    return [*honest.honest(lab, labs), *honest.broken(lab), *forgeries.forgeries(lab)]


def write(known: Sequence[MadeUp], folder: Path) -> None:
    for form in known:
        (folder / f"{form.name}.ipynb").write_bytes(form.data)


def differs(form: MadeUp, lab: GradedLab, out: Path) -> str:
    """What differs from its due, as a line; "" if nothing does."""
    with open(out / "grades.csv", encoding="utf-8", newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["student"] == form.name)
    points = tuple(int(row[one.name]) for one in lab.exercises)
    if points != form.points:
        return f"{form.name}: expected points {form.points}, found {points}."
    if form.is_plain and row["review"] != "0":
        return f"{form.name}: expected nothing to be looked at, found {row['review']} remarks."
    said = (out / "students" / f"{form.name}.json").read_text(encoding="utf-8")
    if form.right_steps and (found := points_of_right_steps(from_json(said))) != form.right_steps:
        return f"{form.name}: expected steps of {form.right_steps} to be right, found {found}."
    for text in form.says:
        if json.dumps(text, ensure_ascii=False)[1:-1] not in said:
            return f"{form.name}: expected {text!r} in its marks, found it nowhere."
    return ""
