"""Wrong answers in the bug museum of Lab 5c."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distill_lab.course.exercises.exercise import mutants_of
from distill_lab.course.exercises.lab5c.mend import mend
from distill_lab.course.exercises.lab5c.museum import EXHIBITS


def _but(bug: str, answer: Any) -> Callable[[str], Any]:
    """Right but for one bug."""
    return lambda given: answer if given == bug else mend(given)


def _line(bug: str, text: str) -> Callable[[str], Any]:
    """The right test and the right line, which reads so."""

    def answer(given: str) -> Any:
        right = mend(given)
        return (*right[:2], text) if right and given == bug else right

    return answer


def _each(change: Callable[[str, int, str], Any]) -> Callable[[str], Any]:
    """All right answers, changed."""

    def answer(given: str) -> Any:
        right = mend(given)
        return change(*right) if right else right

    return answer


_SOFT_STUDENT = "log_q, log_p = F.log_softmax(s / temperature, dim=-1), F.log_softmax(t, dim=-1)"
_SQUARED = "log_q, log_p = (F.log_softmax(z / temperature**2, dim=-1) for z in (s, t))"
_LINES = (
    ("no Python", "entropy", "kl = p log p", "is no Python"),
    ("student alone softened", "temperature", _SOFT_STUDENT, "keep what was right"),
    ("softened by T^2", "temperature", _SQUARED, "keep what was right"),
    ("sign alone", "entropy", "kl = (p * log_q).sum(-1)", "identical models"),
    ("turned round", "entropy", "kl = (log_q.exp() * (log_q - p.log())).sum(-1)",
     "keep what was right"),
    ("padded with -inf", "vocabulary",
     "s = F.pad(s, (0, t.shape[-1] - s.shape[-1]), value=-math.inf)",
     "fails the test 'wider head'"),
    ("cut after the softmax", "vocabulary", "t = t.log_softmax(-1)[:, : s.shape[-1]] * 2",
     "fails the test"),
    ("labels of another shape", "shift", "counts = labels[:, 1:] != IGNORED", "another shape"),
    ("the wrong way", "shift", "counts = torch.roll(labels, 1, dims=1) != IGNORED",
     "fails the test 'positions'"),
    ("everything counts", "shift", "counts = torch.ones_like(labels)",
     "fails the test 'positions'"),
    ("its own number of tokens", "accumulation", "return temperature**2 * kl.sum() / len(kl)",
     "fails the test 'micro-batches'"),
    ("not divided", "accumulation", "return temperature**2 * kl.sum()", "keep what was right"),
    ("T^2 lost", "accumulation", "return kl.sum() / n_items", "keep what was right"),
)  # fmt: skip
_ALL = tuple(EXHIBITS)
MEND_MUTANTS = mutants_of(
    "lab5c.mend",
    ("one test for all", _each(lambda test, line, text: ("identical models", line, text)),
     tuple(bug for bug in _ALL if bug != "entropy"), "this bug passes it"),
    ("a test that is not there", _each(lambda test, line, text: ("the loss falls", line, text)),
     _ALL, "expected: one of"),
    ("line 2 each", _each(lambda test, line, text: (test, 2, text)), _ALL,
     "with its line 2 so"),
    ("left out", _but("shift", None), ("shift",), "waits for you"),
    ("a word alone", _but("shift", "positions"), ("shift",), "the number of a line"),
    ("a line too many", _but("shift", ("positions", 8, "pass")), ("shift",), "from 1 to 7"),
    *((name, _line(bug, text), (bug,), says) for name, bug, text, says in _LINES),
)  # fmt: skip
