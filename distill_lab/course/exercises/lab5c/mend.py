"""Lab 5c, the exercise on the bug museum: which test catches a bug, and which line mends it."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable
from typing import Any

import torch

from distill_lab.course.exercises.comparing import alike, brief, error_text
from distill_lab.course.exercises.exercise import (
    Exercise,
    Function,
    Step,
    WrongError,
    difference,
)
from distill_lab.course.exercises.lab5c import only_sums
from distill_lab.course.exercises.lab5c.museum import (
    EXHIBITS,
    TESTS,
    Loss,
    finding,
    mended_source,
    right,
    source,
    with_mended_losses,
)
from distill_lab.losses.distillation import IGNORED

Answer = tuple[str, int, str]


def mend(bug: str) -> Answer | None:
    """An exhibit's answer: the test that catches it, its wrong line's number, the right line."""
    from distill_lab.course.exercises.lab5c.museum_answers import (
        ANSWERS,  # not there where marks are given
    )

    return ANSWERS.get(bug)


def _step(bug: str) -> Callable[[Function, random.Random], None]:
    def check(function: Function, rng: random.Random) -> None:
        try:
            test, line, text = _answer(bug, function(bug))
            _catches(bug, test)
            _mends(function, (bug, line, text), rng)
        except WrongError as wrong:
            number = [*EXHIBITS].index(bug) + 1
            raise WrongError(f'{wrong}\nhint("lab5c.mend", {number}) is on this one.') from None

    return check


def _answer(bug: str, answer: Any) -> Answer:
    call = f'mend("{bug}")'
    if answer is None:
        raise WrongError(f"{call} is None: this one waits for you still.")
    is_triple = isinstance(answer, (tuple, list)) and len(answer) == 3
    if not is_triple or [type(part) for part in answer] != [str, int, str]:
        is_text = is_triple and isinstance(answer[1], str) and answer[1].strip().isdigit()
        hint = "The number of the line is a number, not a text." if is_text else ""
        expected = "the name of a test, the number of a line, and the line as it should read: "
        expected += '("positions", 3, "x = 1")'
        raise difference(call, brief(answer), expected, hint)
    test, line, text = answer
    return test, line, text


def _catches(bug: str, test: str) -> None:
    call = f'mend("{bug}")'
    if test not in TESTS:
        raise difference(call, repr(test), f"one of {', '.join(TESTS)}")
    if finding(test, EXHIBITS[bug]) is None:
        yours = f"{test!r}, and this bug passes it: {TESTS[test].says}."
        expected = "the test that it fails. In what does its loss differ from the right one?"
        raise difference(call, yours, expected)


def _mends(function: Function, mending: Answer, rng: random.Random) -> None:
    bug, line, text = mending
    lines = source(bug).splitlines()
    if not 1 <= line <= len(lines):
        raise difference(f'mend("{bug}")', f"line {line}", f"from 1 to {len(lines)}")
    if text.strip() == lines[line - 1].strip():
        raise WrongError(
            f'mend("{bug}")\nLine {line} reads so already, and the bug is still there.'
        )
    shown = "\n  ".join(text.strip().splitlines())
    with_it = f'"{bug}" with its line {line} so:\n  {shown}'
    try:
        if part := only_sums.another(mended_source(bug, line, text)):
            needs = "Sums of tensors, and of torch, F and math, are all that it needs."
            raise WrongError(f"{with_it}\nsays `{part[:80]}`. {needs}")
        _passes(functools.partial(function, *mending), with_it, rng)
    except WrongError:
        raise
    except SyntaxError as error:
        raise WrongError(f"{with_it}\nis no Python: {error.msg}") from None
    except Exception as error:
        raise WrongError(f"{with_it}\n{_unfit(error)}") from None


def _passes(kd: Loss, with_it: str, rng: random.Random) -> None:
    for name, test in TESTS.items():
        if wrong := finding(name, kd):
            raise WrongError(f"{with_it}\nfails the test {name!r}: {test.says}\n{wrong}")
    _agrees(kd, with_it, rng)


def _unfit(error: Exception) -> str:
    """Why a loss does not run, in words: torch's own words on shapes are hard to read."""
    sizes = re.findall(r"\((\d+)\)", str(error))
    if isinstance(error, RuntimeError):
        which = f": {' and '.join(sizes[:2])} meet" if len(sizes) > 1 else ""
        return (
            f"does not run: what this line gives has another shape than the lines below it take"
            f"{which}. Which axes has it, and how long is each?"
        )
    return f"does not run: {error_text(error)}"


def _agrees(kd: Loss, with_it: str, rng: random.Random) -> None:
    """All five tests may pass with another loss: they say nothing of T^2."""
    draw = torch.Generator().manual_seed(rng.randrange(2**31))
    student, teacher = torch.randn(2, 5, 6, generator=draw), torch.randn(2, 5, 8, generator=draw)
    labels = torch.randint(0, 6, (2, 5), generator=draw)
    labels[0, :2] = labels[1, :1] = labels[0, 4:] = IGNORED
    yours, expected = (loss(student, teacher, labels, 2.0, 9) for loss in (kd, right))
    if not alike(yours, expected, 1e-5):
        hint = "All five tests pass, and it is another loss now: keep what was right in that line."
        call = f"{with_it}\nOf drawn logits at T = 2"
        raise difference(call, brief(yours), brief(expected), hint)


MEND = Exercise(
    "lab5c",
    "mend",
    mend,
    tuple(Step(bug, 1, _step(bug)) for bug in EXHIBITS),
    (
        "temperature: is T used on the way to log_p and log_q? It divides the logits of both.",
        "entropy: what does it give for identical models? A KL is the sum of p * (log p - log q).",
        "vocabulary: what does the padding of the narrower head add? Cut the wider one to what "
        "both have.",
        "shift: which token does position i predict? labels[:, 1:] belong to positions :-1, and "
        "the last position never counts.",
        "accumulation: what is it divided by? n_items is the number of the whole step's tokens.",
    ),
    runner=with_mended_losses,
    minutes=45,
    difficulty="hard",
)
