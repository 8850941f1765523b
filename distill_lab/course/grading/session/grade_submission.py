"""One submission from file to result: its folder, its processes, and what their end means."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distill_lab import safe_path
from distill_lab.course.grading.cells.notebook_file import without_surrogates
from distill_lab.course.grading.course import GradedLab
from distill_lab.course.grading.handed_in.collected import Submission
from distill_lab.course.grading.marks.marks import Remark, Result
from distill_lab.course.grading.session import mark_sheet
from distill_lab.course.grading.session.limits import Limits, environment
from distill_lab.run.records import write_text

_WATCHERS: set[subprocess.Popen[bytes]] = set()
_IDLE: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Graded:
    """A result, and the session's log where it ended for no reason that is known."""

    result: Result
    log: str = ""


def grade_submission(
    lab: GradedLab, submission: Submission, labs: Path, seed: int, limits: Limits
) -> Graded:
    """Grades it in a folder that is gone afterwards; whatever it does, there is a result."""
    empty = _unmarked(lab, submission, seed)
    if submission.problem:
        return Graded(dataclasses.replace(empty, failure=submission.problem))
    with _folder() as place:
        (place / "home").mkdir()
        shutil.copy(submission.path, place / "submission")
        plan = {
            "unmarked": dataclasses.asdict(empty),
            "submission": str(place / "submission"),
            "labs": str(labs.resolve()),
            "folder": str(place),
            "limits": dataclasses.asdict(limits),
        }
        write_text(place / "plan.json", json.dumps(plan))
        _watch(lab.part, place / "plan.json")
        return _found(place, empty)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="grading-")).resolve()
    try:
        yield place
    finally:
        with contextlib.suppress(OSError):
            remove(place)


def remove(folder: Path) -> None:
    """With all in it, nested deeper than Python's own `rmtree` goes: what is in an inner folder
    is moved up before that one is removed."""
    while inner := list(os.scandir(folder)):
        for one in inner:
            if not one.is_dir(follow_symlinks=False):
                os.unlink(one.path)
                continue
            os.chmod(one.path, 0o700)
            for below in os.scandir(one.path):
                if below.is_dir(follow_symlinks=False):
                    os.chmod(below.path, 0o700)
                os.rename(below.path, folder / secrets.token_hex(16))
            os.rmdir(one.path)
    os.rmdir(folder)


def _unmarked(lab: GradedLab, submission: Submission, seed: int) -> Result:
    aside = f"Handed in as well, and not graded: {', '.join(submission.set_aside)}."
    remarks = (Remark("notice", "", aside),) if submission.set_aside else ()
    file, digest = without_surrogates(submission.path.name), submission.digest()
    return Result(submission.student, lab.part, file, digest, seed, lab.unmarked, remarks)


def _watch(lab: str, plan: Path) -> None:
    """Has a watcher run the plan's session, and waits for it: one that has nothing to do, or a new
    one."""
    try:
        watcher = _IDLE.pop()
    except IndexError:
        watcher = _new(lab)
    assert watcher.stdin
    assert watcher.stdout
    with contextlib.suppress(BrokenPipeError):
        watcher.stdin.write(f"{plan}\n".encode())
        watcher.stdin.flush()
    if watcher.stdout.readline():
        _IDLE.append(watcher)
    else:  # it has ended, or was ended
        watcher.wait()
        _WATCHERS.discard(watcher)


def _new(lab: str) -> subprocess.Popen[bytes]:
    """A watcher in a group of its own: an interrupt at the terminal is not for it."""
    watcher = subprocess.Popen(
        safe_path.command("distill_lab.course.grading.session.watch", str(os.getpid()), lab),
        cwd=os.sep,
        env=environment(Path(tempfile.gettempdir())),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    _WATCHERS.add(watcher)
    return watcher


def end_all() -> None:
    """Ends the watchers, and all that still runs below them."""
    _IDLE.clear()
    for watcher in list(_WATCHERS):
        watcher.terminate()
    for watcher in list(_WATCHERS):
        watcher.wait()
        _WATCHERS.discard(watcher)


def _found(place: Path, empty: Result) -> Graded:
    """What is there, and how it ended: a limit is the submission's own; an end without one may be
    the grader's fault."""
    outcome = place / "outcome.json"
    ended = json.loads(outcome.read_text(encoding="utf-8")) if outcome.exists() else {}
    result, finished = empty, False
    if (place / "result.json").exists():
        finished, result = mark_sheet.load_result(place / "result.json")
    why = ended.get("beyond", "")
    if not finished:
        said = f"Grading was stopped: {why}." if why else "Grading ended before its end."
        said += " What was reached before counts."
        result = dataclasses.replace(
            result, failure=said, remarks=(*result.remarks, Remark("review", "", said))
        )
    refused = dict.fromkeys(map(mark_sheet.refused, ended.get("refused", ())))
    result = dataclasses.replace(result, remarks=(*result.remarks, *refused))
    return Graded(result, "" if finished or why else _text(place / "log.txt")[-4000:] or "no log")


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
