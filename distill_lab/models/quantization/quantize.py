"""Weights to whole numbers and back: w is about (q - z) * s.

q = clamp(round(w / s) + z), with one scale s and one zero point z for the weights that share them
(Jacob et al. 2018, arXiv 1712.05877, equation 1). An error is at most half a step, s / 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distill_lab.models.pruning.patterns import require_matrix
from distill_lab.models.quantization.scheme import Scheme

SMALLEST = torch.finfo(torch.float32).smallest_normal  # of a zero row: finite when divided by


@dataclass(frozen=True, slots=True)
class Quantized:
    """A weight (out, in) as `codes` (out, in), int32, with a `scale` and a `zero_point` (G, 1) for
    each of the G rows of `scheme.sharing`. `factors` (in), where AWQ has made some, are what its
    columns were multiplied with before."""

    codes: Tensor
    scale: Tensor
    zero_point: Tensor
    scheme: Scheme
    factors: Tensor | None = None


def scale_and_zero_point(rows: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """The scale and the zero point, (G, 1) each, of rows (G, n) of weights.

    2^bits codes have 2^bits - 1 steps between them. Symmetric: these reach from -max|w| to max|w|,
    z = 0 (as torchao's int8, 127.5 steps a side; others stop at -127 and divide by 127).
    Asymmetric: they reach from min to max, and 0, which zeros and padding need, is always a code.
    """
    least, greatest = scheme.code_range
    if scheme.symmetric:
        scale = rows.abs().amax(1, keepdim=True) / ((greatest - least) / 2)  # (G, 1)
        return scale.clamp(min=SMALLEST), torch.zeros_like(scale)
    low = rows.amin(1, keepdim=True).clamp(max=0)
    high = rows.amax(1, keepdim=True).clamp(min=0)
    scale = ((high - low) / (greatest - least)).clamp(min=SMALLEST)
    return scale, (least - (low / scale).round()).clamp(least, greatest)


def quantize(weight: Tensor, scheme: Scheme, shrink: float | Tensor = 1.0) -> Quantized:
    """The weight (out, in) in whole numbers. LabError for one that is no finite matrix.

    `shrink` below 1, a number or (G, 1), makes the steps finer and clips what lies beyond them:
    `clip_search` finds it.
    """
    rows = scheme.sharing(require_matrix(weight).float())  # (G, n)
    scale, zero_point = scale_and_zero_point(rows * shrink, scheme)
    codes = codes_of(rows, scale, zero_point, scheme)
    return Quantized(scheme.restored(codes, weight.shape), scale, zero_point, scheme)


def codes_of(rows: Tensor, scale: Tensor, zero_point: Tensor, scheme: Scheme) -> Tensor:
    """The nearest codes of weights (G, n), int32; beyond the ends the last one."""
    codes = (rows / scale).round() + zero_point  # of two equally near ones the even one
    return codes.clamp(*scheme.code_range).int()


def dequantize(quantized: Quantized) -> Tensor:
    """The weight (out, in) that the codes stand for, float32."""
    rows = quantized.scheme.sharing(quantized.codes)
    made = (rows - quantized.zero_point) * quantized.scale
    weight = quantized.scheme.restored(made, quantized.codes.shape)
    return weight if quantized.factors is None else weight / quantized.factors


def rounded(weight: Tensor, scheme: Scheme) -> Tensor:
    """The weight with what quantization does to it, in its own dtype: "fake" quantization."""
    return dequantize(quantize(weight, scheme)).to(weight.dtype)


def layer_error(weight: Tensor, made: Tensor, inputs: Tensor) -> float:
    """What a linear's outputs lose: the mean square of X (W - W')^T for inputs X (n, in)."""
    lost = (weight.detach() - made).float() @ inputs.float().T  # (out, n)
    return lost.double().square().mean().item()
