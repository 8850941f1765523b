"""One token a row: temperature, top-k, top-p, and one uniform number that decides.

Everything is per row and in float64, so that what else is in a batch does not change a choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Tokens looked at first; the whole vocabulary is sorted only where they hold less than top_p.
_NUCLEUS = 256


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample; temperature 0 is greedy, top_k 0 takes all tokens."""

    n: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 96
    seed: int = 0
    top_k: int = 0


def sample_tokens(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """Token ids (R), one a row, from logits (R, V) and a uniform number in [0, 1) a row (R); greedy
    where the temperature is 0.

    Inverse transform sampling: tokens are sorted from most to least likely and cut after top_k and
    after the first at which top_p is reached; the token is the first whose cumulative probability
    exceeds the uniform number times the probability of all that are left.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    scaled = logits.double() / sampling.temperature
    if 0 < sampling.top_k < scaled.shape[-1]:
        kth = scaled.topk(sampling.top_k).values[:, -1:]
        scaled = scaled.masked_fill(scaled < kth, -torch.inf)  # those as likely as the k-th stay
    total = scaled.logsumexp(-1, keepdim=True)
    top, order = _most_likely(scaled)  # (R, width)
    # tokens as likely as the last of them may also stand outside: they do not count here
    sure = ((top - total).exp() * (top > top[:, -1:])).sum(-1)
    if sure.min() < sampling.top_p:
        top, order = scaled.sort(dim=-1, descending=True, stable=True)  # (R, V)
    mass = (top - total).exp().cumsum(-1)
    last = (mass < mass[:, -1:].clamp(max=sampling.top_p)).sum(-1, keepdim=True)
    kept = mass.gather(-1, last)  # the nucleus' mass, its last token included
    index = (mass <= uniforms[:, None] * kept).sum(-1, keepdim=True)
    return order.gather(-1, torch.minimum(index, last))[:, 0]


def _most_likely(scaled: Tensor) -> tuple[Tensor, Tensor]:
    """The first columns of a stable sort, most likely first: values and token ids (R, width).

    `topk` alone leaves the order of equal values open, and these are common in bfloat16: a trace
    would depend on what else is in its batch.
    """
    ids = scaled.topk(min(_NUCLEUS, scaled.shape[-1])).indices.sort(-1).values
    top, rank = scaled.gather(-1, ids).sort(dim=-1, descending=True, stable=True)
    return top, ids.gather(-1, rank)
