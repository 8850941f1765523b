"""The teacher's pass over examples: hidden states at the positions that predict completion tokens.

What all prompts begin with, such as worked examples, is read once, and its cache repeated for the
rows of each batch.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from distill_lab.models.loading import LanguageModel, decoder, head
from distill_lab.sampling.shared_prefix import SHARED_AT_LEAST, common_prefix_length
from distill_lab.training.batches import Encoded


@dataclass(frozen=True, slots=True)
class SharedPrefix:
    """The tokens that all prompts begin with, read once: how many, the cache of them (of one row),
    and why so many."""

    length: int
    cache: Any
    reason: str


@torch.no_grad()
def read_shared_prefix(lm: PreTrainedModel, examples: Sequence[Encoded]) -> SharedPrefix:
    """Reads what all the teacher's prompts begin with (worked examples, say), where it is worth it
    and the model can go on from there."""
    prompts = [example.teacher_prompt for example in examples]
    # the last prompt token, which predicts the first of the completion, is left
    alike = prompts[0][: common_prefix_length(prompts)]
    if len(examples) == 1 or len(alike) < SHARED_AT_LEAST:
        return SharedPrefix(0, None, f"every prompt is read whole, {len(alike)} tokens are shared")
    whole = f"every prompt is read whole, though {len(alike)} tokens are shared: "
    body = decoder(lm)
    if not {"past_key_values", "position_ids"} <= inspect.signature(body.forward).parameters.keys():
        return SharedPrefix(0, None, f"{whole}{type(body).__name__} cannot go on from a cache")
    cache = body(input_ids=torch.tensor([alike], device=lm.device), use_cache=True).past_key_values
    if not isinstance(cache, DynamicCache):
        return SharedPrefix(0, None, f"{whole}its cache is a {type(cache).__name__}")
    if any(type(x) is not DynamicLayer for x in cache.layers):
        return SharedPrefix(0, None, f"{whole}its layers do not all look at every token")
    found = SharedPrefix(
        len(alike), cache, f"{len(alike)} tokens that all prompts share are read once"
    )
    # a decoder of another make may take a cache and still do something else with it
    shortest = [min(examples, key=lambda e: len(e.teacher_prompt) + len(e.completion))]
    right = teacher_states(lm, shortest, SharedPrefix(0, None, "")).float()
    apart = (teacher_states(lm, shortest, found).float() - right).abs().max().item()
    rounding = max(1e-3, 16 * torch.finfo(lm.dtype).eps) * right.abs().max().item()
    if not apart <= rounding:
        return SharedPrefix(0, None, f"{whole}from a cache its states are off by {apart:.2g}")
    return found


def teacher_states(
    lm: PreTrainedModel, batch: Sequence[Encoded], beginning: SharedPrefix
) -> Tensor:
    """Hidden states (N, H) that predict the completions' tokens, one example after the other."""
    # the last token of a completion predicts nothing that is wanted
    rests = [(e.teacher_prompt + e.completion)[beginning.length : -1] for e in batch]
    width = max(map(len, rests))
    ids = torch.tensor([rest + [0] * (width - len(rest)) for rest in rests])  # (B, T)
    lengths = torch.tensor([len(rest) for rest in rests])[:, None]
    before = torch.tensor([len(e.completion) for e in batch])[:, None]
    place = torch.arange(width)
    wanted = (place >= lengths - before) & (place < lengths)  # (B, T)
    mask = torch.arange(beginning.length + width) < beginning.length + lengths
    more: dict[str, Any] = {"use_cache": False}
    if beginning.length:
        cache = copy.deepcopy(beginning.cache)  # the pass appends to it
        cache.batch_repeat_interleave(len(batch))
        positions = (beginning.length + place).expand(len(batch), -1)
        more = {
            "past_key_values": cache,
            "use_cache": True,
            "position_ids": positions.to(lm.device),
        }
    hidden = decoder(lm)(
        input_ids=ids.to(lm.device), attention_mask=mask.long().to(lm.device), **more
    ).last_hidden_state  # (B, T, H)
    return hidden[wanted.to(hidden.device)]


@torch.no_grad()
def completion_logits(
    student: LanguageModel, teacher: LanguageModel, examples: Sequence[Encoded]
) -> tuple[Tensor, Tensor, Tensor]:
    """Both models' logits (N, V) at all completion tokens of a few examples, and these tokens (N).

    To look at, on the CPU, in float32; V are the words that both heads have. Each model reads its
    own prompts.
    """
    of_student = [dataclasses.replace(e, teacher_prompt=e.student_prompt) for e in examples]
    whole = SharedPrefix(0, None, "")
    ours, theirs = (
        head(model.lm)(teacher_states(model.lm, batch, whole)).float().cpu()
        for model, batch in ((student, of_student), (teacher, examples))
    )
    shared = min(ours.shape[-1], theirs.shape[-1])
    targets = torch.tensor([token for e in examples for token in e.completion])
    return ours[:, :shared], theirs[:, :shared], targets
