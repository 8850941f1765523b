"""What grading finds: a result a submission, a mark an exercise; and its JSON.

Result                 one submission of one lab
  marks: Mark          one exercise, in the notebook's order
    steps: StepMark    one step of its check
  remarks: Remark      what was noticed about the file and the run
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["right", "partly right", "wrong", "error", "not attempted", "missing", "void"]


@dataclass(frozen=True, slots=True)
class StepMark:
    """One step of an exercise's check: `said` is its finding in the student's words (several lines:
    the call, yours, expected, and the mistake's name where it is known), "" where it is right."""

    title: str
    points: int
    right: bool
    said: str = ""

    @property
    def mistake(self) -> str:
        """The name of the mistake, where it is a known one: what stands behind `expected: …`."""
        lines = self.said.splitlines()
        places = [n for n, line in enumerate(lines) if line.startswith("expected:")]
        return " ".join(lines[places[-1] + 1 :]) if places else ""


@dataclass(frozen=True, slots=True)
class Mark:
    """One exercise (`lab5a.soften`): `points` of `of`. `said` is a sentence where the state needs
    one: why it is void, that no cell was found, what the cell raised."""

    exercise: str
    state: State
    points: int
    of: int
    steps: tuple[StepMark, ...] = ()
    said: str = ""
    hint: str = ""
    """The first hint, for those who did not get all points."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something noticed. `review`: an instructor should look at it before the marks are given out;
    else a notice to the student. `said`: what was found, and what to do."""

    kind: Literal["notice", "review"]
    where: str
    said: str


@dataclass(frozen=True, slots=True)
class Result:
    """One submission. `failure` says why a file could not be graded at all ("" if it was); then
    all marks are `missing` or what was reached before."""

    student: str
    lab: str
    file: str
    sha256: str
    seed: int
    marks: tuple[Mark, ...]
    remarks: tuple[Remark, ...] = ()
    failure: str = ""

    @property
    def points(self) -> int:
        return sum(mark.points for mark in self.marks)

    @property
    def of(self) -> int:
        return sum(mark.of for mark in self.marks)

    @property
    def reviews(self) -> tuple[Remark, ...]:
        return tuple(remark for remark in self.remarks if remark.kind == "review")


def to_json(result: Result) -> str:
    """Its points are written beside its marks: other tools need not add them up."""
    whole = {"points": result.points, "of": result.of, **dataclasses.asdict(result)}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> Result:
    read: dict[str, Any] = json.loads(text)
    marks = tuple(
        Mark(**{**mark, "steps": tuple(StepMark(**step) for step in mark["steps"])})
        for mark in read.pop("marks")
    )
    remarks = tuple(Remark(**remark) for remark in read.pop("remarks"))
    given = {name: read[name] for name in ("student", "lab", "file", "sha256", "seed", "failure")}
    return Result(**given, marks=marks, remarks=remarks)
