"""One submission, graded in a process of its own: read, put together, run by pytest and nbval.

This process never runs the student's code: the kernel does, which it starts. `watcher` starts this
process, and watches both.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_lab import safe_path
from distill_lab.course.grading import graded_lab
from distill_lab.course.grading.cells.assemble import assemble
from distill_lab.course.grading.cells.notebook_file import read_cells
from distill_lab.course.grading.cells.sort_cells import sort_cells
from distill_lab.course.grading.marks.marks import from_json
from distill_lab.course.grading.run_submission import shell
from distill_lab.course.grading.run_submission.limits import Limits, environment
from distill_lab.course.grading.run_submission.mark_sheet import MarkSheet
from distill_lab.course.grading.sandbox import blocked
from distill_lab.run.records import LabError, write_text

READING = 15.0  # seconds of CPU time from the file to the notebook that is graded


@dataclass(frozen=True, slots=True)
class Plan:
    """What a session is given. `unmarked`: the result before anything ran; `submission`: a copy
    of the file; `labs`: the folder of the course's notebooks; `folder`: the session's own."""

    unmarked: dict[str, Any]
    submission: str
    labs: str
    folder: str
    limits: dict[str, Any]

    @property
    def home(self) -> Path:
        """Where the student's code runs, and all that it may write to."""
        return Path(self.folder) / "home"

    @property
    def result(self) -> Path:
        return Path(self.folder) / "result.json"


def load(lab: str) -> None:
    """Loads what a session of that lab needs."""
    for module in (
        "pytest",
        "nbval.plugin",
        "distill_lab.course.grading.run_submission.pytest_items",
    ):
        importlib.import_module(module)
    importlib.import_module(f"distill_lab.course.exercises.{lab}")


def run(path: Path) -> None:
    """Grades the plan's submission, then exits: 0 if it came to its end."""
    plan = Plan(**json.loads(path.read_text(encoding="utf-8")))
    os.environ.clear()
    os.environ.update(environment(Path(plan.folder)))
    tempfile.tempdir = None  # as that says: the kernel's connection file lies there
    sheet = MarkSheet(plan.result, from_json(json.dumps(plan.unmarked)))
    try:
        status = _run(plan, sheet)
    except LabError as error:  # of a file that is no notebook
        sheet.fail(str(error))
        status = 0
    sheet.save(finished=status == 0)
    sys.exit(status)


def _run(plan: Plan, sheet: MarkSheet) -> int:
    """Whether all exercises were judged (0), however many checks failed. Where the kernel cannot
    be started, say, pytest comes to its end and none is."""
    import pytest

    from distill_lab.course.grading.run_submission.pytest_items import Plugin

    limits = Limits(**plan.limits)
    lab = graded_lab.find_lab(sheet.result.lab, Path(plan.labs))
    with cpu_seconds(READING):
        graded_notebook = _assembled(lab, plan, sheet)
    write_text(plan.home / "graded.ipynb", graded_notebook)
    _kernel_spec(plan)
    options = ["-q", "-p", "no:cacheprovider", "-p", "nbval.plugin", "--noconftest", "--color=no"]
    limit = f"--nbval-cell-timeout={limits.cell_seconds:g}"
    folders = ["-c", os.devnull, f"--rootdir={plan.folder}"]
    graded = str(plan.home / "graded.ipynb")
    status = pytest.main([*options, limit, *folders, graded], plugins=[Plugin(sheet, limits)])
    all_judged = len(sheet.reached) == len(sheet.result.marks)
    return 0 if status in (0, 1) and all_judged else int(status) or 1


def _assembled(lab: graded_lab.GradedLab, plan: Plan, sheet: MarkSheet) -> str:
    parts = sort_cells(lab, read_cells(Path(plan.submission).read_bytes()), sheet)
    if not any(parts.exercises.values()):
        raise LabError(
            f"Expected a notebook of {lab.notebook}, found none of its exercises. Is it another "
            "one? Hand in this one."
        )
    return assemble(lab, parts)


@contextlib.contextmanager
def cpu_seconds(most: float) -> Iterator[None]:
    """LabError where what is inside takes more of this process's time."""

    def stop(*_: object) -> None:
        raise LabError(
            f"Expected a notebook, found one that takes more than {most:g} seconds to be read. "
            "Leave out the cells that are long or deeply nested."
        )

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, most, 1.0)  # again, where somebody caught it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _kernel_spec(plan: Plan) -> None:
    """The kernel that is started, whichever the notebook names: ours, behind its limits."""
    limits = Path(plan.folder) / "limits.json"
    paths = {"home": str(plan.home), "refusals": str(blocked.pipe(Path(plan.folder)))}
    write_text(limits, json.dumps({**plan.limits, "lab": plan.unmarked["lab"], **paths}))
    argv = safe_path.command("distill_lab.course.grading.sandbox.kernel", str(limits), "-f")
    spec = {"argv": [*argv, "{connection_file}"], "display_name": shell.NAME, "language": "python"}
    folder = Path(plan.folder) / "kernels" / shell.NAME
    folder.mkdir(parents=True)
    write_text(folder / "kernel.json", json.dumps(spec))
