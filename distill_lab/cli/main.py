"""The command line. Exit 0: done; 2: a mistake of the user's, in one line; 1: anything else."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Sequence

from distill_lab.cli.commands import COMMANDS
from distill_lab.cli.parsing import read
from distill_lab.pipeline.runner import quiet
from distill_lab.run.distributed import is_main, leave, rank
from distill_lab.run.records import LabError

_KEPT = "What was written before is kept: mend this and run it again."


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: `distill-lab COMMAND …`."""
    quiet()
    status = _status(list(sys.argv[1:] if arguments is None else arguments))
    leave(status)
    sys.exit(status)


def _status(arguments: list[str]) -> int:
    """The exit status of the command, once it has printed what went wrong."""
    try:
        status = _ended(arguments)
        print(end="", flush=True)  # here, where a reader that has gone is no traceback
        return status
    except LabError as error:
        return _fail(str(error))
    except BrokenPipeError:
        return _unread()
    except OSError as error:
        if error.errno is None:  # not the operating system's: a library's, with a reason of its own
            raise
        return _fail(f"{error.filename or 'writing'}: {error.strerror}. {_KEPT}")
    except Exception as error:
        reason = why_not_written(error)
        if not reason:
            raise
        return _fail(f"writing: {reason}. {_KEPT}")
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130


def _ended(arguments: list[str]) -> int:
    """The exit status of the command, also where tyro's help or a signal ended it."""
    try:
        return read("distill-lab", COMMANDS, arguments or ["--help"])() or 0
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return ended.code or 0


def _fail(message: str) -> int:
    who = "" if is_main() else f" process {rank()}:"
    print(f"distill-lab:{who} {' '.join(message.split())}", file=sys.stderr)
    return 2


def why_not_written(error: Exception) -> str | None:
    """What kept safetensors or torch from writing a file; None where the error is another.

    Neither raises an OSError, nor has its error a number: only the text tells.
    """
    if number := re.search(r"\(os error (\d+)\)", str(error)):  # SafetensorError
        return os.strerror(int(number[1]))
    # RuntimeError: [enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598
    return "only a part of a file was taken" if "inline_container.cc" in str(error) else None


def _unread() -> int:
    """The reader of what is printed has gone (`… | head -1`): nothing more is written to it, at the
    interpreter's end either. The status is that of a program which the broken pipe ended."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
            continue
        os.dup2(nothing, stream.fileno())
    return 141
