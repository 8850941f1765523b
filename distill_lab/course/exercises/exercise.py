"""What an exercise is: steps, each with points, each a check of the student's function.

A step calls the function with small cases, the smallest first. Where a result is wrong, the step
says what was called, what came back and what was expected, and names the mistake if it is a known
one.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from distill_lab.course.exercises.comparing import (
    alike,
    brief,
    error_text,
    hint_for_error,
    hint_for_rounding,
    known_mistake,
)
from distill_lab.course.exercises.plain import plain
from distill_lab.course.exercises.result_types import ANY, ResultType

Function = Callable[..., Any]
State = Literal["not attempted", "wrong", "error", "right"]
Difficulty = Literal["easy", "medium", "hard"]


class WrongError(Exception):
    """What a step found wrong. Its text, of several lines, is what the student reads."""


def difference(call: str, yours: str, expected: str, hint: str = "") -> WrongError:
    """A wrong result as students read it, under the call that gave it."""
    return WrongError(f"{call}\nyours:    {yours}\nexpected: {expected}\n{hint}".rstrip())


class WrongTypeError(WrongError):
    """The result is of another type than the one that is asked for."""

    def __init__(self, yours: Any, says: str) -> None:
        super().__init__(f"yours:    {brief(yours)}\n{says}")
        self.yours, self.says = yours, says


class BrokenError(WrongError):
    """A step could not be judged: something was raised outside the call that it checks."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the function must do. `test` raises WrongError where it does not; it draws its
    cases from the instructor's seed, so that a class is graded on cases that nobody has seen."""

    title: str
    points: int
    test: Callable[[Function, random.Random], None]


@dataclass(frozen=True, slots=True)
class Slip:
    """A mistake that runs through all results (percent for shares, say). It costs the step with the
    title `step`; the others are judged on `undone(function)`, the function without the mistake."""

    says: str
    step: str
    undone: Callable[[Function], Function]


def on_results(change: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """A slip's `undone` that changes what the function gives; None stays."""

    def undone(function: Function) -> Function:
        def changed(*arguments: Any) -> Any:
            result = function(*arguments)
            return None if result is None else change(result)

        return changed

    return undone


@dataclass(frozen=True, slots=True)
class Exercise:
    """A function to write: `ours` is the package's own, for what follows in the notebook, which
    takes results in the plain form of `result_type`.

    `runner` is for answers that are lines of code. It makes of the student's function the one that
    the steps call, which also runs these lines. It is applied where the student's code runs: in
    grading that is the sandboxed kernel, never the grader's own process.

    `minutes` is our estimate for somebody who has read the text above it. An `easy` one has one
    idea, a `medium` one two or three that must hold together, a `hard` one more, or others' code.
    """

    part: str
    function: str
    ours: Function
    steps: tuple[Step, ...]
    hints: tuple[str, ...]
    result_type: ResultType = ANY
    slips: tuple[Slip, ...] = ()
    runner: Callable[[Function], Function] | None = None
    minutes: int = field(kw_only=True)
    difficulty: Difficulty = field(kw_only=True)

    @property
    def name(self) -> str:
        return f"{self.part}.{self.function}"

    @property
    def points(self) -> int:
        return sum(step.points for step in self.steps)

    @property
    def worth(self) -> str:
        """What students read of it before they begin."""
        points = f"{self.points} point{'s' if self.points != 1 else ''}"
        return f"{points}, about {self.minutes} minutes, {self.difficulty}"

    @property
    def expression(self) -> str:
        """What the steps call, as Python that is evaluated among the student's names."""
        if self.runner is None:
            return self.function
        module, name = self.runner.__module__, self.runner.__name__
        return f"__import__({module!r}, fromlist=[{name!r}]).{name}({self.function})"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A wrong answer to the exercise of that name (`lab5a.soften`), which its checks must catch:
    it fails the steps whose titles are in `loses`, and the text of the first contains `says`."""

    exercise: str
    name: str
    function: Function
    loses: tuple[str, ...]
    says: str


def mutants_of(
    exercise: str, *rows: tuple[str, Function, tuple[str, ...], str]
) -> tuple[Mutant, ...]:
    """Mutants of one exercise; each row has the other fields of `Mutant`."""
    return tuple(Mutant(exercise, *row) for row in rows)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of all steps: what is wrong with each (None: right), and the points."""

    state: State
    wrong: tuple[WrongError | None, ...]
    points: int


class StudentFunction:
    """A student's function as the steps call it: its results come in their plain form."""

    def __init__(self, function: Function, result_type: ResultType) -> None:
        self.function, self.result_type = function, result_type
        self.__name__: str = getattr(function, "__name__", "it")
        self.given: set[type] = set()  # the types of its results
        self.was_stopped = False

    def __call__(self, *arguments: Any) -> Any:
        try:
            result = self.function(*arguments)
        except TimeoutError:
            self.was_stopped = True
            raise
        self.given.add(type(result))
        return plain_result(result, self.result_type)


def plain_result(result: Any, result_type: ResultType) -> Any:
    """A result in the plain form of its type; WrongTypeError where it holds something else."""
    try:
        return result_type.plain(plain(result))
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is torch's
        raise WrongTypeError(result, NO_RETURN if result is None else result_type.asks) from None


NO_RETURN = "Nothing came back: is a `return` missing? (print shows a value, return gives it back.)"
_Finding = WrongError | None
_Wrong = tuple[_Finding, ...]


def judge(exercise: Exercise, function: Function, seed: int = 0) -> Outcome:
    """Runs all steps of an exercise on a student's function; catches whatever it raises."""
    called = exercise.runner(function) if exercise.runner else function
    return judge_called(exercise, called, seed)


def judge_called(exercise: Exercise, function: Function, seed: int = 0) -> Outcome:
    """The same for a function that is `exercise.expression` in another process: nothing that the
    student wrote runs in this one."""
    student = StudentFunction(function, exercise.result_type)
    try:
        wrong = _steps(exercise, student, seed)
        if any(wrong) and student.given == {type(None)}:
            wrong = (WrongError(f"{wrong[0]}\nEach call gave None. {NO_RETURN}"), *wrong[1:])
        elif any(wrong) and student.given and not student.was_stopped:  # else it stops each time
            wrong = _without_slip(exercise, function, seed, wrong)
    except NotImplementedError:
        return Outcome("not attempted", (WrongError("not attempted"),) * len(exercise.steps), 0)
    broken = any(isinstance(error, BrokenError) for error in wrong)
    state: State = "right" if not any(wrong) else "error" if broken else "wrong"
    return Outcome(state, wrong, _points(exercise, wrong))


def _steps(exercise: Exercise, function: Function, seed: int) -> _Wrong:
    """What is wrong with each step. NotImplementedError where the function is not written yet."""
    return tuple(
        _step(step, function, random.Random(f"{seed} {exercise.name} {number}"))
        for number, step in enumerate(exercise.steps)
    )


def _step(step: Step, function: Function, rng: random.Random) -> WrongError | None:
    try:
        step.test(function, rng)
    except NotImplementedError:
        raise
    except WrongError as wrong:
        return wrong
    except Exception as error:  # the student's own, whatever it is
        return BrokenError(f"It raised {error_text(error)}")
    return None


def _without_slip(exercise: Exercise, function: Function, seed: int, wrong: _Wrong) -> _Wrong:
    """What is wrong where a slip that explains more than one step costs its own step alone. If
    several slips do, the one that leaves the most points counts."""
    titles = [step.title for step in exercise.steps]
    points, readings = _points(exercise, wrong), [wrong]
    for slip in exercise.slips:
        own = titles.index(slip.step)
        if wrong[own] is None:
            continue
        student = StudentFunction(slip.undone(function), exercise.result_type)
        student.__name__ = getattr(function, "__name__", "it")  # as its calls are shown
        undone = _steps(exercise, student, seed)
        if undone[own] is None:
            reading = [_aside_from(slip, *pair) for pair in zip(wrong, undone, strict=True)]
            text = str(wrong[own])
            reading[own] = WrongError(text if slip.says in text else f"{text}\n{slip.says}")
            if not any(undone) or _points(exercise, reading) > points:
                readings.append(tuple(reading))
    return max(readings, key=lambda reading: (_points(exercise, reading), reading is not wrong))


def _aside_from(slip: Slip, wrong: WrongError | None, undone: WrongError | None) -> _Finding:
    """What is wrong with another step if the slip does not count."""
    if wrong is None or undone is None:
        return None
    if isinstance(undone, BrokenError):
        return wrong
    return WrongError(f"{undone}\n(As if what is said of {slip.step!r} were mended.)")


def _points(exercise: Exercise, wrong: Sequence[WrongError | None]) -> int:
    return sum(s.points for s, w in zip(exercise.steps, wrong, strict=True) if w is None)


def expect(
    function: Function,
    arguments: Sequence[Any],
    expected: Any,
    known: Mapping[str, Any] | None = None,
    shown: str | None = None,
    within: float = 1e-6,
) -> None:
    """WrongError unless `function(*arguments)` is `expected`; numbers may differ by `within`,
    relative or absolute.

    `known` maps a mistake's name to the result that it gives. `shown` replaces the call in messages
    where the arguments would be too long. The function is given copies, which it may change.
    """
    name = getattr(function, "__name__", "it")
    call = shown or f"{name}({', '.join(map(brief, arguments))})"
    try:
        yours = function(*copy.deepcopy(list(arguments)))
    except NotImplementedError:
        raise
    except WrongTypeError as other:
        result = f"yours:    {brief(other.yours)}"
        cause = known_mistake(other.yours, known, within) or f"\n{other.says}"
    except Exception as error:
        result = f"raised    {error_text(error)}"
        cause = known_mistake(error, known, within) or hint_for_error(error)
    else:
        if alike(yours, expected, within):
            return
        result = f"yours:    {brief(yours)}"
        cause = known_mistake(yours, known, within) or hint_for_rounding(yours, expected)
    raise WrongError(f"{call}\n{result}\nexpected: {brief(expected)}{cause}")
