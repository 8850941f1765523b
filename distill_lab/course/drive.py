"""Keeps a copy of a run in Google Drive, because Colab deletes its machine some time after a
disconnect.

A run writes to the machine's own disk, because connections to Drive break. When a stage is
finished, the whole folder is copied to Drive as one zip file, which replaces the old one only when
it is complete.
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
    """Mounts the user's Drive, for which Colab asks permission, and returns the folder for the
    copies; None outside Colab, where this does nothing."""
    if not in_colab():
        return None
    importlib.import_module("google.colab.drive").mount(str(MOUNT))
    copies = MOUNT / "MyDrive" / "distill_lab"
    copies.mkdir(parents=True, exist_ok=True)
    return copies


def save(run: Path, copies: Path) -> bool:
    """Copies a run's folder to `copies`/<its name>.zip. If Drive does not take it, prints why and
    returns False; the run itself does not change."""
    target = copies / f"{run.name}.zip"
    partial = target.with_suffix(".zip.partial")
    try:
        with tempfile.TemporaryDirectory() as local:
            archive = shutil.make_archive(str(Path(local) / run.name), "zip", run)
            shutil.copyfile(archive, partial)
        os.replace(partial, target)
    except OSError as error:
        print(
            f"The copy to Drive failed ({error.strerror or error}). The run itself is safe in "
            f"{run}; the next stage tries again."
        )
        return False
    return True


def restore(copies: Path, run: Path) -> bool:
    """Restores a run from its copy if this machine has no such run; returns whether it did."""
    source = copies / f"{run.name}.zip"
    config = RunFolder(run).config
    if config.exists() or not source.exists():
        return False
    with tempfile.TemporaryDirectory() as local:
        shutil.copyfile(source, Path(local) / source.name)
        with zipfile.ZipFile(Path(local) / source.name) as archive:
            # the settings come last: if this is interrupted, the folder is not taken for a run
            for name in sorted(archive.namelist(), key=lambda name: name == config.name):
                archive.extract(name, run)
    return True
