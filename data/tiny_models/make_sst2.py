"""Makes the bundled model that has learnt to tell good reviews from bad ones:

    python -m data.tiny_models.make_sst2

It sees only reviews as train has them (data/mini_sst2), none with a name, a subject, a pattern or a
denied word of dev. Half of its batches are reviews to read on, so that its perplexity means
something; in the other half only the label is learnt. What it reached is printed at the end.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Iterator
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from data.mini_sst2.make import review_stream
from data.tiny_models.make import HERE, Text, encoded, make_tokenizer, padded, train
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import LanguageModel, load
from distill_lab.pipeline.pruning.reading.reviews import read_all
from distill_lab.run.settings import RuntimeSettings
from distill_lab.tasks.sst2 import scores
from distill_lab.tasks.sst2.prompt import LABEL_WORDS, answered_text, user_text
from distill_lab.tasks.sst2.reviews import Review, load_reviews

NAME = "sst2"
VOCABULARY = 1500
STEPS, BATCH = 7000, 16
INVENTED = 0.5  # without them it has no idea of a name or a subject that train does not have
MISTAKEN = 0.05  # the share of labels told wrong, so that it is never too sure of itself
SHAPE: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 128,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
}


def training_reviews(seed: int, invented: float) -> Iterator[Review]:
    """Endless reviews of train's side of the generator, a share of them with invented names and
    subjects, and a few with the wrong label."""
    rng = random.Random(seed)
    for made in review_stream(seed, invented=invented):
        label = 1 - made.label if rng.random() < MISTAKEN else made.label
        yield Review("", made.text, label, made.kind)


def tokenizer_text() -> Iterator[str]:
    return (answered_text(review) for review in itertools.islice(training_reviews(10, 0), 20_000))


def read_on(review: Review) -> Text:
    """All of a review and its label are learnt."""
    return [(answered_text(review), True), ("<eos>", True)]


def judged(review: Review) -> Text:
    """Nothing but the label is learnt. In a whole text it is one token in twenty."""
    return [(user_text(review), False), (LABEL_WORDS[review.label], True)]


def batches(
    tokenizer: PreTrainedTokenizerFast, steps: int, size: int
) -> Iterator[dict[str, torch.Tensor]]:
    """`steps` right-padded batches, each of similar lengths, in either half of every eight."""
    rng, pad = random.Random(100), tokenizer.convert_tokens_to_ids("<pad>")
    assert isinstance(pad, int)
    reviews = training_reviews(101, INVENTED)
    for _ in range(0, steps, 8):
        groups: list[list[tuple[list[int], list[int]]]] = []
        for told in (read_on, judged):
            texts = [told(review) for review in itertools.islice(reviews, 4 * size)]
            rows = sorted((encoded(text, tokenizer) for text in texts), key=lambda row: len(row[0]))
            groups += [rows[i : i + size] for i in range(0, len(rows), size)]
        rng.shuffle(groups)
        yield from (padded(group, pad) for group in groups)


def dev_scores(model: LanguageModel) -> dict[str, float]:
    """Accuracy, AUC, label NLL and perplexity on all of dev.jsonl."""
    reviews = {r.id: r for r in load_reviews("bundled", "validation", strict=True).reviews}
    read = read_all(model, list(reviews.values()), 32)
    logits = [(score.negative, score.positive) for score in read]
    labels = [reviews[score.review_id].label for score in read]
    text_nll, n_tokens = sum(s.text_nll for s in read), sum(s.text_tokens for s in read)
    return {
        "accuracy": statistics.mean(scores.accuracy(logits, labels)),
        "AUC": scores.auc(logits, labels),
        "label NLL": statistics.mean(scores.label_nll(logits, labels)),
        "perplexity": math.exp(text_nll / n_tokens),
    }


if __name__ == "__main__":
    tokenizer = make_tokenizer(tokenizer_text(), VOCABULARY)
    tokenizer.save_pretrained(HERE / NAME)
    train(NAME, SHAPE, tokenizer, batches(tokenizer, STEPS, BATCH), STEPS)
    made = load(str(HERE / NAME), choose_backend(RuntimeSettings(device="cpu")), NAME)
    print(", ".join(f"{name} {value:.3f}" for name, value in dev_scores(made).items()))
