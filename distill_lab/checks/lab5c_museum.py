"""Lab 5c, the bug museum: which test catches a bug, which line is wrong, and how it should read."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch

from distill_lab.checks.exercise import Exercise, Function, Step, WrongError, alike, brief, told
from distill_lab.checks.museum import EXHIBITS, TESTS, Loss, finding, mended, right, source
from distill_lab.loss import IGNORED

Answer = tuple[str, int, str]


def mend(bug: str) -> Answer | None:
    """Of an exhibit: the test that catches it, the number of its wrong line, the line mended."""
    from distill_lab.checks.lab5c_museum_answers import ANSWERS  # not there where marks are given

    return ANSWERS.get(bug)


def _step(bug: str) -> Callable[[Function, random.Random], None]:
    def test(function: Function, rng: random.Random) -> None:
        named, line, text = _answer(bug, function(bug))
        _catches(bug, named)
        _mends(bug, line, text, rng)

    return test


def _answer(bug: str, answer: Any) -> Answer:
    call = f'mend("{bug}")'
    if answer is None:
        raise WrongError(f"{call} is None: this one waits for you still.")
    form = isinstance(answer, (tuple, list)) and len(answer) == 3
    if not form or [type(part) for part in answer] != [str, int, str]:
        raise WrongError(
            f"{call}\nyours:    {brief(answer)}\nexpected: the name of a test, the number of a "
            'line, and the line as it should read: ("positions", 3, "x = 1")'
        )
    named, line, text = answer
    return named, line, text


def _catches(bug: str, named: str) -> None:
    call = f'mend("{bug}")'
    if named not in TESTS:
        raise WrongError(f"{call}\nyours:    {named!r}\nexpected: one of {', '.join(TESTS)}")
    if finding(named, EXHIBITS[bug]) is None:
        raise WrongError(
            f"{call}\nyours:    {named!r}, and this bug passes it: {TESTS[named].says}.\n"
            f"expected: the test that it fails. In what does its loss differ from the right one?"
        )


def _mends(bug: str, line: int, text: str, rng: random.Random) -> None:
    n_lines = len(source(bug).splitlines())
    if not 1 <= line <= n_lines:
        raise WrongError(f'mend("{bug}")\nyours:    line {line}\nexpected: from 1 to {n_lines}')
    mending = "\n  ".join(text.strip().splitlines())
    with_it = f'"{bug}" with its line {line} so:\n  {mending}'
    try:
        kd = mended(bug, line, text)
    except SyntaxError as error:
        raise WrongError(f"{with_it}\nis no Python: {error.msg}") from None
    except WrongError as refused:
        raise WrongError(f"{with_it}\n{refused}. A loss needs no more than that.") from None
    try:
        failed = [(name, found) for name in TESTS if (found := finding(name, kd))]
        if failed:
            name, found = failed[0]
            raise WrongError(f"{with_it}\nfails the test {name!r}: {TESTS[name].says}\n{found}")
        _agrees(kd, with_it, rng)
    except WrongError:
        raise
    except Exception as error:
        raise WrongError(f"{with_it}\nraised    {told(error)}") from None


def _agrees(kd: Loss, with_it: str, rng: random.Random) -> None:
    """All five tests may pass, and the loss still be another: of T^2 they say nothing."""
    draw = torch.Generator().manual_seed(rng.randrange(2**31))
    student, teacher = torch.randn(2, 5, 6, generator=draw), torch.randn(2, 5, 8, generator=draw)
    labels = torch.randint(0, 6, (2, 5), generator=draw)
    labels[0, :2] = labels[1, :1] = labels[0, 4:] = IGNORED
    yours, expected = (loss(student, teacher, labels, 2.0, 9) for loss in (kd, right))
    if not alike(yours, expected, 1e-5):
        raise WrongError(
            f"{with_it}\nOf drawn logits at T = 2\nyours:    {brief(yours)}\nexpected: "
            f"{brief(expected)}\nAll five tests pass, and it is another loss now: keep what was "
            "right in that line."
        )


MEND = Exercise(
    "lab5c",
    "mend",
    mend,
    tuple(Step(bug, 1, _step(bug)) for bug in EXHIBITS),
    (
        "Ask of each exhibit: is T in it? Is it 0 for identical models? What does it do with rows "
        "that stand for no word? Which positions count? What does it divide by?",
        "Lines 5, 6, 4, 6 and 7 are the wrong ones.",
        "In the KL, p times (log p - log q); of both heads the words that both have; labels[:, 1:] "
        "belong to positions :-1, and the last position never counts; n_items is the whole step's.",
    ),
)
