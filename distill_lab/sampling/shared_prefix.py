"""Prompts are read once: what all of them begin with, then what each group of them goes on with,
then the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from distill_lab.models import unsloth_backend
from distill_lab.models.loading import decoder, head
from distill_lab.sampling.kv_cache import keeps_all

SHARED_AT_LEAST = 32  # a common beginning shorter than this is not worth a pass of its own


@dataclass(slots=True)
class _Read:
    """What has been read of R rows of T tokens: the key-value cache, the mask (R, T), and the
    next-token logits (R, V)."""

    cache: Any
    mask: Tensor
    logits: Tensor | None = None

    def rows(self, indices: Sequence[int]) -> None:
        """Takes these rows, each as often as it is named."""
        chosen = torch.tensor(indices, device=self.mask.device)  # (R')
        if self.cache is not None:
            self.cache.reorder_cache(chosen)  # keys and values (R', heads, T, head size)
        self.mask = self.mask[chosen]  # (R', T)


def prefill(lm: PreTrainedModel, prompts: list[list[int]], pad: int) -> tuple[Tensor, Any, Tensor]:
    """Reads P prompts: next-token logits (P, V), the cache, and the mask (P, T).

    What all of them begin with (worked examples) is read once, then what each group of them goes on
    with (a paragraph), then the rest. This leaves gaps inside a row, which the mask covers; they
    would push tokens out of a sliding window or pass through a recurrent state, so that a model
    with one of these reads each prompt whole.
    """
    read = _Read(None, torch.ones(1, 0, dtype=torch.long, device=lm.device))  # 1 row, 0 tokens
    begun, of_prompt = 0, [0] * len(prompts)
    sharing = len(prompts) > 1 and keeps_all(lm)
    shared = common_prefix_length(prompts) if sharing else 0
    if shared >= SHARED_AT_LEAST:
        _read_on(lm, read, [prompts[0][:shared]], pad)  # (1, shared)
        begun = shared
    groups = alike_beyond(prompts, begun) if sharing else []
    done = [begun] * len(prompts)
    if 1 < len(groups) < len(prompts):
        read.rows([0] * len(groups))  # (1, T) to (groups, T)
        ends = [common_prefix_length([prompts[i] for i in group]) for group in groups]
        beginnings = [prompts[g[0]][begun:end] for g, end in zip(groups, ends, strict=True)]
        _read_on(lm, read, beginnings, pad)
        for n, group in enumerate(groups):
            for i in group:
                of_prompt[i], done[i] = n, ends[n]
    read.rows(of_prompt)  # (1 or groups, T) to (P, T)
    _read_on(lm, read, [p[n:] for p, n in zip(prompts, done, strict=True)], pad)
    assert read.logits is not None
    return read.logits, read.cache, read.mask


def common_prefix_length(prompts: Sequence[list[int]]) -> int:
    """How many tokens all prompts begin with; the last of a prompt is left to be read."""
    # of sorted lists the first and the last differ where any two do
    pairs = zip(min(prompts), max(prompts), strict=False)
    alike = takewhile(lambda pair: pair[0] == pair[1], pairs)
    return min(sum(1 for _ in alike), min(map(len, prompts)) - 1)


def alike_beyond(prompts: list[list[int]], begun: int) -> list[list[int]]:
    """Which prompts go on alike for long enough, beyond the `begun` tokens that all begin with:
    indices of those on one paragraph, each once.
    """
    groups: list[list[int]] = []
    for i in sorted(range(len(prompts)), key=prompts.__getitem__):
        if (
            groups
            and common_prefix_length([prompts[groups[-1][0]], prompts[i]]) - begun
            >= SHARED_AT_LEAST
        ):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _read_on(lm: PreTrainedModel, read: _Read, rests: list[list[int]], pad: int) -> None:
    """Reads more of every row, left-padded: (R, T) becomes (R, T + longest)."""
    width, device = max(map(len, rests)), lm.device
    ids = torch.tensor([[pad] * (width - len(r)) + r for r in rests], device=device)  # (R, width)
    gaps = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rests], device=device)
    read.mask = torch.cat([read.mask, gaps], 1)  # (R, T + width)
    read.logits, read.cache = next_logits(lm, ids, read.mask, read.cache)


def next_logits(lm: PreTrainedModel, ids: Tensor, mask: Tensor, cache: Any) -> tuple[Tensor, Any]:
    """Reads the next tokens `ids` (R, T) of each row: logits (R, V) after the last, and the cache.

    `mask` (R, all so far and these) is 1 where a token is; `cache` is None at the beginning.
    """
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]  # (R, T), gaps not counted
    if unsloth_backend.reads_itself(decoder(lm)):
        states, cache = unsloth_backend.read(decoder(lm), ids, mask, positions, cache)  # (R, H)
        return head(lm)(states), cache
    out = lm(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return unsloth_backend.logits_of(lm, out)[:, -1], out.past_key_values  # (R, V)
