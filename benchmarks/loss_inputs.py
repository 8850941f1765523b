"""What a loss is given: hidden states, heads and targets, random and the same for all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.losses.distillation import IGNORED, SparseTeacher


@dataclass(frozen=True, slots=True)
class Inputs:
    """N positions, of which those that are `chosen` are completion tokens."""

    student: Tensor  # (N, H_s)
    teacher: Tensor  # (N, H_t)
    student_weight: Tensor  # (V, H_s)
    teacher_weight: Tensor  # (V, H_t)
    targets: Tensor  # (N), IGNORED where not chosen
    chosen: Tensor  # (N), bool
    temperature: float

    def few(self, n: int) -> Inputs:
        """A few completion positions, to warm up with."""
        rows = self.chosen.nonzero()[:n, 0]
        return replace(
            self,
            student=self.student.detach()[rows].requires_grad_(),
            teacher=self.teacher[rows],
            targets=self.targets[rows],
            chosen=self.chosen[rows],
        )


def make(settings: dict[str, Any]) -> Inputs:
    """Random inputs whose logits have a spread of about 1.5, as in rows of 256 tokens."""
    torch.manual_seed(0)
    n, v = settings["positions"], settings["vocabulary"]
    hs, ht = settings["student"], settings["teacher"]
    place = torch.arange(n) % min(256, n) / min(256, n)
    chosen = place >= settings["masked"]  # in each row the prompt comes first
    return Inputs(
        torch.randn(n, hs).requires_grad_(),
        torch.randn(n, ht),
        _weight(v, hs).requires_grad_(bool(settings["trainable"])),
        _weight(v, ht),
        torch.randint(v, (n,)).masked_fill(~chosen, IGNORED),
        chosen,
        settings["temperature"],
    )


def _weight(rows: int, columns: int) -> Tensor:
    return torch.empty(rows, columns).uniform_(-2.6, 2.6).div_(columns**0.5)


def smallest() -> Inputs:
    """Enough to see whether a loss runs at all."""
    sizes = {"positions": 2, "vocabulary": 4, "student": 2, "teacher": 2}
    return make({**sizes, "masked": 0.0, "trainable": False, "temperature": 1.0})


@torch.no_grad()
def top(x: Inputs, k: int = 64) -> SparseTeacher:
    """What the teacher cache holds of these positions."""
    log_p = F.log_softmax(x.teacher[x.chosen] @ x.teacher_weight.T / x.temperature, -1)
    values, ids = log_p.topk(min(k, log_p.shape[1] - 1), dim=-1)
    tail = log_p.scatter(1, ids, -torch.inf).logsumexp(-1)
    return SparseTeacher(ids, values, tail, log_p.shape[1])
