"""What was found of a class: a submission a student, files that are nobody's, and the roster."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from distill_lab.course.grading.handed_in.lms_names import Sender
from distill_lab.course.grading.handed_in.roster import Person, Roster


@dataclass(frozen=True, slots=True)
class Submission:
    """`student` names the output's files. `problem`: why the file is not looked at ("": it is);
    `set_aside`: what else they handed in; `handed_in`: the LMS's name for it; `other_lab`: the lab
    whose notebook it is, where it is another's; `person`: who that is on the roster."""

    student: str
    path: Path
    problem: str = ""
    set_aside: tuple[str, ...] = ()
    sender: Sender | None = None
    handed_in: str = ""
    other_lab: str = ""
    person: Person | None = None

    def digest(self) -> str:
        return "" if self.problem else hashlib.sha256(self.path.read_bytes()).hexdigest()

    @property
    def id(self) -> str:
        """The roster's, else the LMS's."""
        return (self.person and self.person.id) or (self.sender.id if self.sender else "")


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A file that is nobody's submission, and why."""

    file: str
    why: str


@dataclass(frozen=True, slots=True)
class Collected:
    """All that was found. `absent`: those of the roster who handed nothing in."""

    submissions: tuple[Submission, ...]
    passed_over: tuple[PassedOver, ...] = ()
    roster: Roster | None = None

    @property
    def absent(self) -> list[Person]:
        here = {id(one.person) for one in self.submissions}
        return [one for one in self.roster.people if id(one) not in here] if self.roster else []

    @property
    def strangers(self) -> list[str]:
        """Students that the roster does not have, or not by one name alone."""
        return [one.student for one in self.submissions if self.roster and not one.person]


NOTHING = Collected(())
