"""The loss and its gradient with respect to the hidden states, by us and by others.

All do the same work: forward KL at a temperature between two heads, over the completion positions
of `positions` ones, float32. What each finds (`kl`, the mean in nats; `gradient`, the norm of the
gradient, both without T^2) is compared in the table, so that equal work is seen and not claimed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks import loss_peers
from benchmarks.loss_inputs import Inputs, make, top
from benchmarks.measure import Case, UnavailableError
from benchmarks.worker import Work
from distill_lab.losses.distillation import DenseTeacher, Head, Objective, SparseTeacher, plain_loss
from distill_lab.losses.fused import distillation_loss

CORE = ("ours", "full_logits", "trl_chunked_torch", "products")  # what the targets are about
OTHERS = ("ours_with_ce", "ours_plain", "trl_chunked_triton", "trl_gkd", "liger", "torchtune")
WHOLE = ("trl_chunked_torch", "liger", "torchtune")
SPARSE = ("ours_cached", "ours", "trl_sparse")


def cases(quick: bool) -> list[Case]:
    """The target's shape (Qwen2.5's 0.5B under its 1.5B), whole and masked, and how cost grows."""
    shape = {"positions": 1024, "student": 896, "teacher": 1536, "vocabulary": 151_936}
    if quick:
        shape = {"positions": 64, "student": 32, "teacher": 48, "vocabulary": 2_000}
    target = {**shape, "masked": 0.5, "temperature": 2.0, "trainable": False}
    whole = {**target, "masked": 0.0, "trainable": True}
    return [
        Case("loss", "Loss and gradient, half of the positions masked, head frozen",
             "loss_bench", (*CORE, *OTHERS), target, seldom=OTHERS),
        Case("loss-whole", "Loss and gradient, nothing masked, head trained too",
             "loss_bench", ("ours", "full_logits", "products", *WHOLE), whole, repeats=3,
             seldom=WHOLE),
        Case("loss-cached", "The student's part alone, teacher's top 64 from a cache",
             "loss_bench", SPARSE, target, repeats=3),
        *growth(quick),
    ]  # fmt: skip


def growth(quick: bool) -> list[Case]:
    """Cost against completion tokens, and against the vocabulary."""
    contenders = ("ours", "full_logits", "trl_chunked_torch")
    sizes = {"student": 32, "teacher": 48} if quick else {"student": 448, "teacher": 768}
    base = {**sizes, "masked": 0.0, "temperature": 2.0, "trainable": False}
    tokens, words = ((16, 32), (500, 1_000)) if quick else (
        (64, 256, 1024), (8_000, 32_000, 128_000))  # fmt: skip
    return [
        *(Case("loss-tokens", "Loss against completion tokens", "loss_bench", contenders,
               {**base, "positions": n, "vocabulary": words[-2]}, repeats=2)
          for n in tokens),
        *(Case("loss-vocabulary", "Loss against vocabulary", "loss_bench", contenders,
               {**base, "positions": tokens[1], "vocabulary": v}, repeats=2)
          for v in words),
    ]  # fmt: skip


def prepare(contender: str, settings: dict[str, Any]) -> Work:
    """The work of one contender, its libraries loaded and warmed up."""
    x = make(settings)
    trainable = bool(settings["trainable"])
    if contender == "products":
        return lambda: products(x, trainable)
    loss = _loss_of(contender, x)
    # Liger compiles for the shape that it meets, and a cache holds x's own positions; for others a
    # few positions start the threads and load the code
    _backward(loss, x if contender in ("liger", "ours_cached", "trl_sparse") else x.few(16))
    return lambda: _backward(loss, x)


def _loss_of(contender: str, x: Inputs) -> Callable[[Inputs], Tensor]:
    """The loss of that name, its library loaded; UnavailableError where that cannot be."""
    own = {"ours": ours, "ours_with_ce": ours_with_ce, "ours_plain": ours_plain}
    if contender in own:
        return own[contender]
    if contender == "ours_cached":
        return ours_cached(x)
    try:
        return getattr(loss_peers, contender)(*([x] if contender == "trl_sparse" else []))
    except ImportError as error:
        first = next(line.strip() for line in str(error).splitlines() if line.strip())
        raise UnavailableError(f"not installed here: {first}") from None


def _backward(loss: Callable[[Inputs], Tensor], x: Inputs) -> dict[str, float]:
    x.student.grad = x.student_weight.grad = None
    value = loss(x)
    value.backward()
    assert x.student.grad is not None
    return {"kl": value.item(), "gradient": x.student.grad.norm().item()}


def flops(x: Inputs, trainable: bool) -> float:
    """Of the matrix products that cannot be done without: 2 n V (2 H_s + H_t), and 2 n V H_s more
    where the head is trained.
    """
    student, teacher = x.student.shape[1], x.teacher.shape[1]
    n, v = int(x.chosen.sum()), len(x.student_weight)
    return 2.0 * n * v * ((3 if trainable else 2) * student + teacher)


@torch.no_grad()
def products(x: Inputs, trainable: bool) -> dict[str, float]:
    """Those products alone, into memory that is there: the machine's rate on these shapes."""
    student, teacher = x.student[x.chosen], x.teacher[x.chosen]
    logits = torch.zeros(len(student), len(x.student_weight))  # (n, V)
    torch.mm(teacher, x.teacher_weight.T, out=logits)
    torch.mm(student, x.student_weight.T, out=logits)
    torch.mm(logits, x.student_weight)  # (n, H_s)
    if trainable:
        torch.mm(logits.T, student)  # (V, H_s)
    return {"flops": flops(x, trainable)}


def _ours(
    x: Inputs,
    alpha: float,
    function: Callable[..., Any] = distillation_loss,
    teacher: SparseTeacher | None = None,
) -> Tensor:
    dense = DenseTeacher(x.teacher[x.chosen], Head(x.teacher_weight))
    loss = function(
        x.student[x.chosen],
        Head(x.student_weight),
        x.targets[x.chosen],
        Objective(alpha, x.temperature),
        teacher or dense,
    )
    return loss.total / x.temperature**2


def ours(x: Inputs) -> Tensor:
    """KL alone, as the others."""
    return _ours(x, 1.0)


def ours_with_ce(x: Inputs) -> Tensor:
    """Cross-entropy and KL, half and half: what `distill-lab train` does by default."""
    return _ours(x, 0.5)


def ours_plain(x: Inputs) -> Tensor:
    """The plain version that the fused one is tested against."""
    return _ours(x, 1.0, plain_loss)


def ours_cached(x: Inputs) -> Callable[[Inputs], Tensor]:
    """KL to the cached teacher: its head's product is not needed any more."""
    cached = top(x)
    return lambda x: _ours(x, 1.0, teacher=cached)
