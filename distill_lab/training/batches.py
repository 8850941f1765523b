"""From kept traces to tensors: examples as token ids, and batches of them with masks and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distill_lab.losses.distillation import completion_labels
from distill_lab.run.records import Example, LabError
from distill_lab.tasks.prompts import BEGUN, encode, render
from distill_lab.tasks.squad.task import SQUAD
from distill_lab.tasks.task import Task
from distill_lab.training.byte_spans import TheirTokens, their_tokens


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as token ids; the completion ends with the end token unless it was cut. `theirs`
    is the completion in the tokens of a teacher that has others."""

    student_prompt: list[int]
    teacher_prompt: list[int]
    completion: list[int]
    theirs: TheirTokens | None = None

    @property
    def read_by_teacher(self) -> list[int]:
        """The completion as the teacher reads it."""
        return self.completion if self.theirs is None else self.theirs.ids


def encode_examples(
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    teacher_tokenizer: PreTrainedTokenizerBase | None = None,
    teacher_shots: int = 0,
    task: Task = SQUAD,
    across: bool = False,
) -> list[Encoded]:
    """The examples as token ids; what is longer than `max_length` tokens is cut from the end.
    `across`: the teacher reads the completions in its own tokens, too.

    Student and teacher each read the prompt through their own chat template, the teacher's with
    worked examples (`teacher_shots`): only the completion's positions meet in the loss. Without a
    teacher its prompt goes through the student's template. How many examples were cut, or left out
    as their prompt leaves no room, is printed; LabError where none is left.
    """
    encoded, n_cut = [], 0
    for example in examples:
        prompt = _prompt_ids(example.prompt, tokenizer, 0, task)
        teacher_prompt = _prompt_ids(
            example.prompt, teacher_tokenizer or tokenizer, teacher_shots, task
        )
        text: Any = tokenizer(example.completion, add_special_tokens=False)
        completion = [*text.input_ids, tokenizer.eos_token_id]
        room = max_length - len(prompt)
        n_cut += 0 < room < len(completion)
        if room > 0:
            kept = completion[:room]
            theirs = (
                their_tokens(example.completion, kept, tokenizer, teacher_tokenizer)
                if across
                else None
            )
            encoded.append(Encoded(prompt, teacher_prompt, kept, theirs))
    n_dropped = len(examples) - len(encoded)
    if n_cut or n_dropped:
        print(
            f"train: {n_cut} examples cut to {max_length} tokens, "
            f"{n_dropped} left out as their prompt alone is longer"
        )
    if not encoded:
        raise LabError(
            f"--train.max-length {max_length}: expected room for a prompt, found none. "
            "Choose a larger one."
        )
    return encoded


def _prompt_ids(text: str, tokenizer: Any, n_shots: int, task: Task) -> list[int]:
    """A prompt without the `<think>` that sampling adds: here it is in the completion."""
    return encode(tokenizer, render(text, tokenizer, n_shots, task).removesuffix(BEGUN))


def blank(pad: int) -> Encoded:
    """An example without a completion: it fills a place in a batch and adds nothing to the loss."""
    return Encoded([pad], [0], [])


def collate(batch: Sequence[Encoded], pad: int) -> dict[str, Tensor]:
    """Right-padded `input_ids`, `attention_mask` and `labels`, each (B, T); the same for the
    teacher's prompts under `teacher_…`, with a T of their own, padded with an id that every
    vocabulary has."""
    student = _padded([(e.student_prompt, e.completion) for e in batch], pad)
    teacher = _padded([(e.teacher_prompt, e.read_by_teacher) for e in batch], 0)
    return {**student, **{f"teacher_{name}": value for name, value in teacher.items()}}


def _padded(rows: Sequence[tuple[list[int], list[int]]], pad: int) -> dict[str, Tensor]:
    # where each completion begins and ends
    bounds = torch.tensor([[len(p), len(p) + len(c)] for p, c in rows])  # (B, 2)
    width = int(bounds.max())
    ids = torch.tensor([p + c + [pad] * (width - len(p) - len(c)) for p, c in rows])  # (B, T)
    position = torch.arange(width)  # (T)
    attended = position < bounds[:, 1:]  # (B, T)
    labels = completion_labels(ids, attended & (position >= bounds[:, :1]))  # (B, T)
    return {"input_ids": ids, "attention_mask": attended.long(), "labels": labels}
