"""A data set of the hub, through `datasets`: its rows, or a LabError that says what is missing."""

from __future__ import annotations

import importlib
from typing import Any

from distill_lab.run.records import LabError


def hub_rows(name: str, split: str, files: str, task: str, columns: set[str]) -> Any:
    """The rows of one split, which have at least these columns. `files` says what else `name` could
    have been, and `task` whose columns these are. LabError where there is no such set."""
    datasets: Any = importlib.import_module("datasets")  # here, since it takes seconds to import
    print(f"Loading {name}, split {split} …", flush=True)  # without a network it tries for 30 s
    try:
        rows = datasets.load_dataset(name, split=split)
    except Exception as error:  # the client raises many unrelated kinds: no network, name, split
        reason = " ".join(str(error).split())[:200]
        raise LabError(
            f"{name}: expected 'bundled', {files} or a hub set with the split {split}, "
            f"found none ({type(error).__name__}: {reason}). Check name and network."
        ) from None
    missing = columns - set(rows.column_names)
    if missing:
        raise LabError(
            f"{name}: expected {task}'s columns, found none named {', '.join(sorted(missing))}. "
            "Choose another set."
        )
    return rows
