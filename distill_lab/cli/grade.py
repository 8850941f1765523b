"""`distill-lab grade LAB SUBMISSIONS`, or `grade --self-test LAB...`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from distill_lab.course import grading
from distill_lab.course.grading.session.stopping import stoppable
from distill_lab.run.records import LabError


@dataclass(frozen=True, slots=True)
class GradeCommand(grading.Grade):
    """What is graded, and how."""

    lab: Annotated[Positional[str], arg(metavar="LAB", help_behavior_hint="")] = ""
    """The lab that the class handed in: lab5a, say."""
    submissions: Annotated[Positional[str], arg(metavar="SUBMISSIONS", help_behavior_hint="")] = ""
    """A folder or a zip file of notebooks."""
    self_test: Annotated[tuple[str, ...], arg(metavar="LAB...", help_behavior_hint="")] = ()
    """Grade a made-up class of these labs instead, whose marks are known."""


def run(settings: GradeCommand) -> int:
    """The exit status of grading, or the worst of the self-tests."""
    given = [text for text in (settings.lab, settings.submissions) if text]
    if len(given) != (0 if settings.self_test else 2):
        raise LabError(
            "Expected `distill-lab grade LAB SUBMISSIONS --out DIR`, or `distill-lab grade "
            f"--self-test LAB...`, found {' '.join(given) or 'neither'}. LAB is lab5a, say."
        )
    with stoppable():
        if not settings.self_test:
            return grading.grade(settings.lab, Path(settings.submissions), settings)
        return grading.self_test(settings.self_test, settings)
