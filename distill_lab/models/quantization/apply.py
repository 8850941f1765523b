"""Quantizes the linears of a model's blocks in place: each weight becomes the float that its code
stands for, so that the model runs as it did and shows what its bits cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.calibration import Batch, read_by_block
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.pruning.patterns import require_matrix
from distill_lab.models.quantization.awq import awq
from distill_lab.models.quantization.clipping import clip_search
from distill_lab.models.quantization.gptq import gptq
from distill_lab.models.quantization.quantize import dequantize, rounded
from distill_lab.models.quantization.scheme import Scheme
from distill_lab.run.records import LabError

Method = Literal["round", "clip", "awq", "gptq"]


def quantize_linears(
    model: LanguageModel, scheme: Scheme, method: Method = "round", batches: Sequence[Batch] = ()
) -> None:
    """Rounds the weights of the blocks' linears; embeddings, head and norms stay as they are.

    `clip` searches the range of each scale; `awq` and `gptq` read `batches`, each block after the
    blocks before it were rounded. LabError before anything changes where method, layout, weights,
    group or batches will not do.
    """
    linears = prunable(model)
    _require(method, scheme, linears)
    if method in ("round", "clip"):
        for linear in linears.values():
            _set(linear, _by_weight(linear.weight, scheme, method))
        return
    for block in inputs_by_block(model, batches):
        for name, inputs in block.items():
            _set(linears[name], _by_inputs(linears[name].weight, inputs, scheme, method))


def inputs_by_block(model: LanguageModel, batches: Sequence[Batch]) -> Iterator[dict[str, Tensor]]:
    """Yields what enters each linear, tokens (n, in), of one block after another; a block that is
    changed before the next is asked for is read as it is then."""
    seen: defaultdict[str, list[Tensor]] = defaultdict(list)
    for linears in read_by_block(model, batches, lambda name, tokens: seen[name].append(tokens)):
        yield {name: torch.cat(seen.pop(name)).float() for name in linears}


def _require(method: str, scheme: Scheme, linears: dict[str, nn.Linear]) -> None:
    if method not in get_args(Method):
        raise LabError(
            f"Quantization: expected one of {', '.join(get_args(Method))}; found {method!r}. "
            "Name one."
        )
    for linear in linears.values():
        scheme.n_scales(tuple(linear.weight.shape))
        require_matrix(linear.weight)


def _by_weight(weight: Tensor, scheme: Scheme, method: Method) -> Tensor:
    return dequantize(clip_search(weight, scheme)) if method == "clip" else rounded(weight, scheme)


def _by_inputs(weight: Tensor, inputs: Tensor, scheme: Scheme, method: Method) -> Tensor:
    if method == "awq":
        return awq(weight, inputs, scheme)[0]
    return dequantize(gptq(weight, inputs, scheme))


@torch.no_grad()
def _set(linear: nn.Linear, made: Tensor) -> None:
    linear.weight.copy_(made)
