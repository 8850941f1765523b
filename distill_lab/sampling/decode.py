"""N samples a prompt: the prompt is read once, its cache repeated for its samples, and finished
rows leave the batch.

Random numbers belong to the row, from (seed, question, sample): batch size and order do not change
a trace (up to the rounding of a matrix product of another shape). Greedy output equals
`generate`'s token for token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from distill_lab.models.loading import LanguageModel
from distill_lab.sampling.grouped_attention import for_sampling
from distill_lab.sampling.jobs import (
    Batch,
    Completion,
    Existing,
    Ids,
    Job,
    complete_batches,
    completion_of,
    encoded,
    end_ids,
    is_finished,
    require_room,
)
from distill_lab.sampling.kv_cache import with_room
from distill_lab.sampling.nucleus import Sampling, sample_tokens
from distill_lab.sampling.shared_prefix import next_logits, prefill


def complete_all(
    model: LanguageModel,
    jobs: Sequence[Job],
    sampling: Sampling,
    rows: int,
    have: Existing,
    title: str,
) -> Generator[Batch]:
    """All jobs, a batch of `rows` sequences at a time, with a progress bar; the processes share the
    batches, and a batch of which every (question, sample) is in `have` is passed over.

    LabError where the longest prompt leaves the model no room to answer.
    """
    ids = encoded(jobs, model.tokenizer)
    require_room(model.positions, model.name, jobs, ids, sampling.max_new_tokens)

    def complete_one(batch: list[Job]) -> Batch:
        return list(complete(model, batch, sampling, ids))

    yield from complete_batches(jobs, ids, rows, sampling.n, have, title, complete_one)


def complete(
    model: LanguageModel, jobs: Sequence[Job], sampling: Sampling, ids: Ids | None = None
) -> Iterator[tuple[Job, list[Completion]]]:
    """`sampling.n` completions of each prompt of one batch, in the jobs' order.

    Where the prompt ends with an opened `<think>`, the completion begins with it.
    """
    ids = encoded(jobs, model.tokenizer) if ids is None else ids
    ends = ends_of(model)
    for job, rows in zip(jobs, complete_ids(model, jobs, sampling, ids), strict=True):
        yield job, [completion_of(job.begun, row, model.tokenizer, ends) for row in rows]


def ends_of(model: LanguageModel) -> frozenset[int]:
    """The tokens that end a completion of this model."""
    return end_ids(getattr(model.lm.generation_config, "eos_token_id", None), model.tokenizer)


def complete_ids(
    model: LanguageModel, jobs: Sequence[Job], sampling: Sampling, ids: Ids
) -> list[list[list[int]]]:
    """The tokens of `sampling.n` completions of each prompt of one batch, up to and with the token
    that ends it; `ids` are those of the prompts."""
    *_, rows = complete_stepwise(model, jobs, sampling, ids)
    return [rows[first : first + sampling.n] for first in range(0, len(rows), sampling.n)]


@torch.inference_mode()
def complete_stepwise(
    model: LanguageModel, jobs: Sequence[Job], sampling: Sampling, ids: Ids
) -> Iterator[list[list[int]]]:
    """The tokens that each row of one batch has so far, after each step: `sampling.n` rows a
    prompt, side by side. It is the same lists each time, and they grow."""
    lm, tokenizer = model.lm, cast(Any, model.tokenizer)
    prompts = [ids[job.prompt] for job in jobs]
    logits, cache, mask = prefill(lm, prompts, tokenizer.pad_token_id)  # (P, V), (P, T)
    cache = with_room(cache, sampling.max_new_tokens, len(jobs), sampling.n)
    logits, mask = (each.repeat_interleave(sampling.n, 0) for each in (logits, mask))  # (P * n, …)
    with for_sampling(lm):
        uniforms = _uniforms(jobs, sampling)
        yield from _decode(model, logits, cache, mask, uniforms, sampling, ends_of(model))


def _decode(
    model: LanguageModel,
    logits: Tensor,
    cache: Any,
    mask: Tensor,
    uniforms: np.ndarray,
    sampling: Sampling,
    ends: frozenset[int],
) -> Iterator[list[list[int]]]:
    """Token ids of each of R rows after each step, up to and with the token that ends it: logits
    (R, V) after the prompts, mask (R, T), uniforms (R, max_new_tokens)."""
    done: list[list[int]] = [[] for _ in range(len(logits))]
    live = np.arange(len(logits))  # the rows that are not finished, (R,)
    for step in range(sampling.max_new_tokens):
        if logits.device.type == "mps":  # which has no float64
            logits = logits.cpu()
        uniform = torch.from_numpy(uniforms[live, step]).to(logits.device)  # (R,)
        chosen = sample_tokens(logits, uniform, sampling).to(mask.device)  # (R,)
        for row, token in zip(live, chosen.tolist(), strict=True):
            done[row].append(token)
        yield done
        going = np.array([not is_finished(done[row], ends, model.tokenizer) for row in live])
        if not going.any() or step + 1 == sampling.max_new_tokens:
            break
        if not going.all():
            stay = _fill_gaps(going)
            kept = torch.from_numpy(stay).to(mask.device)
            cache.reorder_cache(kept)
            live, chosen, mask = live[stay], chosen[kept], mask[kept]  # R is smaller from here on
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)  # (R, T + 1)
        logits, cache = next_logits(model.lm, chosen[:, None], mask, cache)  # (R, V)


def _fill_gaps(going: np.ndarray) -> np.ndarray:
    """Indices of the rows that go on, where the last ones fill the places of those that leave: the
    cache then copies no more rows than leave.
    """
    stay = np.arange(going.sum())
    stay[~going[: len(stay)]] = len(stay) + np.flatnonzero(going[len(stay) :])
    return stay


def _uniforms(jobs: Sequence[Job], sampling: Sampling) -> np.ndarray:
    """(P * n, max_new_tokens) uniform numbers, each row from its own (seed, question, sample)."""

    def row(question_id: str, sample: int) -> np.ndarray:
        digest = hashlib.sha256(f"{sampling.seed} {question_id} {sample}".encode()).digest()
        generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
        return generator.random(sampling.max_new_tokens)

    return np.stack([row(job.question_id, n) for job in jobs for n in range(sampling.n)])
