"""Runs sessions, one after the other, and ends what goes beyond a limit.

    python -m distill_lab.course.grading.session.watch GRADER LAB     (by `safe_path.command`)

Each line that comes in is a plan's path.

For each it writes `outcome.json` beside the plan, how the session ended, and says that it is done;
all that the session started has ended then as well. GRADER is the process that waits for it: when
that has ended, so does this. What sessions need is loaded once, before the first: on Linux each is
a copy of this process, which saves it some seconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from distill_lab.course.grading.sandbox.refusals import Refusals
from distill_lab.course.grading.session import session
from distill_lab.course.grading.session.grade_submission import remove
from distill_lab.course.grading.session.limits import Limits
from distill_lab.run.records import write_text

POLL = 0.25  # seconds between two looks
LEAST = 4096  # bytes that a file counts for: a million empty ones are too many as well
PROCESSES = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


class Outcome(NamedTuple):
    """How a session ended: its exit status, the limit that it went beyond ("": none), and what was
    refused to it."""

    status: int | None
    beyond: str
    refused: list[str]


def main() -> None:
    grader = int(sys.argv[1])
    _adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    session.load(sys.argv[2])
    for line in sys.stdin:
        plan = Path(line.rstrip("\n"))
        limits = Limits(**json.loads(plan.read_text(encoding="utf-8"))["limits"])
        outcome = run(session.run, (plan,), plan.parent, limits, grader)
        if os.getppid() != grader:  # nobody else will
            remove(plan.parent)
            return
        write_text(plan.parent / "outcome.json", json.dumps(outcome._asdict()))
        print("done", flush=True)


def run(
    target: Callable[..., Any],
    arguments: Sequence[Any],
    folder: Path,
    limits: Limits,
    grader: int,
) -> Outcome:
    """Calls the target in a process of its own. It runs in `folder`, whose log.txt has what it
    says."""
    refusals = Refusals(folder)
    process = PROCESSES.Process(target=_in_own_process, args=(folder, target, arguments))
    start, beyond = time.monotonic(), ""
    try:
        process.start()
        while process.is_alive() and not beyond:
            time.sleep(POLL)
            refusals.read()
            beyond = _limit_passed(time.monotonic() - start, folder, limits)
            if os.getppid() != grader:
                beyond = "the grader has ended"
    finally:
        _end_all()
    return Outcome(process.exitcode, beyond, refusals.close())


def _in_own_process(folder: Path, target: Callable[..., Any], arguments: Sequence[Any]) -> None:
    """Calls the target in the new process, in its own group and with nothing of the watcher's."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(folder)
    nothing, log = os.open(os.devnull, os.O_RDONLY), os.open("log.txt", os.O_CREAT | os.O_WRONLY)
    for ours, theirs in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(ours, theirs)
    target(*arguments)


def _limit_passed(seconds: float, folder: Path, limits: Limits) -> str:
    """The first limit that is passed, as the end of a sentence."""
    processes = _descendants()
    memory = sum(map(_memory, processes))
    if seconds > limits.seconds:
        return f"it ran longer than {limits.seconds} seconds"
    if len(processes) > limits.processes:
        return f"it had more than {limits.processes} processes"
    if memory > limits.memory_bytes:
        return f"it took more than {limits.memory_bytes / 1e9:g} GB of memory"
    try:
        size = _size(folder) + _nameless(processes)
    except OSError:
        return "it made a folder that cannot be looked into"
    if size > limits.folder_bytes:
        return f"it wrote more than {limits.folder_bytes / 1e6:g} MB"
    return ""


def _descendants() -> list[psutil.Process]:
    """All processes below this one; on Linux also those whose own parent has ended."""
    return psutil.Process().children(recursive=True)


def _memory(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def _size(folder: Path) -> int:
    """Bytes of all that is below; what vanishes meanwhile counts nothing. OSError where a folder is
    closed, or too deep for a path: it may hold anything."""
    size, waiting = 0, [str(folder)]
    while waiting:
        for entry in _entries(waiting.pop()):
            with contextlib.suppress(OSError):
                size += max(LEAST, entry.stat(follow_symlinks=False).st_blocks * 512)
                waiting += [entry.path] if entry.is_dir(follow_symlinks=False) else []
    return size


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _nameless(processes: Iterable[psutil.Process]) -> int:
    """Bytes of the open files that no folder has: deleted ones, and those that are in memory alone
    (memfd), which no process's own memory counts. Linux says so."""
    sizes: dict[tuple[int, int], int] = {}
    for descriptors in (f"/proc/{process.pid}/fd" for process in processes):
        with contextlib.suppress(OSError):
            for number in os.listdir(descriptors):
                with contextlib.suppress(OSError):
                    file = os.stat(f"{descriptors}/{number}")
                    if not file.st_nlink:
                        sizes[file.st_dev, file.st_ino] = file.st_blocks * 512
    return sum(sizes.values())


def _adopt_orphans() -> None:
    """On Linux: a process whose parent has ended becomes this one's child, and is found."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _end_all() -> None:
    """Ends all until none is left; each is stopped first, so that it starts no other meanwhile."""
    for _ in range(20):
        left = list(filter(_alive, _descendants()))
        if not left:
            return
        _send_signal(left, signal.SIGSTOP)
        _send_signal(left, signal.SIGKILL)
        psutil.wait_procs(left, timeout=1)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _send_signal(processes: Iterable[psutil.Process], what: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(what)


if __name__ == "__main__":
    main()
