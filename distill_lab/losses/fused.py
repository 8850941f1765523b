"""The objective of `distillation`, for training: the same numbers with less time and memory.

`[batch, length, vocabulary]` logits are never built. Of the completion's hidden states a chunk at a
time goes through both heads, and the gradient with respect to the logits, which is analytic,
overwrites them: nothing is kept for the backward pass but the gradients themselves, nothing is
computed twice, and a frozen head gets none.

With log q the student's log-probabilities at temperature T and g = dD / dlog q, all divergences
have

    dD / d(z / T) = g - q * sum(g)          g = -p                          forward KL
                                            g = q (log q - log p)           reverse KL
                                            g = (1 - beta) q (log q - log m) jsd

(a multiple of q in g cancels). Of a sparse teacher, whose tail is all other tokens together, g of
the tail is spread over them as q is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from distill_lab.losses.distillation import (
    DenseTeacher,
    Head,
    Loss,
    Objective,
    SparseTeacher,
    Teacher,
    plain_loss,
)

BUDGET = 128 * 2**20  # bytes for the logits of a chunk, of both models
_STEP = 16  # tokens of a chunk come in whole steps: 103 cost a BLAS a quarter more than 104
_BLOCK = 2048  # vocabulary entries whose product stays in a CPU's cache
ON_CPU, ON_GPU = 2**19, 2**23  # logits at a time: a CPU's cache holds so many, a GPU wants more


def distillation_loss(
    states: Tensor,
    head: Callable[[Tensor], Tensor],
    targets: Tensor,
    objective: Objective,
    teacher: Teacher | None = None,
    n_items: Tensor | int | None = None,
    budget: int | None = None,
) -> Loss:
    """`distillation.plain_loss` with its arguments and its result; `budget`: bytes for logits
    (None: BUDGET, or as many as the gradient of a head that is trained takes anyway).

    A head that is no `Head` can only be called: its gradient is autograd's, and its logits are
    computed twice. ValueError where a divergence needs more than a sampled teacher has kept.
    """
    assert objective.alpha == 0 or teacher is not None, "alpha > 0 needs a teacher"
    teacher = teacher if objective.alpha else None
    assert teacher is None or len(teacher) == len(targets), (
        "teacher and student must have the same completions"
    )
    sampled = isinstance(teacher, SparseTeacher) and teacher.offset is not None
    if sampled and objective.divergence != "forward-kl":
        raise ValueError(f"sampled tokens give the forward KL alone, not {objective.divergence}")
    n = max(len(targets) if n_items is None else int(n_items), 1)
    if not isinstance(head, Head):
        return _by_autograd(states, head, targets, objective, teacher, n, budget or BUDGET)
    trained = 4 * head.weight.numel() if head.weight.requires_grad else 0
    budget = budget or max(BUDGET, trained)
    parts: Any = _Fused.apply(
        states, head.weight, head.bias, head, targets, objective, teacher, n, budget
    )
    return Loss(*parts)


def chunks(n: int, vocabulary: int, both: bool, budget: int = BUDGET) -> Iterator[slice]:
    """Rows of n tokens in chunks of about the same size, whose float32 logits fit the budget."""
    most = max(1, budget // (4 * vocabulary * (1 + both)))
    step = _STEP if most >= _STEP else 1
    count = math.ceil(n / (most - most % step))
    size = step * math.ceil(n / (step * max(count, 1)))
    yield from (slice(start, min(start + size, n)) for start in range(0, n, size or 1))


class _Fused(torch.autograd.Function):
    """Total, CE and KL; the forward pass leaves the gradients ready."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        head: Head,
        targets: Tensor,
        objective: Objective,
        teacher: Teacher | None,
        n: int,
        budget: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        inputs = (states, weight, bias)
        ctx.dtypes = [None if each is None else each.dtype for each in inputs]
        # summed in float32: in float16 a token's share of the mean would be 0
        ctx.gradients = [
            torch.zeros_like(each, dtype=torch.float32) if each is not None and needed else None
            for each, needed in zip(inputs, ctx.needs_input_grad, strict=False)
        ]
        dense = isinstance(teacher, DenseTeacher)
        todo = list(chunks(len(targets), len(weight), dense, budget))
        room = _Room(max((c.stop - c.start for c in todo), default=0), head, teacher)
        sums = states.new_zeros(2, dtype=torch.float32)
        for rows in todo:
            part = teacher[rows] if teacher else None
            z, of_chunk = _logits_to_gradient(
                states[rows], targets[rows], objective, part, head, room
            )
            sums += of_chunk
            _add_products(ctx.gradients, z, states[rows], head, rows, n)
        ce, kl = sums / n
        ctx.mark_non_differentiable(ce, kl)
        return (1 - objective.alpha) * ce + objective.alpha * objective.temperature**2 * kl, ce, kl

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        # let go of, so that a parameter takes its gradient over and makes no copy
        gradients, ctx.gradients = ctx.gradients, None
        assert gradients is not None, "the backward pass of this loss runs once"
        factor = grad_outputs[0].item()  # 1, or a gradient scaler's
        made = [
            None if each is None else (each if factor == 1 else each * factor).to(dtype)
            for each, dtype in zip(gradients, ctx.dtypes, strict=True)
        ]
        return (*made, *[None] * 6)


class _Room:
    """Memory for the logits of one chunk and for a few of its rows, used again and again: the pages
    of a fresh tensor cost as much as the arithmetic on it."""

    def __init__(self, size: int, head: Head, teacher: Teacher | None) -> None:
        weight = head.weight
        few = ON_CPU if weight.device.type == "cpu" else ON_GPU
        self.rows = max(1, few // len(weight))
        self.student = weight.new_empty(size, len(weight), dtype=torch.float32)
        self.teacher = None
        if isinstance(teacher, DenseTeacher) and isinstance(teacher.head, Head):
            self.teacher = self.student.new_empty(size, len(teacher.head.weight))
        self.scratch = self.student.new_empty(3, min(self.rows, size), len(weight))


def _logits_to_gradient(
    states: Tensor,
    targets: Tensor,
    objective: Objective,
    teacher: Teacher | None,
    head: Head,
    room: _Room,
) -> tuple[Tensor, Tensor]:
    """The gradient of a chunk's summed loss with respect to W h + bias (c, V), and its summed CE
    and KL (2)."""
    z = _logits(states, head, room.student)  # (c, V)
    if isinstance(teacher, DenseTeacher):
        teacher = DenseTeacher(_logits(teacher.states, teacher.head, room.teacher), _as_it_is)
    sums = z.new_zeros(2)
    for start in range(0, len(z), room.rows):
        few = slice(start, start + room.rows)
        part = teacher[few] if teacher else None
        sums += _overwrite(z[few], targets[few], objective, part, head, room.scratch)
    return z, sums


def _as_it_is(logits: Tensor) -> Tensor:
    return logits


def _logits(states: Tensor, head: Callable[[Tensor], Tensor], room: Tensor | None) -> Tensor:
    """(c, H) states to (c, V) float32 logits, which may be overwritten."""
    if not isinstance(head, Head) or room is None:
        return head(states).float()
    weight, z = head.weight, room[: len(states)]
    if weight.device.type == "cpu" and weight.dtype == torch.float32:
        _blocked_product(states.float(), weight, z)
    else:
        z.copy_(states.to(weight.dtype) @ weight.t())
    if head.bias is not None:
        z += head.bias
    if head.scale != 1:
        z *= head.scale
    return z.div_(head.cap).tanh_().mul_(head.cap) if head.cap else z


def _blocked_product(states: Tensor, weight: Tensor, out: Tensor) -> None:
    """states @ weight.T. A BLAS is faster at weight @ states.T, as it then packs the few states and
    not the whole weight; turned round a block at a time, while it is in the cache, that costs
    little."""
    turned = states.t()
    block = states.new_empty(_BLOCK, len(states))
    for start in range(0, len(weight), _BLOCK):
        part = weight[start : start + _BLOCK]
        product = torch.mm(part, turned, out=block[: len(part)])
        out[:, start : start + len(part)].copy_(product.t())


def _overwrite(
    z: Tensor,
    targets: Tensor,
    objective: Objective,
    teacher: Teacher | None,
    head: Head,
    scratch: Tensor,
) -> Tensor:
    """Puts the gradient of the summed loss in the place of the logits z (r, V); its CE and KL."""
    alpha, temperature = objective.alpha, objective.temperature
    at = targets[:, None]
    gradient = torch.log_softmax(z, -1, out=scratch[0, : len(z)])
    ce, kl = -gradient.gather(1, at).sum(), z.new_zeros(())
    gradient.exp_().mul_(1 - alpha)
    gradient.scatter_add_(1, at, gradient.new_full(at.shape, alpha - 1))
    if teacher is not None:
        if isinstance(teacher, SparseTeacher):
            rows, slope = _sparse_slope(z, teacher, objective, scratch[1:, : len(z)])
        else:
            rows, slope = _dense_slope(z, teacher.states, objective, scratch[1:, : len(z)])
        kl = rows.sum()
        # d / dz is 1 / T of d / d(z / T), and T^2 stands before it
        gradient[:, : slope.shape[1]].add_(slope, alpha=alpha * temperature)
    if head.cap:
        gradient.mul_(1 - (z / head.cap).square_())
    torch.mul(gradient, head.scale, out=z)
    return torch.stack([ce, kl])


def _dense_slope(
    z: Tensor, u: Tensor, objective: Objective, scratch: Tensor
) -> tuple[Tensor, Tensor]:
    """The divergence (r), and its gradient with respect to z / T over the shared vocabulary; z and
    u are logits, u may be overwritten."""
    shared = min(z.shape[1], u.shape[1])
    log_p, log_q, apart = u[:, :shared], scratch[0, :, :shared], scratch[1, :, :shared]
    torch.log_softmax(log_p.div_(objective.temperature), -1, out=log_p)
    torch.log_softmax(torch.div(z[:, :shared], objective.temperature, out=log_q), -1, out=log_q)
    if objective.divergence == "forward-kl":  # as _with_gradient, without a fresh tensor
        torch.sub(log_p, log_q, out=apart)
        p = log_p.exp_()
        return apart.mul_(p).sum(-1), log_q.exp_().sub_(p)
    rows, g = _with_gradient(log_p, log_q, objective)
    return rows, g.sub_(log_q.exp_().mul_(g.sum(-1, keepdim=True)))


def _sparse_slope(
    z: Tensor, teacher: SparseTeacher, objective: Objective, scratch: Tensor
) -> tuple[Tensor, Tensor]:
    """The same where all but k tokens are one outcome."""
    q = scratch[0, :, : teacher.vocabulary]
    torch.div(z[:, : teacher.vocabulary], objective.temperature, out=q)
    log_q = torch.log_softmax(q, -1, out=q).gather(1, teacher.ids)  # (r, k)
    q.exp_().scatter_(1, teacher.ids, 0.0)
    if teacher.log_tail is None:
        rows, g = _with_gradient(teacher.log_p, log_q, objective)
        rows = rows if teacher.offset is None else rows + teacher.offset
        of_rest = 0.0
    else:
        rest = q.sum(1, keepdim=True).clamp_(min=1e-30)
        log_p = torch.cat([teacher.log_p, teacher.log_tail[:, None]], 1)  # (r, k + 1)
        rows, g = _with_gradient(log_p, torch.cat([log_q, rest.log()], 1), objective)
        of_rest = g[:, -1:] / rest
    total = g.sum(-1, keepdim=True)
    slope = q.mul_(of_rest - total)
    return rows, slope.scatter_(1, teacher.ids, g[:, : log_q.shape[1]] - log_q.exp() * total)


def _with_gradient(log_p: Tensor, log_q: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
    """`distillation.divergence` (r), and its gradient with respect to log q (r, K)."""
    if objective.divergence == "forward-kl":
        p = log_p.exp()
        return (p * (log_p - log_q)).sum(-1), p.neg_()
    if objective.divergence == "reverse-kl":
        q, apart = log_q.exp(), log_q - log_p
        return (q * apart).sum(-1), q.mul_(apart)
    beta = objective.beta
    log_m = torch.logaddexp(log_p + math.log(beta), log_q + math.log(1 - beta))
    of_p = (log_p.exp() * (log_p - log_m)).sum(-1)
    of_q = log_q.exp().mul_(log_q - log_m)
    return beta * of_p + (1 - beta) * of_q.sum(-1), of_q.mul_(1 - beta)


def _add_products(
    gradients: list[Tensor | None], slope: Tensor, states: Tensor, head: Head, rows: slice, n: int
) -> None:
    """Adds a chunk's share to the gradients of states, weight and bias, from that of the logits
    (c, V)."""
    of_states, of_weight, of_bias = gradients
    if of_bias is not None:
        of_bias.add_(slope.sum(0), alpha=1 / n)
    slope, states = slope.to(head.weight.dtype), states.to(head.weight.dtype)
    if of_states is not None:
        # (H, c): a BLAS is faster at it this way round
        of_states[rows] = (head.weight.t() @ slope.t()).t().float().div_(n)
    if of_weight is not None and of_weight.dtype == slope.dtype:
        of_weight.addmm_(slope.t(), states, alpha=1 / n)
    elif of_weight is not None:
        of_weight.add_((slope.t() @ states).float(), alpha=1 / n)


def _by_autograd(
    states: Tensor,
    head: Callable[[Tensor], Tensor],
    targets: Tensor,
    objective: Objective,
    teacher: Teacher | None,
    n: int,
    budget: int,
) -> Loss:
    """The plain loss in chunks, each chunk's logits made again in the backward pass."""
    width = head(states[:1].detach()).shape[-1]
    made: list[Any] = [
        checkpoint(
            plain_loss,
            states[rows],
            head,
            targets[rows],
            objective,
            teacher[rows] if teacher else None,
            n,
            use_reentrant=False,
        )
        for rows in chunks(len(targets), width, True, budget)
    ] or [plain_loss(states, head, targets, objective, teacher, n)]
    return Loss(
        *(
            torch.stack([getattr(each, part) for each in made]).sum()
            for part in ("total", "ce", "kl")
        )
    )
