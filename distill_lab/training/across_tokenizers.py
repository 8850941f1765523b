"""Distillation from a teacher that has another tokenizer and runs at every step.

Its cache would not do: it keeps the likeliest tokens of one shared vocabulary, and here all
probabilities are sorted, or looked up by what a token spells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distill_lab.losses.across_vocabularies import (
    OtherTeacher,
    SharedTokens,
    across_vocabularies_loss,
)
from distill_lab.losses.distillation import DenseTeacher, Loss
from distill_lab.models.loading import LanguageModel, TokenizerOnly
from distill_lab.training.batches import Encoded
from distill_lab.training.byte_spans import speller_of
from distill_lab.training.trainer import DistillationTrainer


class AcrossTokenizersTrainer(DistillationTrainer):
    """A DistillationTrainer whose examples have `theirs`. `shared` makes the hybrid of its loss,
    None ULD; its log's `kl` is their distance."""

    def __init__(self, *args: Any, shared: SharedTokens | None, **more: Any) -> None:
        self.shared = shared
        super().__init__(*args, **more)

    def _batch(self, examples: Sequence[Encoded]) -> dict[str, Any]:
        return {**super()._batch(examples), "pairs": paired(examples)}

    def _compared(
        self, states: Tensor, targets: Tensor, teacher: Any, inputs: Any, n_items: Any
    ) -> Loss:
        assert isinstance(teacher, DenseTeacher), "a teacher with other tokens runs at every step"
        rows, theirs, alike = inputs["pairs"].unbind(1)  # (M) each
        at_pairs = OtherTeacher(
            teacher.states[theirs], teacher.head, rows, alike.bool(), self.shared
        )
        return across_vocabularies_loss(
            states, self._head, targets, self.objective, at_pairs, n_items
        )


def paired(examples: Sequence[Encoded]) -> Tensor:
    """The pairs of all examples (M, 3), their places counted over the completions of the batch one
    after the other: of the student's token, the teacher's, and 1 where both are the same text."""
    rows: list[tuple[int, int, bool]] = []
    ours = theirs = 0
    for example in examples:
        pairs = example.theirs.pairs if example.theirs else []
        rows += [(ours + i, theirs + j, alike) for i, j, alike in pairs]
        ours, theirs = ours + len(example.completion), theirs + len(example.read_by_teacher)
    return torch.tensor(rows, dtype=torch.long).view(-1, 3)


def shared_tokens(
    student: LanguageModel | TokenizerOnly, teacher: LanguageModel | TokenizerOnly
) -> SharedTokens:
    """The tokens that spell the same bytes in both vocabularies, however each writes them; and the
    end tokens."""
    ours, theirs = _by_bytes(student), _by_bytes(teacher)
    ids = [(ours[piece], theirs[piece]) for piece in ours if piece in theirs]
    ends: tuple[Any, Any] = student.tokenizer.eos_token_id, teacher.tokenizer.eos_token_id
    pairs = torch.tensor([ends, *(pair for pair in ids if not set(pair) & set(ends))])  # (S, 2)
    return SharedTokens(pairs[:, 0], pairs[:, 1])


def _by_bytes(model: LanguageModel | TokenizerOnly) -> dict[bytes, int]:
    """The first token that spells each string of bytes."""
    ids = sorted(i for i in model.tokenizer.get_vocab().values() if i < model.vocab_size)
    pieces = speller_of(model.tokenizer)(ids)
    return {piece: i for i, piece in reversed(list(zip(ids, pieces, strict=True))) if piece}


def in_words(examples: Sequence[Encoded]) -> str:
    """How much of the examples is compared."""
    pairs = [pair for example in examples if example.theirs for pair in example.theirs.pairs]
    tokens = sum(len(example.completion) for example in examples)
    alike = sum(alike for _, _, alike in pairs)
    return (
        f"of the student's {tokens:,} tokens {len(pairs):,} begin where one of the teacher's does, "
        f"{alike:,} with the same text"
    )
