"""Finds the submissions of a class: a notebook a student, in a file, a folder or a zip file of
theirs, also as Canvas and Moodle name and pack them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distill_lab.course.grading.cells.notebook_file import without_surrogates
from distill_lab.course.grading.handed_in import archives
from distill_lab.course.grading.handed_in.collected import Collected, PassedOver, Submission
from distill_lab.course.grading.handed_in.lms_names import Sender, copy_number, sender
from distill_lab.course.grading.handed_in.roster import Roster
from distill_lab.run.records import LabError

if TYPE_CHECKING:
    from distill_lab.course.grading.course import GradedLab


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file or folder as it lies there."""

    path: Path
    sender: Sender

    @property
    def is_folder(self) -> bool:
        return self.path.is_dir() and not self.path.is_symlink()


@dataclass(frozen=True, slots=True)
class _Found:
    """A notebook of a student's; `likeness`: how much of the lab's name its name has."""

    path: Path
    entry: _Entry
    likeness: int = 0


def find_submissions(
    source: Path, place: Path, lab: GradedLab | None = None, roster: Roster | None = None
) -> Collected:
    """`source`: a folder with NAME.ipynb, NAME.zip or NAME/**/*.ipynb a student, or the zip file
    of an LMS, in the order of their names. `place`: an empty folder for what is unpacked. Of
    several notebooks of a student that with exercises of the `lab` counts, then the newest."""
    packed = source.is_file() and _ends(source, ".zip")
    folder = archives.of_class(source, place / "class") if packed else source
    if not folder.is_dir():
        raise LabError(
            f"{source}: expected a folder or zip file of submissions, found none. Name another."
        )
    passed: list[PassedOver] = []
    students: dict[object, list[_Entry]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__")):
            continue
        entry = _Entry(path, sender(path.name, path.is_dir()))
        if why := "" if entry.sender.lms else _nobodys(entry):
            passed.append(PassedOver(without_surrogates(path.name), why))
        else:
            students.setdefault(_key(entry, roster), []).append(entry)
    found = [
        _of(entries, place / f"{n}", lab, roster) for n, entries in enumerate(students.values())
    ]
    if not found:
        raise LabError(
            f"{source}: expected notebooks, NAME.ipynb or NAME/….ipynb, or zip files with them, "
            "found none. Name another."
        )
    return Collected(tuple(_named_once(found)), tuple(passed), roster)


def _nobodys(entry: _Entry) -> str:
    """Why it is no submission; "" where it is one."""
    if entry.is_folder or _ends(entry.path, ".ipynb", ".zip"):
        return ""
    what = "a link" if entry.path.is_symlink() else "another file"
    return f"Expected a notebook (.ipynb), a zip file or a folder, found {what}."


def _key(entry: _Entry, roster: Roster | None) -> object:
    """The same for all that one student handed in."""
    person = roster.find(entry.sender) if roster else None
    if person:
        return id(person)
    return entry.sender.name.casefold() if entry.sender.lms else entry.path


def _of(
    entries: Sequence[_Entry], place: Path, lab: GradedLab | None, roster: Roster | None
) -> Submission:
    """One student's submission."""
    problem, found, empty, names = "", [], [], []
    for n, entry in enumerate(entries):
        there: list[_Found] = []
        try:
            there, rest = _notebooks(entry, place / f"{n}", lab)
            names += rest
        except LabError as error:
            problem = str(error)
        found += there
        empty += [] if there else [_Found(entry.path, entry)]
    chosen = max(found or empty, key=lambda one: _rank(one, lab))
    aside = [one.path.name for one in (*found, *empty) if one != chosen]
    by = chosen.entry.sender
    whole = Submission(
        by.name,
        chosen.path,
        set_aside=tuple(map(without_surrogates, aside)),
        sender=by,
        handed_in=without_surrogates(chosen.entry.path.name),
        person=roster.find(by) if roster else None,
    )
    if found:
        return _checked(whole, lab)
    held = ", ".join(names[:3]) or "none"
    said = f"Expected a notebook (.ipynb), found {held}. Hand in the notebook itself."
    return dataclasses.replace(whole, problem=problem or said)


def _notebooks(entry: _Entry, place: Path, lab: GradedLab | None) -> tuple[list[_Found], list[str]]:
    """The notebooks of an entry, and the names of its other files. Zip files in a folder are opened
    where no notebook lies beside them. LabError where an archive cannot be."""
    if not entry.is_folder and _ends(entry.path, ".ipynb"):
        return [_Found(entry.path, entry)], []
    files = _files(entry.path) if entry.is_folder else [entry.path]
    found, names = _in(entry.path), [without_surrogates(path.name) for path in files]
    if not found and (zips := [path for path in files if _ends(path, ".zip")]):
        names = [name for n, one in enumerate(zips) for name in _unpacked(one, place / f"{n}")]
        found = _in(place)
    if len(_senders(found, place)) > 1:
        raise LabError(
            f"{without_surrogates(entry.path.name)}: expected one student's notebook, "
            "found those of several students. Grade that class by itself."
        )
    return [_Found(path, entry, _likeness(path.stem, lab)) for path in found], names


def _senders(notebooks: Sequence[Path], place: Path) -> set[str]:
    """Whose notebooks came out of an archive, where an LMS named them."""
    parts = {part for path in notebooks if path.is_relative_to(place) for part in path.parts}
    return {by.name for part in parts if (by := sender(part)).lms}


def _unpacked(archive: Path, place: Path) -> list[str]:
    """The names of what is no notebook in it; LabError where it cannot be unpacked."""
    if problem := _problem(archive):
        raise LabError(problem)
    return archives.of_student(archive, place)


def _in(folder: Path) -> list[Path]:
    """The notebooks below a folder."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if _ends(path, ".ipynb") and not {".ipynb_checkpoints", "__MACOSX"} & set(path.parts)
    ]


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("[!.]*")) if path.is_file()]


def _ends(path: Path, *endings: str) -> bool:
    return path.suffix.lower() in endings


def _rank(one: _Found, lab: GradedLab | None) -> tuple[object, ...]:
    """The largest counts: exercises of the lab, in a folder the lab's name, then the newest."""
    has_lab = lab is not None and not _problem(one.path) and lab.is_in(one.path.read_bytes())
    return has_lab, one.entry.sender.upload, one.likeness, *_age(one.path)


def _age(path: Path) -> tuple[object, ...]:
    """The newest is the largest."""
    return copy_number(path.stem), path.lstat().st_mtime, path.name


def _likeness(name: str, lab: GradedLab | None) -> int:
    """`Lab5a_Teacher_Generation (1)` has all of it, `lab5a` a part."""
    name = name.lower()
    return 2 * (lab.notebook.lower() in name) + (lab.part in name) if lab else 0


def _checked(one: Submission, lab: GradedLab | None) -> Submission:
    """With what keeps it from being graded."""
    problem = _problem(one.path)
    other = "" if problem or lab is None else lab.other_in(one.path.read_bytes())
    if other and lab:
        problem = (
            f"Expected the notebook {lab.notebook}, found one of another lab, {other}. Hand in "
            "that of this lab."
        )
    return dataclasses.replace(one, problem=problem, other_lab=other)


def _problem(path: Path) -> str:
    """What keeps a file from being read."""
    if path.is_symlink():
        return "Expected a file, found a link to another. Hand in the notebook itself."
    if not path.is_file():
        return "Expected a file, found something else. Hand in the notebook itself."
    size, most = path.stat().st_size, archives.MOST_BYTES
    if size > most:
        return (
            f"Expected at most {most // 1_000_000} MB, found {size // 1_000_000} MB. Clear all "
            "outputs, save, and hand it in again."
        )
    if not os.access(path, os.R_OK):
        return "Expected a file, found one that may not be read. Give yourself the right to."
    return ""


def _named_once(found: Sequence[Submission]) -> Iterator[Submission]:
    """Of two names that are the same (or differ in case alone) the second gets a number."""
    seen: dict[str, int] = {}
    for one in found:
        key = one.student.casefold()
        seen[key] = seen.get(key, 0) + 1
        name = one.student if seen[key] == 1 else f"{one.student} ({seen[key]})"
        yield dataclasses.replace(one, student=name)
