"""Lab 5d's checks: references are right, stubs not attempted, each mutant loses its steps."""

from __future__ import annotations

import math
import random
import string

import pytest

from distill_lab.course.exercises import find, report
from distill_lab.course.exercises.exercise import judge
from distill_lab.tasks.squad.scores import normalize_answer

SEEDS = (0, 1, 7, 2026)


def without_regular_expressions(text):
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(word for word in bare.split() if word not in ("a", "an", "the"))


def dice(prediction, reference):
    found, wanted = normalize_answer(prediction).split(), normalize_answer(reference).split()
    shared = sum(min(found.count(word), wanted.count(word)) for word in set(found))
    return 200 * shared / (len(found) + len(wanted)) if found or wanted else 100


def in_plain_python(scores, seed):
    rng, n = random.Random(seed), len(scores)
    means = sorted(sum(rng.choices(scores, k=n)) / n for _ in range(1000))
    return [means[25], means[974]]


def half_open(base, student, teacher):
    return (student - base) / (teacher - base) if teacher > base else None


@pytest.mark.parametrize(
    ("name", "function"),
    [("normalize", without_regular_expressions), ("f1", dice),
     ("bootstrap_interval", in_plain_python), ("gap_closed", half_open)],
)  # fmt: skip
def test_a_right_answer_that_is_written_otherwise_is_right(name, function):
    exercise = find(f"lab5d.{name}")
    for seed in (*SEEDS, *range(50, 56)):
        outcome = judge(exercise, function, seed)
        assert outcome.state == "right", report(exercise, outcome)


def test_an_end_that_is_no_number_is_not_close():
    def no_upper_end(scores, seed):
        return find("lab5d.bootstrap_interval").ours(scores, seed)[0], math.nan

    assert judge(find("lab5d.bootstrap_interval"), no_upper_end).points == 0
