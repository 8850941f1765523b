"""Wrong answers in the bug museum of Lab 5c."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distill_lab.course.exercises.exercise import Mutant
from distill_lab.course.exercises.lab5c.mend import mend
from distill_lab.course.exercises.lab5c.museum import EXHIBITS


def _but(bug: str, answer: Any) -> Callable[[str], Any]:
    """Right but for one bug."""
    return lambda asked: answer if asked == bug else mend(asked)


def _line(bug: str, text: str) -> Callable[[str], Any]:
    """The right test and the right line, which reads so."""

    def answer(asked: str) -> Any:
        right = mend(asked)
        return (*right[:2], text) if right and asked == bug else right

    return answer


def one_test_for_all(bug: str) -> Any:
    right = mend(bug)
    return right and ("identical models", *right[1:])


def a_test_of_ones_own(bug: str) -> Any:
    right = mend(bug)
    return right and ("the loss falls", *right[1:])


def first_line_each(bug: str) -> Any:
    right = mend(bug)
    return right and (right[0], 2, right[2])


def _mutant(name: str, bug: str, answer: Callable[[str], Any], says: str) -> Mutant:
    return Mutant("lab5c.mend", name, answer, (bug,), says)


_ALL = tuple(EXHIBITS)
_SOFT_STUDENT = "log_q, log_p = F.log_softmax(s / temperature, dim=-1), F.log_softmax(t, dim=-1)"
_SQUARED = "log_q, log_p = (F.log_softmax(z / temperature**2, dim=-1) for z in (s, t))"
MEND_MUTANTS = (
    Mutant(
        "lab5c.mend",
        "one test for all",
        one_test_for_all,
        tuple(bug for bug in _ALL if bug != "entropy"),
        "this bug passes it",
    ),
    Mutant("lab5c.mend", "a test that is not there", a_test_of_ones_own, _ALL, "expected: one of"),
    Mutant("lab5c.mend", "line 2 each", first_line_each, _ALL, "with its line 2 so"),
    _mutant("left out", "shift", _but("shift", None), "waits for you"),
    _mutant("a word alone", "shift", _but("shift", "positions"), "the number of a line"),
    _mutant("a line too many", "shift", _but("shift", ("positions", 8, "pass")), "from 1 to 7"),
    _mutant("no Python", "entropy", _line("entropy", "kl = p log p"), "is no Python"),
    _mutant("student alone softened", "temperature", _line("temperature", _SOFT_STUDENT),
            "keep what was right"),
    _mutant("softened by T^2", "temperature", _line("temperature", _SQUARED),
            "keep what was right"),
    _mutant("sign alone", "entropy", _line("entropy", "kl = (p * log_q).sum(-1)"),
            "identical models"),
    _mutant("turned round", "entropy",
            _line("entropy", "kl = (log_q.exp() * (log_q - p.log())).sum(-1)"),
            "keep what was right"),
    _mutant("padded with -inf", "vocabulary",
            _line("vocabulary", "s = F.pad(s, (0, t.shape[-1] - s.shape[-1]), value=-math.inf)"),
            "fails the test 'wider head'"),
    _mutant("cut after the softmax", "vocabulary",
            _line("vocabulary", "t = t.log_softmax(-1)[:, : s.shape[-1]] * 2"), "fails the test"),
    _mutant("labels of another shape", "shift",
            _line("shift", "counts = labels[:, 1:] != IGNORED"), "another shape"),
    _mutant("the wrong way", "shift",
            _line("shift", "counts = torch.roll(labels, 1, dims=1) != IGNORED"),
            "fails the test 'positions'"),
    _mutant("everything counts", "shift", _line("shift", "counts = torch.ones_like(labels)"),
            "fails the test 'positions'"),
    _mutant("its own number of tokens", "accumulation",
            _line("accumulation", "return temperature**2 * kl.sum() / len(kl)"),
            "fails the test 'micro-batches'"),
    _mutant("not divided", "accumulation",
            _line("accumulation", "return temperature**2 * kl.sum()"), "keep what was right"),
    _mutant("T^2 lost", "accumulation", _line("accumulation", "return kl.sum() / n_items"),
            "keep what was right"),
)  # fmt: skip
