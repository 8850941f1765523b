"""Lab 7: a student's fake quantization on a weight that learns. It runs where their code runs: only
numbers cross."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def on_a_weight(fake_quant: Callable[[Tensor, int], Any]) -> Callable[..., Any]:
    """`fake_quant` as its check calls it: of a weight (out, in), bits and the gradient (out, in)
    that comes in, a list: what it made, the gradient of the weight (None: none came through), and
    whether the weight is as it was. What is no tensor is given back as it is."""

    def called(weight: Tensor, bits: int, gradient: Tensor) -> Any:
        leaf = weight.detach().clone().requires_grad_()
        made = fake_quant(leaf, bits)
        if not isinstance(made, Tensor):
            return made
        if made.requires_grad and made.shape == gradient.shape:
            made.backward(gradient.to(made.dtype))
        return [made.detach().clone(), leaf.grad, torch.equal(leaf.detach(), weight)]

    return called
