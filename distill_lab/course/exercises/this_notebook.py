"""Reads the notebook that is open: from Colab itself, else from the file that Jupyter or VS Code
names, else the only one of this course in the folder."""

from __future__ import annotations

import datetime
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_lab.course.colab_install import in_colab
from distill_lab.course.exercises import matching
from distill_lab.course.exercises.manifests import Entry
from distill_lab.run.records import LabError

_COLAB_SECONDS = 20  # a large notebook takes a while
Books = Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Notebook:
    """`name` is what students read: a file's, with the time of its last save; `book` is the lab's
    name in the manifest."""

    name: str
    book: str
    cells: Sequence[Mapping[str, Any]]


def of(path: Path, books: Books) -> Notebook:
    """The notebook in a file. LabError where it is none of the course's."""
    cells = _cells(path)
    book = _book(cells, path.stem, books)
    if book is None:
        raise LabError(
            f"{path}: expected a notebook of this course with exercises, found none of them in it. "
            f"Name one of {', '.join(name for name in books if books[name]['points'])}."
        )
    return Notebook(f"{path.name}, as it was saved {_saved(path)}", book, cells)


def find(books: Books) -> Notebook | None:
    """The notebook that is open; None where that cannot be told."""
    cells = _from_colab() if in_colab() else None
    book = _book(cells or [], "", books)
    if cells and book:
        return Notebook("This notebook", book, cells)
    for path in _editors_files():
        if notebook := _of_course(path, books):
            return notebook
    here = list(filter(None, (_of_course(path, books) for path in sorted(Path().glob("*.ipynb")))))
    return here[0] if len(here) == 1 else None


def _of_course(path: Path, books: Books) -> Notebook | None:
    try:
        return of(path, books)
    except LabError:
        return None


def _book(cells: Sequence[Mapping[str, Any]], stem: str, books: Books) -> str | None:
    """The lab of which it has the most cells; else the one that its file is named after."""
    ids = {id for cell in cells for id in matching.ids_of(cell)}
    shared: dict[str, int] = {}
    for name, entry in books.items():
        own = {c["id"] for c in entry["cells"] if c["role"] in ("exercise", "check")}
        matches = matching.exercise_cells(cells, entry).values()
        shared[name] = len(own & ids) + sum(match.cell is not None for match in matches)
    best = max(shared, key=lambda name: shared[name], default=None)
    if best and shared[best]:
        return best
    return next((n for n in books if books[n]["points"] and stem.startswith(n)), None)


# -- a file


def _editors_files() -> Iterator[Path]:
    """The files that the editor names; one that was renamed since does not exist."""
    session = os.environ.get("JPY_SESSION_NAME", "")
    if session:  # a path where Jupyter's server is a recent one
        yield from (Path(session), Path(Path(session).name))
    shell = kernel()
    path = shell.user_ns.get("__vsc_ipynb_file__") if shell else None
    if isinstance(path, str):
        yield Path(path)


def kernel() -> Any | None:
    """IPython's shell, where this runs in one."""
    module = sys.modules.get("IPython")
    return module.get_ipython() if module else None


def _cells(path: Path) -> list[Mapping[str, Any]]:
    try:
        whole = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise LabError(f"{path}: expected your notebook, found no file. Save it first.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise LabError(f"{path}: expected a notebook, found {error}. Save it again.") from None
    cells = whole.get("cells") if isinstance(whole, dict) else None
    if not isinstance(cells, list):
        raise LabError(f"{path}: expected a notebook with cells, found none. Save it again.")
    return [cell for cell in cells if isinstance(cell, dict)]


def _saved(path: Path) -> str:
    """`at 14:02`, with the day if that was not today."""
    time = datetime.datetime.fromtimestamp(path.stat().st_mtime)
    is_today = time.date() == datetime.date.today()
    return f"at {time:%H:%M}" if is_today else f"on {time:%Y-%m-%d} at {time:%H:%M}"


# -- Colab


def _from_colab() -> list[Mapping[str, Any]] | None:
    """The cells, asked of the page in the browser, as Colab's notebooks are not files; None where
    it does not answer."""
    try:
        from google.colab import _message  # type: ignore[import-not-found]

        answer = _message.blocking_request("get_ipynb", request="", timeout_sec=_COLAB_SECONDS)
        cells = answer["ipynb"]["cells"]
    except Exception as error:  # Colab's own, of no stable kind
        print(f"Colab did not hand the notebook over ({type(error).__name__}: {error}).")
        return None
    return [cell for cell in cells if isinstance(cell, dict)]
