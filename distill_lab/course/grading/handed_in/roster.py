"""The list of a course's students, as Canvas and Moodle export it or as anybody may write it.

A CSV file with a heading; columns are found by their names, in any order, others are kept as they
are: an ID, a name (or first and last name), an email address, each of which may be missing.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from distill_lab.course.grading.handed_in.lms_names import Sender
from distill_lab.run.records import LabError

# Which column it is, the first that is there; Canvas's gradebook has the first of the first four,
# Moodle's grading worksheet of the others.
_COLUMNS = {
    "id": ("id", "id number", "student id", "user id", "sis user id", "identifier"),
    "name": ("student", "full name", "name", "student name"),
    "first": ("first name", "given name"),
    "last": ("last name", "surname", "family name"),
    "email": ("email address", "email", "e-mail", "mail"),
    "login": ("sis login id", "login", "username", "user name"),
    "participant": ("identifier",),
}
_NO_STUDENTS = ("points possible", "student, test")  # rows of Canvas's gradebook


@dataclass(frozen=True, slots=True)
class Person:
    """`row`: all that the roster has of them, by its headings. `keys`: what they may be called in a
    file's name, `plain`."""

    id: str
    name: str
    email: str
    row: Mapping[str, str] = field(repr=False)
    keys: frozenset[str] = frozenset()
    participant: str = ""

    @property
    def called(self) -> str:
        return self.name or self.email or self.id


@dataclass(frozen=True)
class Roster:
    """`lms`: whose export it is ("": nobody's)."""

    people: tuple[Person, ...]
    headings: tuple[str, ...]
    lms: Literal["canvas", "moodle", ""] = ""

    @cached_property
    def _called(self) -> dict[str, Person]:
        """By what only one of them is called."""
        counts = Counter(key for one in self.people for key in one.keys)
        return {key: one for one in self.people for key in one.keys if counts[key] == 1}

    def find(self, sender: Sender) -> Person | None:
        """By the LMS's own number where the roster is its export, else by name, email or ID. None
        where nobody, or more than one, is called so."""
        if sender.lms and sender.lms == self.lms:
            for one in self.people:
                if sender.id == (one.participant if sender.lms == "moodle" else one.id):
                    return one
        return self._called.get(plain(sender.who)) or (
            self._called.get(plain(sender.id)) if sender.lms == "canvas" else None
        )


def read_roster(file: Path) -> Roster:
    """LabError where it is no such list."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise LabError(f"{file}: expected CSV in UTF-8, found other bytes. Save it so.") from None
    first = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    try:
        head, *lines = [[cell.strip() for cell in row] for row in rows if any(row)] or [[]]
    except csv.Error as error:
        raise LabError(f"{file}: expected CSV, found {error}. Export it again.") from None
    columns = _columns_of(head)
    if not columns.keys() & {"id", "name", "last", "email", "login"}:
        raise LabError(
            f"{file}: expected a column named ID, Name or Email in the first line, found "
            f"{', '.join(head)[:200] or 'nothing'}. Name them so."
        )
    lms = _lms(head)
    people = tuple(
        person
        for person in (_person(line, head, columns) for line in lines)
        if person.called
        and (person.id or lms != "canvas")
        and person.name.casefold() not in _NO_STUDENTS
    )
    twice = [key for key, n in Counter(one.id for one in people if one.id).items() if n > 1]
    if twice:
        raise LabError(f"{file}: expected each ID once, found {twice[0]!r} again. Take one out.")
    if not people:
        raise LabError(f"{file}: expected a line a student, found none. Export it again.")
    return Roster(people, tuple(head), lms)


def plain(text: str) -> str:
    """Letters and digits alone, without accents and case: `Doe, Zoë` is `doezoe`."""
    letters = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in letters if letter.isalnum())


def _columns_of(head: list[str]) -> dict[str, int]:
    """The column of each field that the heading has."""
    headings = [heading.casefold() for heading in head]
    return {
        field: next(headings.index(name) for name in names if name in headings)
        for field, names in _COLUMNS.items()
        if not {*headings}.isdisjoint(names)
    }


def _lms(head: list[str]) -> Literal["canvas", "moodle", ""]:
    headings = {heading.casefold() for heading in head}
    if {"student", "id", "section"} <= headings:
        return "canvas"
    return "moodle" if headings & {"identifier", "id number"} else ""


def _person(line: list[str], head: list[str], columns: Mapping[str, int]) -> Person:
    cells = [*line, *[""] * (len(head) - len(line))]
    values = {name: cells[n] for name, n in columns.items()}
    names = [values[part] for part in ("first", "last") if part in values]
    name, email = values.get("name") or " ".join(names).strip(), values.get("email", "")
    number = values.get("id", "")
    others = (number, email, email.partition("@")[0], values.get("login", ""))
    keys = {plain(text) for text in (*others, *_orders(name))} - {""}
    digits = re.search(r"\d+$", values.get("participant", ""))  # `Participant 1234567`
    return Person(
        number, name, email, dict(zip(head, cells, strict=False)), frozenset(keys),
        digits[0] if digits else "",
    )  # fmt: skip


def _orders(name: str) -> Iterator[str]:
    """`Jane van Doe`, `van Doe, Jane`, `Doe Jane van`: wherever the last name begins."""
    words = name.replace(",", " ").split()
    for n in range(len(words)):
        yield " ".join(words[n:] + words[:n])
