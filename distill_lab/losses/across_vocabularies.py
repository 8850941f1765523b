"""What takes the KL's place where the teacher has another tokenizer, and so another vocabulary.

Both models read the same text in other pieces. Where a token of each begins at the same byte both
have read the same, and their next tokens can be compared there, though not one by one:

- `uld`, Universal Logit Distillation (Boizard et al. 2024, arXiv 2402.12030): the L1 distance of
  the sorted probabilities. It sees how sure the teacher is, and not of what: a student that gives
  its .9 to another token than the teacher costs nothing. So it never goes without CE.
- `hybrid`, as in TRL's GOLD: where both tokens are also the same text, the divergence of the
  objective over the tokens that both vocabularies have, all others together as one outcome, and
  the L1 distance of these others sorted; elsewhere ULD. (GOLD leaves the one outcome out, and what
  it compares then are no distributions. It also multiplies pieces of a word together, where ULD
  here looks at a word's first piece alone.)

What results stands where the KL stands in the objective, T^2 included. In shape comments N are the
student's completion tokens, M those of them where a token of the teacher begins too, C a chunk of
these, S the tokens that both have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from distill_lab.losses.distillation import Loss, Objective, divergence, soften
from distill_lab.losses.fused import BUDGET, chunks, distillation_loss


@dataclass(frozen=True, slots=True)
class SharedTokens:
    """The S tokens that both vocabularies have: their ids (S) in the one and in the other."""

    student: Tensor
    teacher: Tensor


@dataclass(frozen=True, slots=True)
class OtherTeacher:
    """A teacher with another vocabulary where its tokens begin as M of the student's do.

    states (M, H_t) and its head; rows (M), which of the N tokens those are; alike (M), whether both
    tokens there are the same text. `shared` makes it the hybrid, None ULD.
    """

    states: Tensor
    head: Callable[[Tensor], Tensor]
    rows: Tensor
    alike: Tensor
    shared: SharedTokens | None = None

    def __getitem__(self, part: slice) -> OtherTeacher:
        rows, alike = self.rows[part], self.alike[part]
        return OtherTeacher(self.states[part], self.head, rows, alike, self.shared)


def uld(p: Tensor, q: Tensor) -> Tensor:
    """The L1 distance (N) of sorted probabilities (N, V_t) and (N, V), the shorter filled up with
    zeros. The order of a vocabulary does not count."""
    p, q = (each.sort(-1, descending=True).values for each in (p, q))
    both = min(p.shape[-1], q.shape[-1])
    return (p[:, :both] - q[:, :both]).abs().sum(-1) + p[:, both:].sum(-1) + q[:, both:].sum(-1)


def hybrid(log_p: Tensor, log_q: Tensor, shared: SharedTokens, objective: Objective) -> Tensor:
    """The objective's divergence over the shared tokens and one outcome for all others, and ULD
    over these (N); of log-probabilities (N, V_t) and (N, V).

    Where one of the vocabularies has no others, both are cut to the shared tokens.
    """
    of_p, p_others = _split(log_p, shared.teacher)  # (N, S), (N, V_t - S)
    of_q, q_others = _split(log_q, shared.student)  # (N, S), (N, V - S)
    if not (p_others.shape[-1] and q_others.shape[-1]):
        return divergence(of_p.log_softmax(-1), of_q.log_softmax(-1), objective)
    of_p, of_q = (
        torch.cat([each, others.logsumexp(-1, keepdim=True)], -1)  # (N, S + 1)
        for each, others in ((of_p, p_others), (of_q, q_others))
    )
    return divergence(of_p, of_q, objective) + uld(p_others.exp(), q_others.exp())


def _split(log_p: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Those of `ids` (N, S), in their order, and all others."""
    is_other = torch.ones(log_p.shape[-1], dtype=torch.bool, device=log_p.device)
    is_other[ids] = False
    return log_p[:, ids], log_p[:, is_other]


def distances(logits: Tensor, teacher: OtherTeacher, objective: Objective) -> Tensor:
    """How far the student's logits (M, V) are from the teacher (M), in nats and in shares."""
    with torch.no_grad():
        log_p = soften(teacher.head(teacher.states), objective.temperature)  # (M, V_t)
    log_q = soften(logits, objective.temperature)  # (M, V)
    if teacher.shared is None:
        return uld(log_p.exp(), log_q.exp())
    alike, apart = teacher.alike, ~teacher.alike
    of_alike = hybrid(log_p[alike], log_q[alike], teacher.shared, objective)
    of_apart = uld(log_p[apart].exp(), log_q[apart].exp())
    return torch.cat([of_alike, of_apart])  # in another order, which a sum does not see


def across_vocabularies_loss(
    states: Tensor,
    head: Callable[[Tensor], Tensor],
    targets: Tensor,
    objective: Objective,
    teacher: OtherTeacher,
    n_items: Tensor | int | None = None,
    budget: int = BUDGET,
) -> Loss:
    """The objective over N completion tokens, as `fused.distillation_loss`, with the distance to
    another vocabulary for its KL; a token where none of the teacher's begins has CE alone.

    states (N, H) and targets (N) are from `completion_states`. CE is the fused one. The distance
    goes through autograd a chunk of tokens at a time, whose logits and their sorted copies take
    about `budget` bytes and are computed again in the backward pass.
    """
    n = max(len(targets) if n_items is None else int(n_items), 1)
    ce = distillation_loss(states, head, targets, Objective(), n_items=n_items)

    def of_chunk(part: slice) -> Any:
        these = teacher[part]

        def summed(chosen: Tensor) -> Tensor:
            return distances(head(chosen), these, objective).sum()

        return checkpoint(summed, states[these.rows], use_reentrant=False)

    with torch.no_grad():
        models = (head, states), (teacher.head, teacher.states)
        vocabulary = max(logits(of[:1]).shape[-1] for logits, of in models)
    parts = [of_chunk(p) for p in chunks(len(teacher.rows), vocabulary, True, budget // 8)]
    apart = torch.stack(parts).sum() / n if parts else torch.zeros_like(ce.ce)
    weight = objective.alpha * objective.temperature**2
    return Loss((1 - objective.alpha) * ce.total + weight * apart, ce.ce, apart.detach())
