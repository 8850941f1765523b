"""The made-up class itself: each of its notebooks is found again under its own name."""

from __future__ import annotations

from pathlib import Path

from distill_lab.grading import course, self_test, submissions

LABS = Path(__file__).parent.parent / "lab_notebooks"


def test_every_made_up_submission_is_found_by_its_name(tmp_path: Path):
    """A comma or an apostrophe becomes `_`, and the self-test would look for a row in vain."""
    lab = course.find("lab5a", LABS)
    known = [*self_test.known_forms(lab, LABS), *self_test.odd_forms(lab, LABS)]
    self_test.write(known, tmp_path)
    found = submissions.find(tmp_path, tmp_path / "unpacked", lab).submissions
    assert sorted(one.student for one in found) == sorted(form.name for form in known)
