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
    """Grades it in a folder that is removed afterwards; whatever it does, there is a result."""
    empty = unmarked_result(lab, submission, seed)
    if submission.problem:
        return Graded(dataclasses.replace(empty, failure=submission.problem))
    with _folder() as folder:
        (folder / "home").mkdir()
        shutil.copy(submission.path, folder / "submission")
        plan = {
            "unmarked": dataclasses.asdict(empty),
            "submission": str(folder / "submission"),
            "labs": str(labs.resolve()),
            "folder": str(folder),
            "limits": dataclasses.asdict(limits),
        }
        write_text(folder / "plan.json", json.dumps(plan))
        _run_session(lab.part, folder / "plan.json")
        return _result(folder, empty)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="grading-")).resolve()
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):
            remove(folder)


def remove(folder: Path) -> None:
    """Removes a folder with all in it, also where it is nested deeper than `shutil.rmtree` goes:
    what an inner folder holds is moved up before that folder is removed."""
    while entries := list(os.scandir(folder)):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)
            for below in os.scandir(entry.path):
                if below.is_dir(follow_symlinks=False):
                    os.chmod(below.path, 0o700)
                os.rename(below.path, folder / secrets.token_hex(16))
            os.rmdir(entry.path)
    os.rmdir(folder)


def unmarked_result(lab: GradedLab, submission: Submission, seed: int) -> Result:
    aside = f"Handed in as well, and not graded: {', '.join(submission.set_aside)}."
    remarks = (Remark("notice", "", aside),) if submission.set_aside else ()
    file, digest = without_surrogates(submission.path.name), submission.digest()
    return Result(submission.student, lab.part, file, digest, seed, lab.unmarked, remarks)


def _run_session(lab: str, plan: Path) -> None:
    """Waits for a watcher, an idle or a new one, to run the plan's session."""
    try:
        watcher = _IDLE.pop()
    except IndexError:
        watcher = _new_watcher(lab)
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


def _new_watcher(lab: str) -> subprocess.Popen[bytes]:
    """Starts a watcher in a session of its own: an interrupt at the terminal does not reach it."""
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


def _result(folder: Path, empty: Result) -> Graded:
    """The marks that the session wrote, with how it ended: a limit is the submission's own, an end
    without one may be the grader's fault."""
    outcome = folder / "outcome.json"
    ended = json.loads(outcome.read_text(encoding="utf-8")) if outcome.exists() else {}
    result, finished = empty, False
    if (folder / "result.json").exists():
        finished, result = mark_sheet.load_result(folder / "result.json")
    limit = ended.get("beyond", "")
    remarks = [*result.remarks]
    if not finished:
        reason = f"Grading was stopped: {limit}." if limit else "Grading ended before its end."
        failure = f"{reason} What was reached before counts."
        remarks.append(Remark("review", "", failure))
        result = dataclasses.replace(result, failure=failure)
    remarks += dict.fromkeys(map(mark_sheet.refused, ended.get("refused", ())))
    result = dataclasses.replace(result, remarks=tuple(remarks))
    return Graded(result, "" if finished or limit else _log(folder / "log.txt")[-4000:] or "no log")


def _log(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
