"""One run of one contender: `python -m benchmarks.worker MODULE CONTENDER SETTINGS`.

SETTINGS is a JSON list, each measured in turn. The module's `prepare(contender, settings)` makes
the inputs and returns the work; only that is measured.
"""

from __future__ import annotations

import gc
import importlib
import json
import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

from benchmarks.measure import RESULT, UnavailableError

Work = Callable[[], dict[str, float]]


def peak_bytes() -> int:
    """The largest resident set since `reset_peak`, or of this process where that did nothing."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says begins with the peak of the process that started us
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts in bytes, Linux in kB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak() -> int:
    """Forgets the peak of what came before, where the system lets us (Linux); the peak now.

    Without it a peak while the inputs were made would hide as large a one of the work.
    """
    gc.collect()
    marks = Path("/proc/self/clear_refs")
    if marks.exists():
        try:
            marks.write_text("5")
        except OSError:  # a container may forbid it
            print("the peak of memory could not be reset", file=sys.stderr)
    return peak_bytes()


def measured(work: Work) -> dict[str, object]:
    """Seconds, seconds of all threads and peak memory of the work, and what it returned."""
    before = reset_peak()
    wall, cpu = perf_counter(), process_time()
    found = work()
    cpu, wall = process_time() - cpu, perf_counter() - wall
    whole = peak_bytes()
    return {"wall": wall, "cpu": cpu, "peak": whole - before, "whole": whole, "found": found}


def main(module: str, contender: str, all_settings: str) -> None:
    bench = importlib.import_module(f"benchmarks.{module}")
    for settings in json.loads(all_settings):
        try:
            answer = measured(bench.prepare(contender, settings))
        except UnavailableError as error:
            answer = {"reason": str(error)}
        print(RESULT + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
