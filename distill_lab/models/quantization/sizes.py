"""How many bytes quantized weights take: codes, and what is needed to read them."""

from __future__ import annotations

import math

from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.layout import distinct_parameters, prunable
from distill_lab.models.quantization.scheme import Scheme


def size_bytes(shape: tuple[int, ...], scheme: Scheme, scale_bytes: int = 2) -> int:
    """Bytes of a weight of this shape (out, in): codes packed without gaps, a scale of
    `scale_bytes` for each group (2: float16), and where the scheme is asymmetric a zero point,
    which is a code too.

    4 bits in groups of 32 are 4.5 bits a weight, as in GGUF's Q4_0.
    """
    codes = math.prod(shape) * scheme.bits
    n_scales = scheme.n_scales(shape)
    zero_points = 0 if scheme.symmetric else n_scales * scheme.bits
    return math.ceil(codes / 8) + n_scales * scale_bytes + math.ceil(zero_points / 8)


def model_bytes(model: LanguageModel, scheme: Scheme | None, scale_bytes: int = 2) -> int:
    """Bytes of a model whose blocks' linears are quantized (None: as they are). All else keeps its
    dtype, and a tied embedding counts once. LabError for a model that is packed already."""
    linears = {id(linear.weight) for linear in prunable(model).values()}
    return sum(
        size_bytes(tuple(parameter.shape), scheme, scale_bytes)
        if scheme and id(parameter) in linears
        else parameter.numel() * parameter.element_size()
        for parameter in distinct_parameters(model).values()
    )
