"""What pruning left of a model: zeros, parameters, and bytes on disk in three forms.

Every parameter counts once, a tied one too: SmolLM2-135M has 134,515,008, and not 162.8 million.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from torch import Tensor

from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.layout import distinct_parameters, prunable
from distill_lab.models.pruning.masks import Masks

Q8_BLOCK, Q8_BYTES = GGML_QUANT_SIZES[GGMLQuantizationType.Q8_0]  # 32 weights in 34 bytes


@dataclass(frozen=True, slots=True)
class Ledger:
    """Counts of one model. Bytes are those of the weights alone, without a file's header.

    `zeros_linears` are those of the `linear_weights` in the blocks; `zeros_all` of all
    `parameters`. `bytes_dense` is what `save_pretrained` writes, zeros included; `bytes_bitmask`
    has a bit for each weight of the linears, and the values of those that are not 0;
    `bytes_gguf` is Q8_0's, None where `gguf_reason` says why not. `refilled` counts the weights
    that the masks hold at 0 and that are not (None without masks).
    """

    linear_weights: int
    zeros_linears: int
    parameters: int
    zeros_all: int
    bytes_dense: int
    bytes_bitmask: int
    bytes_gguf: int | None
    gguf_reason: str | None
    refilled: int | None

    @property
    def sparsity_linears(self) -> float:
        """The share of zeros in the blocks' linears, 0 to 1."""
        return self.zeros_linears / self.linear_weights

    @property
    def sparsity_all(self) -> float:
        """The share of zeros in all parameters, 0 to 1: lower, as embeddings are never pruned."""
        return self.zeros_all / self.parameters


def ledger(model: LanguageModel, masks: Masks | None = None) -> Ledger:
    """Counts what a model holds, from its weights and not from what was asked for."""
    linears = [linear.weight for linear in prunable(model).values()]
    parameters = list(distinct_parameters(model).values())
    zeros = sum(map(_zeros, linears))
    dense = sum(map(_bytes, parameters))
    gguf, reason = _gguf_bytes(model)
    return Ledger(
        linear_weights=sum(weight.numel() for weight in linears),
        zeros_linears=zeros,
        parameters=sum(parameter.numel() for parameter in parameters),
        zeros_all=sum(map(_zeros, parameters)),
        bytes_dense=dense,
        bytes_bitmask=dense - sum(_bytes(w) - _bitmask_bytes(w) for w in linears),
        bytes_gguf=gguf,
        gguf_reason=reason,
        refilled=None if masks is None else masks.violations(model),
    )


def _zeros(parameter: Tensor) -> int:
    return int((parameter.detach() == 0).sum())


def _bytes(parameter: Tensor) -> int:
    return parameter.numel() * parameter.element_size()


def _bitmask_bytes(weight: Tensor) -> int:
    """A bit for each weight, and the values that are not 0."""
    return math.ceil(weight.numel() / 8) + (weight.numel() - _zeros(weight)) * weight.element_size()


def _gguf_bytes(model: LanguageModel) -> tuple[int | None, str | None]:
    """Bytes of all tensors in GGUF's Q8_0, as llama.cpp's converter writes them: matrices in blocks
    of 32 weights, vectors in float32. None, with the reason, where a row is no whole number of
    blocks: the converter would fall back to float16 there, and the file would not be Q8_0."""
    total = 0
    for name, parameter in distinct_parameters(model).items():
        if parameter.ndim < 2:
            total += parameter.numel() * 4
        elif parameter.shape[-1] % Q8_BLOCK:
            return None, f"{name} is {parameter.shape[-1]} wide, no multiple of {Q8_BLOCK}"
        else:
            total += parameter.numel() // Q8_BLOCK * Q8_BYTES
    return total, None
