"""AWQ: the columns that meet large inputs are made larger before they are rounded.

Lin et al. 2023 (arXiv 2306.00978), section 3.2: Q(W s) (x / s) is W x with a smaller error where
|x| is large. 1 / s goes into what makes x, so that it costs nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distill_lab.models.quantization.quantize import layer_error, rounded
from distill_lab.models.quantization.scheme import Scheme


def awq(weight: Tensor, inputs: Tensor, scheme: Scheme, n_steps: int = 20) -> tuple[Tensor, Tensor]:
    """The rounded weight (out, in) as the inputs (n, in) meet it, Q(W s) / s, and s (in).

    s = (mean |x|)^a, with the a of 0, 1/n, ... below 1 that loses least of the outputs. a = 0 is
    rounding as it is, so that AWQ is never worse on these inputs.
    """
    sizes = inputs.float().abs().mean(0).clamp(min=1e-4)  # (in)
    best, least = (rounded(weight, scheme), torch.ones_like(sizes)), torch.inf
    for step in range(n_steps):
        factors = sizes ** (step / n_steps)
        factors = factors / (factors.max() * factors.min()).sqrt()  # around 1
        made = rounded(weight * factors.to(weight), scheme) / factors.to(weight)
        error = layer_error(weight, made, inputs)
        if error < least:
            best, least = (made, factors), error
    return best
