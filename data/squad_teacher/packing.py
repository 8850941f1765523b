"""Paragraphs with all their questions as one sequence each, so that a paragraph is read once for
all of them: each question sees the paragraph and itself, as if it were alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from data.squad_teacher.quotes import quoted
from distill_lab.run.records import Question
from distill_lab.tasks.prompts import encode, render
from distill_lab.tasks.squad.task import SQUAD

LONGEST = 800  # tokens of a row

Completions = Mapping[str, Sequence[str]]  # of each question that is learnt
Pair = tuple[list[int], list[int]]  # prompt and completion of a question, as token ids


@dataclass(frozen=True, slots=True)
class Row:
    """A paragraph and its questions as one sequence: T token ids, the question that each belongs to
    (0: the paragraph), its position, and whether it is learnt."""

    ids: list[int]
    question: list[int]
    position: list[int]
    learnt: list[bool]


def rows(
    articles: Sequence[Any], tokenizer: Any, completions: Completions | None = None
) -> tuple[list[Row], int]:
    """One row a paragraph, or more where its questions do not fit into one; and how many
    completions were left out, as they would not fit into a row of their own.

    The `articles` are those of a SQuAD file. Without `completions` a question's own is the sentence
    that holds its first answer as the thought, then that answer.
    """
    packed: list[Row] = []
    n_too_long = 0
    for article in articles:
        for paragraph in article["paragraphs"]:
            pairs = list(_pairs(paragraph, tokenizer, completions))
            fitting = [pair for pair in pairs if len(pair[0]) + len(pair[1]) <= LONGEST]
            n_too_long += len(pairs) - len(fitting)
            while fitting:
                row, fitting = _packed(fitting)
                packed.append(row)
    return packed, n_too_long


def _pairs(paragraph: Any, tokenizer: Any, completions: Completions | None) -> Iterator[Pair]:
    context = paragraph["context"]
    for qa in paragraph["qas"]:
        question = Question(qa["id"], "", context, qa["question"], ())
        prompt = encode(tokenizer, render(SQUAD.user_text(question), tokenizer))
        own = [quoting(context, qa)] if completions is None else completions.get(qa["id"], [])
        for completion in own:
            ids = tokenizer(completion, add_special_tokens=False).input_ids
            yield prompt, [*ids, tokenizer.eos_token_id]


def quoting(context: str, qa: Any) -> str:
    """The completion that quotes the sentence of the question's first answer, then answers."""
    answer, start = qa["answers"][0]["text"], qa["answers"][0]["answer_start"]
    thought = quoted(context, start, start + len(answer))
    return f"<think>{thought}</think> <answer>{answer}</answer>"


def _packed(pairs: list[Pair]) -> tuple[Row, list[Pair]]:
    """A row of as many pairs as fit, and the others."""
    columns = zip(*(prompt for prompt, _ in pairs), strict=False)
    n_shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
    # a prompt's last token belongs to the question: what follows it differs
    n_shared = min(n_shared, min(len(prompt) for prompt, _ in pairs) - 1)
    row = Row(pairs[0][0][:n_shared], [0] * n_shared, list(range(n_shared)), [False] * n_shared)
    for n, (prompt, completion) in enumerate(pairs, 1):
        own = prompt[n_shared:] + completion
        if n > 1 and len(row.ids) + len(own) > LONGEST:
            return row, pairs[n - 1 :]
        row.ids.extend(own)
        row.question.extend([n] * len(own))
        row.position.extend(range(n_shared, n_shared + len(own)))
        row.learnt.extend([False] * (len(prompt) - n_shared) + [True] * len(completion))
    return row, []


def batch(packed: Sequence[Row]) -> dict[str, Tensor]:
    """One row as tensors: `input_ids`, `position_ids` and `labels` (1, T), which are shifted by one
    already, and an `attention_mask` (1, 1, T, T) that is added to the scores."""
    (row,) = packed
    question = torch.tensor(row.question)  # (T,)
    before = torch.ones(len(row.ids), len(row.ids), dtype=torch.bool).tril()
    seen = before & ((question[:, None] == question) | (question == 0))  # (T, T)
    labels = [
        following if learnt else -100
        for following, learnt in zip(row.ids[1:], row.learnt[1:], strict=True)
    ]
    return {
        "input_ids": torch.tensor([row.ids]),
        "position_ids": torch.tensor([row.position]),
        "attention_mask": torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None],
        "labels": torch.tensor([[*labels, -100]]),
    }
