"""The kernel that runs a student's cells: IPython's, behind limits and the guard.

    python -m distill_lab.course.grading.sandbox.kernel LIMITS.json -f CONNECTION

by `safe_path.command`. `session` starts it through a kernel spec of its own, so that no kernel that
a notebook names is ever asked for.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    limits: dict[str, Any] = json.loads(Path(sys.argv.pop(1)).read_text(encoding="utf-8"))
    _limit(limits)
    _start(limits)


def _limit(limits: dict[str, Any]) -> None:
    """Limits the kernel and all that it might start. Memory is what it reserves, in bytes."""
    for resource_limit, most in (
        (resource.RLIMIT_CPU, limits["seconds"] * (os.cpu_count() or 1)),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, limits["memory_bytes"]),
    ):
        hard = resource.getrlimit(resource_limit)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(resource_limit, (most, most))
        except (ValueError, OSError):  # macOS knows no limit of memory: `watcher` sees to it
            continue


def _start(limits: dict[str, Any]) -> None:
    from ipykernel import kernelapp

    import distill_lab
    from distill_lab.course import exercises
    from distill_lab.course.grading.sandbox import blocked, linux_fence, python_guard

    exercises.or_ours = lambda name, function: function  # nothing steps in where marks are given
    exercises.solutions.is_grading = True
    importlib.import_module(
        f"distill_lab.course.exercises.{limits['lab']}"
    )  # what it needs, and no more
    platform.processor()  # it starts a process, once
    home, note = Path(limits["home"]), blocked.writer(Path(limits["refusals"]))
    os.chdir(home)
    sys.path.append(str(home))  # modules that the student writes, behind all others

    folders = [*python_guard.readable(Path(distill_lab.__file__).parent), sys.argv[-1]]
    linux_fence.put_up(home, folders)
    python_guard.install(
        home, folders, note
    )  # before IPython, which runs what lies in its own folder
    app = kernelapp.IPKernelApp.instance(
        outstream_class="distill_lab.course.grading.sandbox.output.Cut"
    )
    app.ignore_cwd = True  # it is the home, and not to be searched first
    app.initialize([*sys.argv[1:], "--HistoryManager.enabled=False"])
    app.start()


if __name__ == "__main__":
    main()
