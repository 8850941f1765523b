"""What an exercise is: steps, each with points, each a check on the student's function.

A step holds the function against small cases, the smallest first. Where it differs, the step says
what was called, what came and what was expected, and names the mistake where its result is that of
a known one.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from distill_lab.checks.plain import plainly

Function = Callable[..., Any]
State = Literal["not attempted", "wrong", "error", "right"]


class WrongError(Exception):
    """A step's finding. Its text is what the student reads, over several lines."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the function must do. `test` raises WrongError; its random numbers are the
    instructor's seed's, so that a class is graded on cases that nobody has seen."""

    title: str
    points: int
    test: Callable[[Function, random.Random], None]


@dataclass(frozen=True, slots=True)
class Exercise:
    """A function to write: `ours` is the package's own, for what follows in the notebook."""

    part: str
    function: str
    ours: Function
    steps: tuple[Step, ...]
    hints: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.part}.{self.function}"

    @property
    def points(self) -> int:
        return sum(step.points for step in self.steps)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A wrong answer to the exercise of that name (`lab5a.soften`), which its checks must catch:
    `loses` are the titles of the steps that it fails, and `says` is in the text of the first."""

    exercise: str
    name: str
    function: Function
    loses: tuple[str, ...]
    says: str


def mutants_of(exercise: str, *rows: tuple[Function, tuple[str, ...], str]) -> tuple[Mutant, ...]:
    """Those of the exercise of that name, each called as its function is."""
    return tuple(Mutant(exercise, row[0].__name__, *row) for row in rows)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a function: what is wrong with each step (None: right), and its points."""

    state: State
    wrong: tuple[WrongError | None, ...]
    points: int


def judge(exercise: Exercise, function: Function, seed: int = 0) -> Outcome:
    """All steps of an exercise on a student's function; nothing that it raises comes through."""
    function = plainly(function)
    wrong: list[WrongError | None] = []
    errors = 0
    for number, step in enumerate(exercise.steps):
        try:
            step.test(function, random.Random(f"{seed} {exercise.name} {number}"))
            wrong.append(None)
        except NotImplementedError:
            return Outcome("not attempted", (WrongError("not attempted"),) * len(exercise.steps), 0)
        except WrongError as found:
            wrong.append(found)
        except Exception as error:  # the student's own, whatever it is
            errors += 1
            wrong.append(WrongError(f"It raised {told(error)}"))
    points = sum(s.points for s, w in zip(exercise.steps, wrong, strict=True) if w is None)
    state: State = "right" if not any(wrong) else "error" if errors else "wrong"
    return Outcome(state, tuple(wrong), points)


def told(error: Exception) -> str:
    """An error's kind and text. Its further lines are set in, so that none of them can be taken for
    one of the check's: `expected: …` and the mistake's name below it."""
    try:
        lines = str(error).splitlines()
    except Exception:  # the student's own
        lines = ["…"]
    return f"{type(error).__name__}: " + "\n  ".join(lines)


def expect(
    function: Function,
    arguments: Sequence[Any],
    expected: Any,
    known: Mapping[str, Any] | None = None,
    shown: str | None = None,
    within: float = 1e-6,
) -> None:
    """WrongError unless `function(*arguments)` is `expected` (numbers within 1e-6, relative or
    absolute).

    `known` maps a mistake's name to the result that it gives; `shown` is the call as it is shown,
    where its arguments would be too long. The arguments are copies: a function may change its own.
    """
    name = getattr(function, "__name__", "it")
    call = shown or f"{name}({', '.join(map(brief, arguments))})"
    try:
        yours = function(*copy.deepcopy(list(arguments)))
    except NotImplementedError:
        raise
    except Exception as error:
        cause = _named(type(error), known, within)
        raise WrongError(
            f"{call}\nraised    {told(error)}\nexpected: {brief(expected)}{cause}"
        ) from None
    if not alike(yours, expected, within):
        cause = _named(yours, known, within)
        raise WrongError(f"{call}\nyours:    {brief(yours)}\nexpected: {brief(expected)}{cause}")


def _named(yours: Any, known: Mapping[str, Any] | None, within: float) -> str:
    """The known mistake with this result (or this kind of error), if any, as a line."""
    for name, result in (known or {}).items():
        if yours is result or (not isinstance(result, type) and alike(yours, result, within)):
            return f"\n{name}"
    return ""


def alike(a: Any, b: Any, within: float = 1e-6) -> bool:
    """Whether two results are the same: tensors and arrays as nested lists, numbers within a
    tolerance, NaN as itself; True is not 1, and a list may stand for a tuple."""
    a, b = (x.tolist() if hasattr(x, "tolist") else x for x in (a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(alike(a[key], b[key], within) for key in b)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(lambda x, y: alike(x, y, within), a, b))
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return (math.isnan(a) and math.isnan(b)) or math.isclose(
            a, b, rel_tol=within, abs_tol=within
        )
    return type(a) is type(b) and a == b


def brief(value: Any, longest: int = 160) -> str:
    """A value as it is shown: numbers rounded, tensors and arrays as lists, long ones cut."""
    text = repr(_rounded(value))
    return text if len(text) <= longest else text[: longest - 2] + " …"


def _rounded(value: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, (list, tuple)):
        return type(value)(map(_rounded, value)) if type(value) in (list, tuple) else value
    return value
