"""The logits of the two label words after each review: what SST-2's scores are computed from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from distill_lab.models.loading import LanguageModel, head, hidden_states
from distill_lab.run.records import LabError
from distill_lab.tasks.sst2.prompt import label_tokens, prompt_ids
from distill_lab.tasks.sst2.reviews import Review


@torch.inference_mode()
def label_logits(
    model: LanguageModel, reviews: Sequence[Review], batch_size: int = 32, title: str = ""
) -> Tensor:
    """(n, 2) logits in float32 on the CPU, the columns by label, in the reviews' order.

    They stand at the last real position of each prompt. Rows are padded on the right: in a causal
    model no token sees what comes after it, so that padding changes nothing whether or not a
    backend passes the mask on. With a `title` there is a progress bar. LabError where a prompt is
    longer than the model's positions, or a logit is not a number.
    """
    words = list(label_tokens(model.tokenizer))
    prompts = [prompt_ids(review, model.tokenizer) for review in reviews]
    _require_room(model, prompts)
    logits = torch.zeros(len(prompts), 2)
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    starts = range(0, len(prompts), batch_size)
    for start in tqdm(starts, title) if title else starts:
        rows = by_length[start : start + batch_size]
        _, last = prompt_states(model, [prompts[i] for i in rows])
        logits[rows] = head(model.lm)(last)[:, words].float().cpu()
    if not logits.isfinite().all():
        raise LabError(
            f"Model {model.name!r}: expected finite label logits, found others for "
            f"{int((~logits.isfinite()).any(1).sum())} of {len(logits)} reviews. Take float32 "
            "(--runtime.dtype float32), or prune less."
        )
    return logits


def prompt_states(model: LanguageModel, prompts: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """The hidden states (B, T, H) of B prompts, padded on the right, and those at the last real
    position of each (B, H)."""
    lm, width = model.lm, max(map(len, prompts))
    pad = model.tokenizer.pad_token_id
    ids = torch.tensor([p + [pad] * (width - len(p)) for p in prompts], device=lm.device)  # (B, T)
    mask = torch.tensor([[1] * len(p) + [0] * (width - len(p)) for p in prompts], device=lm.device)
    states = hidden_states(lm, ids, mask)
    return states, states[torch.arange(len(prompts), device=lm.device), mask.sum(1) - 1]


def _require_room(model: LanguageModel, prompts: list[list[int]]) -> None:
    positions = getattr(model.lm.config.get_text_config(), "max_position_embeddings", None)
    longest = max(map(len, prompts), default=0)
    if positions and longest > positions:
        raise LabError(
            f"Reviews: expected prompts within the {positions} positions of {model.name}, found "
            f"one of {longest} tokens. Leave long reviews out, or take another model."
        )
