"""How far a model is from the dense one: as the report says it, and of models that a cell made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from distill_lab.course.quantization_lab import QuantizationLab
from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.quantization.scheme import Per, Scheme
from distill_lab.pipeline.pruning.results.words import signed
from distill_lab.pipeline.quantizing.closeness import compare, held_out_texts

QUESTIONS = 16  # on which a cell compares models; the report takes all
GROUP = 32

Rounding = Callable[[Tensor, int], Tensor]  # rows (G, n) and bits to rows (G, n)


def measured(lab: QuantizationLab, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Rows of the report, for the models of these names that there are: name, megabytes, bits a
    weight, KL, percent of tokens on which both agree, EM and its 95 % interval, EM minus dense and
    its interval. Of the dense model a dash stands for what it is compared with itself."""
    models = lab.report["models"]
    return [_row(models[name]) for name in names if name in models]


def _row(model: dict[str, Any]) -> tuple[Any, ...]:
    is_dense, minus = "kl" not in model, model["minus_dense"]["em"]
    difference, low, high = (signed(x, "em") for x in (minus["difference"], *minus["ci95"]))
    return (
        model["name"],
        f"{model['costs']['bytes'] / 1e6:.2f}",
        f"{model['costs']['bits']:.2f}",
        None if is_dense else f"{model['kl']:.5f}",
        None if is_dense else f"{model['top1']:.1f}",
        "{:.1f} ({:.1f} to {:.1f})".format(model["em"], *model["em_ci95"]),
        None if is_dense else f"{difference} ({low} to {high})",
    )


def kl_to_dense(
    lab: QuantizationLab, models: Iterable[LanguageModel], n: int = QUESTIONS
) -> list[tuple[float, float]]:
    """Of each model the KL in nats a token from the dense one, and the percent of tokens on which
    both would say the same: on the dense model's own answers to n held-out questions, which the
    stage evaluate has written. Models are taken one after another, so that a generator does."""
    dense = lab.model()
    texts = held_out_texts(lab.config.data.task, lab.folder, dense.tokenizer)
    few, size = dict(islice(texts.items(), n)), lab.config.runtime.batch
    found: list[tuple[float, float]] = []
    for model in models:
        records = [r for batch in compare(model, dense, few, set(), size, "") for r in batch]
        tokens = sum(record.tokens for record in records)
        agreed = 100 * sum(record.agreed for record in records) / tokens
        found.append((sum(record.kl for record in records) / tokens, agreed))
    return found


def round_trip(
    scale_and_zero_point: Callable[..., Any],
    quantize: Callable[..., Tensor],
    dequantize: Callable[..., Tensor],
) -> Callable[..., Tensor]:
    """A function of rows (G, n), bits, and whether symmetric: there and back with these three."""

    def rounding(rows: Tensor, bits: int, symmetric: bool = True) -> Tensor:
        scale, zero_point = scale_and_zero_point(rows, bits, symmetric)
        codes = quantize(rows, scale, zero_point, bits, symmetric)
        return dequantize(codes, scale, zero_point)

    return rounding


@torch.no_grad()
def rounded_model(model: LanguageModel, rounding: Rounding, scheme: Scheme) -> LanguageModel:
    """The model, in place, with the linears of its blocks rounded by this function of rows and
    bits; who shares a row the scheme says."""
    for linear in prunable(model).values():
        rows = scheme.sharing(linear.weight.float())  # (G, n)
        made = rounding(rows, scheme.bits)
        linear.weight.copy_(scheme.restored(made, tuple(linear.weight.shape)))
    return model


def kl_by_sharing(
    lab: QuantizationLab, rounding: Rounding, bits: Sequence[int]
) -> dict[str, list[float]]:
    """KL in nats a token for each number of bits, by those who share one scale: a tensor, a column,
    a row, a group of 32 in a row."""
    ways: dict[str, tuple[Per, int]] = {
        "tensor": ("tensor", 0),
        "column": ("column", 0),
        "row": ("row", 0),
        f"group of {GROUP}": ("group", GROUP),
    }

    def made() -> Iterator[LanguageModel]:
        for per, group in ways.values():
            for b in bits:
                yield rounded_model(lab.model(), rounding, Scheme(b, per=per, group_size=group))

    found = [kl for kl, _ in kl_to_dense(lab, made())]
    return {name: found[n * len(bits) : (n + 1) * len(bits)] for n, name in enumerate(ways)}
