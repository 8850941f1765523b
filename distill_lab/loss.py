"""The objective, defined once:

    L = (1 - alpha) * CE(y) + alpha * T^2 * KL( softmax(z_teacher / T) || softmax(z_student / T) )

averaged over the completion tokens of the whole optimiser step. CE alone (alpha = 0) is what
DeepSeek-R1 did (section 2.4); the softened KL is Hinton, Vinyals, Dean 2015 (arXiv 1503.02531),
whose T^2 keeps the gradient's size when T changes.

It starts from hidden states, so that `[batch, length, vocabulary]` logits are never built:
completion positions are picked out first (`completion_states`), then the heads are applied to a
chunk of them at a time. `python -m distill_lab.loss` shows a softened distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Head = Callable[[Tensor], Tensor]  # (N, H) hidden states to (N, V) logits
IGNORED = -100  # the label of a position that is not a completion token


@dataclass(frozen=True, slots=True)
class Loss:
    """`total` is minimised; `ce` and `kl` are its parts before alpha and T^2 (nats, detached)."""

    total: Tensor
    ce: Tensor
    kl: Tensor


def completion_labels(ids: Tensor, is_completion: Tensor) -> Tensor:
    """Labels (B, T): the token at each completion position, IGNORED elsewhere.

    Told apart by the mask, never by token id, so that an end token that is also the padding token
    is still learnt.
    """
    return ids.masked_fill(~is_completion, IGNORED)


def completion_states(hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states (N, H) that predict the N completion tokens, and those tokens (N).

    Position i is scored against token i + 1.
    """
    targets = labels[:, 1:]  # (B, T - 1)
    chosen = targets != IGNORED
    return hidden[:, :-1][chosen], targets[chosen]


def soften(logits: Tensor, temperature: float) -> Tensor:
    """log softmax(logits / temperature) over the last axis, in float32 whatever logits are in."""
    return F.log_softmax(logits.float() / temperature, dim=-1)


def kl_divergence(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) at a temperature, one value a row (N), in nats and without T^2.

    0 where the two are the same. Both are cut to the vocabulary they share *before* the softmax:
    padded rows (Qwen2.5 0.5B has 151,936, 7B has 152,064) take no probability.
    """
    shared = min(teacher_logits.shape[-1], student_logits.shape[-1])
    teacher = soften(teacher_logits[..., :shared], temperature)
    student = soften(student_logits[..., :shared], temperature)
    return (teacher.exp() * (teacher - student)).sum(-1)


def distillation_loss(
    student_states: Tensor,
    student_head: Head,
    targets: Tensor,
    *,
    alpha: float = 0.0,
    temperature: float = 1.0,
    teacher_states: Tensor | None = None,
    teacher_head: Head | None = None,
    n_items: Tensor | int | None = None,
    chunk: int = 1024,
) -> Loss:
    """The objective over N completion tokens.

    student_states (N, H), teacher_states (N, H_t): from `completion_states`; targets (N).
    `n_items`: completion tokens of the whole optimiser step, over micro-batches and processes
    (None: N). No teacher is needed where alpha is 0. An empty batch gives 0 with a gradient of 0.
    """
    assert alpha == 0 or (teacher_states is not None and teacher_head is not None), (
        "alpha > 0 needs a teacher"
    )
    assert teacher_states is None or len(teacher_states) == len(targets), (
        "teacher and student must have the same completions"
    )
    n = len(targets) if n_items is None else n_items
    # 0, and still part of the graph; a sum of all states times 0 is NaN where it overflows float16
    ce = kl = student_states[:0].float().sum()
    for start in range(0, len(targets), chunk):
        rows = slice(start, start + chunk)
        teacher = teacher_states[rows] if alpha and teacher_states is not None else None
        # recomputed in the backward pass: the chunk's logits are never kept
        parts = checkpoint(
            _sums,
            student_states[rows],
            student_head,
            targets[rows],
            teacher,
            teacher_head,
            temperature,
            use_reentrant=False,
        )
        assert parts is not None
        ce, kl = ce + parts[0], kl + parts[1]
    ce, kl = ce / max(n, 1), kl / max(n, 1)  # type: ignore[call-overload]
    total = (1 - alpha) * ce + alpha * temperature**2 * kl
    return Loss(total, ce.detach(), kl.detach())


def _sums(
    student: Tensor,
    student_head: Head,
    targets: Tensor,
    teacher: Tensor | None,
    teacher_head: Head | None,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Summed CE and KL of one chunk."""
    logits = student_head(student).float()  # (chunk, V)
    ce = F.cross_entropy(logits, targets, reduction="sum")
    if teacher is None or teacher_head is None:
        return ce, ce.new_zeros(())
    with torch.no_grad():
        teacher_logits = teacher_head(teacher)
    return ce, kl_divergence(teacher_logits, logits, temperature).sum()


if __name__ == "__main__":
    example = torch.tensor([4.0, 2.0, 1.0])
    print("logits", example.tolist())
    for t in (1, 2, 4, 8):
        print(f"T = {t}:", "  ".join(f"{p:.3f}" for p in soften(example, t).exp().tolist()))
