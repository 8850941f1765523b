"""Fixed micro-batches of completions, on which our policy losses are held against others'."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from distill_lab.losses.policy_gradient import PolicyKind, policy_loss

KINDS: tuple[PolicyKind, ...] = ("grpo", "bnpo", "dapo", "dr_grpo")
LENGTHS = [[5, 1, 3], [2, 6, 4]]  # tokens of each completion, of two micro-batches
MOST = 8  # tokens that a completion may have


def masks() -> list[Tensor]:
    """Padded to the longest of each micro-batch (B, T)."""
    return [(torch.arange(max(row)) < torch.tensor(row)[:, None]).long() for row in LENGTHS]


def near(log_p: Tensor, seed: int) -> Tensor:
    """Log-probabilities so far off that ratios pass both bounds of the clip."""
    random = torch.Generator().manual_seed(seed)
    return log_p.detach() + 0.4 * torch.randn(log_p.shape, generator=random)


class Batch:
    """A micro-batch of fixed tensors; padding has log-probabilities of its own, as TRL's has."""

    def __init__(self, mask: Tensor, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        self.mask = mask
        self.log_p = (-3 * torch.rand(mask.shape, generator=random)).requires_grad_()
        self.old, self.reference = near(self.log_p, seed + 10), near(self.log_p, seed + 20)
        self.advantages = torch.randn(len(mask), generator=random)

    def ours(self, kind: PolicyKind, **options: Any) -> Any:
        inputs = self.log_p, self.old, self.advantages, self.mask, kind
        return policy_loss(*inputs, max_length=MOST, reference_log_p=self.reference, **options)


def batches() -> list[Batch]:
    return [Batch(mask, seed) for seed, mask in enumerate(masks())]
