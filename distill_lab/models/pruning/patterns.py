"""Which weights of a matrix are kept: by magnitude, by Wanda's score, or n of each m neighbours.

A weight is (out, in), as in `nn.Linear`; a mask has its shape and is True where a weight is kept.
Every rule drops an exact count of weights. Of equal scores the earlier ones are dropped first, as
by a stable sort: a threshold (`score > t`) would drop all of them or none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from distill_lab.run.records import LabError

Group = Literal["row", "tensor"]


def require_sparsity(value: Any) -> float:
    """The share of weights that are dropped. LabError unless it is between 0 and 1, without them:
    nothing would be dropped, or everything."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value < 1:  # NaN is not above 0 either
        raise LabError(
            f"Sparsity: expected a number above 0 and below 1, found {value!r}. "
            "Give the share of weights that become 0: 0.5 for half of them."
        )
    return float(value)


def magnitude_mask(weight: Tensor, sparsity: float, group: Group = "row") -> Tensor:
    """Drops the smallest |w| of each output row, or of the whole tensor. Bool (out, in).

    `row` drops int(in * sparsity) weights of each row, as `wanda_mask` does, so that the two differ
    in their scores alone; `tensor` drops round(numel * sparsity), as
    `torch.nn.utils.prune.l1_unstructured` does (Han et al. 2015, arXiv 1506.02626).
    """
    scores = require_matrix(weight).abs()  # (out, in)
    if group == "row":
        return _without_lowest(scores, int(weight.shape[1] * require_sparsity(sparsity)))
    n_dropped = round(weight.numel() * require_sparsity(sparsity))
    return _without_lowest(scores.flatten(), n_dropped).view_as(weight)


def global_magnitude_masks(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Drops the smallest |w| of all tensors together, round(total * sparsity) of them, as
    `torch.nn.utils.prune.global_unstructured` does: one tensor may lose more than another."""
    scores = torch.cat([require_matrix(weight).abs().flatten() for weight in weights.values()])
    kept = _without_lowest(scores, round(len(scores) * require_sparsity(sparsity)))
    parts = kept.split([weight.numel() for weight in weights.values()])
    return {
        name: part.view_as(weight)
        for (name, weight), part in zip(weights.items(), parts, strict=True)
    }


def wanda_scores(weight: Tensor, norms: Tensor) -> Tensor:
    """|W_ij| * ||X_j||_2, (out, in): Sun et al. 2024 (arXiv 2306.11695), equation 1.

    `norms` (in) are those of each input feature over all calibration tokens. A constant factor
    (locuslab's code divides by the root of the number of samples) changes no order.
    """
    if norms.shape != require_matrix(weight).shape[1:]:
        raise LabError(
            f"Norms: expected one for each of {weight.shape[1]} input features of a weight "
            f"{tuple(weight.shape)}, found {tuple(norms.shape)}. Take them over the layer's inputs."
        )
    return weight.abs() * norms  # (out, in) * (in)


def wanda_mask(weight: Tensor, norms: Tensor, sparsity: float) -> Tensor:
    """Drops the int(in * sparsity) lowest `wanda_scores` of each output row. Bool (out, in)."""
    scores = wanda_scores(weight, norms)
    return _without_lowest(scores, int(scores.shape[1] * require_sparsity(sparsity)))


def nm_mask(scores: Tensor, n: int, m: int) -> Tensor:
    """Keeps the n highest scores (out, in) of each m neighbours along the input. Bool (out, in).

    2:4 is what sparse tensor cores take (Mishra et al. 2021, arXiv 2104.08378). LabError unless
    0 < n < m and m divides the input's width.
    """
    require_pattern(n, m)
    groups = _grouped(require_matrix(scores), m)  # (out, in / m, m)
    return _without_lowest(groups, m - n).view_as(scores)


def nm_violations(weight: Tensor, n: int, m: int) -> int:
    """How many groups of m neighbours along the input hold more than n weights that are not 0."""
    require_pattern(n, m)
    n_kept = (_grouped(weight, m) != 0).sum(-1)  # (out, in / m)
    return int((n_kept > n).sum())


def require_pattern(n: Any, m: Any) -> None:
    """LabError unless n of m is a pattern that drops something and keeps something."""
    if not type(n) is type(m) is int or not 0 < n < m:
        raise LabError(
            f"Pattern n:m: expected whole numbers with 0 < n < m, found {n!r}:{m!r}. "
            "Say 2:4 to keep two of each four neighbours."
        )


def require_width(width: int, m: int, where: str = "the weight") -> None:
    """LabError unless m divides the input's width."""
    if width % m:
        raise LabError(
            f"Pattern n:{m}: expected an input width that {m} divides, found {width} at {where}. "
            "Take another m, or a sparsity."
        )


def _grouped(weight: Tensor, m: int) -> Tensor:
    """(out, in) as (out, in / m, m): groups lie along the input, which a product sums over."""
    require_width(weight.shape[1], m)
    return weight.reshape(len(weight), -1, m)


def _without_lowest(scores: Tensor, k: int) -> Tensor:
    """True but at the k lowest scores along the last dimension, the earlier of equal ones."""
    order = scores.sort(dim=-1, stable=True).indices[..., :k]
    return torch.ones_like(scores, dtype=torch.bool).scatter_(-1, order, False)


def require_matrix(weight: Tensor) -> Tensor:
    """LabError unless it is a matrix of floats, all finite: 4-bit weights are packed into uint8,
    which have no magnitudes."""
    if weight.ndim != 2 or not weight.is_floating_point():
        raise LabError(
            f"Weight: expected a matrix (out, in) of floats, found {weight.dtype} "
            f"{tuple(weight.shape)}. Load the model in 16 or 32 bits."
        )
    if not math.isfinite(weight.detach().abs().max().item() if weight.numel() else 0.0):
        raise LabError(
            "Weight: expected finite numbers, found NaN or infinity. Load a model that is whole."
        )
    return weight.detach()
