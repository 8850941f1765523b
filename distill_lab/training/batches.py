"""From kept traces to tensors: examples as token ids, and batches of them with masks and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distill_lab.losses.distillation import completion_labels
from distill_lab.models.loading import LanguageModel, TokenizerOnly
from distill_lab.run.records import Example, LabError
from distill_lab.run.settings import Config
from distill_lab.tasks.all_tasks import task_of
from distill_lab.tasks.prompts import BEGUN, encode, render
from distill_lab.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as token ids; the completion has its end token unless it was cut."""

    student_prompt: list[int]
    teacher_prompt: list[int]
    completion: list[int]


def encode_examples(
    examples: Sequence[Example],
    student: LanguageModel,
    teacher: LanguageModel | TokenizerOnly | None,
    config: Config,
) -> list[Encoded]:
    """Token ids, cut to train.max-length from the end; what is cut or left out is counted and said.

    Teacher and student have prompts of their own, each through its own chat template: only the
    completion's positions meet in the loss.
    """
    tokenizer, longest = student.tokenizer, config.train.max_length
    teachers = teacher.tokenizer if teacher else tokenizer
    encoded, cut, task = [], 0, task_of(config)
    for example in examples:
        prompt = _prompt_ids(example.prompt, tokenizer, 0, task)
        teacher_prompt = _prompt_ids(example.prompt, teachers, config.models.teacher_shots, task)
        completion = [
            *tokenizer(example.completion, add_special_tokens=False).input_ids,
            tokenizer.eos_token_id,
        ]
        room = longest - len(prompt)
        cut += 0 < room < len(completion)
        if room > 0:
            encoded.append(Encoded(prompt, teacher_prompt, completion[:room]))
    dropped = len(examples) - len(encoded)
    if cut or dropped:
        print(
            f"train: {cut} examples cut to {longest} tokens, "
            f"{dropped} left out as their prompt alone is longer"
        )
    if not encoded:
        raise LabError(
            f"--train.max-length {longest}: expected room for a prompt, found none. "
            "Choose a larger one."
        )
    return encoded


def _prompt_ids(text: str, tokenizer: Any, n_shots: int, task: Task) -> list[int]:
    """A prompt without the begun `<think>`, which is part of the completion that is trained on."""
    return encode(tokenizer, render(text, tokenizer, n_shots, task).removesuffix(BEGUN))


def blank(pad: int) -> Encoded:
    """An example without a completion: it takes a place in a batch, and nothing of it counts."""
    return Encoded([pad], [pad], [])


def collate(batch: Sequence[Encoded], pad: int) -> dict[str, Tensor]:
    """Right-padded ids, masks and labels, all (B, T); the teacher's under `teacher_…`."""
    student = _padded([(e.student_prompt, e.completion) for e in batch], pad)
    teacher = _padded([(e.teacher_prompt, e.completion) for e in batch], pad)
    return {**student, **{f"teacher_{name}": value for name, value in teacher.items()}}


def _padded(rows: Sequence[tuple[list[int], list[int]]], pad: int) -> dict[str, Tensor]:
    # (B, 2): where each completion begins and ends
    lengths = torch.tensor([[len(p), len(p) + len(c)] for p, c in rows])
    width = int(lengths.max())
    ids = torch.tensor([p + c + [pad] * (width - len(p) - len(c)) for p, c in rows])  # (B, T)
    place = torch.arange(width)
    in_completion = (place >= lengths[:, :1]) & (place < lengths[:, 1:])
    return {
        "input_ids": ids,
        "attention_mask": (place < lengths[:, 1:]).long(),
        "labels": completion_labels(ids, in_completion),
    }
