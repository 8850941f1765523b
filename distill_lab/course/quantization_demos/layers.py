"""One layer in few bits: what each way to choose its codes loses, and what training wins back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from distill_lab.course.quantization_demos.activations import linear_inputs, own_answers_as_batches
from distill_lab.course.quantization_lab import QuantizationLab
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.quantization.awq import awq
from distill_lab.models.quantization.clipping import clip_search
from distill_lab.models.quantization.gptq import gptq
from distill_lab.models.quantization.quantize import dequantize, layer_error, quantize, rounded
from distill_lab.models.quantization.scheme import Scheme


def layer_errors(
    lab: QuantizationLab, linear: str, scheme: Scheme, n: int = 16
) -> list[tuple[str, int, float, float]]:
    """Of each way to choose codes: its name, the lines of its function, and what the layer's
    outputs lose, as a share of their mean square: on the texts that GPTQ and AWQ read, and on as
    many others."""
    weight, read, others = _layer(lab, linear, n)
    made: dict[Callable[..., Any], Tensor] = {
        rounded: rounded(weight, scheme),
        clip_search: dequantize(clip_search(weight, scheme)),
        awq: awq(weight, read, scheme)[0],
        gptq: dequantize(gptq(weight, read, scheme)),
    }
    rows: list[tuple[str, int, float, float]] = []
    for way, by in made.items():
        lost, elsewhere = (_share_lost(weight, by, x) for x in (read, others))
        name, source = ("rounding", quantize) if way is rounded else (way.__name__, way)
        rows.append((name, n_lines(source), lost, elsewhere))
    return rows


def _layer(lab: QuantizationLab, name: str, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The weight (out, in) of the dense model's linear of that name, and what enters it, tokens
    (N, in), in n texts and in about as many others."""
    model = lab.model()
    inputs = linear_inputs(model, name, own_answers_as_batches(lab, model, 2 * n))
    half = len(inputs) // 2
    return prunable(model)[name].weight.detach().float(), inputs[:half], inputs[half:]


def n_lines(function: Callable[..., Any]) -> int:
    """The lines of a function's source."""
    return len(inspect.getsource(function).splitlines())


def _share_lost(weight: Tensor, made: Tensor, inputs: Tensor) -> float:
    return layer_error(weight, made, inputs) / layer_error(weight, torch.zeros_like(weight), inputs)


def trained_layer(
    lab: QuantizationLab,
    name: str,
    fake_quant: Callable[[Tensor, int], Tensor],
    bits: int,
    steps: int = 40,
    learning_rate: float = 1e-3,
) -> list[float]:
    """Trains one layer's weight, through `fake_quant`, to put out what it put out before it was
    rounded, with a learning rate that falls to 0. Before each step, and at the end: the share of
    its outputs' mean square that is lost on texts it does not learn from."""
    weight, learnt, others = _layer(lab, name, 16)
    target, trained = learnt @ weight.T, weight.clone().requires_grad_()
    optimizer = torch.optim.Adam([trained])
    lost: list[float] = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
        lost.append(_share_lost(weight, fake_quant(trained, bits).detach(), others))
        loss = (learnt @ fake_quant(trained, bits).T - target).square().mean()
        optimizer.zero_grad()
        if loss.requires_grad:  # without a gradient nothing is learnt
            loss.backward()
        optimizer.step()
    return [*lost, _share_lost(weight, fake_quant(trained, bits).detach(), others)]


def without_gradient(weight: Tensor, bits: int) -> Tensor:
    """The rounded weight (out, in) with the gradient that rounding itself has: none."""
    return rounded(weight.detach(), Scheme(bits))


def clip_errors(rows: Tensor, bits: int, shares: Sequence[float]) -> Tensor:
    """The squared error of each row (G, n) for each share of its range: (G, S)."""
    scheme = Scheme(bits)
    errors = [
        (dequantize(quantize(rows, scheme, share)) - rows).square().sum(1) for share in shares
    ]
    return torch.stack(errors, 1)


def with_outlier(rows: Tensor, times: float) -> Tensor:
    """The rows (G, n), in each of which the largest weight is so many times as large."""
    made, at = rows.clone(), rows.abs().argmax(1, keepdim=True)
    return made.scatter(1, at, times * rows.gather(1, at))
