"""The class's page: what waits for a look, the points, each step's pass rate, what went wrong most.

Its pictures are bars of HTML, with their numbers beside them as text: sharp at any width, light or
dark with the reader, the same for a screen reader as for the eye, and a page of 300 students stays
at a few hundred kB without an image. Figures leave out the files that could not be graded; these
are listed by themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, quantiles
from typing import get_args
from urllib.parse import quote

from distill_lab.course.grading.handed_in.collected import NOTHING, Collected
from distill_lab.course.grading.marks.marks import Mark, Remark, Result, State
from distill_lab.course.grading.pages.feedback import STATES, judged, points
from distill_lab.course.grading.pages.shown_text import fill

COMMONEST = 10  # mistakes that are listed
ROWS = 20  # of the distribution: with more points than that, several share a row


@dataclass(frozen=True, slots=True)
class Row:
    """How many submissions have so many points; or got a step right, wrong, or left it open."""

    name: str
    right: int
    wrong: int = 0
    open: int = 0

    @property
    def of(self) -> int:
        return self.right + self.wrong + self.open


@dataclass(frozen=True, slots=True)
class Group:
    """One exercise over the class: `mean` points `of` those there are."""

    exercise: str
    mean: float
    of: int
    states: dict[str, int]
    steps: list[Row]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A known mistake, and how many students made it (each counts once)."""

    exercise: str
    name: str
    students: int


def page(results: Sequence[Result], collected: Collected = NOTHING) -> str:
    """`class.html`, beside the folder `students` to which it links. It needs no other file."""
    graded = [result for result in results if not result.failure]
    made = mistakes(graded)
    return fill(
        "class.html.jinja",
        results=results,
        collected=collected,
        graded=graded,
        failed=[result for result in results if result.failure],
        waiting={result: found for result in results if (found := waiting(result))},
        lab=results[0].lab if results else "",
        headline=headline(results),
        distribution=distribution(graded),
        groups=groups(graded),
        exercises=_exercises(results),
        mistakes=made[:COMMONEST],
        more=len(made[COMMONEST:]),
        link=link,
        number=number,
    )


def headline(results: Sequence[Result]) -> str:
    """How many submissions, their median and quartiles."""
    graded = [result for result in results if not result.failure]
    n = len(results)
    if not n:
        return "There are no submissions yet."
    whole = "1 submission" if n == 1 else f"{n} submissions"
    if not graded:
        return f"{whole}: {'it could not' if n == 1 else 'none of them could'} be graded."
    found, of = [result.points for result in graded], max(result.of for result in graded)
    if len(set(found)) == 1:
        return f"{whole}: {'each has ' * (len(found) > 1)}{points(found[0], of)}."
    low, median, high = quantiles(found, n=4, method="inclusive")
    quartiles = f"quartiles {number(low)} and {number(high)}"
    return f"{whole}: median {number(median)} of {of} points, {quartiles}."


def distribution(graded: Sequence[Result]) -> list[Row]:
    """Submissions with each number of points, from 0 to all."""
    of = max((result.of for result in graded), default=0)
    width = 1 + of // (ROWS + 1)
    counts = Counter(result.points // width for result in graded)
    rows: list[Row] = []
    for low in range(0, of + 1, width) if graded else ():
        high = min(low + width - 1, of)
        rows.append(Row(str(low) if low == high else f"{low} to {high}", counts[low // width]))
    return rows


def groups(graded: Sequence[Result]) -> list[Group]:
    """What became of each exercise, and of each step of its check."""
    found: list[Group] = []
    for exercise in _exercises(graded):
        marks = [mark for one in graded for mark in one.marks if mark.exercise == exercise]
        states = Counter(mark.state for mark in marks)
        named = {STATES[state]: states[state] for state in get_args(State) if states[state]}
        mean, of = fmean(mark.points for mark in marks), max(mark.of for mark in marks)
        found.append(Group(exercise, mean, of, named, _steps(marks)))
    return found


def _steps(marks: Sequence[Mark]) -> list[Row]:
    """A step that no one's function came to (a stub, a missing cell, a void mark) is open."""
    titles = dict.fromkeys(step.title for mark in marks for step in mark.steps)
    counts = Counter(
        (step.title, step.right) for mark in marks if judged(mark) for step in mark.steps
    )
    rows: list[Row] = []
    for title in titles:
        right, wrong = counts[title, True], counts[title, False]
        rows.append(Row(title, right, wrong, len(marks) - right - wrong))
    return rows


def mistakes(graded: Sequence[Result]) -> list[Mistake]:
    """The commonest first; a student who made one in two steps made it once."""
    counts = Counter(
        made
        for one in graded
        for made in {
            (mark.exercise, step.mistake)
            for mark in one.marks
            if judged(mark)
            for step in mark.steps
            if step.mistake and not step.right
        }
    )
    # By name where as many made them, so that the same class has the same page.
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Mistake(exercise, name, count) for (exercise, name), count in common]


def waiting(result: Result) -> list[Remark]:
    """What an instructor should look at: the remarks, and void exercises that none is about."""
    about = {remark.where for remark in result.reviews}
    void = [mark for mark in result.marks if mark.state == "void" and mark.exercise not in about]
    found = [*result.reviews, *(Remark("review", mark.exercise, mark.said) for mark in void)]
    return list(dict.fromkeys(found))


def link(student: str) -> str:
    """The student's page, from the class's: a name may hold what means something in an address."""
    return f"students/{quote(f'{student}.html', safe='', errors='surrogatepass')}"


def number(value: float) -> str:
    """`7`, `7.5`, `7.25`: no zeros after the point."""
    return f"{round(value, 2):g}"


def _exercises(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(mark.exercise for one in results for mark in one.marks))
