"""The checks of Lab 5a, by mutants: right answers get all points, each wrong one loses exactly its
steps, and is told what it did."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from distill_lab.checks import find, report
from distill_lab.checks.exercise import judge
from distill_lab.checks.lab5a import EXERCISES
from distill_lab.checks.lab5a_mutants import MUTANTS

SEEDS = range(12)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
@pytest.mark.parametrize("seed", SEEDS)
def test_ours_gets_all_points(exercise, seed):
    outcome = judge(exercise, exercise.ours, seed)
    assert (outcome.state, outcome.points) == ("right", exercise.points), report(exercise, outcome)
    assert 2 <= exercise.points <= 4


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_a_stub_is_not_attempted(exercise):
    def stub(*arguments):
        raise NotImplementedError

    assert judge(exercise, stub).state == "not attempted"
    assert "not attempted" in report(exercise, judge(exercise, stub))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.exercise}: {mutant.name}")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_mutant_loses_exactly_its_steps_and_is_named(mutant, seed):
    exercise = find(mutant.exercise)
    outcome = judge(exercise, mutant.function, seed)
    lost = {
        step.title: str(wrong)
        for step, wrong in zip(exercise.steps, outcome.wrong, strict=True)
        if wrong
    }
    assert tuple(lost) == mutant.loses, report(exercise, outcome)
    assert mutant.says in lost[mutant.loses[0]], report(exercise, outcome)


def test_every_exercise_has_three_mutants():
    assert all(sum(m.exercise == e.name for m in MUTANTS) >= 3 for e in EXERCISES)


# -- other right answers than ours: a check must not insist on one way


def _by_hand(logits, temperature):
    z = logits / temperature
    e = (z - z.max(-1, keepdim=True).values).exp()
    return e / e.sum(-1, keepdim=True)


def _in_numpy(logits, temperature):
    z = logits.double().numpy() / temperature
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _by_product(n, c, k):
    """As Chen et al. print it."""
    return 1.0 if n - c < k else 1 - float(np.prod(1 - k / np.arange(n - c + 1, n + 1)))


def _by_counting(completion):
    text = completion.strip()
    tags = ["<think>", "</think>", "<answer>", "</answer>"]
    if re.findall(r"</?(?:think|answer)>", text) != tags or not text.startswith("<think>"):
        return None
    between, _, answer = text.partition("</think>")[2].partition("<answer>")
    answer, _, rest = answer.partition("</answer>")
    return None if between.strip() or rest else answer.strip()


@pytest.mark.parametrize(
    ("name", "function"),
    [("lab5a.soften", _by_hand), ("lab5a.soften", _in_numpy),
     ("lab5a.soften", lambda z, t: torch.softmax(z / t, -1)), ("lab5a.pass_at_k", _by_product),
     ("lab5a.pass_at_k", lambda n, c, k: 1 - math.comb(n - c, k) / math.comb(n, k)),
     ("lab5a.extract_answer", _by_counting)],
)  # fmt: skip
@pytest.mark.parametrize("seed", SEEDS)
def test_other_right_answers_are_right(name, function, seed):
    outcome = judge(find(name), function, seed)
    assert outcome.state == "right", report(find(name), outcome)
