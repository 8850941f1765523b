"""The objective of `distillation`, for training: the same numbers with less time and memory.

`[batch, length, vocabulary]` logits are never built. A chunk of the completion's hidden states at a
time goes through both heads, and the gradient with respect to the logits, which is analytic,
overwrites them: nothing is kept for the backward pass but the gradients themselves, nothing is
computed twice, and a frozen head gets none.

With log q the student's log-probabilities at temperature T and g = dD / dlog q, it is for all
divergences:

    dD / d(z / T) = g - q * sum(g)          g = -p                           forward KL
                                            g = q (log q - log p)            reverse KL
                                            g = (1 - beta) q (log q - log m) jsd

(a multiple of q in g cancels). A sparse teacher knows the sum of all tokens outside its k, the
tail; g of the tail is spread over these tokens in proportion to q.

In shape comments N are completion tokens, C those of a chunk, R a few of its rows, K outcomes of a
sparse teacher, H the hidden size and V the vocabulary's.
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
    """`distillation.plain_loss`, with its arguments and its result; `budget`: bytes for logits
    (None: BUDGET, or as many as the gradient of a trained head takes anyway).

    The gradient of a head that can only be called (no `Head`) is autograd's, and its logits are
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
    """n tokens in chunks of about the same size; a chunk's float32 logits, of one model or of
    `both`, take at most `budget` bytes."""
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
        inputs = (states, weight, bias)  # (N, H), (V, H), (V)
        ctx.dtypes = [None if each is None else each.dtype for each in inputs]
        # summed in float32: in float16 a token's share of the mean would be 0
        ctx.gradients = [
            torch.zeros_like(each, dtype=torch.float32) if each is not None and needed else None
            for each, needed in zip(inputs, ctx.needs_input_grad, strict=False)
        ]
        dense = isinstance(teacher, DenseTeacher)
        todo = list(chunks(len(targets), len(weight), dense, budget))
        size = max((c.stop - c.start for c in todo), default=0)
        workspace = _Workspace(size, head, objective, teacher)
        sums = states.new_zeros(2, dtype=torch.float32)  # CE and KL
        for rows in todo:
            part = teacher[rows] if teacher else None
            slope, of_chunk = workspace.gradient(states[rows], targets[rows], part)  # (C, V), (2)
            sums += of_chunk
            _add_products(ctx.gradients, slope, states[rows], head, rows, n)
        ce, kl = sums / n
        ctx.mark_non_differentiable(ce, kl)
        return (1 - objective.alpha) * ce + objective.alpha * objective.temperature**2 * kl, ce, kl

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        # dropped here, so that a parameter takes its gradient over and makes no copy
        gradients, ctx.gradients = ctx.gradients, None
        assert gradients is not None, "the backward pass of this loss runs once"
        factor = grad_outputs[0].item()  # 1, or a gradient scaler's
        scaled = [
            None if each is None else (each if factor == 1 else each * factor).to(dtype)
            for each, dtype in zip(gradients, ctx.dtypes, strict=True)
        ]
        return (*scaled, *[None] * 6)


class _Workspace:
    """Memory for the logits of one chunk and for a few of its rows, used again and again: the pages
    of a fresh tensor cost as much as the arithmetic on it."""

    def __init__(
        self, size: int, head: Head, objective: Objective, teacher: Teacher | None
    ) -> None:
        self.head, self.objective = head, objective
        weight = head.weight  # (V, H)
        at_a_time = ON_CPU if weight.device.type == "cpu" else ON_GPU
        self.n_rows = max(1, at_a_time // len(weight))  # R
        self.student = weight.new_empty(size, len(weight), dtype=torch.float32)  # (C, V)
        self.teacher = None
        if isinstance(teacher, DenseTeacher) and isinstance(teacher.head, Head):
            self.teacher = self.student.new_empty(size, len(teacher.head.weight))  # (C, V_t)
        self.scratch = self.student.new_empty(3, min(self.n_rows, size), len(weight))  # (3, R, V)

    def gradient(
        self, states: Tensor, targets: Tensor, teacher: Teacher | None
    ) -> tuple[Tensor, Tensor]:
        """The gradient of a chunk's summed loss with respect to W h + bias (C, V), and its summed
        CE and KL (2); from states (C, H) and targets (C)."""
        z = _logits(states, self.head, self.student)  # (C, V)
        if isinstance(teacher, DenseTeacher):  # from here on its states are its logits
            logits = _logits(teacher.states, teacher.head, self.teacher)  # (C, V_t)
            teacher = DenseTeacher(logits, lambda logits: logits)
        sums = z.new_zeros(2)
        for start in range(0, len(z), self.n_rows):
            few = slice(start, start + self.n_rows)
            sums += self._overwrite(z[few], targets[few], teacher[few] if teacher else None)
        return z, sums

    def _overwrite(self, z: Tensor, targets: Tensor, teacher: Teacher | None) -> Tensor:
        """Replaces the logits z (R, V) by the summed loss's gradient; returns CE and KL (2)."""
        alpha, temperature = self.objective.alpha, self.objective.temperature
        at, scratch = targets[:, None], self.scratch[:, : len(z)]  # (R, 1), (3, R, V)
        gradient = torch.log_softmax(z, -1, out=scratch[0])  # (R, V)
        ce, kl = -gradient.gather(1, at).sum(), z.new_zeros(())
        gradient.exp_().mul_(1 - alpha)  # CE's: (1 - alpha) (q - one-hot)
        gradient.scatter_add_(1, at, gradient.new_full(at.shape, alpha - 1))
        if teacher is not None:
            if isinstance(teacher, SparseTeacher):
                rows, slope = _sparse_slope(z, teacher, self.objective, scratch[1:])
            else:
                rows, slope = _dense_slope(z, teacher.states, self.objective, scratch[1:])
            kl = rows.sum()  # of (R)
            # d / dz is 1 / T of d / d(z / T), and T^2 stands before it
            gradient[:, : slope.shape[1]].add_(slope, alpha=alpha * temperature)
        if self.head.cap:  # through the tanh: 1 - tanh^2
            gradient.mul_(1 - (z / self.head.cap).square_())
        torch.mul(gradient, self.head.scale, out=z)
        return torch.stack([ce, kl])


def _logits(states: Tensor, head: Callable[[Tensor], Tensor], out: Tensor | None) -> Tensor:
    """States (C, H) to float32 logits (C, V), which may be overwritten."""
    if not isinstance(head, Head) or out is None:
        return head(states).float()  # (C, V)
    weight, z = head.weight, out[: len(states)]  # (V, H), (C, V)
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
    """Writes states @ weight.T into `out` (C, V).

    A BLAS computes weight @ states.T faster, as it then packs the few states and not the whole
    weight. Each block is transposed while the cache still holds it, which costs little.
    """
    columns = states.t()  # (H, C)
    products = states.new_empty(_BLOCK, len(states))  # (_BLOCK, C)
    for start in range(0, len(weight), _BLOCK):
        part = weight[start : start + _BLOCK]  # (_BLOCK or what is left, H)
        product = torch.mm(part, columns, out=products[: len(part)])
        out[:, start : start + len(part)].copy_(product.t())


def _dense_slope(
    z: Tensor, u: Tensor, objective: Objective, scratch: Tensor
) -> tuple[Tensor, Tensor]:
    """The divergence (R), and its gradient with respect to z / T over the S shared tokens (R, S).

    z (R, V) are the student's logits, u (R, V_t) the teacher's, which are overwritten.
    """
    shared = min(z.shape[1], u.shape[1])
    log_p, log_q, log_ratio = u[:, :shared], scratch[0, :, :shared], scratch[1, :, :shared]
    torch.log_softmax(log_p.div_(objective.temperature), -1, out=log_p)  # (R, S)
    torch.log_softmax(torch.div(z[:, :shared], objective.temperature, out=log_q), -1, out=log_q)
    if objective.divergence == "forward-kl":  # as _with_gradient, without a fresh tensor
        torch.sub(log_p, log_q, out=log_ratio)
        p = log_p.exp_()
        return log_ratio.mul_(p).sum(-1), log_q.exp_().sub_(p)
    rows, g = _with_gradient(log_p, log_q, objective)  # (R), (R, S)
    return rows, g.sub_(log_q.exp_().mul_(g.sum(-1, keepdim=True)))


def _sparse_slope(
    z: Tensor, teacher: SparseTeacher, objective: Objective, scratch: Tensor
) -> tuple[Tensor, Tensor]:
    """The same, where the teacher has K tokens and at most one outcome for all others."""
    q = scratch[0, :, : teacher.vocabulary]  # (R, S)
    torch.div(z[:, : teacher.vocabulary], objective.temperature, out=q)
    log_q = torch.log_softmax(q, -1, out=q).gather(1, teacher.ids)  # (R, K)
    q.exp_().scatter_(1, teacher.ids, 0.0)  # of the tail's tokens alone
    if teacher.log_tail is None:
        rows, g = _with_gradient(teacher.log_p, log_q, objective)  # (R), (R, K)
        rows = rows if teacher.offset is None else rows + teacher.offset
        of_rest = 0.0
    else:
        rest = q.sum(1, keepdim=True).clamp_(min=1e-30)  # (R, 1)
        log_p = torch.cat([teacher.log_p, teacher.log_tail[:, None]], 1)  # (R, K + 1)
        log_outcomes = torch.cat([log_q, rest.log()], 1)  # (R, K + 1)
        rows, g = _with_gradient(log_p, log_outcomes, objective)
        of_rest = g[:, -1:] / rest  # (R, 1)
    total = g.sum(-1, keepdim=True)  # (R, 1)
    slope = q.mul_(of_rest - total)  # (R, S)
    return rows, slope.scatter_(1, teacher.ids, g[:, : log_q.shape[1]] - log_q.exp() * total)


def _with_gradient(log_p: Tensor, log_q: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
    """`distillation.divergence` of log-probabilities (R, K): its value (R), and its gradient with
    respect to log q (R, K)."""
    if objective.divergence == "forward-kl":
        p = log_p.exp()
        return (p * (log_p - log_q)).sum(-1), p.neg_()
    if objective.divergence == "reverse-kl":
        q, log_ratio = log_q.exp(), log_q - log_p
        return (q * log_ratio).sum(-1), q.mul_(log_ratio)
    beta = objective.beta
    log_m = torch.logaddexp(log_p + math.log(beta), log_q + math.log(1 - beta))  # (R, K)
    of_p = (log_p.exp() * (log_p - log_m)).sum(-1)  # (R)
    of_q = log_q.exp().mul_(log_q - log_m)  # (R, K)
    return beta * of_p + (1 - beta) * of_q.sum(-1), of_q.mul_(1 - beta)


def _add_products(
    gradients: list[Tensor | None], slope: Tensor, states: Tensor, head: Head, rows: slice, n: int
) -> None:
    """Adds a chunk's share to the gradients of all states (N, H), weight (V, H) and bias (V), from
    that of its logits (C, V) and its states (C, H)."""
    of_states, of_weight, of_bias = gradients
    if of_bias is not None:
        of_bias.add_(slope.sum(0), alpha=1 / n)
    slope, states = slope.to(head.weight.dtype), states.to(head.weight.dtype)
    if of_states is not None:
        # a BLAS is faster at (H, V) @ (V, C) than at (C, V) @ (V, H)
        of_states[rows] = (head.weight.t() @ slope.t()).t().float().div_(n)  # (C, H)
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
    """The plain loss in chunks; the backward pass computes each chunk's logits again."""

    def of_chunk(rows: slice) -> Any:
        part = teacher[rows] if teacher else None
        inputs = states[rows], head, targets[rows], objective, part, n
        return checkpoint(plain_loss, *inputs, use_reentrant=False)

    vocabulary = head(states[:1].detach()).shape[-1]
    losses = [of_chunk(rows) for rows in chunks(len(targets), vocabulary, True, budget)]
    losses = losses or [plain_loss(states, head, targets, objective, teacher, n)]
    return Loss(*(torch.stack(part).sum() for part in zip(*losses, strict=True)))
