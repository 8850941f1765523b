"""GRPO with the advantages and the loss that a reader of Lab 5e has written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from distill_lab.training.own_samples import Prompt, Row
from distill_lab.training.policy import PolicyTrainer


class YourTrainer(PolicyTrainer):
    """GRPO whose advantages and loss are functions that somebody else has written."""

    group_advantages: Callable[[Tensor], Tensor]
    policy_loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

    def judged(self, prompt: Prompt, samples: Sequence[list[int]]) -> list[Row]:
        rows = self.rewarded(prompt, samples)
        advantages = self.group_advantages(torch.tensor([[row.reward for row in rows]]))  # (1, n)
        return [
            dataclasses.replace(row, advantage=float(a))
            for row, a in zip(rows, advantages[0], strict=True)
        ]

    def loss_of(
        self, log_q: Tensor, mask: Tensor, inputs: dict[str, Any], n_items: Tensor | int | None
    ) -> tuple[Tensor, Tensor]:
        """Their mean over this micro-batch's tokens, as its part of the mean over the step's."""
        tokens = mask.sum()
        mean = self.policy_loss(log_q, log_q.detach(), inputs["advantages"], mask.long())
        return mean * tokens / (tokens if n_items is None else n_items), torch.zeros(())
