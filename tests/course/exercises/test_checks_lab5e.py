"""Lab 5e's exercises are what the package trains and counts with; honest oddities keep all their
points."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from distill_lab.course.exercises import find, report
from distill_lab.course.exercises.exercise import judge
from distill_lab.course.exercises.lab5e.advantages import group_advantages
from distill_lab.course.exercises.lab5e.budgets import budget
from distill_lab.course.exercises.lab5e.policy import policy_loss
from distill_lab.course.exercises.lab5e.reverse import reverse_kl
from distill_lab.course.exercises.lab5e.rewards import reward
from distill_lab.losses.distillation import DenseTeacher, Objective, plain_loss
from distill_lab.pipeline import rejection_rules
from distill_lab.run.records import Question
from distill_lab.squad_scores import em

SEEDS = (0, 1, 7, 2026)


def by_one_pattern(completion, answers, ended):
    """True and False for 1 and 0."""
    inner = r"((?:(?!</?(?:think|answer)>).)*)"
    whole = rf"\s*<think>{inner}</think>\s*<answer>{inner}</answer>\s*"
    match = re.fullmatch(whole, completion, re.DOTALL)
    return bool(ended and match and em(match[2].strip(), answers))


def by_numpy(rewards):
    made = []
    for row in rewards.double().numpy():
        std = row.std(ddof=1)
        made.append((row - row.mean()) / std if row.max() > row.min() else np.zeros(len(row)))
    return np.array(made)


def with_a_small_guard(rewards):
    mean, std = rewards.mean(-1, keepdim=True), rewards.std(-1, keepdim=True)
    alive = (rewards != rewards[:, :1]).any(1, keepdim=True)
    return torch.where(alive, (rewards - mean) / (std + 1e-8), 0.0)


def token_by_token(log_p, old_log_p, advantages, mask):
    gains = []
    for i, row in enumerate(mask.tolist()):
        for t, counts in enumerate(row):
            if counts:
                r = torch.exp(log_p[i, t] - old_log_p[i, t])
                gains.append(torch.minimum(r * advantages[i], r.clip(0.8, 1.2) * advantages[i]))
    return -torch.stack(gains).mean()


def by_losses(log_p, old_log_p, advantages, mask):
    """As TRL writes it: the larger of two losses, in float64."""
    ratio = (log_p.double() - old_log_p.double()).exp()
    a = advantages.double().unsqueeze(-1)
    loss = torch.max(-a * ratio, -a * ratio.clamp(0.8, 1.2))
    return loss[mask.bool()].mean()


def by_kl_div(student, teacher):
    log_q, log_p = student.log_softmax(-1), teacher.detach().log_softmax(-1)
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def by_gradient_of_the_log(student, teacher):
    """The other log q detached: on average its gradient is 0, so that of the whole is the same."""
    log_q, log_p = student.log_softmax(-1), teacher.detach().log_softmax(-1)
    return (log_q.exp() * (log_q.detach() - log_p)).sum(-1).mean()


def by_prices(teacher, student, tokens, tries):
    total = 0
    for name, n in tokens.items():
        size = teacher if name.startswith("teacher") else student
        total += (6 if name == "trained" else 2) * size * n
    return total * tries


RIGHT = (
    ("lab5e.reward", by_one_pattern),
    *(("lab5e.group_advantages", f) for f in (by_numpy, with_a_small_guard)),
    *(("lab5e.policy_loss", f) for f in (token_by_token, by_losses)),
    *(("lab5e.reverse_kl", f) for f in (by_kl_div, by_gradient_of_the_log)),
    ("lab5e.budget", by_prices),
)


@pytest.mark.parametrize(
    ("name", "function"), [pytest.param(n, f, id=f"{n}: {f.__name__}") for n, f in RIGHT]
)
def test_an_honest_oddity_keeps_all_points(name, function):
    for seed in SEEDS:
        outcome = judge(find(name), function, seed)
        assert outcome.state == "right", report(find(name), outcome)


@pytest.mark.parametrize(
    ("text", "ended", "worth"),
    [
        ("<think>So.</think><answer>Rome</answer>", True, 1.0),
        ("<think>So.</think> <answer> the rome. </answer>", True, 1.0),
        ("<think>So.</think><answer>Rome</answer>", False, 0.0),
        ("<think>So.</think><answer>Oslo</answer>", True, 0.0),
        ("<think>So.</think><answer></answer>", True, 0.0),
        ("<think>Rome", False, 0.0),
        ("Rome", True, 0.0),
    ],
)
def test_the_reward_is_that_of_training(text, ended, worth):
    question = Question("q", "", "", "", ("Rome",))
    assert reward(text, ["Rome"], ended) == worth
    assert rejection_rules.reward(text, question, ended) == worth


def test_advantages_by_hand():
    made = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.2] * 4]))
    torch.testing.assert_close(made[0], torch.tensor([0.75, -0.25, -0.25, -0.25]) / 0.5001)
    assert made[1].tolist() == [0.0] * 4


def test_a_loss_by_hand():
    """Ratios 1.5, 1 and .5: -(1.2 · 2 + 1 · 2 - .8 · 1) / 3."""
    log_p = torch.tensor([[1.5, 1.0], [0.5, 9.0]]).log()
    mask = torch.tensor([[1, 1], [1, 0]])
    loss = policy_loss(log_p, torch.zeros(2, 2), torch.tensor([2.0, -1.0]), mask)
    assert loss.item() == pytest.approx(-(2.4 + 2 - 0.8) / 3)


def test_the_reverse_kl_is_what_on_policy_minimises():
    draw = torch.Generator().manual_seed(3)
    student, teacher = torch.randn(2, 4, 6, generator=draw).unbind()
    targets, objective = torch.zeros(4, dtype=torch.long), Objective(1.0, 1.0, "reverse-kl")
    whole = plain_loss(student, lambda z: z, targets, objective, DenseTeacher(teacher, lambda z: z))
    torch.testing.assert_close(reverse_kl(student, teacher), whole.total)


def test_a_budget_by_hand():
    tokens = dict(teacher_wrote=1, teacher_read=2, student_wrote=3, student_read=4, trained=5)
    assert budget(100, 10, tokens, 2) == 2 * (2 * 100 * 3 + 2 * 10 * 7 + 6 * 10 * 5)
