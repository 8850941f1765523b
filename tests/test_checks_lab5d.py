"""Lab 5d's checks: references are right, stubs not attempted, each mutant loses its steps."""

from __future__ import annotations

import random
import string

import pytest

from distill_lab.checks import find, report
from distill_lab.checks.exercise import judge
from distill_lab.checks.lab5d import EXERCISES
from distill_lab.checks.lab5d_mutants import MUTANTS
from distill_lab.squad_scores import normalize_answer

SEEDS = (0, 1, 7, 2026)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.function)
def test_the_reference_is_right_and_a_stub_not_attempted(exercise):
    def stub(*arguments):
        raise NotImplementedError

    assert find(exercise.name) is exercise
    for seed in (*SEEDS, *range(100, 110)):
        assert judge(exercise, exercise.ours, seed).state == "right"
        assert judge(exercise, stub, seed).state == "not attempted"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_a_mutant_loses_its_steps_and_is_named(mutant):
    exercise = find(f"lab5d.{mutant.exercise}")
    for seed in SEEDS:
        outcome = judge(exercise, mutant.function, seed)
        wrong = [w for w in outcome.wrong if w]
        lost = [s.title for s, w in zip(exercise.steps, outcome.wrong, strict=True) if w]
        assert tuple(lost) == mutant.loses, report(exercise, outcome)
        assert mutant.says in str(wrong[0])


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


def test_every_exercise_has_three_mutants():
    for exercise in EXERCISES:
        assert sum(mutant.exercise == exercise.function for mutant in MUTANTS) >= 3
