"""`distill-lab grade LAB SUBMISSIONS --out DIR`: marks, feedback and an overview of a class.

    handed_in -> cells -> run_submission (pytest, nbval) -> sandbox (the kernel) -> marks -> pages

The checks run outside the kernel that runs the student's code (`run_submission.pytest_items`,
`sandbox.remote`, `sandbox.inside_kernel`). `sandbox.python_guard` says what that kernel may not do,
`run_submission.limits` what a submission may use, and `run_submission.watcher` ends what goes
beyond it.
CONTRIBUTING follows a submission through all of it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from distill_lab.course.grading.grade_class import NEEDED, Grade, grade
from distill_lab.run.records import LabError

__all__ = ["NEEDED", "Grade", "grade", "self_test"]


def self_test(labs: Sequence[str], settings: Grade) -> int:
    """Grades a made-up class of each lab: 0 where each submission gets what is due to it. LabError
    in an installed package, which has no such classes."""
    if importlib.util.find_spec("distill_lab.course.grading.selftest") is None:
        raise LabError(
            "Expected a checkout of the course, found an installed package: the self-test's class, "
            "with its forged answers, is not installed. Run it from a checkout."
        )
    from distill_lab.course.grading import selftest

    return max(selftest.self_test(lab, settings, brief=n > 0) for n, lab in enumerate(labs))
