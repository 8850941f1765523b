"""A signal that ends grading does as Ctrl-C: what runs is stopped, what was made is removed."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Within it SIGTERM and SIGHUP raise SystemExit with 128 + the signal's number, as shells have
    it. One that is ignored stays so: `nohup` does that."""
    before = {one: signal.getsignal(one) for one in SIGNALS}
    held = [one for one in SIGNALS if before[one] == signal.SIG_DFL]
    for one in held:
        signal.signal(one, _stop)
    try:
        yield
    finally:
        for one in held:
            signal.signal(one, before[one])


def _stop(number: int, frame: FrameType | None) -> None:
    for one in SIGNALS:  # a second one must not keep the first from tidying up; but not SIG_IGN,
        signal.signal(one, lambda *_: None)  # which a process that is started would have as well
    with contextlib.suppress(OSError):  # the terminal may be what has gone
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
    raise SystemExit(128 + number)
