"""The graded notebook as nbval's items: each check cell has its own points.

A role a cell (its metadata, written by `assemble`):
    student    the student's statements, each by itself: one that fails hides none behind it
    exercise   the same; what it raises is told with the mark
    canary     must fail as it does in an untouched kernel, or the exercise is void
    check      judged here, outside the kernel, on what the student's function gives there
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile, NbCellError

from distill_lab.course import exercises
from distill_lab.course.exercises.exercise import judge_called
from distill_lab.course.grading.marks.junit import message
from distill_lab.course.grading.sandbox.remote import remote
from distill_lab.course.grading.session.limits import Limits
from distill_lab.course.grading.session.mark_sheet import MarkSheet, claimed_points
from distill_lab.course.grading.session.shell import KernelDiedError, Shell

REVIVALS = 5  # with what ran before; a kernel that ends again and again gets nothing after that
DEATHS = 2  # of the kernel in one check; after that its function is asked no more


class Plugin:
    """For `pytest.main(plugins=[Plugin(record, limits)])`."""

    def __init__(self, record: MarkSheet, limits: Limits) -> None:
        self.record, self.limits = record, limits

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> Any:
        if file_path.suffix != ".ipynb":
            return None
        file = GradedFile.from_parent(parent, path=file_path)
        file.record, file.limits = self.record, self.limits
        return file


class GradedFile(IPyNbFile):
    """A graded notebook and its kernel, which is started anew where the student's code ended it."""

    record: MarkSheet
    limits: Limits

    def setup(self) -> None:
        self.kernel: Any = Shell(str(self.path.parent.parent))
        self.ran: list[str] = []
        self.deaths = self.revivals = 0

    def collect(self) -> Generator[GradedCell, None, None]:
        self.nb = nbformat.read(self.path, as_version=4)
        for number, cell in enumerate(self.nb.cells):
            options = {"check": False, "check_exception": True, "skip": False}
            yield GradedCell.from_parent(
                self, name=cell.id, cell_num=number, cell=cell, options=options
            )

    def statement(self, source: str) -> str:
        """Runs a student's statement; "" or what became of it, in words."""
        try:
            raised = self.kernel.run(source, self.limits.cell_seconds)
        except TimeoutError as error:
            self.stopped("A statement of its code", error)
            return f"TimeoutError: {error}"
        except KernelDiedError as error:
            self.revive()
            return f"The kernel had to be started again: {error}."
        self.ran.append(source)
        return raised

    def ask(self, expression: str) -> str:
        if self.deaths >= DEATHS:
            raise KernelDiedError("it has ended its process too often")
        try:
            return self.kernel.ask(expression, self.limits.call_seconds)
        except TimeoutError as error:
            self.stopped("A call of its function", error)
            raise
        except KernelDiedError:
            self.revive()
            raise

    def stopped(self, what: str, error: TimeoutError) -> None:
        """It may be the machine that was too slow."""
        self.record.remark("review", "", f"{what} took too long: {error}.")

    def revive(self) -> None:
        """Another kernel, with all that ran before but what ended this one."""
        self.deaths += 1
        self.revivals += 1
        self.record.remark("review", "", "The student's code ended the process that ran it.")
        if self.kernel.is_alive():
            self.kernel.stop()
        self.kernel = Shell(str(self.path.parent.parent))
        before, self.ran = self.ran if self.revivals <= REVIVALS else [], []
        for source in before:
            self.statement(source)


class GradedCell(IPyNbCell):
    parent: Any

    def setup(self) -> None:
        """Not nbval's, which expects all cells behind a stopped one to fail."""

    @property
    def _grading(self) -> Any:
        return self.cell.metadata["grading"]

    def runtest(self) -> None:
        role = {
            "student": self._student,
            "exercise": self._student,
            "canary": self._canary,
            "check": self._check,
        }
        role[self._grading["role"]]()

    def repr_failure(self, excinfo: Any) -> str:
        return str(excinfo.value)

    # -- student's cells

    def _student(self) -> None:
        became = map(self.parent.statement, self._grading["statements"])
        raised = [text for text in became if text]
        if raised and self._grading["role"] == "exercise":
            self.parent.record.raised[self._grading["exercise"]] = raised[0]

    # -- the canary

    def _canary(self) -> None:
        name, expected = self._grading["exercise"], self._grading["expected"]
        self.parent.deaths = 0
        found = self._failure()
        wrong = next((key for key in expected if found.get(key) != expected[key]), None)
        if wrong:
            why = (
                "A cell that must fail did not fail as in an untouched kernel: expected it "
                f"{wrong} {expected[wrong]!r}, found {found.get(wrong, found)!r}."
            ).replace(self._grading["nonce"], "NONCE")  # drawn anew each time; marks are the same
            self.parent.record.void(name, why)
            raise self._failed(why)

    def _failure(self) -> dict[str, str]:
        """What the canary's cell printed and raised, and what crossed."""
        nonce = self._grading["nonce"]
        try:
            super().runtest()
            crossed = remote(f"(lambda: {nonce!r})", self.parent.ask)()
        except (KernelDiedError, NbCellError, RuntimeError) as error:
            return {"ended": str(error)[:200]}
        except Exception as error:
            crossed = f"{type(error).__name__}: {error}"[:200]
        outs = self.test_outputs or []
        printed = "".join(o.text for o in outs if o.get("name") == "stdout")
        raised = [f"{o.ename}: {o.evalue}" for o in outs if o.output_type == "error"]
        return {"printed": printed, "raised": "; ".join(raised), "crossed": str(crossed)}

    # -- the check

    def _check(self) -> None:
        exercise, record = exercises.find(self._grading["exercise"]), self.parent.record
        self.parent.deaths = 0
        claimed = self._claimed()
        function = remote(exercise.expression, self.parent.ask, self._unreadable)
        outcome = judge_called(exercise, function, record.seed)
        if claimed_points(exercise, claimed) > outcome.points:
            record.compare(exercise, claimed, judge_called(exercise, function, 0))
        mark = record.mark(exercise, outcome)
        self.user_properties += [("points", mark.points), ("of", mark.of), ("state", mark.state)]
        if mark.points < mark.of:
            raise self._failed(message(mark))

    def _unreadable(self, why: str) -> None:
        said = f"What its function gave is nothing that an untouched kernel sends: {why}."
        self.parent.record.remark("review", self._grading["exercise"], said)

    def _claimed(self) -> str:
        """What the check cell prints in the student's kernel, as they saw it."""
        with contextlib.suppress(KernelDiedError, NbCellError, RuntimeError):  # ended, or stopped
            super().runtest()
        if not self.parent.kernel.is_alive():
            self.parent.revive()
        outs = self.test_outputs or []
        return "".join(o.text for o in outs if o.get("name") == "stdout")

    def _failed(self, said: str) -> NbCellError:
        return NbCellError(self.cell_num, said, self.cell.source)
