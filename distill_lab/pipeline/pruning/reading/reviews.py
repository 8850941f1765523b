"""One reading of each review gives both its label logits and the likelihood of its own text."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from distill_lab.losses.distillation import Head, OpaqueHead
from distill_lab.models.loading import LanguageModel, head
from distill_lab.pipeline.pruning.records import ReviewScore
from distill_lab.run.records import LabError
from distill_lab.sampling.label_logits import prompt_states
from distill_lab.tasks.sst2.prompt import label_tokens, prompt_ids, user_text
from distill_lab.tasks.sst2.reviews import Review


def review_batches(
    reviews: Sequence[Review], model: LanguageModel, size: int
) -> list[list[Review]]:
    """The reviews, those of similar length together. They depend on all reviews and not on what is
    done already, so that a resumed evaluation computes what the whole one would have."""
    by_length = sorted(reviews, key=lambda review: len(prompt_ids(review, model.tokenizer)))
    return [by_length[start : start + size] for start in range(0, len(by_length), size)]


@torch.inference_mode()
def read_reviews(model: LanguageModel, reviews: Sequence[Review]) -> list[ReviewScore]:
    """The label logits after each prompt, as `label_logits` has them, and the NLL of the review's
    own tokens in it. LabError where a model's numbers are not finite."""
    words = list(label_tokens(model.tokenizer))
    rows = [_encoded(review, model.tokenizer) for review in reviews]
    states, last = prompt_states(model, [ids for ids, _ in rows])  # (B, T, H), (B, H)
    made = head(model.lm)
    labels = made(last)[:, words].float().cpu()  # (B, 2)
    scores: list[ReviewScore] = []
    for n, (review, (row, counted)) in enumerate(zip(reviews, rows, strict=True)):
        nll = nll_of(states[n, : len(row) - 1], row, counted, made)
        negative, positive = labels[n].tolist()
        scores.append(ReviewScore(review.id, negative, positive, nll, sum(counted)))
    _require_finite(scores, model.name)
    return scores


def score_reviews(
    model: LanguageModel, reviews: Sequence[Review], have: set[str], size: int, title: str
) -> Generator[list[ReviewScore]]:
    """Of all reviews, so many at a time, but for the batches of which `have` holds every id."""
    batches = review_batches(reviews, model, size)
    todo = [batch for batch in batches if not have.issuperset(review.id for review in batch)]
    done = len(reviews) - sum(map(len, todo))
    with tqdm(total=len(reviews), initial=done, desc=title, unit="review") as bar:
        for batch in todo:
            yield read_reviews(model, batch)
            bar.update(len(batch))


def read_all(model: LanguageModel, reviews: Sequence[Review], size: int) -> list[ReviewScore]:
    """Of all reviews, so many at a time."""
    batches = review_batches(reviews, model, size)
    return [score for batch in batches for score in read_reviews(model, batch)]


def nll_of(
    states: Tensor, ids: list[int], counted: Sequence[bool], made: Head | OpaqueHead
) -> float:
    """The NLL, in nats, of those tokens that count: states (T - 1, H) predict tokens 1 to T - 1."""
    chosen = torch.tensor(counted[1:], device=states.device)  # (T - 1)
    targets = torch.tensor(ids[1:], device=states.device)[chosen]  # (N)
    logits = made(states[chosen]).float()  # (N, V)
    return float(F.cross_entropy(logits, targets, reduction="sum"))


def _encoded(review: Review, tokenizer: Any) -> tuple[list[int], list[bool]]:
    """The prompt's ids, and which of them are the review's own: the words around it are the same
    for all reviews and would dilute the perplexity. A first token, which nothing predicts, is not
    counted."""
    encoded = tokenizer(user_text(review), return_offsets_mapping=True)
    start = user_text(Review("", "\0", 0)).index("\0")
    end = start + len(review.text)
    own = [low < end and high > start for low, high in encoded.offset_mapping]
    return encoded.input_ids, [False, *own[1:]]


def _require_finite(scores: Sequence[ReviewScore], name: str) -> None:
    bad = [s for s in scores if not math.isfinite(s.negative + s.positive + s.text_nll)]
    if bad:
        raise LabError(
            f"Model {name!r}: expected finite logits, found others for {len(bad)} of "
            f"{len(scores)} reviews. Take float32 (--runtime.dtype float32), or prune less."
        )
