"""How a review is put to a causal language model, and the two words that it answers with.

The label is read from the logits of two words after the prompt (a verbaliser: Schick and Schütze
2021), so that the model keeps its head, its loss and its perplexity.
"""

from __future__ import annotations

from typing import Any

from distill_lab.run.records import LabError
from distill_lab.tasks.sst2.reviews import Review

LABEL_WORDS = (" negative", " positive")  # by label, with the space before them
_ASKED = "\nSentiment:"


def user_text(review: Review) -> str:
    """What the model reads; its next word is the label."""
    return f"Review: {review.text}{_ASKED}"


def answered_text(review: Review) -> str:
    """The prompt with the review's own label word: what a model learns the task from."""
    return user_text(review) + LABEL_WORDS[review.label]


def prompt_ids(review: Review, tokenizer: Any) -> list[int]:
    """Token ids of the prompt, with the tokenizer's beginning-of-text token where it has one."""
    return tokenizer(user_text(review)).input_ids


def label_tokens(tokenizer: Any) -> tuple[int, int]:
    """The token of each label word, by label: what the word adds to the end of a prompt.

    LabError where it adds more than one, or changes the tokens before it: the logits at one
    position would then not say how likely the word is.
    """
    before = tokenizer(_ASKED, add_special_tokens=False).input_ids
    negative, positive = (_label_token(word, before, tokenizer) for word in LABEL_WORDS)
    if negative == positive:
        raise LabError(
            f"Label words: expected two different tokens for {LABEL_WORDS[0]!r} and "
            f"{LABEL_WORDS[1]!r}, found {negative} for both. Take another model."
        )
    return negative, positive


def _label_token(word: str, before: list[int], tokenizer: Any) -> int:
    ids = tokenizer(_ASKED + word, add_special_tokens=False).input_ids
    if len(ids) != len(before) + 1 or ids[:-1] != before:
        pieces = tokenizer.convert_ids_to_tokens(ids[len(before) :])
        raise LabError(
            f"Label word {word!r}: expected one token of the tokenizer after 'Sentiment:', "
            f"found {len(pieces)} ({' '.join(pieces)}). Take another model."
        )
    return ids[-1]
