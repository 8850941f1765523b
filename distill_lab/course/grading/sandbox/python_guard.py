"""What the student's kernel may not do, and a note of each attempt: an audit hook of Python.

It refuses to open files outside the interpreter, the package and the submission's own folder, to
write outside that folder, to start processes, to signal others, and to connect to the network.
Python cannot take such a hook away again; C code (ctypes) can go past it, so this shows tampering
and does not prevent it. A class that must not be trusted belongs in a container.
"""

from __future__ import annotations

import _multiprocessing
import _posixshmem
import _posixsubprocess
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import distill_lab
from distill_lab.course.exercises import manifests

_PROCESSES = (
    "subprocess.Popen os.system os.exec os.fork os.forkpty os.posix_spawn os.spawn pty.spawn"
).split()
_OTHERS = ("os.kill", "os.killpg", "signal.pthread_kill")
_OWNERS = (8, 15, 0x8901, 0x8902)  # of a file, who gets its signals: F_SETOWN and its like
_NETWORK = (
    "socket.connect socket.sendto socket.sendmsg socket.getaddrinfo socket.gethostbyname "
    "socket.gethostbyaddr socket.getnameinfo"
).split()
_READS = ("os.listdir", "os.scandir", "os.chdir", "os.walk", "glob.glob")
# Each takes paths that it changes.
_CHANGES = {
    **dict.fromkeys(
        (
            "os.remove os.rmdir os.mkdir os.truncate os.chmod os.chown os.utime shutil.rmtree "
            "sqlite3.connect"
        ).split(),
        1,
    ),
    **dict.fromkeys("os.rename os.link os.symlink".split(), 2),
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PACKAGE = Path(distill_lab.__file__).resolve().parent
_ANSWERS = "_answers."  # in the names of files that no kernel may read
_SYSTEM = "/bin /sbin /lib /lib64 /usr /opt /etc /dev /sys /System /Library /proc/self".split()
_PROC = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys", "/proc/filesystems")


def readable(package: Path) -> list[str]:
    """Where a kernel may read: the system's and Python's folders, and of this package itself what
    is installed, not what lies beside it in a checkout."""
    python = [sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()]
    root = package.parent
    path = [entry for entry in sys.path if entry and Path(entry).resolve() != root]
    ours = [str(package), str(root / "data"), str(root / "constraints.txt"), str(manifests.file())]
    return [os.path.realpath(place) for place in (*_SYSTEM, *_PROC, *python, *path, *ours)]


def install(home: Path, places: Sequence[str], note: Callable[[str], None]) -> None:
    """From here on: refuse (PermissionError) and note. It cannot be undone.

    `home`: the folder that may be written. What lies in a folder that this machine does not have
    (Colab's /content) is refused, and not noted. All that the hook needs is bound here, so that
    replacing this module's names changes nothing.
    """
    processes, others, network, reads = map(frozenset, (_PROCESSES, _OTHERS, _NETWORK, _READS))
    changes, writing, shown, importing = dict(_CHANGES), _WRITES, _shown, _importing
    own, pid, owners, seen = os.path.realpath(home), os.getpid(), _OWNERS, set[str]()
    searched = frozenset(sys.path)  # importing looks at what lies there
    realpath, fspath, fsdecode = os.path.realpath, os.fspath, os.fsdecode
    lexists, package, answers = os.path.lexists, str(_PACKAGE), _ANSWERS

    def basename(path: Any) -> str:
        return fsdecode(fspath(path)).rpartition(os.sep)[2]

    allowed = (own, *places, f"/proc/{pid}")

    def inside(path: Any, roots: Sequence[str]) -> bool:
        if path is None or isinstance(path, int):  # a descriptor, opened before
            return True
        place = realpath(fsdecode(fspath(path)))
        return any(place == root or place.startswith(root + os.sep) for root in roots)

    def is_answers(path: Any) -> bool:
        """Expected answers that are data, in a file of their own."""
        return inside(path, (package,)) and not isinstance(path, int) and answers in basename(path)

    def elsewhere(path: Any) -> bool:
        return not lexists(os.sep.join(realpath(fsdecode(fspath(path))).split(os.sep)[:2]))

    def refuse(what: str, path: Any = os.sep) -> None:
        known = what in seen or elsewhere(path) or importing()
        if not known and len(seen) < 50:
            seen.add(what)
            note(what)
        raise PermissionError(f"Grading refuses this: {what}.")

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = given
            writes = isinstance(flags, int) and flags & writing
            if writes and not inside(path, (own, "/dev/null", "/dev/tty")):
                refuse(f"writing {shown(path)}", path)
            if not inside(path, allowed) or is_answers(path):
                refuse(f"reading {shown(path)}", path)
        elif event in processes:
            refuse("starting a process")
        elif event in others or (event in ("fcntl.fcntl", "fcntl.ioctl") and given[1] in owners):
            refuse("a signal to a process")
        elif event == "resource.prlimit" and given[0] not in (0, pid):
            refuse("a limit of another process")
        elif event in network:
            refuse("the network")
        elif event in reads:
            if given and not inside(given[0], allowed) and fspath(given[0]) not in searched:
                refuse(f"reading {shown(given[0])}", given[0])
        elif event in changes:
            for path in given[: changes[event]]:
                if not inside(path, (own,)):
                    refuse(f"changing {shown(path)}", path)

    _replace_fork_exec(lambda *_: refuse("starting a process"))
    _replace_shared_memory(lambda *_, **named: refuse("shared memory"))
    sys.addaudithook(hook)


def _replace_fork_exec(refusing: Callable[..., None]) -> None:
    """`multiprocessing` starts its processes by this, of which no hook is told."""
    for module in (subprocess, _posixsubprocess):
        for name in ("fork_exec", "_fork_exec"):
            if hasattr(module, name):
                setattr(module, name, refusing)


def _replace_shared_memory(refusing: Callable[..., None]) -> None:
    """Of which no hook is told either, and which would outlive the session. Semaphores are refused
    as Landlock does, without a note: many libraries (tqdm) ask for one, and do without."""

    class Semaphore:
        SEM_VALUE_MAX = _multiprocessing.SemLock.SEM_VALUE_MAX

        def __init__(self, *_: Any) -> None:
            raise PermissionError("Grading refuses this: a semaphore.")

    for module, name, other in (
        (_multiprocessing, "SemLock", Semaphore),
        (_posixshmem, "shm_open", refusing),
    ):
        setattr(module, name, other)


def _importing() -> bool:
    """Whether a module is being imported: many look around as they load, and no student asked them
    to. It is refused, and no more."""
    frame = sys._getframe()
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def _shown(path: Any) -> str:
    """The end of a path: enough to see what was meant, as one line."""
    end = "/".join(Path(os.fsdecode(path)).parts[-2:])
    return "".join(letter if letter.isprintable() else "?" for letter in end)
