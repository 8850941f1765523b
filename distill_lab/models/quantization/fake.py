"""Fake quantization: a forward pass with the rounded weight, a backward pass as if it had not been
rounded. Training can then learn weights that round well (quantization-aware training)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from distill_lab.models.quantization.quantize import rounded
from distill_lab.models.quantization.scheme import Scheme


def fake_quantize(weight: Tensor, scheme: Scheme) -> Tensor:
    """The rounded weight (out, in), whose gradient is handed straight to the weight itself.

    Rounding is flat between two codes: its own gradient is 0, and nothing would be learnt (the
    straight-through estimator of Bengio et al. 2013, arXiv 1308.3432). The scale follows the
    weight and clips nothing, so that no gradient has to be held back.
    """
    return _StraightThrough.apply(weight, scheme)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, scheme: Scheme) -> Tensor:
        return rounded(weight, scheme)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient, None
