"""Every exercise of every part: the reference is right, a stub not attempted, and each wrong answer
loses exactly its steps and reads what is wrong, whatever is drawn."""

from __future__ import annotations

import importlib

import pytest

from distill_lab.course.exercises import find, report
from distill_lab.course.exercises.exercise import judge

pytestmark = pytest.mark.grading

PARTS = ("lab5a", "lab5b", "lab5c", "lab5d", "lab5e", "lab6", "lab7")
MODULES = [importlib.import_module(f"distill_lab.course.exercises.{part}") for part in PARTS]
EXERCISES = [exercise for module in MODULES for exercise in module.EXERCISES]
MUTANTS = [
    mutant
    for part in PARTS
    for mutant in importlib.import_module(f"distill_lab.course.exercises.mutants.{part}").MUTANTS
]
SEEDS = (*range(12), 2026)


def stub(*arguments):
    raise NotImplementedError


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_the_reference_is_right_and_a_stub_not_attempted(exercise):
    assert find(exercise.name) is exercise
    for seed in SEEDS:
        outcome = judge(exercise, exercise.ours, seed)
        assert (outcome.state, outcome.points) == ("right", exercise.points)
        assert report(exercise, outcome) == (
            f"{exercise.function}: right, {exercise.points} of {exercise.points} points"
        )
        assert judge(exercise, stub, seed).state == "not attempted"
    assert "not attempted" in report(exercise, judge(exercise, stub))


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_there_are_wrong_answers_that_lose_each_step(exercise):
    mutants = [mutant for mutant in MUTANTS if mutant.exercise == exercise.name]
    assert len(mutants) >= 3
    assert {t for mutant in mutants for t in mutant.loses} == {s.title for s in exercise.steps}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.exercise}: {mutant.name}")
def test_a_mutant_loses_exactly_its_steps_and_is_named(mutant):
    exercise = find(mutant.exercise)
    for seed in SEEDS:
        outcome = judge(exercise, mutant.function, seed)
        pairs = zip(exercise.steps, outcome.wrong, strict=True)
        lost = {step.title: str(wrong) for step, wrong in pairs if wrong}
        assert tuple(lost) == mutant.loses, report(exercise, outcome)
        assert mutant.says in lost[mutant.loses[0]], report(exercise, outcome)
