"""Lab 5b's checks: references are right, stubs not attempted, each mutant loses its steps."""

from __future__ import annotations

import re
import unicodedata

import pytest

from distill_lab.course.exercises import find, report
from distill_lab.course.exercises.exercise import judge
from distill_lab.tasks.squad.scores import normalize_answer

SEEDS = (0, 1, 7, 2026)


def shares(text, most=0.1):
    letters = re.findall(r"[^\W\d_]", text)
    foreign = [c for c in letters if "LATIN" not in unicodedata.name(c, "")]
    return bool(letters) and len(foreign) / len(letters) > most


def votes(answers):
    said = [answer for answer in answers if answer is not None]
    same = [normalize_answer(answer) for answer in said]
    return max(said, key=lambda answer: same.count(normalize_answer(answer)), default=None)


def last_question_first(traces, verdicts):
    reasons = {(v.question_id, v.sample): v.reason for v in verdicts}
    right = [t for t in traces if reasons[t.question_id, t.sample] == "ok"]
    names = {t.question_id for t in right}
    groups = [[t for t in right if t.question_id == name] for name in sorted(names, reverse=True)]
    return [min(group, key=lambda t: t.n_tokens) for group in groups]


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("mixed_language", shares),
        ("majority_answer", votes),
        ("keep_shortest", last_question_first),
    ],
)
def test_a_right_answer_that_is_written_otherwise_is_right(name, function):
    exercise = find(f"lab5b.{name}")
    for seed in SEEDS:
        outcome = judge(exercise, function, seed)
        assert outcome.state == "right", report(exercise, outcome)
