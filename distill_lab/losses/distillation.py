"""The objective, defined once:

    L = (1 - alpha) * CE(y) + alpha * T^2 * KL( softmax(z_teacher / T) || softmax(z_student / T) )

averaged over the completion tokens of the whole optimiser step. CE alone (alpha = 0) is what
DeepSeek-R1 did (section 2.4); the softened KL is Hinton, Vinyals, Dean 2015 (arXiv 1503.02531),
whose T^2 keeps the gradient's size when T changes. The reverse KL or a generalised Jensen-Shannon
divergence (Agarwal et al. 2024, arXiv 2306.13649) may take the KL's place.

This version is for reading; training calls `fused.distillation_loss`, which gives the same numbers
in less time and memory. `python -m distill_lab.losses.distillation` shows a softened distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100  # the label of a position that is not a completion token
Divergence = Literal["forward-kl", "reverse-kl", "jsd"]


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised: `alpha` is the divergence's weight, `temperature` softens both sides of
    it, `beta` is the teacher's share in the mixture of `jsd` (0 < beta < 1)."""

    alpha: float = 0.0
    temperature: float = 1.0
    divergence: Divergence = "forward-kl"
    beta: float = 0.5


class Loss(NamedTuple):
    """`total` is minimised; `ce` and `kl`, the divergence, are its parts before alpha and T^2
    (nats, detached)."""

    total: Tensor
    ce: Tensor
    kl: Tensor


@dataclass(frozen=True, slots=True)
class Head:
    """An output head whose formula is known: logits = cap * tanh(scale * (W h + bias) / cap).

    weight (V, H), bias (V) or None; `scale` is Cohere's and Granite's, `cap` Gemma 2's (None: no
    cap).
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None

    def __call__(self, states: Tensor) -> Tensor:
        """Hidden states (N, H) to logits (N, V)."""
        logits = F.linear(states, self.weight, self.bias)  # (N, V)
        logits = logits * self.scale if self.scale != 1 else logits
        return self.cap * torch.tanh(logits / self.cap) if self.cap else logits


@dataclass(frozen=True, slots=True)
class OpaqueHead:
    """An output head that can only be called (its weights have 4 bits, say), with the reason."""

    logits: Callable[[Tensor], Tensor]
    reason: str

    def __call__(self, states: Tensor) -> Tensor:
        return self.logits(states)


@dataclass(frozen=True, slots=True)
class DenseTeacher:
    """The teacher's hidden states (N, H_t) at the completion's positions, and its head."""

    states: Tensor
    head: Callable[[Tensor], Tensor]

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, rows: slice) -> DenseTeacher:
        return DenseTeacher(self.states[rows], self.head)

    def outcomes(self, student_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """log p and log q (N, S) over the S tokens of the vocabulary that both have.

        Both are cut to them *before* the softmax: padded rows (Qwen2.5 0.5B has 151,936, 7B has
        152,064) take no probability.
        """
        with torch.no_grad():
            teacher_logits = self.head(self.states)  # (N, V_t)
        shared = min(teacher_logits.shape[-1], student_logits.shape[-1])
        log_p = soften(teacher_logits[:, :shared], temperature)
        return log_p, soften(student_logits[:, :shared], temperature)


@dataclass(frozen=True, slots=True)
class SparseTeacher:
    """A teacher's softened distributions: K tokens a position, and one outcome for all others.

    ids (N, K); log_p (N, K), their log-probabilities; log_tail (N), that of all other tokens
    together, None where there are none; offset (N), added to the divergence: with sampled tokens
    the part of the KL that does not depend on the student. The probabilities are over the first
    `vocabulary` tokens.
    """

    ids: Tensor
    log_p: Tensor
    log_tail: Tensor | None
    vocabulary: int
    offset: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice) -> SparseTeacher:
        return self._each(lambda values: values[rows])

    def to(self, device: torch.device) -> SparseTeacher:
        return self._each(lambda values: values.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> SparseTeacher:
        tail = None if self.log_tail is None else change(self.log_tail)
        offset = None if self.offset is None else change(self.offset)
        return SparseTeacher(change(self.ids), change(self.log_p), tail, self.vocabulary, offset)

    def outcomes(self, student_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """log p and log q (N, K), or (N, K + 1) with the tail last."""
        log_q = soften(student_logits[:, : self.vocabulary], temperature)  # (N, S)
        chosen = log_q.gather(1, self.ids)  # (N, K)
        if self.log_tail is None:
            return self.log_p, chosen
        rest = log_q.scatter(1, self.ids, -math.inf).logsumexp(1, keepdim=True)  # (N, 1)
        return torch.cat([self.log_p, self.log_tail[:, None]], 1), torch.cat([chosen, rest], 1)


Teacher = DenseTeacher | SparseTeacher


def completion_labels(ids: Tensor, is_completion: Tensor) -> Tensor:
    """Labels (B, T): the token of `ids` at each completion position, IGNORED elsewhere.

    The mask decides, never a token id: an end token that is also the padding token is still learnt.
    """
    return ids.masked_fill(~is_completion, IGNORED)


def completion_states(hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Of hidden states (B, T, H) those (N, H) that predict the N completion tokens, and these (N).

    Position i is scored against token i + 1.
    """
    targets = labels[:, 1:]  # (B, T - 1)
    chosen = targets != IGNORED  # (B, T - 1)
    return hidden[:, :-1][chosen], targets[chosen]  # (N, H), (N)


def soften(logits: Tensor, temperature: float) -> Tensor:
    """log softmax(logits / temperature) over the last axis, in float32 whatever logits are in."""
    return F.log_softmax(logits.float() / temperature, dim=-1)


def divergence(log_p: Tensor, log_q: Tensor, objective: Objective) -> Tensor:
    """How far the student's q is from the teacher's p, one value a row (N), in nats, without T^2.

    forward-kl: KL(p || q); reverse-kl: KL(q || p); jsd: beta KL(p || m) + (1 - beta) KL(q || m)
    with m = beta p + (1 - beta) q. 0 where p and q are the same.
    """
    if objective.divergence == "forward-kl":
        return _kl(log_p, log_q)
    if objective.divergence == "reverse-kl":
        return _kl(log_q, log_p)
    beta = objective.beta
    log_m = torch.logaddexp(log_p + math.log(beta), log_q + math.log(1 - beta))  # (N, V)
    return beta * _kl(log_p, log_m) + (1 - beta) * _kl(log_q, log_m)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def plain_loss(
    states: Tensor,
    head: Callable[[Tensor], Tensor],
    targets: Tensor,
    objective: Objective,
    teacher: Teacher | None = None,
    n_items: Tensor | int | None = None,
) -> Loss:
    """The objective over N completion tokens by its formula: all logits at once, and autograd.

    states (N, H) and targets (N) are from `completion_states`. `n_items` counts the completion
    tokens of the whole optimiser step, over micro-batches and processes (None: N). An empty batch
    gives 0.
    """
    n = max(len(targets) if n_items is None else n_items, 1)  # type: ignore[call-overload]
    logits = head(states).float()  # (N, V)
    ce = F.cross_entropy(logits, targets, reduction="sum") / n  # ()
    kl = torch.zeros_like(ce)
    if objective.alpha:
        assert teacher is not None, "alpha > 0 needs a teacher"
        rows = divergence(*teacher.outcomes(logits, objective.temperature), objective)  # (N)
        if isinstance(teacher, SparseTeacher) and teacher.offset is not None:
            rows = rows + teacher.offset
        kl = rows.sum() / n
    total = (1 - objective.alpha) * ce + objective.alpha * objective.temperature**2 * kl
    return Loss(total, ce.detach(), kl.detach())


if __name__ == "__main__":
    example = torch.tensor([4.0, 2.0, 1.0])
    print("logits", example.tolist())
    for t in (1, 2, 4, 8):
        print(f"T = {t}:", "  ".join(f"{p:.3f}" for p in soften(example, t).exp().tolist()))
