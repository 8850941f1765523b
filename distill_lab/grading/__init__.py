"""`distill-lab grade LAB SUBMISSIONS --out DIR`: marks, feedback and an overview of a class.

    submissions -> read -> sort -> assemble -> session (pytest, nbval, the kernel) -> marks -> pages

The checks run outside the kernel that runs the student's code (`items`, `remote`, `inside`); what
the kernel may not do is in `guard`, what a submission may take in `limits`, seen to by `watch`.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_lab import __version__
from distill_lab.grading.limits import Limits
from distill_lab.records import LabError

if TYPE_CHECKING:
    from distill_lab.grading.course import Lab
    from distill_lab.grading.marks import Result
    from distill_lab.grading.submissions import Submission

NEEDED = ("nbval", "ipykernel", "psutil", "pytest", "nbformat")


@dataclass(frozen=True, slots=True)
class Grade:
    """Grade a class: marks, feedback and an overview. The same command goes on where it stopped."""

    out: Path = Path("grades")
    """The folder for grades.csv, class.html, and students/NAME.json, .xml and .html."""
    seed: int = 1
    """Of the cases that are drawn; students see those of seed 0. Keep yours to yourself."""
    jobs: int = 0
    """Submissions at the same time; 0: as many as this machine has cores and memory for."""
    labs: Path = Path("lab_notebooks")
    """Where the course's notebooks and their manifest lie."""
    seconds: int = 300
    """Wall-clock time of a submission; what was reached before counts."""
    memory_gb: float = 6.0
    """Memory of a submission, all its processes together."""
    cell_seconds: float = 30.0
    """Of one statement of a student's."""
    call_seconds: float = 10.0
    """Of one call of a student's function."""

    @property
    def limits(self) -> Limits:
        return Limits(
            seconds=self.seconds,
            memory_bytes=int(self.memory_gb * 1e9),
            cell_seconds=self.cell_seconds,
            call_seconds=self.call_seconds,
        )


def grade(name: str, folder: Path, asked: Grade) -> int:
    """Grades the class. 0 whatever the students did; 1 where the grader itself does not work."""
    needed()
    _possible(asked)
    from distill_lab.grading import course, submissions, written

    lab = course.find(name, asked.labs)
    found = submissions.find(folder, lab.notebook)
    written.adopt(asked.out, _fixed(lab, asked))
    waiting = [one for one in found if not written.done(asked.out, one)]
    if len(waiting) < len(found):
        print(f"{len(found) - len(waiting)} of {len(found)} are graded already.")
    if others := submissions.passed_over(folder):
        print(f"Passed over, as they are no notebooks: {', '.join(others)}.")
    if asked.seed == Grade().seed:
        print(f"--seed {asked.seed} is the default, and no secret: take a number of your own.")
    faults = _each(lab, waiting, asked)
    results = written.overall(asked.out, found)
    print(f"{len(results)} submissions, of which {sum(map(_odd, results))} to be looked at.")
    print(f"Marks: {asked.out / 'grades.csv'}. Overview: {asked.out / 'class.html'}.")
    return _fault(lab, asked, faults) if faults else 0


def needed() -> None:
    """LabError where this machine cannot grade."""
    if os.name != "posix":
        raise LabError(
            "Grading needs Linux or macOS, whose limits keep a submission in bounds; found "
            f"{sys.platform}. On Windows use WSL, or the workflow in lab_notebooks/INSTRUCTORS.md."
        )
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise LabError(f"Expected {', '.join(missing)}, found none. `pip install -e .[grading]`.")


def _possible(asked: Grade) -> None:
    """LabError for a number that nothing can be graded with."""
    limits = (asked.seconds, asked.memory_gb, asked.cell_seconds, asked.call_seconds)
    if asked.jobs < 0 or min(limits) <= 0:
        raise LabError(
            "Expected --jobs of 0 or more, and --seconds, --memory-gb, --cell-seconds and "
            f"--call-seconds above 0; found {asked.jobs} and {', '.join(map(str, limits))}."
        )


def _fixed(lab: Lab, asked: Grade) -> dict[str, Any]:
    """What all marks of a folder have in common."""
    course = json.dumps([lab.entry, lab.sources], sort_keys=True)
    return {
        "lab": lab.part,
        "seed": asked.seed,
        **dataclasses.asdict(asked.limits),
        "course": hashlib.sha256(course.encode()).hexdigest()[:12],
        "version": __version__,
    }


def _each(lab: Lab, waiting: Sequence[Submission], asked: Grade) -> list[Submission]:
    """Grades them side by side, each written down at once; those whose session ended for no
    reason that is known."""
    from tqdm import tqdm

    from distill_lab.grading import one, written

    faults: list[Submission] = []
    pool = concurrent.futures.ThreadPoolExecutor(asked.jobs or jobs())
    bar = tqdm(total=len(waiting), desc="graded", unit="notebook", disable=not waiting)
    try:
        work = {
            pool.submit(one.grade, lab, asked.labs, s, asked.seed, asked.limits): s for s in waiting
        }
        for done in concurrent.futures.as_completed(work):
            graded = done.result()
            written.student(asked.out, graded.result)
            faults += [work[done]] if graded.log else []
            bar.update()
    finally:  # an interrupt too: what is not written yet is graded again
        pool.shutdown(wait=False, cancel_futures=True)
        one.end_all()
        bar.close()
    return faults


def jobs() -> int:
    """A core each, and 2 GB."""
    import psutil

    return max(1, min(os.cpu_count() or 1, psutil.virtual_memory().available // 2_000_000_000))


def _odd(result: Result) -> bool:
    return bool(result.reviews or result.failure)


def _fault(lab: Lab, asked: Grade, faults: Sequence[Submission]) -> int:
    """Sessions ended for no known reason: is it the grader? The right answers tell."""
    from distill_lab.grading import forms, one, submissions, written

    form = forms.reference(lab)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reference.ipynb"
        path.write_bytes(form.data)
        right = submissions.Submission("reference", path)
        graded = one.grade(lab, asked.labs, right, asked.seed, asked.limits)
    if forms.judged(graded.result) == form.judged:
        return 0  # it works: the submissions ended their own sessions, and wait for a review
    for submission in faults:
        written.forget(asked.out, submission)
    print(
        f"Grading does not work on this machine. The end of its log:\n{graded.log}", file=sys.stderr
    )
    return 1
