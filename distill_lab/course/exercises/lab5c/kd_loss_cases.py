"""Lab 5c: the right distillation loss, and the logits with which the student's is called."""

from __future__ import annotations

import math
import random

import torch
from torch import Tensor

from distill_lab.losses import distillation
from distill_lab.losses.distillation import DenseTeacher, Objective

Case = tuple[Tensor, Tensor, Tensor, float, float]  # the arguments of kd_loss


def kd_loss(
    student: Tensor, teacher: Tensor, targets: Tensor, alpha: float, temperature: float
) -> Tensor:
    """(1 - alpha) CE + alpha T^2 KL(teacher || student) of logits (N, V), mean over N tokens."""
    teacher_targets = DenseTeacher(teacher.detach(), lambda logits: logits)
    objective = Objective(alpha, temperature)
    return distillation.plain_loss(
        student, lambda logits: logits, targets, objective, teacher_targets
    ).total


def two_words(alpha: float, temperature: float) -> Case:
    """Teacher 4 : 1 and student 9 : 1; at T = 2 they are 2 : 1 and 3 : 1."""
    teacher, student = torch.tensor([[math.log(4), 0.0]]), torch.tensor([[math.log(9), 0.0]])
    return student, teacher, torch.tensor([0]), alpha, temperature


def drawn(rng: random.Random, alpha: float, temperature: float) -> Case:
    draw = torch.Generator().manual_seed(rng.randrange(2**31))
    n, vocabulary = rng.randint(3, 5), rng.randint(6, 9)
    student, teacher = (2 * torch.randn(2, n, vocabulary, generator=draw)).unbind()
    targets = torch.randint(0, vocabulary, (n,), generator=draw)
    return student, teacher, targets, alpha, temperature
