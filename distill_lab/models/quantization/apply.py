"""Quantizes the linears of a model's blocks in place: each weight becomes the float that its code
stands for, so that the model runs as it did and shows what its bits cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
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
from distill_lab.models.quantization.packed import write_packed
from distill_lab.models.quantization.quantize import Quantized, dequantize, quantize
from distill_lab.models.quantization.scheme import Scheme
from distill_lab.run.records import LabError

Method = Literal["round", "clip", "awq", "gptq"]


def quantize_linears(
    model: LanguageModel, scheme: Scheme, method: Method = "round", batches: Sequence[Batch] = ()
) -> dict[str, Quantized]:
    """Rounds the weights of the blocks' linears, and returns their codes by the linears' names;
    embeddings, head and norms stay as they are.

    `clip` searches the range of each scale; `awq` and `gptq` read `batches`, each block after the
    blocks before it were rounded. LabError before anything changes where method, layout, weights,
    group or batches will not do.
    """
    linears = prunable(model)
    _require(method, scheme, linears)
    made: dict[str, Quantized] = {}
    if method in ("round", "clip"):
        for name, linear in linears.items():
            made[name] = _set(linear, _by_weight(linear.weight, scheme, method))
        return made
    for block in inputs_by_block(model, batches):
        for name, inputs in block.items():
            quantized = _by_inputs(linears[name].weight, inputs, scheme, method)
            made[name] = _set(linears[name], quantized)
    return made


def save_packed(model: LanguageModel, quantized: Mapping[str, Quantized], folder: Path) -> None:
    """Writes a model whose linears of these names are quantized, so that it loads as others do."""
    codes = {f"{name}.weight": made for name, made in quantized.items()}
    plain = {n: p.detach() for n, p in model.lm.named_parameters() if n not in codes}
    folder.mkdir(parents=True, exist_ok=True)
    write_packed(plain, codes, folder)
    for how in (model.lm.config, model.lm.generation_config):  # which tokens end, too
        if how is not None:
            how.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)


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


def _by_weight(weight: Tensor, scheme: Scheme, method: Method) -> Quantized:
    return clip_search(weight, scheme) if method == "clip" else quantize(weight, scheme)


def _by_inputs(weight: Tensor, inputs: Tensor, scheme: Scheme, method: Method) -> Quantized:
    if method == "gptq":
        return gptq(weight, inputs, scheme)
    _, factors = awq(weight, inputs, scheme)
    return replace(quantize(weight * factors.to(weight), scheme), factors=factors)


@torch.no_grad()
def _set(linear: nn.Linear, made: Quantized) -> Quantized:
    linear.weight.copy_(dequantize(made))
    return made
