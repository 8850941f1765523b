"""What Linux itself refuses to the student's kernel, C code and started programs included.

`python_guard` sees what goes through Python, and says what was tried. Landlock (Linux 5.13 and
later) is the wall behind it, which nothing in the process can take down: files are written in the
submission's own folder alone and read where the guard allows it, no program is started, and where
Linux is new enough nothing outside is signalled and no TCP connection is made.

A filter of system calls keeps the kernel one process, as processes that fork without an end would
outlive their grading; it forbids shared memory and semaphores, which would outlive it as well; and
it leaves other processes' limits alone, as one second of CPU time, set for the grader's process,
would end that. Where there is no Landlock (macOS, an old Linux) the guard stands alone, or with
that filter.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, the same on all machines
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_OF_FILES = 1 | _WRITE_FILE | _READ_FILE | _TRUNCATE | 1 << 15  # what a rule for no folder may name
_FILES = (0, 13, 14, 15, 15, 16)  # how many kinds of access each version knows
# of a machine: how Linux calls it; fork, vfork, setpriority, pidfd_send_signal, and what outlives
# a process: shmget, semget, msgget, mq_open; prlimit64, sched_setaffinity; and its clone
# (sched_setscheduler is what ZeroMQ starts its threads with)
_MACHINES = {
    "x86_64": (0xC000003E, (57, 58, 141, 424, 29, 64, 68, 240), (302, 203), 56),
    "aarch64": (0xC00000B7, (140, 424, 194, 190, 186, 180), (261, 122), 220),
}
_OWN = ~1  # in the own folder all but to start a program


def stands() -> bool:
    """Whether this machine has it."""
    return _version() >= 1


def put_up(home: Path, places: Sequence[str]) -> bool:
    """Whether there is one from here on: for this thread, and for all that it starts."""
    if sys.platform != "linux":
        return False
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, which both ask for
    is_fenced = _landlock(home, places)
    return _one_process() and is_fenced


def _landlock(home: Path, places: Sequence[str]) -> bool:
    version = _version()
    if version < 1:
        return False
    handled = (1 << _FILES[min(version, 5)]) - 1
    wanted = struct.pack("QQQ", handled, 2 * (version >= 4), 3 * (version >= 6))
    rules = _call(_CREATE, wanted, 8 * (1 + (version >= 4) + (version >= 6)), 0)
    for place in places:
        _allow(rules, place, handled & (_READ_FILE | _READ_DIR))
    _allow(rules, "/dev/null", handled & (_READ_FILE | _WRITE_FILE | _TRUNCATE))
    _allow(rules, str(home), handled & _OWN)
    return _call(_RESTRICT, rules, 0) == 0


def _one_process() -> bool:
    """From here on threads, and no other process: a filter in BPF, whose lines are an instruction,
    how many to skip if it holds and if not, and a number. Whether this machine is known."""
    kind, never, of_itself, clone = _MACHINES.get(os.uname().machine, (0, (), (), 0))
    load, equal, bits, done = 0x20, 0x15, 0x45, 0x06
    no, no_such, yes = 0x50001, 0x50026, 0x7FFF0000  # EPERM, ENOSYS (then clone is called), fine
    lines = [(load, 0, 0, 4), (equal, 1, 0, kind), (done, 0, 0, yes), (load, 0, 0, 0)]
    for number, answer in (*((one, no) for one in never), (435, no_such)):  # 435: clone3
        lines += [(equal, 0, 1, number), (done, 0, 0, answer)]
    for number in of_itself:  # whose first argument, a process, is 0
        lines += [(equal, 0, 4, number), (load, 0, 0, 16), (equal, 0, 1, 0)]
        lines += [(done, 0, 0, yes), (done, 0, 0, no)]
    lines += [(equal, 1, 0, clone), (done, 0, 0, yes), (load, 0, 0, 16)]
    lines += [(bits, 0, 1, 0x10000), (done, 0, 0, yes), (done, 0, 0, no)]  # CLONE_THREAD
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    program = struct.pack("@HP", len(lines), ctypes.addressof(code))
    return bool(kind) and ctypes.CDLL(None).prctl(22, 2, program, 0, 0) == 0


def _version() -> int:
    return _call(_CREATE, None, 0, 1) if sys.platform == "linux" else 0


def _allow(rules: int, place: str, access: int) -> None:
    if not os.path.exists(place):
        return
    access &= -1 if os.path.isdir(place) else _OF_FILES
    folder = os.open(place, os.O_PATH | os.O_CLOEXEC)
    _call(_ADD, rules, 1, struct.pack("=Qi", access, folder), 0)
    os.close(folder)


def _call(number: int, *given: int | bytes | None) -> int:
    kinds = [ctypes.c_long(one) if isinstance(one, int) else one for one in given]
    return ctypes.CDLL(None).syscall(ctypes.c_long(number), *kinds)
