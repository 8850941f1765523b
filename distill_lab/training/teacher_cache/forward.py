"""The teacher's pass over examples: hidden states at the positions that predict completion tokens.

What all prompts begin with, such as worked examples, is read once; each batch starts from a copy of
its key-value cache.
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
    """The tokens that all prompts begin with, read once: how many, their key-value cache (one row),
    and why so many."""

    length: int
    cache: Any
    reason: str


NO_PREFIX = SharedPrefix(0, None, "every prompt is read whole")


@torch.no_grad()
def read_shared_prefix(lm: PreTrainedModel, examples: Sequence[Encoded]) -> SharedPrefix:
    """Reads what all the teacher's prompts begin with, where that saves time and the model's
    hidden states stay the same."""
    prompts = [example.teacher_prompt for example in examples]
    # the last prompt token, which predicts the first of the completion, is left
    tokens = prompts[0][: common_prefix_length(prompts)]

    def no_prefix(reason: str) -> SharedPrefix:
        return SharedPrefix(0, None, NO_PREFIX.reason + reason)

    if len(examples) == 1 or len(tokens) < SHARED_AT_LEAST:
        return no_prefix(f", {len(tokens)} tokens are shared")
    although = f", though {len(tokens)} tokens are shared: "
    body = decoder(lm)
    if not {"past_key_values", "position_ids"} <= inspect.signature(body.forward).parameters.keys():
        return no_prefix(f"{although}{type(body).__name__} cannot go on from a cache")
    ids = torch.tensor([tokens], device=lm.device)  # (1, T)
    cache = body(input_ids=ids, use_cache=True).past_key_values
    if not isinstance(cache, DynamicCache):
        return no_prefix(f"{although}its cache is a {type(cache).__name__}")
    if any(type(layer) is not DynamicLayer for layer in cache.layers):
        return no_prefix(f"{although}its layers do not all look at every token")
    reason = f"{len(tokens)} tokens that all prompts share are read once"
    prefix = SharedPrefix(len(tokens), cache, reason)
    # an unusual decoder may take a cache and still do something else with it
    shortest = [min(examples, key=lambda e: len(e.teacher_prompt) + len(e.completion))]
    expected = teacher_states(lm, shortest, NO_PREFIX).float()  # (N, H)
    error = (teacher_states(lm, shortest, prefix).float() - expected).abs().max().item()
    rounding = max(1e-3, 16 * torch.finfo(lm.dtype).eps) * expected.abs().max().item()
    if not error <= rounding:
        return no_prefix(f"{although}from a cache its states are off by {error:.2g}")
    return prefix


def teacher_states(lm: PreTrainedModel, batch: Sequence[Encoded], prefix: SharedPrefix) -> Tensor:
    """Hidden states (N, H) that predict the completions' tokens, one example after the other."""
    # without the prefix, and without the last token, after which nothing is predicted
    rows = [(e.teacher_prompt + e.completion)[prefix.length : -1] for e in batch]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])  # (B, T)
    lengths = torch.tensor([len(row) for row in rows])[:, None]  # (B, 1)
    n_predicted = torch.tensor([len(e.completion) for e in batch])[:, None]  # (B, 1)
    position = torch.arange(width)  # (T)
    wanted = (position >= lengths - n_predicted) & (position < lengths)  # (B, T)
    mask = torch.arange(prefix.length + width) < prefix.length + lengths  # (B, prefix + T)
    from_cache: dict[str, Any] = {"use_cache": False}
    if prefix.length:
        cache = copy.deepcopy(prefix.cache)  # the pass appends to it
        cache.batch_repeat_interleave(len(batch))
        positions = (prefix.length + position).expand(len(batch), -1).to(lm.device)  # (B, T)
        from_cache = {"past_key_values": cache, "use_cache": True, "position_ids": positions}
    hidden = decoder(lm)(
        input_ids=ids.to(lm.device), attention_mask=mask.long().to(lm.device), **from_cache
    ).last_hidden_state  # (B, T, H)
    return hidden[wanted.to(hidden.device)]  # (N, H)


@torch.no_grad()
def completion_logits(
    student: LanguageModel, teacher: LanguageModel, examples: Sequence[Encoded]
) -> tuple[Tensor, Tensor, Tensor]:
    """The student's and the teacher's logits (N, V) at all completion tokens of a few examples, and
    these tokens (N).

    They are for looking at: on the CPU, in float32, over the V tokens that both vocabularies have.
    Each model reads its own prompts.
    """
    of_student = [dataclasses.replace(e, teacher_prompt=e.student_prompt) for e in examples]
    student_logits, teacher_logits = (
        head(model.lm)(teacher_states(model.lm, batch, NO_PREFIX)).float().cpu()
        for model, batch in ((student, of_student), (teacher, examples))
    )
    shared = min(student_logits.shape[-1], teacher_logits.shape[-1])
    targets = torch.tensor([token for e in examples for token in e.completion])  # (N)
    return student_logits[:, :shared], teacher_logits[:, :shared], targets
