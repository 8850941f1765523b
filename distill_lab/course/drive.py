"""A copy of a run in Google Drive, for Colab: its machine and disk are gone some time after a
disconnect.

The run is written to the machine's own disk, as Drive drops connections; when a stage is finished
the whole folder goes to Drive as one zip file, which takes the old one's name once it is there.
"""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from distill_lab.course.colab_install import in_colab
from distill_lab.run.folder import RunFolder

MOUNT = Path("/content/drive")


def folder() -> Path | None:
    """Where the copies lie in the user's Drive, which is asked for and mounted; None outside Colab,
    where nothing is done."""
    if not in_colab():
        return None
    importlib.import_module("google.colab.drive").mount(str(MOUNT))
    made = MOUNT / "MyDrive" / "distill_lab"
    made.mkdir(parents=True, exist_ok=True)
    return made


def save(run: Path, copies: Path) -> bool:
    """Copies a run's folder to `copies`/<its name>.zip; False, and a line of what happened, where
    Drive does not take it. The run itself is untouched."""
    target = copies / f"{run.name}.zip"
    partial = target.with_suffix(".zip.partial")
    try:
        with tempfile.TemporaryDirectory() as near:
            made = shutil.make_archive(str(Path(near) / run.name), "zip", run)
            shutil.copyfile(made, partial)
        os.replace(partial, target)
    except OSError as error:
        print(
            f"The copy to Drive failed ({error.strerror or error}). The run itself is safe in "
            f"{run}; the next stage tries again."
        )
        return False
    return True


def restore(copies: Path, run: Path) -> bool:
    """Brings a run back from its copy where the machine has none of its own; whether it did."""
    source = copies / f"{run.name}.zip"
    config = RunFolder(run).config
    if config.exists() or not source.exists():
        return False
    with tempfile.TemporaryDirectory() as near:
        shutil.copyfile(source, Path(near) / source.name)
        with zipfile.ZipFile(Path(near) / source.name) as archive:
            # the settings last: a run that was cut short has none
            for name in sorted(archive.namelist(), key=lambda name: name == config.name):
                archive.extract(name, run)
    return True
