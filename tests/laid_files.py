"""Folders of files, as a class hands them in."""

from __future__ import annotations

from pathlib import Path


def lay(folder: Path, *files: str, data: bytes = b"{}") -> Path:
    """The folder, with these files in it, which all hold `data`."""
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
