"""The submissions of a class: a notebook a student, as a file or in a folder of theirs."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill_lab.grading.read import writable
from distill_lab.records import LabError

MOST_BYTES = 100_000_000  # of a file that is read at all
MOST_OF_A_NAME = 160  # bytes: a file system has 255 for a name, endings and all


@dataclass(frozen=True, slots=True)
class Submission:
    """`student` names the output's files. `problem`: why the file is not looked at ("": it is);
    `several`: what else lay there."""

    student: str
    path: Path
    problem: str = ""
    several: str = ""

    def digest(self) -> str:
        return "" if self.problem else hashlib.sha256(self.path.read_bytes()).hexdigest()


def find(folder: Path, notebook: str) -> list[Submission]:
    """`folder`/NAME.ipynb, or `folder`/NAME/**/*.ipynb (as Moodle, Canvas and GitHub Classroom
    give them), in the order of their names. `notebook`: the lab's, preferred where a student's
    folder has several."""
    if not folder.is_dir():
        raise LabError(f"{folder}: expected a folder of submissions, found none. Name another.")
    found = [one for place in sorted(folder.iterdir()) for one in _of(place, notebook)]
    if not found:
        raise LabError(
            f"{folder}: expected notebooks, NAME.ipynb or NAME/….ipynb, found none. Unpack archives"
            " first."
        )
    return list(_named_once(found))


def passed_over(folder: Path) -> list[str]:
    """The names of the files there that are no notebooks: of nobody, or of a student who handed in
    something else."""
    return [
        _name(place.name)
        for place in sorted(folder.iterdir())
        if _counts(place) and not (_is_folder(place) or _is_notebook(place))
    ]


def _of(place: Path, notebook: str) -> Iterator[Submission]:
    if _counts(place) and _is_folder(place):
        yield _in_folder(place, notebook)
    elif _counts(place) and _is_notebook(place):
        yield _checked(Submission(_name(place.stem), place))


def _counts(place: Path) -> bool:
    return not place.name.startswith((".", "__"))


def _is_folder(place: Path) -> bool:
    return place.is_dir() and not place.is_symlink()


def _is_notebook(place: Path) -> bool:
    return place.suffix.lower() == ".ipynb"


def _in_folder(folder: Path, notebook: str) -> Submission:
    """The notebook whose name is most like the lab's; of several such the last by name."""
    there = [
        path
        for path in sorted(folder.rglob("*"))
        if _is_notebook(path) and ".ipynb_checkpoints" not in path.parts
    ]
    student = _name(folder.name)
    if not there:
        files = [writable(p.name) for p in sorted(folder.rglob("[!.]*")) if p.is_file()]
        found = f"found {', '.join(files[:3])}" if files else "found none"
        said = f"Expected a notebook (.ipynb) in the folder, {found}. Hand in the notebook itself."
        return Submission(student, folder, said)
    chosen = max(there, key=lambda path: (_likeness(path.stem, notebook), path.name))
    others = ", ".join(writable(path.name) for path in there if path != chosen)
    return _checked(Submission(student, chosen, "", others))


def _likeness(name: str, notebook: str) -> int:
    """How much of the lab's name a file's name has: `Lab5a_Teacher_Generation (1)` has all."""
    name, notebook = name.lower(), notebook.lower()
    return 2 * (notebook in name) + (notebook.split("_")[0] in name)


def _checked(one: Submission) -> Submission:
    """With what keeps it from being read."""
    said = ""
    if one.path.is_symlink():
        said = "Expected a file, found a link to another. Hand in the notebook itself."
    elif not one.path.is_file():
        said = "Expected a file, found something else. Hand in the notebook itself."
    elif one.path.stat().st_size > MOST_BYTES:
        size = one.path.stat().st_size // 1_000_000
        said = (
            f"Expected at most {MOST_BYTES // 1_000_000} MB, found {size} MB. Clear all outputs, "
            "save, and hand it in again."
        )
    elif not os.access(one.path, os.R_OK):
        said = "Expected a file, found one that may not be read. Give yourself the right to."
    return Submission(one.student, one.path, said, one.several)


def _name(text: str) -> str:
    """A name that is safe as a file's: letters of any script, digits, and ` .@+-_`."""
    safe = re.sub(r"[^\w .@+-]", "_", unicodedata.normalize("NFC", text)).strip(" .")
    return safe.encode()[:MOST_OF_A_NAME].decode(errors="ignore").strip(" .") or "unnamed"


def _named_once(found: Sequence[Submission]) -> Iterator[Submission]:
    """Of two names that are the same (or differ in case alone) the second gets a number."""
    seen: dict[str, int] = {}
    for one in found:
        key = one.student.casefold()
        seen[key] = seen.get(key, 0) + 1
        name = one.student if seen[key] == 1 else f"{one.student} ({seen[key]})"
        yield Submission(name, one.path, one.problem, one.several)
