"""`distill-lab grade LAB SUBMISSIONS --out DIR`: marks, feedback and an overview of a class.

    handed_in -> cells -> session (pytest, nbval) -> sandbox (the kernel) -> marks -> pages

The checks run outside the kernel that runs the student's code (`session.items`, `sandbox.remote`,
`sandbox.inside`); what the kernel may not do is in `sandbox.guard`, what a submission may take in
`session.limits`, seen to by `session.watch`. CONTRIBUTING has the way of a submission.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_lab import __version__
from distill_lab.course.grading.session.limits import Limits
from distill_lab.run.records import LabError

if TYPE_CHECKING:
    from distill_lab.course.grading.course import GradedLab
    from distill_lab.course.grading.handed_in.collected import Collected, Submission
    from distill_lab.course.grading.marks.marks import Result
    from distill_lab.course.grading.session.grade_one import Graded

NEEDED = ("nbval", "ipykernel", "psutil", "pytest", "nbformat")


@dataclass(frozen=True, slots=True)
class Grade:
    """Grade a class: marks, feedback and an overview. The same command goes on where it stopped."""

    out: Path = Path("grades")
    """The folder for grades.csv, class.html, students/NAME.html, .json and .xml, and what an LMS
    takes in."""
    seed: int = 1
    """Of the cases that are drawn; students see those of seed 0. Keep yours to yourself."""
    roster: Path | None = None
    """The course's students as CSV, with columns such as ID, Name, Email: Canvas's or Moodle's
    export, or your own. It gives each submission its ID, and says who handed nothing in."""
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


def grade(name: str, source: Path, asked: Grade) -> int:
    """Grades the class. 0 whatever the students did; 1 where the grader itself does not work."""
    needed()
    _possible(asked)
    from distill_lab.course.grading import course
    from distill_lab.course.grading.handed_in import collect, roster
    from distill_lab.course.grading.marks import output_folder

    lab = course.find(name, asked.labs)
    people = roster.read(asked.roster) if asked.roster else None
    with tempfile.TemporaryDirectory(prefix="submissions-") as place:
        collected = collect.find(source, Path(place), lab, people)
        _of_this(lab, collected)
        output_folder.claim_output_folder(asked.out, _fixed(lab, asked))
        return _class(lab, collected, asked)


def _class(lab: GradedLab, collected: Collected, asked: Grade) -> int:
    """Grades what is not graded yet, writes everything, and says what an instructor should know."""
    from distill_lab.course.grading.marks import give_back, output_folder

    found = collected.submissions
    waiting = [one for one in found if not output_folder.done(asked.out, one)]
    if len(waiting) < len(found):
        _say(f"{len(found) - len(waiting)} of {len(found)} are graded already.")
    _noticed(collected)
    if asked.seed == Grade().seed:
        _say(f"--seed {asked.seed} is the default, and no secret: take a number of your own.")
    faults = _each(lab, waiting, asked)
    if gone := output_folder.withdraw(asked.out, collected):
        _say(f"No longer among the submissions, moved to {asked.out / 'withdrawn'}: {_few(gone)}.")
    results = output_folder.overall(asked.out, collected)
    give_back.write(asked.out, results, collected, (lab.part, lab.notebook))
    _say(f"{len(results)} submissions, of which {sum(map(_odd, results))} to be looked at.")
    _say(f"Marks: {asked.out / 'grades.csv'}. Overview: {asked.out / 'class.html'}.")
    return _fault(lab, asked, faults) if faults else 0


def _say(line: str) -> None:
    """Prints it; the marks are written although nobody reads (`… | head -1`)."""
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)


def _of_this(lab: GradedLab, collected: Collected) -> None:
    """LabError where the whole class handed in another lab: that one was meant."""
    others = [one.other_lab for one in collected.submissions if one.other_lab]
    none_is_right = all(one.problem for one in collected.submissions)
    if none_is_right and len(others) > 1 and len(set(others)) == 1:
        raise LabError(
            f"Expected notebooks of {lab.part}, found those of {others[0]} alone. Name that lab."
        )


def _noticed(collected: Collected) -> None:
    """A line for each kind of thing that a class's marks do not show."""
    several = [one.student for one in collected.submissions if one.set_aside]
    lines = {
        "Passed over, as they are no submissions": [one.file for one in collected.passed_over],
        "Of several files the newest counts": several,
        "On the roster, and nothing handed in": [one.called for one in collected.absent],
        "Handed in, and not on the roster": collected.strangers,
    }
    for said, names in lines.items():
        if names:
            _say(f"{said}: {_few(names)}.")


def _few(names: Sequence[str], most: int = 20) -> str:
    from distill_lab.course.grading.pages.shown_text import plain

    more = f" and {len(names) - most} more" if len(names) > most else ""
    return plain(", ".join(names[:most])) + more


def self_test(labs: Sequence[str], asked: Grade) -> int:
    """Grades a made-up class of each lab: 0 where each submission gets what is due to it. LabError
    in an installed package, which has no such classes."""
    if importlib.util.find_spec("distill_lab.course.grading.selftest") is None:
        raise LabError(
            "Expected a checkout of the course, found an installed package: the self-test's class, "
            "with its forged answers, is not installed. Run it from a checkout."
        )
    from distill_lab.course.grading import selftest

    return max(selftest.self_test(lab, asked, brief=n > 0) for n, lab in enumerate(labs))


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


def _fixed(lab: GradedLab, asked: Grade) -> dict[str, Any]:
    """What all marks of a folder have in common."""
    course = json.dumps([lab.entry, lab.sources], sort_keys=True)
    return {
        "lab": lab.part,
        "seed": asked.seed,
        **dataclasses.asdict(asked.limits),
        "course": hashlib.sha256(course.encode()).hexdigest()[:12],
        "version": __version__,
    }


def _each(lab: GradedLab, waiting: Sequence[Submission], asked: Grade) -> list[Submission]:
    """Grades them side by side, each written down at once; those whose session ended for no
    reason that is known."""
    from tqdm import tqdm

    from distill_lab.course.grading.marks import output_folder

    faults: list[Submission] = []
    with (
        tqdm(total=len(waiting), desc="graded", unit="notebook", disable=not waiting) as bar,
        contextlib.closing(_side_by_side(lab, waiting, asked)) as all_graded,
    ):
        for submission, graded in all_graded:
            output_folder.student(asked.out, graded.result)
            faults += [submission] if graded.log else []
            bar.update()
    return faults


def _side_by_side(
    lab: GradedLab, waiting: Sequence[Submission], asked: Grade
) -> Generator[tuple[Submission, Graded], None, None]:
    """Each as soon as it is graded. No process is left afterwards, however it ends."""
    from distill_lab.course.grading.session import grade_one

    pool = concurrent.futures.ThreadPoolExecutor(asked.jobs or jobs())
    work: dict[concurrent.futures.Future[Graded], Submission] = {}
    try:
        for submission in waiting:
            future = pool.submit(
                grade_one.grade, lab, asked.labs, submission, asked.seed, asked.limits
            )
            work[future] = submission
        for done in concurrent.futures.as_completed(work):
            yield work[done], done.result()
    finally:  # an interrupt too: what is not written yet is graded again
        pool.shutdown(wait=False, cancel_futures=True)
        grade_one.end_all()
        while not all(future.done() for future in work):  # one had just begun
            time.sleep(0.05)
            grade_one.end_all()


def jobs() -> int:
    """A core each, and 2 GB."""
    import psutil

    return max(1, min(os.cpu_count() or 1, psutil.virtual_memory().available // 2_000_000_000))


def _odd(result: Result) -> bool:
    return bool(result.reviews or result.failure)


def _fault(lab: GradedLab, asked: Grade, faults: Sequence[Submission]) -> int:
    """Sessions ended for no known reason: is it the grader? The right answers tell."""
    from distill_lab.course.grading import reference
    from distill_lab.course.grading.handed_in import collected
    from distill_lab.course.grading.marks import output_folder

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reference.ipynb"
        path.write_bytes(reference.reference_notebook(lab))
        [(_, graded)] = _side_by_side(lab, [collected.Submission("reference", path)], asked)
    all_points = tuple(exercise.points for exercise in lab.exercises)
    if reference.points_of_right_steps(graded.result) == all_points:
        return 0  # it works: the submissions ended their own sessions, and wait for a review
    for submission in faults:
        output_folder.forget(asked.out, submission)
    print(
        f"Grading does not work on this machine. The end of its log:\n{graded.log}", file=sys.stderr
    )
    return 1
