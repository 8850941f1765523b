"""Outliers: a range that gives up its ends for finer steps in the middle."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distill_lab.models.quantization.quantize import Quantized, dequantize, quantize
from distill_lab.models.quantization.scheme import Scheme


def clip_search(weight: Tensor, scheme: Scheme, n_steps: int = 20, least: float = 0.2) -> Quantized:
    """The weight (out, in) in the codes of the least squared error, for each scale by itself.

    Tries to shrink each range to 1, ... down to `least` of itself, in `n_steps` even steps.
    """
    shrink = best_shrinks(weight, scheme, torch.linspace(1, least, n_steps).tolist())
    return quantize(weight, scheme, shrink.to(weight.device))


def best_shrinks(weight: Tensor, scheme: Scheme, shrinks: Sequence[float]) -> Tensor:
    """For each scale of the weight (out, in) the share of its range with the least squared error,
    (G, 1) on the CPU.

    One weight that is far out costs all others their steps, and clipping it may cost less. Of equal
    errors the widest range is taken, so that nothing is clipped for nothing.
    """
    best = torch.full((scheme.n_scales(tuple(weight.shape)), 1), torch.inf)
    shrink = torch.ones_like(best)
    rows = scheme.sharing(weight.detach().float().cpu())  # (G, n)
    for tried in sorted(shrinks, reverse=True):
        made = scheme.sharing(dequantize(quantize(weight, scheme, tried)).cpu())
        error = (made - rows).square().sum(1, keepdim=True)  # (G, 1)
        shrink[error < best] = tried
        best = torch.minimum(best, error)
    return shrink
