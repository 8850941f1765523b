"""Lab 5d's checks: references are right, stubs not attempted, each mutant loses its steps."""

from __future__ import annotations

import pytest

from distill_lab.checks import find, report
from distill_lab.checks.exercise import judge
from distill_lab.checks.lab5d import EXERCISES
from distill_lab.checks.lab5d_mutants import MUTANTS

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


def test_every_exercise_has_three_mutants():
    for exercise in EXERCISES:
        assert sum(mutant.exercise == exercise.function for mutant in MUTANTS) >= 3
