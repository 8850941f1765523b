"""A student that learns from its own samples: they are drawn anew at every optimiser step, and are
trained on once.

What they teach is one of three things. The judge's word: those that it accepts are learnt as text
(rejection sampling fine-tuning), or all are weighted by how much better than their group they are
(GRPO, see `policy`). Or the teacher's distribution at each of their tokens: on-policy distillation
(Agarwal et al. 2024, arXiv 2306.13649), the same objective as with a teacher's traces.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from distill_lab.losses.distillation import Objective
from distill_lab.models.loading import LanguageModel
from distill_lab.run.groups import LEAST, prompts_a_step
from distill_lab.sampling.decode import complete_ids, ends_of
from distill_lab.sampling.jobs import Job, completion_of
from distill_lab.sampling.nucleus import Sampling
from distill_lab.training.batches import Encoded, blank, collate
from distill_lab.training.grpo_settings import Reward, require_number
from distill_lab.training.trainer import DistillationTrainer, Hyperparameters


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question that the student answers while it learns: its prompt, the token ids of this and of
    the teacher's, and examples that the teacher has written, if any."""

    job: Job
    ids: list[int]
    teacher_ids: list[int]
    written: tuple[Encoded, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawing:
    """How samples are drawn: `sampling.n` of each prompt, the group, `rows` sequences at a time.

    `share` is GKD's lambda: of so many prompts the student's own samples are learnt from, of the
    others, where there are any, as many of those that the teacher has written.
    """

    sampling: Sampling
    rows: int
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """A completion to learn from: `reward` is the judge's, `advantage` what a policy gradient makes
    of it."""

    encoded: Encoded
    reward: float = 0.0
    advantage: float = 0.0


class OwnSamplesTrainer(DistillationTrainer):
    """A DistillationTrainer whose examples are the student's own samples of the moment.

    `hyperparameters.batch_size` counts completions: a step draws `batch_size / drawing.sampling.n`
    prompts. With a `reward` only samples that get 1 are learnt from. Random numbers belong to
    (seed, step, question, sample), so a run that goes on from a checkpoint draws what it would have
    drawn. Each step logs tokens that the student wrote and read for it, `sampled` and `prompts`;
    and of its samples the mean `reward` and `length`, the share that `ended`, and the share of
    groups that are `dead`: all rewards alike.
    """

    LEAST = LEAST["rft"]  # samples of a group
    SUMS: ClassVar = (
        *DistillationTrainer.SUMS, "sampled", "prompts", "rows", "ended", "reward", "groups",
        "dead",
    )  # fmt: skip

    def __init__(
        self,
        student: LanguageModel,
        prompts: Sequence[Prompt],
        drawing: Drawing,
        objective: Objective,
        teacher: LanguageModel | None,
        hyperparameters: Hyperparameters,
        folder: Path,
        title: str = "train",
        reward: Reward | None = None,
    ) -> None:
        self.student, self.drawing, self.reward = student, drawing, reward
        group, micro = drawing.sampling.n, hyperparameters.micro_batch
        of_prompts = replace(
            hyperparameters,
            batch_size=prompts_a_step(group, hyperparameters.batch_size, self.LEAST),
            micro_batch=max(1, micro // group) if micro else 0,
        )
        super().__init__(student, prompts, objective, teacher, of_prompts, folder, title)

    def _batch(self, examples: Sequence[Any]) -> Any:
        """Prompts as they are: samples are drawn for all micro-batches of a step at once."""
        return [each for each in examples if isinstance(each, Prompt)]

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The micro-batches of an optimiser step, of samples that are drawn here."""
        groups, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        drawn = iter(self._draw([prompt for group in groups for prompt in group]))
        batches = [self._collated([row for _ in group for row in next(drawn)]) for group in groups]
        return batches, self._get_num_items_in_batch(batches, device)

    def _draw(self, prompts: Sequence[Prompt]) -> list[list[Row]]:
        """Of each prompt the rows to learn from."""
        dice = [self._dice(prompt) for prompt in prompts]
        written = [
            bool(prompt.written) and die.random() >= self.drawing.share
            for prompt, die in zip(prompts, dice, strict=True)
        ]
        own = [prompt for prompt, theirs in zip(prompts, written, strict=True) if not theirs]
        sampled = iter(self._sample(own))
        return [
            self._written(prompt, die) if theirs else self.judged(prompt, next(sampled))
            for prompt, die, theirs in zip(prompts, dice, written, strict=True)
        ]

    def _dice(self, prompt: Prompt) -> random.Random:
        """Random numbers of this prompt at this step."""
        seed, step = self.drawing.sampling.seed, self.state.global_step
        return random.Random(f"{seed} {step} {prompt.job.question_id}")

    def _written(self, prompt: Prompt, dice: random.Random) -> list[Row]:
        return [Row(each) for each in dice.choices(prompt.written, k=self.drawing.sampling.n)]

    def _sample(self, prompts: Sequence[Prompt]) -> list[list[list[int]]]:
        """The token ids of each prompt's samples."""
        sampling = self.drawing.sampling
        sampling = replace(sampling, seed=(sampling.seed << 32) + self.state.global_step)
        ids = {prompt.job.prompt: prompt.ids for prompt in prompts}
        size = max(1, self.drawing.rows // sampling.n)
        made: list[list[list[int]]] = []
        self._lm.eval()
        for start in range(0, len(prompts), size):
            jobs = [prompt.job for prompt in prompts[start : start + size]]
            made += complete_ids(self.student, jobs, sampling, ids)
        self._lm.train()
        self.sums["prompts"] += sum(len(prompt.ids) for prompt in prompts)
        return made

    def judged(self, prompt: Prompt, samples: Sequence[list[int]]) -> list[Row]:
        """The rows of one prompt's samples: all of them, or with a reward those that get 1."""
        rows = self.rewarded(prompt, samples)
        return [row for row in rows if row.reward == 1] if self.reward else rows

    def rewarded(self, prompt: Prompt, samples: Sequence[list[int]]) -> list[Row]:
        """All of a prompt's samples with their rewards, which are counted."""
        tokenizer, ends, job = self.student.tokenizer, ends_of(self.student), prompt.job
        rows: list[Row] = []
        for ids in samples:
            completion = completion_of(job.begun, ids, tokenizer, ends)
            reward = require_number(self.reward(job, completion), job) if self.reward else 0.0
            rows.append(Row(Encoded(prompt.ids, prompt.teacher_ids, ids), reward))
            self.sums["sampled"] += len(ids)
            self.sums["ended"] += completion.finish == "stop"
            self.sums["reward"] += reward
        self.sums["rows"] += len(rows)
        self.sums["groups"] += 1
        self.sums["dead"] += len({row.reward for row in rows}) == 1
        return rows

    def _collated(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Padded tensors (B, T) of the rows; a blank one where there is none."""
        return collate([row.encoded for row in rows] or [blank(self._pad)], self._pad)

    def logged(self, sums: dict[str, float]) -> dict[str, float]:
        rows, groups = max(sums.pop("rows"), 1), max(sums.pop("groups"), 1)
        reward, ended, dead = sums.pop("reward"), sums.pop("ended"), sums.pop("dead")
        judged = {"reward": reward / rows, "dead": dead / groups} if self.reward else {}
        return {**sums, **judged, "ended": ended / rows, "length": sums["sampled"] / rows}
