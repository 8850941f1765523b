"""What GRPO needs to be told, whoever runs it: groups, their reward, the order of the prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Any

import torch

from distill_lab.losses.policy_gradient import PolicyKind, Scale
from distill_lab.run.records import LabError
from distill_lab.sampling.jobs import Completion, Job

# What a completion of a prompt is worth. Equal rewards are compared as floats: give powers of two.
Reward = Callable[[Job, Completion], float]


@dataclass(frozen=True, slots=True)
class GrpoSettings:
    """`group` completions a prompt, of at most `max_new_tokens`, sampled at `temperature` from all
    tokens; `kind`, `epsilon`, `epsilon_high` and `beta` are those of `policy_loss`, `scale` that of
    `group_advantages`. `vllm` samples with vLLM on the same GPU (TRL alone; its release 1.15 knows
    vLLM 0.21 to 0.31)."""

    group: int = 8
    max_new_tokens: int = 96
    temperature: float = 1.0
    kind: PolicyKind = "grpo"
    scale: Scale = "group"
    epsilon: float = 0.2
    epsilon_high: float | None = None
    beta: float = 0.0
    vllm: bool = False


def require_number(reward: float, job: Job) -> float:
    """The reward. LabError where it is NaN."""
    if math.isnan(reward):
        raise LabError(
            f"Question {job.question_id}: expected a reward that is a number, found NaN. Correct "
            "the reward."
        )
    return reward


def prompt_order(n: int, n_prompts: int, seed: int) -> list[int]:
    """The first `n_prompts` of n prompts that are gone through again and again, each time in
    another order."""
    epochs = (
        torch.randperm(n, generator=torch.Generator().manual_seed(seed + epoch)).tolist()
        for epoch in count()
    )
    return list(islice(chain.from_iterable(epochs), n_prompts))


def require_some_signal(rows: Iterable[Mapping[str, Any]]) -> None:
    """LabError where all groups of all logged steps were `dead`: then no reward taught anything."""
    dead: Sequence[float] = [row["dead"] for row in rows]
    if dead and min(dead) == 1:
        raise LabError(
            f"Reward: expected a group whose completions differ in it, found none in {len(dead)} "
            "steps. Begin with a student that is right now and then (a little fine-tuning on "
            "traces), or take larger groups."
        )
