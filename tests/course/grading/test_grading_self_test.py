"""The made-up class itself: each of its notebooks is found again under its own name."""

from __future__ import annotations

from pathlib import Path

from distill_lab.course.grading import course, selftest
from distill_lab.course.grading.handed_in import collect

LABS = Path(__file__).parent.parent.parent.parent / "lab_notebooks"


def test_every_made_up_submission_is_found_by_its_name(tmp_path: Path):
    """A comma or an apostrophe becomes `_`, and the self-test would look for a row in vain."""
    lab = course.find_lab("lab5a", LABS)
    known = selftest.made_up_class(lab, LABS)
    selftest.write(known, tmp_path)
    found = collect.find_submissions(tmp_path, tmp_path / "unpacked", lab).submissions
    assert sorted(one.student for one in found) == sorted(form.name for form in known)
