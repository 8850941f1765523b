"""Prunes the weights of a model in place, and returns the masks of what it kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, get_args

from torch import Tensor, nn

from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.calibration import Batch, input_norms, norms_by_block
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.pruning.masks import Masks
from distill_lab.models.pruning.patterns import (
    global_magnitude_masks,
    magnitude_mask,
    nm_mask,
    require_pattern,
    require_sparsity,
    require_width,
    wanda_mask,
    wanda_scores,
)
from distill_lab.run.records import LabError

Method = Literal["magnitude-row", "magnitude-tensor", "magnitude-global", "wanda", "wanda-one-shot"]
Pattern = float | tuple[int, int]


def prune_weights(
    model: LanguageModel, method: Method, pattern: Pattern, batches: Sequence[Batch] = ()
) -> Masks:
    """Sets weights of the blocks' linears to 0; embeddings, head and norms stay as they are.

    `pattern` is the share of weights that go, or (n, m): n of each m neighbours along the input
    stay. Only Wanda reads `batches`: `wanda` takes each block's inputs after the blocks before it
    were pruned, `wanda-one-shot` takes all from the dense model. LabError before anything changes
    where method, pattern, layout or batches will not do.
    """
    linears = prunable(model)
    _require(method, pattern, linears)
    kept: dict[str, Tensor] = {}
    for masks in _masks(model, method, pattern, batches, linears):
        Masks(masks).apply(model)
        kept |= masks
    return Masks(kept)


def _require(method: str, pattern: Pattern, linears: Mapping[str, nn.Linear]) -> None:
    if method not in get_args(Method):
        raise LabError(
            f"Pruning: expected one of {', '.join(get_args(Method))}; found {method!r}. Name one."
        )
    if not isinstance(pattern, tuple):
        require_sparsity(pattern)
        return
    n, m = pattern
    require_pattern(n, m)
    if method in ("magnitude-tensor", "magnitude-global"):
        raise LabError(
            f"Pruning: expected magnitude-row or Wanda for {n}:{m}, whose groups lie in a row; "
            f"found {method!r}. Take magnitude-row."
        )
    for name, linear in linears.items():
        require_width(linear.in_features, m, name)


def _masks(
    model: LanguageModel,
    method: Method,
    pattern: Pattern,
    batches: Sequence[Batch],
    linears: Mapping[str, nn.Linear],
) -> Iterator[dict[str, Tensor]]:
    """Masks to be applied one after another: `wanda` reads the pruned blocks before the next."""
    weights = {name: linear.weight for name, linear in linears.items()}
    if method == "magnitude-global":
        assert not isinstance(pattern, tuple)
        yield global_magnitude_masks(weights, pattern)
    elif method in ("magnitude-row", "magnitude-tensor"):
        yield {name: _by_magnitude(w, method, pattern) for name, w in weights.items()}
    else:
        parts = [input_norms(model, batches)] if method == "wanda-one-shot" else None
        for norms in parts or norms_by_block(model, batches):
            yield {name: _by_wanda(weights[name], norms[name], pattern) for name in norms}


def _by_magnitude(weight: Tensor, method: Method, pattern: Pattern) -> Tensor:
    if isinstance(pattern, tuple):
        return nm_mask(weight.abs(), *pattern)
    return magnitude_mask(weight, pattern, "row" if method == "magnitude-row" else "tensor")


def _by_wanda(weight: Tensor, norms: Tensor, pattern: Pattern) -> Tensor:
    norms = norms.to(weight.device)
    if isinstance(pattern, tuple):
        return nm_mask(wanda_scores(weight, norms), *pattern)
    return wanda_mask(weight, norms, pattern)
