"""A student's page: points, what is right, what was expected where it is not, and a hint."""

from __future__ import annotations

from dataclasses import dataclass

from distill_lab.course.grading.marks.marks import Mark, Result, State, StepMark
from distill_lab.course.grading.pages.shown_text import fill

STATES: dict[State, str] = {
    "right": "right",
    "partly right": "partly right",
    "wrong": "wrong",
    "error": "raised an error",
    "not attempted": "not attempted",
    "missing": "not found",
    "void": "to be looked at",
}
# Where the mark itself says nothing.
ABOUT: dict[State, str] = {
    "not attempted": "The function is still to be written: it raises NotImplementedError. Then "
    "its steps are judged one by one, and each that is right has its points.",
    "missing": "No cell with this function was found in the file.",
}
LOOK = "Your instructor looks at this exercise before it gets its points. There is nothing to do."


@dataclass(frozen=True, slots=True)
class Finding:
    """A step that is wrong: the case (the call, yours, expected), and the mistake's name or ""."""

    case: str
    mistake: str


def page(result: Result) -> str:
    """One HTML file that needs no other. It shows the cases that went wrong, and neither the
    checks nor the seed."""
    return fill(
        "feedback.html.jinja",
        result=result,
        headline=_headline(result),
        marks=_exercises(result),
        notices=[remark for remark in result.remarks if remark.kind == "notice"],
        waits=bool(result.reviews) or any(mark.state == "void" for mark in result.marks),
        states=STATES,
        sentences=sentences,
        judged=judged,
        finding=finding,
        points=points,
    )


def judged(mark: Mark) -> bool:
    """Whether its steps say something about the function that was handed in."""
    return mark.state not in ("not attempted", "missing", "void")


def sentences(mark: Mark) -> list[str]:
    """What is said of an exercise as a whole."""
    sentence = mark.said or ABOUT.get(mark.state, "")
    return [text for text in (LOOK if mark.state == "void" else "", sentence) if text]


def finding(step: StepMark) -> Finding:
    """Splits what a step said: `mistake` is its end."""
    lines = step.said.splitlines()
    if step.mistake:
        last = max(n for n, line in enumerate(lines) if line.startswith("expected:"))
        lines = lines[: last + 1]
    return Finding("\n".join(lines), step.mistake)


def points(got: int, of: int) -> str:
    """`7 of 10 points`, `1 of 1 point`."""
    return f"{got} of {of} point{'' if of == 1 else 's'}"


def _headline(result: Result) -> str:
    if result.failure:
        return "this file could not be graded"
    if result.of and result.points == result.of:
        return f"all {result.of} points"
    return points(result.points, result.of)


def _exercises(result: Result) -> tuple[Mark, ...]:
    """All exercises; of a file that could not be graded none, unless some had been reached."""
    reached = any(mark.state != "missing" for mark in result.marks)
    return result.marks if reached or not result.failure else ()
