"""Grades a class: finds the submissions, grades them side by side, and writes the marks."""

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
    from distill_lab.course.grading.session.grade_submission import Graded

NEEDED = ("nbval", "ipykernel", "psutil", "pytest", "nbformat")


@dataclass(frozen=True, slots=True)
class Grade:
    """Grade a class: marks, feedback and an overview. The same command goes on where it stopped."""

    out: Path = Path("grades")
    """The folder for grades.csv, class.html, students/NAME.html, .json and .xml, and the files that
    an LMS imports."""
    seed: int = 1
    """The seed of the random cases; students see those of seed 0. Keep yours to yourself."""
    roster: Path | None = None
    """The course's students as CSV, with columns such as ID, Name, Email: Canvas's or Moodle's
    export, or your own. It gives each submission its ID, and says who handed nothing in."""
    jobs: int = 0
    """Submissions at the same time; 0: as many as this machine has cores and memory for."""
    labs: Path = Path("lab_notebooks")
    """The folder of the course's notebooks and their manifest."""
    seconds: int = 300
    """Wall-clock time of a submission; what was reached before counts."""
    memory_gb: float = 6.0
    """Memory of a submission, all its processes together."""
    cell_seconds: float = 30.0
    """Time of one statement of a student's."""
    call_seconds: float = 10.0
    """Time of one call of a student's function."""

    @property
    def limits(self) -> Limits:
        return Limits(
            seconds=self.seconds,
            memory_bytes=int(self.memory_gb * 1e9),
            cell_seconds=self.cell_seconds,
            call_seconds=self.call_seconds,
        )


def grade(name: str, source: Path, settings: Grade) -> int:
    """Grades the class. 0 whatever the students did; 1 where the grader itself does not work."""
    require_grading()
    _check(settings)
    from distill_lab.course.grading import course
    from distill_lab.course.grading.handed_in import collect, roster
    from distill_lab.course.grading.marks import output_folder

    lab = course.find_lab(name, settings.labs)
    people = roster.read_roster(settings.roster) if settings.roster else None
    with tempfile.TemporaryDirectory(prefix="submissions-") as unpacked:
        collected = collect.find_submissions(source, Path(unpacked), lab, people)
        _refuse_another_lab(lab, collected)
        output_folder.claim_output_folder(settings.out, _common(lab, settings))
        return _grade_collected(lab, collected, settings)


def _grade_collected(lab: GradedLab, collected: Collected, settings: Grade) -> int:
    """Grades what is not graded yet, writes all files, and says what an instructor should know."""
    from distill_lab.course.grading.marks import give_back, output_folder

    out, submissions = settings.out, collected.submissions
    waiting = [one for one in submissions if not output_folder.is_graded(out, one)]
    if len(waiting) < len(submissions):
        _say(f"{len(submissions) - len(waiting)} of {len(submissions)} are graded already.")
    _say_what_is_odd(collected)
    if settings.seed == Grade().seed:
        _say(f"--seed {settings.seed} is the default, and no secret: take a number of your own.")
    faults = _grade_and_write(lab, waiting, settings)
    if gone := output_folder.move_withdrawn(out, collected):
        _say(f"No longer among the submissions, moved to {out / 'withdrawn'}: {_few(gone)}.")
    results = output_folder.write_class(out, collected)
    give_back.write_lms_files(out, results, collected, (lab.part, lab.notebook))
    odd = sum(bool(result.reviews or result.failure) for result in results)
    _say(f"{len(results)} submissions, of which {odd} to be looked at.")
    _say(f"Marks: {out / 'grades.csv'}. Overview: {out / 'class.html'}.")
    return _status_of_faults(lab, settings, faults) if faults else 0


def _say(line: str) -> None:
    """Prints it; the marks are written although nobody reads (`… | head -1`)."""
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)


def _refuse_another_lab(lab: GradedLab, collected: Collected) -> None:
    """LabError where the whole class handed in another lab: that one was meant."""
    others = [one.other_lab for one in collected.submissions if one.other_lab]
    none_is_right = all(one.problem for one in collected.submissions)
    if none_is_right and len(others) > 1 and len(set(others)) == 1:
        raise LabError(
            f"Expected notebooks of {lab.part}, found those of {others[0]} alone. Name that lab."
        )


def _say_what_is_odd(collected: Collected) -> None:
    """Prints a line for each group of names that a class's marks do not show."""
    several = [one.student for one in collected.submissions if one.set_aside]
    groups = {
        "Passed over, as they are no submissions": [one.file for one in collected.passed_over],
        "Of several files the newest counts": several,
        "On the roster, and nothing handed in": [one.called for one in collected.absent],
        "Handed in, and not on the roster": collected.strangers,
    }
    for title, names in groups.items():
        if names:
            _say(f"{title}: {_few(names)}.")


def _few(names: Sequence[str], most: int = 20) -> str:
    from distill_lab.course.grading.pages.shown_text import plain

    more = f" and {len(names) - most} more" if len(names) > most else ""
    return plain(", ".join(names[:most])) + more


def require_grading() -> None:
    """LabError where this machine cannot grade."""
    if os.name != "posix":
        raise LabError(
            "Grading needs Linux or macOS, whose limits keep a submission in bounds; found "
            f"{sys.platform}. On Windows use WSL, or the workflow in lab_notebooks/INSTRUCTORS.md."
        )
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise LabError(f"Expected {', '.join(missing)}, found none. `pip install -e .[grading]`.")


def _check(settings: Grade) -> None:
    """LabError for a number with which nothing can be graded."""
    limits = (settings.seconds, settings.memory_gb, settings.cell_seconds, settings.call_seconds)
    if settings.jobs < 0 or min(limits) <= 0:
        raise LabError(
            "Expected --jobs of 0 or more, and --seconds, --memory-gb, --cell-seconds and "
            f"--call-seconds above 0; found {settings.jobs} and {', '.join(map(str, limits))}."
        )


def _common(lab: GradedLab, settings: Grade) -> dict[str, Any]:
    """What all marks of an output folder have in common."""
    course = json.dumps([lab.entry, lab.sources], sort_keys=True)
    return {
        "lab": lab.part,
        "seed": settings.seed,
        **dataclasses.asdict(settings.limits),
        "course": hashlib.sha256(course.encode()).hexdigest()[:12],
        "version": __version__,
    }


def _grade_and_write(
    lab: GradedLab, waiting: Sequence[Submission], settings: Grade
) -> list[Submission]:
    """Grades them side by side and writes each student's files at once; returns the submissions
    whose session ended for no known reason."""
    from tqdm import tqdm

    from distill_lab.course.grading.marks import output_folder

    faults: list[Submission] = []
    with (
        tqdm(total=len(waiting), desc="graded", unit="notebook", disable=not waiting) as bar,
        contextlib.closing(_side_by_side(lab, waiting, settings)) as all_graded,
    ):
        for submission, graded in all_graded:
            output_folder.write_student(settings.out, graded.result)
            faults += [submission] if graded.log else []
            bar.update()
    return faults


def _side_by_side(
    lab: GradedLab, waiting: Sequence[Submission], settings: Grade
) -> Generator[tuple[Submission, Graded], None, None]:
    """Yields each as soon as it is graded. No process is left afterwards, however it ends."""
    from distill_lab.course.grading.session import grade_submission

    pool = concurrent.futures.ThreadPoolExecutor(settings.jobs or default_jobs())
    common = (settings.labs, settings.seed, settings.limits)
    work: dict[concurrent.futures.Future[Graded], Submission] = {}
    try:
        for one in waiting:
            work[pool.submit(grade_submission.grade_submission, lab, one, *common)] = one
        for done in concurrent.futures.as_completed(work):
            yield work[done], done.result()
    finally:  # an interrupt too: what is not written yet is graded again
        pool.shutdown(wait=False, cancel_futures=True)
        grade_submission.end_all()
        while not all(future.done() for future in work):  # one had just begun
            time.sleep(0.05)
            grade_submission.end_all()


def default_jobs() -> int:
    """One for each core and each 2 GB of free memory."""
    import psutil

    return max(1, min(os.cpu_count() or 1, psutil.virtual_memory().available // 2_000_000_000))


def _status_of_faults(lab: GradedLab, settings: Grade, faults: Sequence[Submission]) -> int:
    """Whether the grader is the reason that sessions ended: the package's own answers tell."""
    from distill_lab.course.grading import reference
    from distill_lab.course.grading.handed_in import collected
    from distill_lab.course.grading.marks import output_folder

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reference.ipynb"
        path.write_bytes(reference.reference_notebook(lab))
        [(_, graded)] = _side_by_side(lab, [collected.Submission("reference", path)], settings)
    all_points = tuple(exercise.points for exercise in lab.exercises)
    if reference.points_of_right_steps(graded.result) == all_points:
        return 0  # it works: the submissions ended their own sessions, and wait for a review
    for submission in faults:
        output_folder.discard(settings.out, submission)
    print(
        f"Grading does not work on this machine. The end of its log:\n{graded.log}", file=sys.stderr
    )
    return 1
