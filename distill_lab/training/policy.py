"""Own samples that teach through their log-probabilities: GRPO's advantages, or what the teacher
thinks of each sampled token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from distill_lab.losses.distillation import IGNORED, Loss, completion_states
from distill_lab.losses.policy_gradient import (
    PolicyKind,
    Scale,
    group_advantages,
    policy_loss,
    sampled_reverse_kl,
    step_items,
    token_log_probs,
)
from distill_lab.models.loading import head, hidden_states
from distill_lab.run.groups import LEAST
from distill_lab.training.own_samples import OwnSamplesTrainer, Prompt, Row
from distill_lab.training.trainer import n_read


class _OfLogProbs(OwnSamplesTrainer):
    """What both have in common: the sampled tokens' log-probabilities, from which a loss follows.

    Each sample is learnt from once, so a ratio to the probability at which it was sampled is 1 and
    nothing is clipped; its gradient is that of the log-probability.
    """

    def _loss(self, inputs: dict[str, Any], n_items: Tensor | int | None) -> Loss:
        mask = inputs["labels"][:, 1:] != IGNORED  # (B, T)
        with self.accelerator.autocast():
            log_q = self._log_probs(self._lm, self._head, inputs, mask)  # (B, T)
        total, kl = self.loss_of(log_q, mask, inputs, n_items)
        return Loss(total, -log_q.detach().sum(), kl)

    def _log_probs(
        self, lm: Any, to_logits: Any, inputs: dict[str, Any], mask: Tensor, whose: str = ""
    ) -> Tensor:
        """Of the completions' tokens as this model sees them (B, T), 0 elsewhere."""
        hidden = hidden_states(lm, inputs[f"{whose}input_ids"], inputs[f"{whose}attention_mask"])
        states, targets = completion_states(hidden, inputs[f"{whose}labels"])  # (N, H), (N)
        temperature = self.drawing.sampling.temperature
        log_probs = token_log_probs(states, to_logits, targets, temperature)  # (N)
        return torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, log_probs)

    def loss_of(
        self, log_q: Tensor, mask: Tensor, inputs: dict[str, Any], n_items: Tensor | int | None
    ) -> tuple[Tensor, Tensor]:
        """The loss of a micro-batch, and its divergence summed over tokens."""
        raise NotImplementedError

    def logged(self, sums: dict[str, float]) -> dict[str, float]:
        tokens = max(sums["sampled"], 1)
        return super().logged({**sums, "ce": sums["ce"] / tokens, "kl": sums["kl"] / tokens})


class PolicyTrainer(_OfLogProbs):
    """GRPO: a sample becomes likelier the more its reward exceeds its group's mean. `kind` says how
    the loss averages, `scale` whether advantages are divided by the group's deviation."""

    LEAST = LEAST["grpo"]

    def __init__(self, *args: Any, kind: PolicyKind, scale: Scale, **more: Any) -> None:
        self.kind: PolicyKind = kind
        self.scale: Scale = scale
        super().__init__(*args, **more)

    def judged(self, prompt: Prompt, samples: Sequence[list[int]]) -> list[Row]:
        """All rows of the group, with their advantages."""
        rows = self.rewarded(prompt, samples)
        rewards = torch.tensor([[row.reward for row in rows]])  # (1, n)
        advantages = group_advantages(rewards, self.scale).advantages[0].tolist()
        return [replace(row, advantage=a) for row, a in zip(rows, advantages, strict=True)]

    def _collated(self, rows: Sequence[Row]) -> dict[str, Any]:
        advantages = torch.tensor([row.advantage for row in rows] or [0.0])  # (B)
        return {**super()._collated(rows), "advantages": advantages}

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """What this kind of loss divides by, of all micro-batches and processes of the step."""
        batches = [batch for batch in batch_samples if "labels" in batch]
        if not batches:
            return None
        items = sum(step_items(batch["labels"][:, 1:] != IGNORED, self.kind) for batch in batches)
        return self.accelerator.reduce(torch.as_tensor(items, device=device), "sum")

    def loss_of(
        self, log_q: Tensor, mask: Tensor, inputs: dict[str, Any], n_items: Tensor | int | None
    ) -> tuple[Tensor, Tensor]:
        longest = self.drawing.sampling.max_new_tokens
        loss = policy_loss(
            log_q,
            log_q.detach(),
            inputs["advantages"],
            mask,
            self.kind,
            max_length=longest,
            n_items=n_items,
        )
        return loss.total, torch.zeros_like(loss.kl)


class SampledTargetsTrainer(_OfLogProbs):
    """On-policy distillation from a teacher that gives the sampled tokens' log-probabilities alone
    (Thinking Machines 2025): the reverse KL's gradient on average, and a noisier one."""

    def loss_of(
        self, log_q: Tensor, mask: Tensor, inputs: dict[str, Any], n_items: Tensor | int | None
    ) -> tuple[Tensor, Tensor]:
        assert self.teacher is not None, "sampled targets are a teacher's"
        lm: Any = self.teacher.lm  # type: ignore[union-attr]
        with torch.no_grad():
            log_p = self._teacher_log_probs(lm, inputs, mask)  # (B, T)
        old = log_q.detach()
        total = sampled_reverse_kl(log_q, old, log_p, mask, n_items)
        return total, ((old - log_p) * mask).sum()

    def _teacher_log_probs(self, lm: Any, inputs: dict[str, Any], mask: Tensor) -> Tensor:
        self.sums["scored"] += n_read(inputs, "teacher_")
        theirs = inputs["teacher_labels"][:, 1:] != IGNORED  # (B, T_t), as many in each row
        log_probs = self._log_probs(lm, head(lm), inputs, theirs, "teacher_")[theirs]  # (N)
        return torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, log_probs)
