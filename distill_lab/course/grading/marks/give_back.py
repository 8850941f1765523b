"""What goes back into a learning management system: each student's page under the name that it
knows their file by, and the grades."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

from distill_lab.course.grading.handed_in.collected import Collected, Submission
from distill_lab.course.grading.handed_in.lms_names import feedback_name
from distill_lab.course.grading.marks import tables
from distill_lab.course.grading.marks.marks import Result
from distill_lab.run.records import write_bytes, write_text

FEEDBACK, CANVAS, MOODLE = "feedback.zip", "grades_for_canvas.csv", "grades_for_moodle.csv"


def write_lms_files(
    out: Path, results: Sequence[Result], collected: Collected, names: Sequence[str]
) -> None:
    """Writes what the LMS takes whose names the submissions have, or whose export the roster is;
    what there is of an earlier class is removed. `names`: the lab's."""
    named = [one for one in collected.submissions if one.sender and one.sender.lms]
    systems = {one.sender.lms for one in named if one.sender}
    systems |= {collected.roster.lms} if collected.roster else set()
    files = {
        FEEDBACK: _packed(out, named) if named else None,
        CANVAS: tables.for_canvas(results, collected, names) if "canvas" in systems else None,
        MOODLE: tables.for_moodle(results, collected) if "moodle" in systems else None,
    }
    for name, content in files.items():
        if content is None:
            (out / name).unlink(missing_ok=True)
        elif isinstance(content, bytes):
            write_bytes(out / name, content)
        else:
            write_text(out / name, content)


def _packed(out: Path, named: Sequence[Submission]) -> bytes:
    """The pages, in the folders or under the names that were downloaded."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as packed:
        for one in named:
            page = (out / "students" / f"{one.student}.html").read_bytes()
            # the same class has the same bytes: no time of today
            entry = zipfile.ZipInfo(feedback_name(one.handed_in))
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            packed.writestr(entry, page)
    return data.getvalue()
