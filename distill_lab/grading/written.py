"""The output folder: a student's files as soon as they are graded, the class's at the end.

grading.json            what all marks have in common: lab, seed, limits, the course's version
grades.csv  class.html
students/NAME.html .xml .json      the last is written last: where it is, the student is done
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_lab.grading import feedback, junit, overview
from distill_lab.grading.marks import Result, from_json, to_csv, to_json
from distill_lab.grading.submissions import Submission
from distill_lab.records import LabError, write_text


def adopt(out: Path, fixed: Mapping[str, Any]) -> None:
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


def done(out: Path, one: Submission) -> bool:
    """Whether this very file is graded already."""
    file = _file(out, one.student, "json")
    return file.exists() and from_json(file.read_text(encoding="utf-8")).sha256 == one.digest()


def student(out: Path, result: Result) -> None:
    write_text(_file(out, result.student, "xml"), junit.xml(result))
    write_text(_file(out, result.student, "html"), feedback.page(result))
    write_text(_file(out, result.student, "json"), to_json(result))


def forget(out: Path, one: Submission) -> None:
    """It is graded again next time."""
    _file(out, one.student, "json").unlink(missing_ok=True)


def overall(out: Path, found: Sequence[Submission]) -> list[Result]:
    """Writes the class's files, and each student's anew from its JSON, in which an instructor may
    have changed points; its results."""
    texts = [_file(out, one.student, "json").read_text(encoding="utf-8") for one in found]
    results = [from_json(text) for text in texts]
    for result in results:
        student(out, result)
    write_text(out / "grades.csv", to_csv(results))
    write_text(out / "class.html", overview.page(results))
    return results


def _file(out: Path, student: str, ending: str) -> Path:
    return out / "students" / f"{student}.{ending}"
