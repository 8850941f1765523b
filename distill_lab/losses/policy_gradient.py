"""Learning from one's own samples: GRPO's advantages and losses, and on-policy distillation.

DeepSeek-R1's reinforcement learning is GRPO (section 2.2.1; Shao et al. 2024, arXiv 2402.03300).
Each prompt has a group of completions, and one that is better than its group becomes likelier. With
r the ratio of a token's probability now to that when it was sampled, and A the advantage of its
completion, each token costs:

    - min( r A, clip(r, 1 - epsilon, 1 + epsilon_high) A ) + beta r k3

The minimum is pessimistic: it ends the gradient where r has already moved as A wants it, above
1 + epsilon_high for A > 0 and below 1 - epsilon for A < 0, and nowhere else. The kinds of the loss
differ in how they average over tokens (`policy_loss`). All are TRL's, with its defaults.

In shape comments G are groups, n completions of a group, B completions, T tokens, N completion
tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from distill_lab.losses.distillation import soften
from distill_lab.losses.fused import BUDGET, chunks

Scale = Literal["group", "none"]
PolicyKind = Literal["grpo", "bnpo", "dapo", "dr_grpo"]
_GUARD = 1e-4  # TRL's; it keeps the advantages of a group that hardly differs from growing huge


class Advantages(NamedTuple):
    """How much better than its group each completion is (G, n); which groups are dead (G): all
    their rewards are equal, so they teach nothing."""

    advantages: Tensor
    dead: Tensor


class PolicyLoss(NamedTuple):
    """`total` is minimised. `clipped`: the share of this batch's tokens that the clip leaves
    without a gradient; `kl`: its mean k3 r, in nats a token, 0 without a reference (detached)."""

    total: Tensor
    clipped: Tensor
    kl: Tensor


def group_advantages(rewards: Tensor, scale: Scale = "group") -> Advantages:
    """(r - mean) / (std + 1e-4) over each group of rewards (G, n); without the division where
    `scale` is none, as Dr. GRPO (Liu et al. 2025, arXiv 2503.20783) has it.

    The deviation is the unbiased one. Groups of equal rewards get exactly 0, and count as dead by
    the rewards themselves: TRL computes a deviation of 1.6e-8 for eight times .2, and takes that
    group for a living one. ValueError for groups of one, and for a reward that is no number.
    """
    if rewards.ndim != 2 or rewards.shape[1] < 2:
        raise ValueError(
            f"expected rewards (groups, n) with n of at least 2, found {tuple(rewards.shape)}"
        )
    if rewards.isnan().any():
        raise ValueError(f"expected rewards that are numbers, found {rewards.isnan().sum()} NaN")
    rewards = rewards.float()
    dead = (rewards == rewards[:, :1]).all(1)  # (G)
    advantages = rewards - rewards.mean(1, keepdim=True)  # (G, n)
    if scale == "group":
        advantages = advantages / (rewards.std(1, keepdim=True) + _GUARD)
    return Advantages(advantages.masked_fill(dead[:, None], 0.0), dead)


def step_items(mask: Tensor, kind: PolicyKind) -> Tensor:
    """What a micro-batch with this mask (B, T) has of what its kind of loss divides by: tokens for
    dapo, completions for grpo and dr_grpo, and itself, 1, for bnpo."""
    completions = mask.bool().any(1).sum()  # a row without a token fills a place
    counts = {"grpo": completions, "bnpo": 1, "dapo": mask.sum(), "dr_grpo": completions}
    return torch.as_tensor(counts[kind], device=mask.device)


def policy_loss(
    log_p: Tensor,
    old_log_p: Tensor,
    advantages: Tensor,
    mask: Tensor,
    kind: PolicyKind,
    epsilon: float = 0.2,
    epsilon_high: float | None = None,
    max_length: int | None = None,
    n_items: Tensor | int | None = None,
    reference_log_p: Tensor | None = None,
    beta: float = 0.0,
) -> PolicyLoss:
    """The clipped loss of a batch of completions.

    log_p (B, T) are the sampled tokens' log-probabilities, `old_log_p` the same when they were
    sampled (detached), `advantages` (B), or (B, T) where each token has its own. `mask` (B, T) is 1
    at a completion's tokens, its end token included; elsewhere the log-probabilities are anything
    finite. `epsilon_high` is DAPO's wider bound above (None: epsilon). What a token is divided by,
    and the sum by `n_items`, which counts:

        grpo     its completion's length                              completions
        bnpo     the tokens of this micro-batch                       micro-batches
        dapo     1                                                    tokens
        dr_grpo  `max_length`, the most that a completion may have    completions

    `n_items` is that of the whole optimiser step: the sum of `step_items` over its micro-batches
    (and processes), so that their losses add up to the step's. None: this batch is the whole step.
    Only bnpo depends on how a step is cut. (dapo: Yu et al. 2025, arXiv 2503.14476.)

    `beta` weighs the reverse KL to a reference, by Schulman's k3 = p_ref / p - log(p_ref / p) - 1;
    the factor r makes its gradient, too, that of the KL (the exact tests show it). ValueError for
    dr_grpo without `max_length`, and for a beta without a reference.
    """
    ratio = (log_p - old_log_p).exp()  # (B, T)
    advantages = advantages[:, None] if advantages.ndim == 1 else advantages  # (B, 1 or T)
    low, high = 1 - epsilon, 1 + (epsilon if epsilon_high is None else epsilon_high)
    cost = -torch.min(ratio * advantages, ratio.clamp(low, high) * advantages)  # (B, T)
    clipped = torch.where(advantages < 0, ratio < low, (ratio > high) & (advantages > 0))
    kl = torch.zeros_like(ratio)
    if beta:
        if reference_log_p is None:
            raise ValueError(f"beta {beta:g}: expected the reference's log-probabilities")
        away = reference_log_p - log_p
        kl = ratio * (away.exp() - away - 1)  # (B, T)
    n = step_items(mask, kind) if n_items is None else n_items
    share = mask / _divisor(mask, kind, max_length)  # (B, T)
    tokens = mask.sum().clamp(min=1)
    return PolicyLoss(
        ((cost + beta * kl) * share).sum() / n,
        (clipped * mask).sum() / tokens,
        (kl.detach() * mask).sum() / tokens,
    )


def _divisor(mask: Tensor, kind: PolicyKind, max_length: int | None) -> Tensor | int:
    """What each token's cost is divided by: a number, or one a completion (B, 1)."""
    if kind == "grpo":
        return mask.sum(1, keepdim=True).clamp(min=1)
    if kind == "bnpo":
        return mask.sum().clamp(min=1)
    if kind == "dapo":
        return 1
    if max_length is None:
        raise ValueError("dr_grpo: expected max_length, the most tokens that a completion may have")
    return max_length


def sampled_reverse_kl(
    log_q: Tensor,
    old_log_q: Tensor,
    teacher_log_p: Tensor,
    mask: Tensor,
    n_items: Tensor | int | None = None,
) -> Tensor:
    """On-policy distillation from the sampled tokens' log-probabilities alone, for a teacher that
    gives no more (Thinking Machines 2025, "On-Policy Distillation"); all arguments (B, T).

    A token's advantage is -(log q - log p), of the student as it sampled and the teacher; the loss
    is a policy gradient with importance weights and no clip, averaged as dapo. On average over
    samples its gradient is that of KL(q || p) at each position, given the tokens before it. What an
    earlier token does to the KL of later ones is left out (a discount of 0), as it is where the
    full distributions are compared at each position of a sample.
    """
    advantages = (teacher_log_p - old_log_q).detach()  # (B, T)
    loss = policy_loss(
        log_q, old_log_q, advantages, mask, "dapo", epsilon=math.inf, n_items=n_items
    )
    return loss.total


def token_log_probs(
    states: Tensor,
    head: Callable[[Tensor], Tensor],
    targets: Tensor,
    temperature: float = 1.0,
    budget: int = BUDGET,
) -> Tensor:
    """The targets' log-probabilities (N) in float32, with a gradient, at the temperature at which
    they were sampled.

    states (N, H) and targets (N) are from `distillation.completion_states`. The head is applied to
    a chunk of them at a time, whose logits take at most `budget` bytes and are computed again in
    the backward pass: (B, T, V) logits are never there. To have rows again:
    `torch.zeros(mask.shape).masked_scatter(mask, log_probs)` (B, T).
    """

    def of_chunk(rows: slice) -> Tensor:
        inputs = states[rows], head, targets[rows], temperature
        made = checkpoint(_log_probs, *inputs, use_reentrant=False)
        assert isinstance(made, Tensor)
        return made

    with torch.no_grad():
        vocabulary = head(states[:1]).shape[-1]
    made = [of_chunk(rows) for rows in chunks(len(targets), vocabulary, False, budget)]
    return torch.cat(made or [_log_probs(states, head, targets, temperature)])  # (N)


def _log_probs(
    states: Tensor, head: Callable[[Tensor], Tensor], targets: Tensor, temperature: float
) -> Tensor:
    log_q = soften(head(states), temperature)  # (C, V)
    return log_q.gather(1, targets[:, None])[:, 0]  # (C)


if __name__ == "__main__":
    group = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    for rewards, advantages in zip(group, group_advantages(group).advantages, strict=True):
        print("rewards", rewards.tolist(), "advantages", [f"{a:+.2f}" for a in advantages.tolist()])
