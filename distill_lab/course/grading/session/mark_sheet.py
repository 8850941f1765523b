"""What is found of one submission while its notebook runs, written down after each mark."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from distill_lab.course.exercises import report
from distill_lab.course.exercises.exercise import Exercise, Outcome
from distill_lab.course.grading.cells.notebook_file import without_surrogates
from distill_lab.course.grading.marks.marks import (
    Mark,
    Remark,
    Result,
    State,
    StepMark,
    from_json,
    to_json,
)
from distill_lab.run.records import write_text

LONGEST = 2000  # characters of a finding
# Addresses and the session's folder differ from run to run: the same file has the same marks.
_ANEW = re.compile(r"(?<=0x)[0-9a-f]{6,}|(?<=/grading-)\w{6,}")


class MarkSheet:
    """The marks and remarks so far. `reached`: exercises that were judged; `missing`: those without
    a cell; `raised`: what the cell of one raised; `voided`: why one does not count."""

    def __init__(self, path: Path, result: Result) -> None:
        self.path, self.result = path, result
        self.reached: set[str] = set()
        self.missing: set[str] = set()
        self.raised: dict[str, str] = {}
        self.voided: dict[str, str] = {}

    @property
    def seed(self) -> int:
        return self.result.seed

    def remark(self, kind: str, where: str, text: str) -> None:
        new = Remark("review" if kind == "review" else "notice", where, _short(text))
        if new not in self.result.remarks:
            self.result = dataclasses.replace(self.result, remarks=(*self.result.remarks, new))

    def fail(self, why: str) -> None:
        """The file could not be graded."""
        self.result = dataclasses.replace(self.result, failure=why)

    def void(self, name: str, why: str) -> None:
        self.voided[name] = f"{self.voided[name]} {why}" if name in self.voided else why

    def mark(self, exercise: Exercise, outcome: Outcome) -> Mark:
        """The exercise's mark, which is saved with all before."""
        name, steps = exercise.name, steps_of(exercise, outcome)
        self.reached.add(name)
        state, points = state_of(outcome), outcome.points
        raised = self.raised.get(name) if points < exercise.points else None
        text = f"When its cell was run: {raised}" if raised else ""
        if name in self.missing:
            state, text = "missing", "No cell of this exercise was found."
        if name in self.voided:
            self.remark("review", name, f"{self.voided[name]} It would have {points} points.")
            state, points, text = "void", 0, "This exercise waits for a look by your instructor."
        hint = exercise.hints[0] if points < exercise.points else ""
        mark = Mark(name, state, points, exercise.points, steps, _short(text), hint)
        marks = [mark if old.exercise == name else old for old in self.result.marks]
        self.result = dataclasses.replace(self.result, marks=tuple(marks))
        self.save()
        return mark

    def compare(self, exercise: Exercise, claimed: str, outcome: Outcome) -> None:
        """Remarks that the check cell printed more points in the kernel than are found outside."""
        if claimed_points(exercise, claimed) > outcome.points:
            printed, counts = claimed.splitlines()[0], report(exercise, outcome).splitlines()[0]
            remark = (
                f"In the student's kernel the check printed {printed!r}; outside of it the same "
                f"check finds {counts!r}, which counts."
            )
            self.remark("review", exercise.name, remark)

    def save(self, finished: bool = False) -> None:
        whole = {"finished": finished, "result": json.loads(to_json(self.result))}
        write_text(self.path, json.dumps(whole, indent=1, ensure_ascii=False))


def refused(what: str) -> Remark:
    return Remark("review", "", _short(f"Its code tried this, and was refused: {what}."))


def load_result(path: Path) -> tuple[bool, Result]:
    """Whether the notebook ran to its end, and what was found until then."""
    whole = json.loads(path.read_text(encoding="utf-8"))
    return whole["finished"], from_json(json.dumps(whole["result"]))


def state_of(outcome: Outcome) -> State:
    return "partly right" if outcome.points and outcome.state != "right" else outcome.state


def steps_of(exercise: Exercise, outcome: Outcome) -> tuple[StepMark, ...]:
    found = zip(exercise.steps, outcome.wrong, strict=True)
    return tuple(
        StepMark(step.title, step.points, wrong is None, _short(str(wrong or "")))
        for step, wrong in found
    )


def _short(text: str) -> str:
    return without_surrogates(_ANEW.sub("…", text[:LONGEST]))


def claimed_points(exercise: Exercise, printed: str) -> int:
    """What a check's output says: `soften: right, 3 of 3 points`."""
    points = re.findall(
        rf"^{exercise.function}: .*?(\d{{1,4}}) of \d+ points", printed, re.MULTILINE
    )
    return max(map(int, points), default=0)
