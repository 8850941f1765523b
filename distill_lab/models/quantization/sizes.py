"""How many bytes a model takes whose weights are quantized."""

from __future__ import annotations

from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.layout import distinct_parameters, prunable
from distill_lab.models.quantization.scheme import Scheme, size_bytes


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
