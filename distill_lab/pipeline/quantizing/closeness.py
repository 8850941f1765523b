"""How far a model is from the dense one, token by token: KL, and whether both would say the same.

Finer than any score: on the dense model's own answers, or on reviews, every token counts.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from distill_lab.losses.distillation import DenseTeacher, Objective, divergence
from distill_lab.models.loading import LanguageModel, head
from distill_lab.pipeline.pruning.evaluate import dense_answers
from distill_lab.pipeline.pruning.reading.answers import answers_as_texts
from distill_lab.pipeline.pruning.records import ModelsFolder
from distill_lab.pipeline.pruning.training import text_examples
from distill_lab.pipeline.quantizing.records import Closeness
from distill_lab.sampling.label_logits import prompt_states
from distill_lab.training.batches import Encoded


def held_out_texts(task: str, folder: ModelsFolder, tokenizer: Any) -> dict[str, Encoded]:
    """By id what is read: the dense model's answers to evaluation questions, or the reviews; of
    each the tokens after a prompt."""
    entries = folder.entries(task)[1].read()
    if task == "squad":
        answers = dense_answers(folder)
        texts = answers_as_texts({entry: answers[entry.id] for entry in entries}, tokenizer)
    else:
        texts = text_examples(entries, tokenizer)
    return {entry.id: text for entry, text in zip(entries, texts, strict=True)}


def compare(
    model: LanguageModel,
    dense: LanguageModel,
    texts: Mapping[str, Encoded],
    have: set[str],
    size: int,
    title: str,
) -> Generator[list[Closeness]]:
    """Of all texts, so many at a time, but for the batches of which `have` holds every id. Batches
    depend on all texts, so that what goes on computes what the whole would have. Without a `title`
    there is no progress bar."""
    ids = sorted(texts, key=lambda id: len(texts[id].student_prompt) + len(texts[id].completion))
    batches = [ids[start : start + size] for start in range(0, len(ids), size)]
    todo = [batch for batch in batches if not have.issuperset(batch)]
    there = len(ids) - sum(map(len, todo))
    quiet: Any = {} if title else {"disable": True}  # False would overrule TQDM_DISABLE
    with tqdm(total=len(ids), initial=there, desc=title, **quiet) as bar:
        for batch in todo:
            yield _compared(model, dense, batch, [texts[id] for id in batch])
            bar.update(len(batch))


@torch.inference_mode()
def _compared(
    model: LanguageModel, dense: LanguageModel, ids: Sequence[str], texts: Sequence[Encoded]
) -> list[Closeness]:
    rows = [text.student_prompt + text.completion for text in texts]
    theirs, _ = prompt_states(dense, rows)  # (B, T, H)
    ours, _ = prompt_states(model, rows)
    found: list[Closeness] = []
    for n, (id, text, row) in enumerate(zip(ids, texts, rows, strict=True)):
        told = slice(len(text.student_prompt) - 1, len(row) - 1)  # each predicts the next token
        teacher = DenseTeacher(theirs[n, told], head(dense.lm))
        log_p, log_q = teacher.outcomes(head(model.lm)(ours[n, told]), 1.0)  # (N, V) twice
        kl = float(divergence(log_p, log_q, Objective()).double().sum())
        agreed = int((log_p.argmax(-1) == log_q.argmax(-1)).sum())
        found.append(Closeness(id, kl, agreed, len(text.completion)))
    return found
