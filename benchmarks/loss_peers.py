"""The others' losses, each called as its own trainer or recipe calls it.

Each function loads a library and returns the loss; UnavailableError or ImportError where it cannot.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.loss_inputs import Inputs, smallest, top
from benchmarks.measure import UnavailableError

TRL_TORCH = Path(sys.prefix) / "trl-torch"  # the last release of TRL whose loss needs no Triton


def full_logits() -> Callable[[Inputs], Tensor]:
    """As in a textbook: all logits of the completion positions, two softmaxes, autograd."""
    return _full_logits


def _full_logits(x: Inputs) -> Tensor:
    with torch.no_grad():
        teacher = F.log_softmax(x.teacher[x.chosen] @ x.teacher_weight.T / x.temperature, -1)
    student = F.log_softmax(x.student[x.chosen] @ x.student_weight.T / x.temperature, -1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def trl_chunked_torch() -> Callable[[Inputs], Tensor]:
    """DistillationTrainer's chunked loss as TRL shipped it up to 1.14: PyTorch, 256 positions at a
    time under gradient checkpointing. It is given all positions and the mask, as by its trainer.
    """
    if not TRL_TORCH.is_dir():
        raise UnavailableError("TRL 1.14.2 is not installed beside 1.15.0: `make bench` does that")
    sys.path.insert(0, str(TRL_TORCH))
    from trl.trainer import distillation_trainer as shipped

    chunk: Any = shipped._CHUNKED_LM_HEAD_CHUNK_SIZE  # type: ignore[attr-defined]
    return lambda x: _trl_chunked(shipped, x, chunk_size=chunk)


def trl_chunked_triton() -> Callable[[Inputs], Tensor]:
    """The same of the TRL that is installed, since 1.15 a Triton kernel."""
    from trl.trainer import distillation_trainer as shipped

    try:
        _trl_chunked(shipped, smallest())
    except RuntimeError as error:
        raise UnavailableError(f"its Triton kernel does not run on a CPU ({error})") from None
    return lambda x: _trl_chunked(shipped, x)


def _trl_chunked(shipped: Any, x: Inputs, **options: Any) -> Tensor:
    loss, _entropy, _n = shipped._chunked_divergence_loss(
        x.student[None],
        x.teacher[None],
        x.student_weight,
        x.teacher_weight,
        x.chosen[None].long(),
        beta=0.0,
        temperature=x.temperature,
        **options,
    )
    return loss


def trl_gkd() -> Callable[[Inputs], Tensor]:
    """GKDTrainer's loss, on the logits of all positions, as its trainer has them."""
    from trl.experimental.gkd import GKDTrainer

    def loss(x: Inputs) -> Tensor:
        with torch.no_grad():
            teacher = x.teacher[None] @ x.teacher_weight.T
        return GKDTrainer.generalized_jsd_loss(
            x.student[None] @ x.student_weight.T,
            teacher,
            labels=x.targets[None],
            beta=0.0,
            temperature=x.temperature,
        )

    return loss


def liger() -> Callable[[Inputs], Tensor]:
    """LigerFusedLinearJSDLoss as it comes: compiled, 1,024 positions at a time, masked ones too,
    and the head's gradient always.
    """
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss  # type: ignore[import-not-found]

    def loss(x: Inputs) -> Tensor:
        module = LigerFusedLinearJSDLoss(
            weight_hard_loss=0.0, weight_soft_loss=1.0, beta=0.0, temperature=x.temperature
        )
        return module(x.student, x.student_weight, x.teacher, x.teacher_weight, x.targets)

    return loss


def torchtune() -> Callable[[Inputs], Tensor]:
    """ForwardKLWithChunkedOutputLoss on the logits of all positions in its 8 chunks, as its recipe
    has them. A cross-entropy: its value is not a KL, its gradient is. It knows no temperature, so
    hidden states are divided by T before, which is the cheapest way to give it one.
    """
    from torchtune.modules.loss import (  # type: ignore[import-not-found]
        ForwardKLWithChunkedOutputLoss,
    )

    chunks = 8

    def loss(x: Inputs) -> Tensor:
        with torch.no_grad():
            teacher = [
                part @ x.teacher_weight.T
                for part in (x.teacher / x.temperature)[None].chunk(chunks, 1)
            ]
        student = [
            part @ x.student_weight.T for part in (x.student / x.temperature)[None].chunk(chunks, 1)
        ]
        return ForwardKLWithChunkedOutputLoss(chunks)(student, teacher, x.targets[None])

    return loss


def trl_sparse(x: Inputs) -> Callable[[Inputs], Tensor]:
    """AsyncDistillationTrainer's loss: the same top 64 and tail, PyTorch under checkpointing."""
    from trl.experimental.async_distillation import async_distillation_trainer as shipped

    cached = top(x)
    chunk = shipped._CHUNKED_LM_HEAD_CHUNK_SIZE

    def loss(x: Inputs) -> Tensor:
        summed, *_ = shipped._chunked_jsd_loss(
            x.student[x.chosen],
            x.student_weight,
            None,
            1.0,
            None,
            cached.ids,
            cached.log_p,
            torch.ones_like(cached.ids, dtype=torch.bool),
            beta=0.0,
            temperature=x.temperature,
            add_tail_bucket=True,
            teacher_id_idx=None,
            num_teachers=1,
            chunk_size=chunk,
        )
        return summed / len(cached)

    return loss
