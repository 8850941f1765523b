"""One cell is done: its student trained, if it is not there, and measured on one half.

joblib's processes import this module first of all. It loads no models' library by itself, so that
Unsloth, where it is used, comes before transformers.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import redirect_stderr, redirect_stdout

from distill_lab.studies.running.cell_work import CellWork
from distill_lab.studies.running.work_folder import reason_of


def do(work: CellWork) -> tuple[CellWork, str]:
    """The work itself, and why it failed, or ""."""
    _end_with(work.owner)
    work.folder.mkdir(parents=True, exist_ok=True)
    log = work.folder / "log.txt"
    with log.open("a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        try:
            from distill_lab.models import backend

            backend.prepare(work.cell.config.runtime)  # Unsloth before transformers
            from distill_lab.studies.running.train_cell import train_and_measure

            train_and_measure(work)
        except Exception as error:  # whatever it was, the other cells go on
            return work, reason_of(error)
    return work, ""


def _end_with(owner: int) -> None:
    """In a process of the owner's own: lets it end soon after the owner has, who may have been
    killed, so that no two train in one folder when the study goes on."""
    if os.getppid() != owner or any(each.name == _WATCH for each in threading.enumerate()):
        return

    def watch() -> None:
        while os.getppid() == owner:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, name=_WATCH, daemon=True).start()


_WATCH = "ends with its owner"
