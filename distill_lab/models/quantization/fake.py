"""Fake quantization: a forward pass with the rounded weight, a backward pass as if it had not been
rounded. Training can then learn weights that round well (quantization-aware training)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

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


class FakeQuantized(nn.Module):
    """What a linear's weight is for its forward pass while it is trained with this scheme."""

    def __init__(self, scheme: Scheme) -> None:
        super().__init__()
        self.scheme = scheme

    def forward(self, weight: Tensor) -> Tensor:
        return fake_quantize(weight, self.scheme)


def begin_fake(linears: Iterable[nn.Linear], scheme: Scheme) -> None:
    """From now on these linears multiply with rounded weights, and learn those behind them. Before
    anything changes LabError where the scheme does not fit one of them."""
    linears = list(linears)
    for linear in linears:
        scheme.n_scales(tuple(linear.weight.shape))
    for linear in linears:
        parametrize.register_parametrization(linear, "weight", FakeQuantized(scheme))


def end_fake(module: nn.Module) -> None:
    """The linears in the module have plain weights again: those that were learnt, not rounded."""
    for inside in list(module.modules()):
        if parametrize.is_parametrized(inside, "weight"):
            parametrize.remove_parametrizations(inside, "weight", leave_parametrized=False)
