"""Lab 5c: the distillation loss as an exercise, and how it is judged."""

from __future__ import annotations

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab import loss
from distill_lab.checks.exercise import (
    Exercise,
    Function,
    Step,
    WrongError,
    alike,
    brief,
    expect,
    told,
)
from distill_lab.loss import DenseTeacher, Objective


def kd_loss(
    student: Tensor, teacher: Tensor, targets: Tensor, alpha: float, temperature: float
) -> Tensor:
    """(1 - alpha) CE + alpha T^2 KL(teacher || student) of logits (N, V), mean over N tokens."""
    theirs = DenseTeacher(teacher.detach(), lambda logits: logits)
    objective = Objective(alpha, temperature)
    return loss.plain_loss(student, lambda logits: logits, targets, objective, theirs).total


Case = tuple[Tensor, Tensor, Tensor, float, float]  # the arguments of kd_loss
_NEAR = 1e-5  # float32, whichever way it is summed


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return loss.divergence(p, q, Objective()).mean()


def _instead(case: Case) -> dict[str, Tensor]:
    """What is often written for the loss, and its result."""
    student, teacher, targets, alpha, t = case
    soften = loss.soften
    p, q = soften(teacher, t), soften(student, t)
    ce, kl = F.cross_entropy(student, targets), _kl(p, q)

    def mixed(hard: Tensor, soft: Tensor) -> Tensor:
        return (1 - alpha) * hard + alpha * t**2 * soft

    columns = [(z / t).log_softmax(0) for z in (teacher, student)]
    return {
        "T^2 is missing: the gradient of the KL falls as 1 / T^2, and T^2 puts it back.": (
            mixed(ce, kl / t**2)
        ),
        "The KL is multiplied by T, and T^2 is meant.": mixed(ce, kl / t),
        "T^2 belongs to the KL alone, not to the cross-entropy.": t**2 * ((1 - alpha) * ce)
        + alpha * t**2 * kl,
        "The KL is turned round: the teacher's probabilities weigh the difference. (F.kl_div takes "
        "the student's logarithms first.)": mixed(ce, _kl(q, p)),
        "The teacher is not softened: both sides are divided by T.": mixed(
            ce, _kl(soften(teacher, 1), q)
        ),
        "The student is not softened: both sides are divided by T.": mixed(
            ce, _kl(p, soften(student, 1))
        ),
        "T is not used in the softmax.": mixed(ce, _kl(soften(teacher, 1), soften(student, 1))),
        "T is not used.": (1 - alpha) * ce + alpha * _kl(soften(teacher, 1), soften(student, 1)),
        "The logits are multiplied by T: dividing makes them softer.": mixed(
            ce, _kl(soften(teacher, 1 / t), soften(student, 1 / t))
        ),
        "That is the cross-entropy with soft targets: the teacher's entropy is still in it, and "
        "identical models do not give 0.": mixed(ce, -(p.exp() * q).sum(-1).mean()),
        "The softmax runs over the wrong axis: over the tokens of the text instead of the "
        "vocabulary.": mixed(ce, _kl(*columns)),
        "That is the mean over the vocabulary too: the KL is a sum over it, and a mean over the N "
        "tokens alone. (F.kl_div's default is the mean of all.)": mixed(ce, kl / student.shape[-1]),
        "The cross-entropy is softened too: it is that of the student at T = 1.": mixed(
            F.cross_entropy(student / t, targets), kl
        ),
        "alpha is the KL's weight, and 1 - alpha the cross-entropy's.": alpha * ce
        + (1 - alpha) * t**2 * kl,
        "That is the sum over the N tokens: their mean is asked for.": len(targets) * mixed(ce, kl),
    }


def _lost(function: Function, case: Case) -> None:
    expect(function, case, kd_loss(*case), _instead(case), within=_NEAR)


def _two_words(alpha: float, temperature: float) -> Case:
    """Teacher 4 : 1 and student 9 : 1; at T = 2 they are 2 : 1 and 3 : 1."""
    teacher, student = torch.tensor([[math.log(4), 0.0]]), torch.tensor([[math.log(9), 0.0]])
    return student, teacher, torch.tensor([0]), alpha, temperature


def _random(rng: random.Random, alpha: float, temperature: float) -> Case:
    draw = torch.Generator().manual_seed(rng.randrange(2**31))
    n, vocabulary = rng.randint(3, 5), rng.randint(6, 9)
    student, teacher = (2 * torch.randn(2, n, vocabulary, generator=draw)).unbind()
    targets = torch.randint(0, vocabulary, (n,), generator=draw)
    return student, teacher, targets, alpha, temperature


def _hard(function: Function, rng: random.Random) -> None:
    _lost(function, _two_words(0.0, 2.0))
    _lost(function, _random(rng, 0.0, rng.choice((1.5, 3.0, 4.0))))


def _soft(function: Function, rng: random.Random) -> None:
    _, teacher, *_ = case = _two_words(1.0, 1.0)
    _lost(function, case)
    _lost(function, (teacher, *case[1:]))
    _lost(function, _random(rng, 1.0, 1.0))


def _softened(function: Function, rng: random.Random) -> None:
    _lost(function, _two_words(1.0, 2.0))
    _lost(function, _random(rng, 1.0, rng.choice((1.5, 3.0, 4.0))))
    _lost(function, _random(rng, 0.3, 4.0))


def _safe(function: Function, rng: random.Random) -> None:
    _gradients(function, rng)
    _a_loss(function, rng)
    _float32(function, rng)
    _certain(function)


def _gradients(function: Function, rng: random.Random) -> None:
    for student, teacher, targets, alpha, t in (_two_words(1.0, 2.0), _random(rng, 1.0, 2.0)):
        student.requires_grad_()
        teacher.requires_grad_()
        found = function(student, teacher, targets, alpha, t)
        call = "kd_loss(student, teacher, targets, 1.0, 2.0).backward()"
        if not isinstance(found, Tensor) or not found.requires_grad:
            raise WrongError(
                f"{call}\nThe loss carries no gradient: nothing would be learnt. Give the tensor "
                "(no .item()), and detach nothing of the student."
            )
        found.backward()
        _without_gradient(call, teacher)
        if len(targets) > 1 and (student.grad is None or not student.grad.abs().max() > 0):
            raise WrongError(
                f"{call}\nstudent.grad\nyours:    {brief(student.grad)}\nexpected: not 0\n"
                "The student is detached: nothing would be learnt."
            )


def _without_gradient(call: str, teacher: Tensor) -> None:
    if teacher.grad is not None and teacher.grad.abs().max() > 0:
        raise WrongError(
            f"{call}\nteacher.grad\nyours:    {brief(teacher.grad)}\nexpected: None\nThe gradient "
            "runs into the teacher, who would learn from the student: teacher.detach(), or "
            "torch.no_grad() around what is made of it."
        )


def _a_loss(function: Function, rng: random.Random) -> None:
    """Whatever else is wrong with it, it is smaller for a student that agrees with the teacher,
    who is nearly sure of the targets, than for one that does not: else its gradient is no use."""
    for _ in range(3):  # chance may help once
        student, _, targets, alpha, t = _random(rng, 0.5, 1.0)
        teacher = 8 * F.one_hot(targets, student.shape[-1]).float()
        apart, alike = (float(function(s, teacher, targets, alpha, t)) for s in (student, teacher))
        if not alike < apart:
            raise WrongError(
                f"kd_loss(student, teacher, targets, {alpha}, {t})\nyours:    {apart:.4g}, and "
                f"{alike:.4g} for a student that is as the teacher, nearly sure of the targets\n"
                "expected: less for that student\nThe loss falls as the student nears the teacher "
                "and the targets: else there is nothing to learn from its gradient."
            )


def _float32(function: Function, rng: random.Random) -> None:
    """Logits in float16 give to the digit what the same numbers give in float32."""
    call = "kd_loss(student.half(), teacher.half(), targets, 0.5, 1.0)"
    cause = "The softmax was taken in float16, which rounds a probability to 3 digits: .float() "
    cause += "before it."
    for _ in range(3):  # rounding may cancel once
        draw = torch.Generator().manual_seed(rng.randrange(2**31))
        student, teacher = (2 * torch.randn(2, 4, 2000, generator=draw)).half().unbind()
        targets = torch.randint(0, 2000, (4,), generator=draw)
        exact = function(student.float(), teacher.float(), targets, 0.5, 1.0)
        try:
            found = function(student, teacher, targets, 0.5, 1.0)
        except RuntimeError as error:
            raise WrongError(f"{call}\nraised    {told(error)}\n{cause}") from None
        kind = getattr(found, "dtype", type(found).__name__)
        if kind != torch.float32 or not alike(found, exact, 1e-6):
            raise WrongError(
                f"{call}\nyours:    {brief(found)} ({kind})\nexpected: {brief(exact)} "
                f"(torch.float32), as of the same logits in float32\n{cause}"
            )


def _certain(function: Function) -> None:
    """Logits of 500: a softmax of 0, whose logarithm is minus infinity."""
    certain, even, word = torch.tensor([[0.0, 500.0, -500.0]]), torch.zeros(1, 3), torch.tensor([1])
    for student, teacher in ((even, certain), (certain, even)):
        found = function(student, teacher, word, 1.0, 1.0)
        if not math.isfinite(float(found)):
            raise WrongError(
                f"kd_loss({brief(student)}, {brief(teacher)}, [1], 1.0, 1.0)\nyours:    "
                f"{brief(found)}\nexpected: {brief(kd_loss(student, teacher, word, 1, 1))}"
                "\nThe softmax of -500 is 0, and log(0) is minus infinity: log_softmax knows how."
            )


KD_LOSS = Exercise(
    "lab5c",
    "kd_loss",
    kd_loss,
    (
        Step("alpha = 0 is the cross-entropy, whatever T is", 1, _hard),
        Step("alpha = 1 at T = 1 is KL(teacher || student), and 0 for identical models", 1, _soft),
        Step("T softens both sides of the KL, and T^2 multiplies it", 1, _softened),
        Step("a gradient for the student alone, float32, and no NaN", 1, _safe),
    ),
    (
        "Four lines: log p of the teacher, log q of the student (both of logits / T), the KL from "
        "them, and the mixture. F.cross_entropy(student, targets) is the other part.",
        "KL = sum over the vocabulary of p * (log p - log q), then the mean over the N tokens: "
        "(log_p.exp() * (log_p - log_q)).sum(-1).mean().",
        "student.float(), teacher.detach().float(), F.log_softmax(z / temperature, dim=-1), and "
        "alpha * temperature**2 * kl.",
    ),
)
