"""The class as CSV: `grades.csv`, and what Canvas and Moodle take in."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distill_lab.course.grading.handed_in.collected import NOTHING, Collected, Submission
from distill_lab.course.grading.handed_in.roster import Person, plain
from distill_lab.course.grading.marks.marks import Result

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f]")
# a formula's first character, where a cell begins: for some readers behind a semicolon as well
_FORMULA = re.compile("(^|[;\t\n])(?=\\s*[=+@＝＋－＠-])")
_CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
_MOODLE = ("Identifier", "Full name", "Email address", "ID number", "Grade", "Maximum Grade")


def to_csv(results: Sequence[Result], collected: Collected = NOTHING) -> str:
    """A row a submission: points, each exercise's, how many remarks wait for a review, why a file
    could not be graded, what else was handed in, and the ID. Then the students of the roster who
    handed nothing in, with 0 points, and the files that are nobody's, with none."""
    exercises = [mark.exercise for mark in results[0].marks] if results else []
    by = {one.student: one for one in collected.submissions}
    end = ("review", "failure", "file", "set_aside", "id")
    rows: list[Sequence[Any]] = [("student", "points", "of", *exercises, *end)]
    for one in results:
        points, whose = [mark.points for mark in one.marks], by.get(one.student)
        aside, number = ("; ".join(whose.set_aside), whose.id) if whose else ("", "")
        found = (len(one.reviews), one.failure, one.file, aside, number)
        rows.append((one.student, one.points, one.of, *points, *found))
    of, none = results[0].of if results else 0, [0] * len(exercises)
    for absent in collected.absent:
        rows.append((absent.called, 0, of, *none, 0, "Nothing was handed in.", "", "", absent.id))
    for file in collected.passed_over:
        rows.append(("", "", "", *[""] * len(exercises), "", file.why, file.file, "", ""))
    return _written(rows)


def for_canvas(results: Sequence[Result], collected: Collected, names: Sequence[str]) -> str:
    """What its gradebook imports. The assignment is the column of the roster that has one of the
    `names` in its own, else a new one with the last of them."""
    headings = collected.roster.headings if collected.roster else ()
    known = [one for one in headings if any(plain(name) in plain(one) for name in names)]
    grade = known[0] if known else names[-1]
    first = [one for one in _CANVAS if one in headings] if _is(collected, "canvas") else _CANVAS
    rows: list[Sequence[Any]] = [(*first, grade)]
    for person, one, result in _each(results, collected):
        if one and not person and one.sender and one.sender.lms != "canvas":
            continue  # its ID is not known
        row = {**_about(person, one), **(person.row if person and _is(collected, "canvas") else {})}
        rows.append((*(row.get(name, "") for name in first), result.points if result else ""))
    return _written(rows)


def for_moodle(results: Sequence[Result], collected: Collected) -> str:
    """The grading worksheet: that which was exported, filled in, or one with what is known. Who
    handed nothing in keeps the grade that stands there; Moodle's `-`, which is none, is left out,
    as a spreadsheet may take it for the beginning of a formula."""
    headings = collected.roster.headings if collected.roster else ()
    head = headings if {"Identifier", "Grade"} <= set(headings) else _MOODLE
    rows: list[Sequence[Any]] = [head]
    for person, one, result in _each(results, collected):
        row: dict[str, Any] = {**_about(person, one), **(person.row if person else {})}
        if result:
            row |= {"Grade": result.points, "Maximum Grade": result.of}
        rows.append(["" if row.get(name) == "-" else row.get(name, "") for name in head])
    return _written(rows)


def _each(
    results: Sequence[Result], collected: Collected
) -> Iterable[tuple[Person | None, Submission | None, Result | None]]:
    """Who handed something in, then who did not."""
    by = {result.student: result for result in results}
    for one in collected.submissions:
        yield one.person, one, by.get(one.student)
    for person in collected.absent:
        yield person, None, None


def _about(person: Person | None, one: Submission | None) -> Mapping[str, str]:
    """What is known of a student, by the headings of both. Canvas's ID and Moodle's participant are
    in a file's name, and a roster of one's own does not have them."""
    sender = one.sender if one else None
    name = person.called if person else sender.who if sender else ""
    number = {sender.lms: sender.id} if sender else {}
    participant = number.get("moodle") or (person.participant if person else "")
    return {
        "Student": name,
        "Full name": name,
        "ID": number.get("canvas", ""),
        "SIS User ID": person.id if person else "",
        "ID number": person.id if person else "",
        "Email address": person.email if person else "",
        "Identifier": f"Participant {participant}" if participant else "",
    }


def _is(collected: Collected, lms: str) -> bool:
    return collected.roster is not None and collected.roster.lms == lms


def _written(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_inert(cell) for cell in row] for row in rows)
    return text.getvalue()


def _inert(field: Any) -> Any:
    """A text of a student's (a file's name, say) as plain text: no formula for a spreadsheet, and
    no character that ends a row, or a file, for some reader."""
    if not isinstance(field, str):
        return field
    field = _FORMULA.sub(r"\1'", _CONTROL.sub("?", field))
    return f"'{field}" if field[:1] in ("\t", "\n") else field
