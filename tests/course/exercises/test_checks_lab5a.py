"""The checks of Lab 5a, by mutants: right answers get all points, each wrong one loses exactly its
steps, and is told what it did."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from distill_lab.course.exercises import find, report
from distill_lab.course.exercises.exercise import judge
from distill_lab.course.exercises.lab5a import EXERCISES

SEEDS = range(12)


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


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_an_exercise_has_two_to_four_points(exercise):
    assert 2 <= exercise.points <= 4
