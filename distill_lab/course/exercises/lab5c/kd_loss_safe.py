"""Lab 5c: whether a distillation loss can be trained with: its gradient, its precision, no NaN."""

from __future__ import annotations

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.course.exercises.comparing import alike, brief, error_text
from distill_lab.course.exercises.exercise import Function, WrongError
from distill_lab.course.exercises.lab5c.kd_loss_cases import drawn, kd_loss, two_words


def safe(function: Function, rng: random.Random) -> None:
    _gradients(function, rng)
    _a_loss(function, rng)
    _float32(function, rng)
    _certain(function)


def _gradients(function: Function, rng: random.Random) -> None:
    for student, teacher, targets, alpha, t in (two_words(1.0, 2.0), drawn(rng, 1.0, 2.0)):
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
        student, _, targets, alpha, t = drawn(rng, 0.5, 1.0)
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
    """Logits in float16 give to the digit what the same numbers give in float32 (or float64)."""
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
            raise WrongError(f"{call}\nraised    {error_text(error)}\n{cause}") from None
        kind = getattr(found, "dtype", type(found).__name__)
        if kind not in (torch.float32, torch.float64) or not alike(found, exact, 1e-6):
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
