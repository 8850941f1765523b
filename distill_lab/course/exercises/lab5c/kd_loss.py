"""Lab 5c: the distillation loss as an exercise, and how it is judged."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distill_lab.course.exercises.comparing import alike, brief
from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, difference, expect
from distill_lab.course.exercises.lab5c.kd_loss_cases import Case, drawn, kd_loss, two_words
from distill_lab.course.exercises.lab5c.kd_loss_safe import safe
from distill_lab.course.exercises.lab5c.kd_loss_slips import (
    ENTROPY,
    MEAN,
    SUM,
    SWAPPED,
    TURNED,
    instead,
)
from distill_lab.course.exercises.result_types import LOSS

_NEAR = 1e-5  # float32, whichever way it is summed


def _lost(function: Function, case: Case) -> None:
    expect(function, case, kd_loss(*case), instead(case), within=_NEAR)


def _hard(function: Function, rng: random.Random) -> None:
    _lost(function, two_words(0.0, 2.0))
    _lost(function, drawn(rng, 0.0, rng.choice((1.5, 3.0, 4.0))))


def _soft(function: Function, rng: random.Random) -> None:
    _, teacher, *_ = case = two_words(1.0, 1.0)
    _lost(function, case)
    _lost(function, (teacher, *case[1:]))
    _lost(function, drawn(rng, 1.0, 1.0))


def _softened(function: Function, rng: random.Random) -> None:
    _lost(function, two_words(1.0, 2.0))
    _lost(function, drawn(rng, 1.0, rng.choice((1.5, 3.0, 4.0))))
    _mixes(function, drawn(rng, 0.3, 4.0))


def _mixes(function: Function, case: Case) -> None:
    """Of its own two parts, so that a mistake in one of them is not counted here again."""
    *given, alpha, t = case
    hard, soft, both = (float(function(*given, weight, t)) for weight in (0.0, 1.0, alpha))
    mixed = (1 - alpha) * hard + alpha * soft
    if not alike(both, mixed, 1e-4):
        raise difference(
            f"kd_loss(student, teacher, targets, {alpha}, {t})",
            brief(both),
            f"{brief(mixed)}, {1 - alpha} of what it gives at alpha = 0 and {alpha} of what it "
            "gives at alpha = 1",
            "alpha mixes the two: (1 - alpha) * CE + alpha * T^2 * KL.",
        )


def _of_soft(change: Callable[..., Any]) -> Callable[[Function], Function]:
    """The function with another KL: `change(function, student, teacher, targets, T)`."""

    def undone(function: Function) -> Function:
        def other(s: Tensor, t: Tensor, y: Tensor, alpha: float, temperature: float) -> Any:
            soft = change(function, s, t, y, temperature)
            return (1 - alpha) * function(s, t, y, 0.0, temperature) + alpha * soft

        return other

    return undone


def _without_entropy(f: Function, s: Tensor, t: Tensor, y: Tensor, temperature: float) -> Any:
    entropy = torch.special.entr((t / temperature).softmax(-1)).sum(-1).mean()
    return f(s, t, y, 1.0, temperature) - temperature**2 * entropy


_HARD = "alpha = 0 is the cross-entropy, whatever T is"
_SOFT = "alpha = 1 at T = 1 is KL(teacher || student), and 0 for identical models"
KD_LOSS = Exercise(
    "lab5c",
    "kd_loss",
    kd_loss,
    (
        Step(_HARD, 1, _hard),
        Step(_SOFT, 1, _soft),
        Step("T softens both sides of the KL, and T^2 multiplies it", 1, _softened),
        Step("a gradient for the student alone, float32, and no NaN", 1, safe),
    ),
    (
        "Four lines: log p of the teacher, log q of the student (both of logits / T), the KL from "
        "them, and the mixture. F.cross_entropy(student, targets) is the other part.",
        "KL = sum over the vocabulary of p * (log p - log q), then the mean over the N tokens: "
        "(log_p.exp() * (log_p - log_q)).sum(-1).mean().",
        "student.float(), teacher.detach().float(), F.log_softmax(z / temperature, dim=-1), and "
        "alpha * temperature**2 * kl.",
    ),
    LOSS,
    (
        Slip(SUM, _HARD, lambda f: lambda s, t, y, *weights: f(s, t, y, *weights) / len(y)),
        Slip(SWAPPED, _HARD, lambda f: lambda s, t, y, a, *weights: f(s, t, y, 1 - a, *weights)),
        Slip(TURNED, _SOFT, _of_soft(lambda f, s, t, y, T: f(t, s, y, 1.0, T))),
        Slip(MEAN, _SOFT, _of_soft(lambda f, s, t, y, T: f(s, t, y, 1.0, T) * s.shape[-1])),
        Slip(f"{SUM} (It is the KL's.)", _SOFT,
             _of_soft(lambda f, s, t, y, T: f(s, t, y, 1.0, T) / len(y))),
        Slip(ENTROPY, _SOFT, _of_soft(_without_entropy)),
    ),
    minutes=20,
    difficulty="hard",
)  # fmt: skip
