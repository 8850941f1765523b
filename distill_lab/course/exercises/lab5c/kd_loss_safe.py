"""Lab 5c: whether a student can be trained with a loss: its gradient, its precision, no NaN."""

from __future__ import annotations

import math
import random

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.course.exercises.comparing import alike, brief, error_text
from distill_lab.course.exercises.exercise import Function, WrongError, difference
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
        loss = function(student, teacher, targets, alpha, t)
        call = "kd_loss(student, teacher, targets, 1.0, 2.0).backward()"
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            raise WrongError(
                f"{call}\nThe loss carries no gradient: nothing would be learnt. Give the tensor "
                "(no .item()), and detach nothing of the student."
            )
        loss.backward()
        without_gradient(call, teacher)
        if len(targets) > 1 and (student.grad is None or not student.grad.abs().max() > 0):
            hint = "The student is detached: nothing would be learnt."
            raise difference(f"{call}\nstudent.grad", brief(student.grad), "not 0", hint)


def without_gradient(call: str, teacher: Tensor) -> None:
    if teacher.grad is not None and teacher.grad.abs().max() > 0:
        hint = (
            "The gradient runs into the teacher, who would learn from the student: "
            "teacher.detach(), or torch.no_grad() around what is made of it."
        )
        raise difference(f"{call}\nteacher.grad", brief(teacher.grad), "None", hint)


def _a_loss(function: Function, rng: random.Random) -> None:
    """Whatever else is wrong with the loss, it must be smaller for a student that agrees with the
    teacher, who is nearly sure of the targets, than for another: else its gradient is no use."""
    for _ in range(3):  # chance may help once
        student, _, targets, alpha, t = drawn(rng, 0.5, 1.0)
        teacher = 8 * F.one_hot(targets, student.shape[-1]).float()
        apart, equal = (float(function(s, teacher, targets, alpha, t)) for s in (student, teacher))
        if not equal < apart:
            raise difference(
                f"kd_loss(student, teacher, targets, {alpha}, {t})",
                f"{apart:.4g}, and {equal:.4g} for a student that is as the teacher, nearly sure "
                "of the targets",
                "less for that student",
                "The loss falls as the student nears the teacher and the targets: else there is "
                "nothing to learn from its gradient.",
            )


def _float32(function: Function, rng: random.Random) -> None:
    """Logits in float16 must give the same loss, to the digit, as in float32 (or float64)."""
    call = "kd_loss(student.half(), teacher.half(), targets, 0.5, 1.0)"
    cause = "The softmax was taken in float16, which rounds a probability to 3 digits: .float() "
    cause += "before it."
    for _ in range(3):  # rounding may cancel once
        draw = torch.Generator().manual_seed(rng.randrange(2**31))
        student, teacher = (2 * torch.randn(2, 4, 2000, generator=draw)).half().unbind()
        targets = torch.randint(0, 2000, (4,), generator=draw)
        exact = function(student.float(), teacher.float(), targets, 0.5, 1.0)
        try:
            loss = function(student, teacher, targets, 0.5, 1.0)
        except RuntimeError as error:
            raise WrongError(f"{call}\nraised    {error_text(error)}\n{cause}") from None
        dtype = getattr(loss, "dtype", type(loss).__name__)
        if dtype not in (torch.float32, torch.float64) or not alike(loss, exact, 1e-6):
            expected = f"{brief(exact)} (torch.float32), as of the same logits in float32"
            raise difference(call, f"{brief(loss)} ({dtype})", expected, cause)


def _certain(function: Function) -> None:
    """Logits of 500: a softmax of 0, whose logarithm is minus infinity."""
    certain, even, word = torch.tensor([[0.0, 500.0, -500.0]]), torch.zeros(1, 3), torch.tensor([1])
    for student, teacher in ((even, certain), (certain, even)):
        loss = function(student, teacher, word, 1.0, 1.0)
        if not math.isfinite(float(loss)):
            raise difference(
                f"kd_loss({brief(student)}, {brief(teacher)}, [1], 1.0, 1.0)",
                brief(loss),
                brief(kd_loss(student, teacher, word, 1, 1)),
                "The softmax of -500 is 0, and log(0) is minus infinity: log_softmax knows how.",
            )
