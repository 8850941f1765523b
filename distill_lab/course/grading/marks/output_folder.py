"""The output folder: a student's files as soon as they are graded, the class's at the end.

grading.json            what all marks have in common: lab, seed, limits, the course's version
grades.csv  class.html  and what an LMS takes in
students/NAME.html .xml .json      the last is written last: where it is, the student is done
withdrawn/                         the same files of those who are no longer among the submissions
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_lab.course.grading.handed_in.collected import Collected, Submission
from distill_lab.course.grading.marks import by_hand, junit, tables
from distill_lab.course.grading.marks.marks import Result, to_json
from distill_lab.course.grading.pages import feedback, overview
from distill_lab.run.records import LabError, write_text

ENDINGS = ("xml", "html", "json")


def claim_output_folder(out: Path, fixed: Mapping[str, Any]) -> None:
    """LabError where the folder's marks were made with other settings."""
    file = out / "grading.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else fixed
    for name, value in fixed.items():
        if before.get(name) != value:
            raise LabError(
                f"{out}: its marks were made with {name} {before.get(name)}, now {value} is asked "
                "for. Choose another --out, or go back."
            )
    (out / "students").mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(fixed, indent=1) + "\n")


def is_graded(out: Path, one: Submission) -> bool:
    """Whether this very file is graded already: if not here, before its student was withdrawn."""
    file = _file(out, one.student, "json")
    if not file.exists():
        _move(out / "withdrawn", out / "students", one.student)
    if not file.exists():
        return False
    before = by_hand.read_marks(file)
    return before.sha256 == one.digest() and before.failure == (one.problem or before.failure)


def write_student(out: Path, result: Result) -> None:
    write_text(_file(out, result.student, "xml"), junit.to_xml(result))
    write_text(_file(out, result.student, "html"), feedback.page(result))
    write_text(_file(out, result.student, "json"), to_json(result))


def discard(out: Path, one: Submission) -> None:
    """It is graded again next time."""
    _file(out, one.student, "json").unlink(missing_ok=True)


def write_class(out: Path, collected: Collected) -> list[Result]:
    """Writes the class's files, and each student's anew from its JSON, in which an instructor may
    have changed points; its results."""
    results = [by_hand.read_marks(_file(out, one.student, "json")) for one in collected.submissions]
    for result in results:
        write_student(out, result)
    write_text(out / "grades.csv", tables.to_csv(results, collected))
    write_text(out / "class.html", overview.page(results, collected))
    return results


def move_withdrawn(out: Path, collected: Collected) -> list[str]:
    """Moves the files of students who are no longer among the submissions out of `students`; their
    names."""
    here = {one.student for one in collected.submissions}
    files = [file for file in (out / "students").iterdir() if file.suffix[1:] in ENDINGS]
    gone = sorted({file.stem for file in files} - here)
    for name in gone:
        _move(out / "students", out / "withdrawn", name)
    return gone


def _move(source: Path, target: Path, name: str) -> None:
    """A student's files; the JSON last, as where it is, all are."""
    for ending in ENDINGS:
        if (file := source / f"{name}.{ending}").exists():
            target.mkdir(exist_ok=True)
            file.replace(target / file.name)


def _file(out: Path, student: str, ending: str) -> Path:
    return out / "students" / f"{student}.{ending}"
