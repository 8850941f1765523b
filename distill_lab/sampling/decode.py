"""N samples a prompt: the prompt is read once, its cache repeated for its samples, and finished
rows leave the batch.

Random numbers belong to the row, from (seed, question, sample): batch size and order do not change
a trace (up to the rounding of a matrix product of another shape). Greedy output equals
`generate`'s token for token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from distill_lab.models.loading import LanguageModel
from distill_lab.run.distributed import shared
from distill_lab.run.records import LabError, Question
from distill_lab.sampling.kv_cache import with_room
from distill_lab.sampling.nucleus import Sampling, sample_tokens
from distill_lab.sampling.shared_prefix import (
    alike_beyond,
    common_prefix_length,
    next_logits,
    prefill,
)
from distill_lab.tasks.prompts import BEGUN, STOP, encode, render
from distill_lab.tasks.squad.task import SQUAD
from distill_lab.tasks.task import Task

_ALIKE = 16  # lengths this near are one bucket


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt to complete."""

    question_id: str
    prompt: str


def jobs_for(
    questions: Iterable[Question],
    tokenizer: PreTrainedTokenizerBase,
    n_shots: int = 0,
    task: Task = SQUAD,
) -> list[Job]:
    """The task's prompt for each question, with `n_shots` worked examples."""
    return [Job(q.id, render(task.user_text(q), tokenizer, n_shots, task)) for q in questions]


@dataclass(frozen=True, slots=True)
class Completion:
    """What was sampled; `n_tokens` counts the end token too."""

    text: str
    n_tokens: int
    finish: Literal["stop", "length"]


Ids = Mapping[str, list[int]]


def encoded(jobs: Sequence[Job], tokenizer: PreTrainedTokenizerBase) -> Ids:
    """Each prompt's token ids."""
    return {job.prompt: encode(tokenizer, job.prompt) for job in jobs}


def batches(jobs: Sequence[Job], ids: Ids, rows: int, n: int) -> list[list[Job]]:
    """Jobs in batches of `rows` sequences: those on one paragraph side by side, paragraphs of
    similar length together, the longest first.

    Depends on all the jobs and not on what is done already, so that a resumed run computes what the
    whole one would have.
    """
    prompts = [ids[job.prompt] for job in jobs]

    def place(group: list[int]) -> tuple[int, str]:
        return -(max(len(prompts[i]) for i in group) // _ALIKE), jobs[group[0]].prompt

    groups = sorted(alike_beyond(prompts, common_prefix_length(prompts)), key=place)
    ordered = [jobs[i] for group in groups for i in group]
    size = max(1, rows // n)
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


@torch.inference_mode()
def complete(
    model: LanguageModel, jobs: Sequence[Job], sampling: Sampling, ids: Ids | None = None
) -> Iterator[tuple[Job, list[Completion]]]:
    """`sampling.n` completions of each prompt of one batch, in the jobs' order.

    Where the prompt ends with an opened `<think>`, the completion begins with it.
    """
    lm, tokenizer = model.lm, cast(Any, model.tokenizer)
    ids = encoded(jobs, tokenizer) if ids is None else ids
    prompts = [ids[job.prompt] for job in jobs]
    logits, cache, mask = prefill(lm, prompts, tokenizer.pad_token_id)
    cache = with_room(cache, sampling.max_new_tokens, len(jobs), sampling.n)
    logits, mask = (each.repeat_interleave(sampling.n, 0) for each in (logits, mask))  # (P * n, …)
    ends = end_ids(getattr(lm.generation_config, "eos_token_id", None), tokenizer)
    rows = _decode(model, logits, cache, mask, _uniforms(jobs, sampling), sampling, ends)
    for i, job in enumerate(jobs):
        begun = BEGUN if job.prompt.endswith(BEGUN) else ""
        made = rows[i * sampling.n : (i + 1) * sampling.n]
        yield job, [finished(begun, row, tokenizer, ends) for row in made]


def _decode(
    model: LanguageModel,
    logits: Tensor,
    cache: Any,
    mask: Tensor,
    uniforms: np.ndarray,
    sampling: Sampling,
    ends: set[int],
) -> list[list[int]]:
    """Token ids of each row, up to and with the token that ends it."""
    done: list[list[int]] = [[] for _ in range(len(logits))]
    live = np.arange(len(logits))
    for step in range(sampling.max_new_tokens):
        if logits.device.type == "mps":  # which has no float64
            logits = logits.cpu()
        uniform = torch.from_numpy(uniforms[live, step]).to(logits.device)
        chosen = sample_tokens(logits, uniform, sampling).to(mask.device)  # (R,)
        for row, token in zip(live, chosen.tolist(), strict=True):
            done[row].append(token)
        going = np.array([not _ended(done[row], ends, model.tokenizer) for row in live])
        if not going.any() or step + 1 == sampling.max_new_tokens:
            break
        if not going.all():
            stay = _close_ranks(going)
            kept = torch.from_numpy(stay).to(mask.device)
            cache.reorder_cache(kept)
            live, chosen, mask = live[stay], chosen[kept], mask[kept]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        logits, cache = next_logits(model.lm, chosen[:, None], mask, cache)
    return done


def _close_ranks(going: np.ndarray) -> np.ndarray:
    """Indices of the rows that go on, the last of them in the places of those that leave: the cache
    then copies no more rows than leave.
    """
    stay = np.arange(going.sum())
    stay[~going[: len(stay)]] = len(stay) + np.flatnonzero(going[len(stay) :])
    return stay


def _uniforms(jobs: Sequence[Job], sampling: Sampling) -> np.ndarray:
    """(P * n, max_new_tokens) uniform numbers, each row from its own (seed, question, sample)."""
    rows = [
        f"{sampling.seed} {job.question_id} {sample}"
        for job in jobs
        for sample in range(sampling.n)
    ]
    seeds = [int.from_bytes(hashlib.sha256(row.encode()).digest()[:16], "big") for row in rows]
    return np.stack(
        [
            np.random.Generator(np.random.PCG64(seed)).random(sampling.max_new_tokens)
            for seed in seeds
        ]
    )


def end_ids(own: int | list[int] | None, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens that end a completion: those of a model's own settings, and its tokenizer's."""
    ids = own if isinstance(own, list) else [own]
    return {i for i in [*ids, tokenizer.eos_token_id] if i is not None}


def _ended(ids: list[int], ends: set[int], tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a row is over: an end token, or `</answer>` in the text of its last tokens."""
    return ids[-1] in ends or STOP in tokenizer.decode(ids[-len(STOP) - 2 :])


def finished(begun: str, ids: list[int], tokenizer: Any, ends: set[int]) -> Completion:
    """What was sampled, from its token ids, the one that ended it included; the text begins with
    `begun`, and ends with the answer's tag if that is there."""
    text = begun + tokenizer.decode(ids, skip_special_tokens=True)
    if STOP in text:
        return Completion(text[: text.index(STOP) + len(STOP)], len(ids), "stop")
    return Completion(text, len(ids), "stop" if _ended(ids, ends, tokenizer) else "length")


def complete_all(
    model: LanguageModel,
    jobs: Sequence[Job],
    sampling: Sampling,
    rows: int,
    have: set[tuple[str, int]],
    title: str,
) -> Generator[list[tuple[Job, list[Completion]]]]:
    """All jobs, a batch at a time, with a progress bar; the processes share the batches.

    A batch of which every (question, sample) is in `have` is passed over. Raises LabError where the
    longest prompt leaves the model no room to answer.
    """
    ids = encoded(jobs, model.tokenizer)
    todo = lacking(batches(jobs, ids, rows, sampling.n), sampling.n, have)
    limit = getattr(model.lm.config.get_text_config(), "max_position_embeddings", None)
    require_room(limit, model.name, jobs, ids, sampling.max_new_tokens)
    done = len(jobs) - sum(map(len, todo))
    with tqdm(total=len(jobs), initial=done, desc=title, unit="question") as bar:
        for made in shared(todo, lambda batch: list(complete(model, batch, sampling, ids))):
            yield made
            bar.update(len(made))


def lacking(batches: list[list[Job]], n: int, have: set[tuple[str, int]]) -> list[list[Job]]:
    """The batches of which a (question, sample) is not in `have`."""
    return [
        batch
        for batch in batches
        if any((job.question_id, sample) not in have for job in batch for sample in range(n))
    ]


def require_room(limit: int | None, name: str, jobs: Sequence[Job], ids: Ids, new: int) -> int:
    """Tokens of the longest prompt. LabError unless it leaves room for `new` ones: a model with
    learnt positions (GPT-2) fails beyond them, in the middle of the work."""
    longest = max(jobs, key=lambda job: len(ids[job.prompt]))
    length = len(ids[longest.prompt])
    if limit and length + new > limit:
        raise LabError(
            f"Question {longest.question_id}: expected a prompt that leaves room for "
            f"{new} new tokens in the {limit} positions of {name}, found "
            f"one of {length} tokens. Lower max-new-tokens, show fewer worked examples or take "
            "another model."
        )
    return length
