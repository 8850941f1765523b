"""Attention of one new token a row, on a CPU, where several heads share keys and values (GQA).

transformers repeats the keys and values for each head of a group at every token. Here the heads of
a group are rows of one small product instead, which is much less work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "distill_lab_grouped"


def grouped_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """What transformers' `sdpa_attention_forward` gives: query (B, heads, T, D), key and value
    (B, groups, S, D), mask (B, 1, T, S), True or 0 where a key is seen; result (B, T, heads, D)."""
    B, heads, T, D = query.shape
    if T > 1:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
    of_group = query.view(B, key.shape[1], -1, D)  # (B, groups, heads of a group, D)
    scores = of_group @ key.transpose(2, 3) * (D**-0.5 if scaling is None else scaling)
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
    return (weights @ value).view(B, 1, heads, D), None


@contextmanager
def for_sampling(lm: PreTrainedModel) -> Iterator[None]:
    """The model's attention is ours inside, where that is faster: on a CPU, in place of PyTorch's,
    for heads that share keys."""
    config: Any = lm.config.get_text_config()
    heads = getattr(config, "num_attention_heads", 1)
    shared = getattr(config, "num_key_value_heads", None) or heads
    before = config._attn_implementation
    if lm.device.type != "cpu" or before != "sdpa" or shared == heads:
        yield
        return
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


AttentionInterface.register(NAME, grouped_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
