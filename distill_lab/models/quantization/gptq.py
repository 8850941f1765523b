"""GPTQ: a column after another is rounded, and those that come after make up for its error.

Frantar et al. 2022 (arXiv 2210.17323), algorithm 1, without its blocks of columns, which only save
time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distill_lab.models.quantization.quantize import Quantized, codes_of, scale_and_zero_point
from distill_lab.models.quantization.scheme import Scheme


def gptq(weight: Tensor, inputs: Tensor, scheme: Scheme, damping: float = 0.01) -> Quantized:
    """The weight (out, in) in codes that keep its outputs for these inputs (n, in).

    With H = X^T X, the error e of column j, over U_jj, is taken from column k > j in the share
    U_jk of the Cholesky factor U of the inverse of H: inputs that come with j carry what j lost.
    Scales are those of the weight; with groups each one's is taken when it is reached.
    """
    left = weight.detach().double().clone()  # (out, in): what is not rounded yet, made up
    codes = torch.zeros_like(left)
    scale, zero_point = _for_each_weight(left, scheme)
    factor = _inverse_factor(inputs.to(left), damping)  # (in, in)
    for j in range(left.shape[1]):
        if scheme.per == "group" and j % scheme.group_size == 0:
            group = slice(j, j + scheme.group_size)
            scale[:, group], zero_point[:, group] = _for_each_weight(left[:, group], scheme)
        codes[:, j] = codes_of(left[:, j], scale[:, j], zero_point[:, j], scheme)
        made = (codes[:, j] - zero_point[:, j]) * scale[:, j]
        error = (left[:, j] - made) / factor[j, j]  # (out)
        left[:, j + 1 :] -= error[:, None] * factor[j, j + 1 :]
    scale, zero_point = (scheme.sharing(x)[:, :1].float() for x in (scale, zero_point))
    return Quantized(codes.int(), scale, zero_point, scheme)


def _for_each_weight(weight: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """Scale and zero point of each weight (out, in), equal where weights share them."""
    rows = scheme.sharing(weight)  # (G, n)
    scale, zero_point = scale_and_zero_point(rows, scheme)
    shape = tuple(weight.shape)
    return (
        scheme.restored(scale.expand_as(rows), shape).clone(),
        scheme.restored(zero_point.expand_as(rows), shape).clone(),
    )


def _inverse_factor(inputs: Tensor, damping: float) -> Tensor:
    """U (in, in), upper, with U^T U the inverse of X^T X.

    A share of its mean is added to the diagonal: inputs that are 0, or sums of others, have no
    inverse without it.
    """
    hessian = inputs.T @ inputs
    mean = hessian.diagonal().mean().item() or 1.0
    hessian += torch.eye(len(hessian)).to(hessian) * damping * mean
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    return torch.linalg.cholesky(inverse, upper=True)
