"""A student before it learns, while it learns, and after: what it writes of the same few questions,
and how far it is from what its teacher writes of others, at steps that lie closer together where it
changes most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from tqdm import tqdm
from transformers import TrainerCallback

from distill_lab.losses.distillation import Objective, completion_states
from distill_lab.losses.fused import distillation_loss
from distill_lab.models.loading import LanguageModel, head, hidden_states
from distill_lab.sampling.decode import complete
from distill_lab.sampling.jobs import Job
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.prompts import parse_unfinished
from distill_lab.training.batches import Encoded, collate
from distill_lab.training.teacher_cache.build import TeacherCache

AT = (0, 20, 60)  # optimiser steps, beside the last
WATCHED = "watched"  # where the completions stand in the trainer's log
HELD_OUT = "held_out"  # and the losses
_SHOWN = 24  # characters of an answer in a line
_ROWS = 4  # examples that go through the student at a time


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Answers of the teacher's from which no student learns, and its targets there. The objective's
    alpha is above 0: of both losses each is told apart."""

    examples: Sequence[Encoded]
    targets: TeacherCache
    objective: Objective

    @torch.no_grad()
    def losses(self, student: LanguageModel) -> dict[str, float]:
        """The student's `ce` and `kl` there, nats a token; the KL as in training, at its
        temperature."""
        lm, pad = student.lm, cast("int", student.tokenizer.pad_token_id)
        n_tokens = sum(len(each.completion) for each in self.examples)
        sums = {"ce": 0.0, "kl": 0.0}
        for start in range(0, len(self.examples), _ROWS):
            rows = self.examples[start : start + _ROWS]
            batch = {name: tensor.to(lm.device) for name, tensor in collate(rows, pad).items()}
            hidden = hidden_states(lm, batch["input_ids"], batch["attention_mask"])
            states, tokens = completion_states(hidden, batch["labels"])
            teacher = self.targets.targets(rows, self.objective.temperature).to(lm.device)
            loss = distillation_loss(
                states, head(lm), tokens, self.objective, teacher, n_items=n_tokens
            )
            sums = {"ce": sums["ce"] + float(loss.ce), "kl": sums["kl"] + float(loss.kl)}
        return sums


class Watch(TrainerCallback):
    """Adds `{"step": …, "watched": {question id: completion}, "held_out": {"ce": …, "kl": …}}` to
    the trainer's log, greedily, and prints the answers in a line. The log is part of a checkpoint,
    so that training which goes on from one has what was said up to there. Weights and random
    numbers stay as they are.
    """

    def __init__(
        self,
        student: LanguageModel,
        jobs: Sequence[Job],
        max_new_tokens: int,
        title: str,
        held_out: HeldOut | None = None,
    ) -> None:
        self.student, self.jobs, self.title = student, list(jobs), title
        self.held_out = held_out
        self.sampling = Sampling(max_new_tokens=max_new_tokens)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            self._ask(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in AT or state.global_step == state.max_steps:
            self._ask(state)

    def _ask(self, state: Any) -> None:
        lm = self.student.lm
        was_training = lm.training
        lm.eval()
        made = complete(self.student, self.jobs, self.sampling)
        texts = {job.question_id: completions[0].text for job, completions in made}
        row: dict[str, Any] = {"step": state.global_step, WATCHED: texts}
        if self.held_out:
            row[HELD_OUT] = self.held_out.losses(self.student)
        lm.train(was_training)
        state.log_history.append(row)
        answers = [parse_unfinished(text).answer[:_SHOWN] or "–" for text in texts.values()]
        tqdm.write(f"{self.title}, step {state.global_step}: {' | '.join(answers)}")
