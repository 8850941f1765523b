"""Lab 5e's exercise reverse_kl: how far the student's distribution is from the teacher's, weighed
by the student's own probabilities."""

from __future__ import annotations

import math
import random
from typing import Any

import torch
from torch import Tensor

from distill_lab.course.exercises.comparing import brief
from distill_lab.course.exercises.exercise import (
    Exercise,
    Function,
    Slip,
    Step,
    WrongError,
    difference,
    expect,
)
from distill_lab.course.exercises.lab5c.kd_loss_cases import drawn, two_words
from distill_lab.course.exercises.lab5c.kd_loss_safe import without_gradient
from distill_lab.course.exercises.result_types import LOSS
from distill_lab.losses.distillation import Objective, divergence, soften


def reverse_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(student || teacher) of logits (N, V), the mean over N tokens."""
    log_p, log_q = soften(teacher.detach(), 1), soften(student, 1)  # (N, V)
    return divergence(log_p, log_q, Objective(1.0, 1.0, "reverse-kl")).mean()


def _instead(student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
    """What is often written for it, and its result."""
    log_p, log_q = soften(teacher, 1), soften(student, 1)
    kl, vocab_size = reverse_kl(student, teacher), student.shape[-1]
    forward = (log_p.exp() * (log_p - log_q)).sum(-1).mean()
    over_tokens = student.log_softmax(0), teacher.log_softmax(0)
    return {
        _FORWARD: forward,
        "That is the forward KL, and its mean over the vocabulary too.": forward / vocab_size,
        "The sign is turned: a KL is never below 0.": -kl,
        _MEAN: kl / vocab_size,
        _SUM: kl * len(student),
        "The student's entropy is missing: without it the student puts all on one token, and "
        "identical models do not give 0.": -(log_q.exp() * log_p).sum(-1).mean(),
        "The difference of the logarithms has no weight: the student's probabilities weigh it.": (
            (log_q - log_p).sum(-1).mean()
        ),
        "The teacher's probabilities weigh it: here it is the student who samples.": (
            (log_p.exp() * (log_q - log_p)).sum(-1).mean()
        ),
        "The difference of logits is none of log-probabilities: log_softmax first.": (
            (log_q.exp() * (student - teacher)).sum(-1).mean()
        ),
        "The softmax runs over the wrong axis: over the tokens of the text instead of the "
        "vocabulary.": (
            (over_tokens[0].exp() * (over_tokens[0] - over_tokens[1])).sum(-1).mean()
        ),
    }  # fmt: skip


def _held(function: Function, student: Tensor, teacher: Tensor) -> None:
    right = reverse_kl(student, teacher)
    known = {
        name: value
        for name, value in _instead(student, teacher).items()
        if not torch.allclose(value, right, 1e-4, 1e-5)
    }
    expect(function, [student, teacher], right, known, within=1e-5)


def _direction(function: Function, rng: random.Random) -> None:
    """One token of two words; and two models that are the same."""
    student, teacher, *_ = two_words(1.0, 1.0)
    _held(function, student, teacher)
    _held(function, teacher, teacher)
    odds = [math.log(rng.uniform(2, 9)) for _ in range(2)]
    _held(function, torch.tensor([[odds[0], 0.0]]), torch.tensor([[0.0, odds[1]]]))


def _mean(function: Function, rng: random.Random) -> None:
    for _ in range(2):
        student, teacher, *_ = drawn(rng, 1.0, 1.0)
        _held(function, student, teacher)


def _gradient(function: Function, rng: random.Random) -> None:
    student, teacher, *_ = drawn(rng, 1.0, 1.0)
    right = student.clone().requires_grad_()
    reverse_kl(right, teacher).backward()
    student.requires_grad_()
    teacher.requires_grad_()
    call = "reverse_kl(student, teacher).backward()"
    loss: Any = function(student, teacher)
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        raise WrongError(f"{call}\n{_NO_GRADIENT}")
    loss.backward()
    without_gradient(call, teacher)
    assert right.grad is not None
    size = right.grad.abs().max()
    if student.grad is None or not student.grad.abs().max() > 0.01 * size:
        raise difference(f"{call}\nstudent.grad", brief(student.grad), "not 0", _DETACHED)


_NO_GRADIENT = (
    "The loss carries no gradient: nothing would be learnt. Give the tensor (no .item()), "
)
_NO_GRADIENT += "and detach nothing of the student."
_DETACHED = (
    "The student's probabilities, the weights, are detached: then the gradient is 0 on average "
)
_DETACHED += "over what the student would say."
_FORWARD = (
    "That is the forward KL, Hinton's: the teacher's probabilities weigh it. In the reverse KL "
)
_FORWARD += "the student's do."
_MEAN = (
    "That is the mean over the vocabulary too: a KL is a sum over it, and the mean is one over the "
)
_MEAN += "N tokens alone."
_SUM = "That is the sum over the N tokens: their mean is asked for."
_WAY = "KL(student || teacher), and 0 for identical models"
_OVER = "a sum over the vocabulary, and a mean over the tokens"
REVERSE_KL = Exercise(
    "lab5e",
    "reverse_kl",
    reverse_kl,
    (
        Step(_WAY, 1, _direction),
        Step(_OVER, 1, _mean),
        Step("a gradient for the student alone", 1, _gradient),
    ),
    (
        "log q of the student and log p of the teacher, both by log_softmax over the last axis.",
        "Whose probabilities weigh log q - log p? In the reverse KL it is the student's, "
        "log_q.exp(), for it is the student who wrote the text.",
        "(log_q.exp() * (log_q - log_p)).sum(-1).mean(), with teacher.detach(), and the student "
        "not detached anywhere.",
    ),
    LOSS,
    (
        Slip(_FORWARD, _WAY, lambda f: lambda student, teacher: f(teacher, student)),
        Slip(_MEAN, _OVER, lambda f: lambda student, teacher: f(student, teacher)
             * student.shape[-1]),
        Slip(_SUM, _OVER, lambda f: lambda student, teacher: f(student, teacher) / len(student)),
    ),
    minutes=10,
    difficulty="medium",
)  # fmt: skip
