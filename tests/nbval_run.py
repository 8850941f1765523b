"""nbval over one notebook, in a process of its own, as a kernel needs sockets."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from distill_lab.course.builder import execute


def nbval(notebook: Path, work: Path) -> str:
    """What nbval finds wrong with a notebook that runs in the folder `work`; "" if nothing.

    After a timeout nbval marks later cells as expected to fail: only `passed` counts.
    """
    copy = work / notebook.name
    shutil.copy(notebook, copy)
    options = ["--nbval", "--nbval-current-env", f"--nbval-cell-timeout={execute.SECONDS_A_CELL}"]
    quiet = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", f"--rootdir={work}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *quiet, copy.name],
        cwd=work,
        env=execute.environment(),
        capture_output=True,
        text=True,
    )
    last = (done.stdout.strip().splitlines() or [""])[-1]
    n_cells = sum(c.cell_type == "code" for c in nbformat.read(copy, as_version=4).cells)
    right = re.fullmatch(rf"{n_cells} passed(, \d+ warnings?)? in .*", last)
    return "" if right and done.returncode == 0 else done.stdout[-4000:] + done.stderr[-2000:]
