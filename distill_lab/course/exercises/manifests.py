"""The notebooks' manifest: what each lab's notebook has when a student gets it.
`distill-lab notebooks build` writes it, the grader and `before_submitting` read it.

{"notebooks": {NAME: {"points": 10, "cells": [
    {"id": "soften", "role": "exercise", "exercise": "lab5a.soften", "sha256": …},   of its stub
    {"id": "check-soften", "role": "check", "exercise": …, "points": 3, "sha256": …}]}}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_lab.run.records import LabError
from distill_lab.run.settings import shipped

Entry = Mapping[str, Any]
"""One notebook's part of it: `points` and `cells`."""
LOCKED = ("install", "check")  # the roles of cells that a student must not change


def marker(exercise: str) -> str:
    """The first line of an exercise's cell, by which it is found where its id was lost."""
    return f"# exercise {exercise}"


def digest(text: str) -> str:
    """The hash of a cell, without blanks at the ends of lines: editors differ there."""
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "backslashreplace")).hexdigest()


def file() -> Path:
    """Its path."""
    return shipped("manifest.json", "lab_notebooks/manifest.json")


def read(path: Path | None = None) -> dict[str, Entry]:
    """The notebooks' entries, by their names. LabError where there is no manifest."""
    path = path or file()
    try:
        return dict(json.loads(path.read_text("utf-8"))["notebooks"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise LabError(
            f"Expected the notebooks' manifest in {path}, found {type(error).__name__}: {error}. "
            "Install distill_lab again, or run `distill-lab notebooks build`."
        ) from None
