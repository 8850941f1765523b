"""What the guard refuses to a kernel, noted where the kernel cannot take it back: it writes into a
pipe, and only the watcher, which reads it as it comes, knows what came."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

MOST = 100  # notes; a kernel may write whatever it likes
_PIPE = "refusals"


def pipe(folder: Path) -> Path:
    """Where a session's lies."""
    return folder / _PIPE


class Refusals:
    """The watcher's end of the pipe, which is there as long as this is open."""

    def __init__(self, folder: Path) -> None:
        os.mkfifo(pipe(folder))
        self._end = os.open(pipe(folder), os.O_RDONLY | os.O_NONBLOCK)
        self._came = b""

    def read(self) -> None:
        """What has come since."""
        with contextlib.suppress(BlockingIOError):  # nothing
            came = os.read(self._end, 65536)
            self._came += came[: 65536 - len(self._came)]

    def close(self) -> list[str]:
        """All that came, one note a line."""
        self.read()
        os.close(self._end)
        return self._came.decode(errors="replace").splitlines()[:MOST]


def writer(path: Path) -> Callable[[str], None]:
    """The kernel's end of it. A kernel that has closed it, or put another file in its place, ends
    with its next refusal, which is seen as well."""
    end = os.open(path, os.O_WRONLY)
    fstat, write, leave = os.fstat, os.write, os._exit  # whatever `os` has by then
    own = fstat(end)[1:3]  # its number, and its device's

    def note(what: str) -> None:
        try:
            is_noted = fstat(end)[1:3] == own and write(end, f"{what}\n".encode(errors="replace"))
        except OSError:
            is_noted = False
        if not is_noted:
            leave(1)

    return note
