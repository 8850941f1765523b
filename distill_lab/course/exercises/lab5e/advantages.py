"""Lab 5e's exercise group_advantages: how much better than its group each completion is."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from distill_lab.course.exercises.comparing import brief
from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, difference, expect
from distill_lab.course.exercises.result_types import TENSOR
from distill_lab.losses import policy_gradient

_NEAR = 1e-3  # whatever small number guards the division


def group_advantages(rewards: Tensor) -> Tensor:
    """(r - mean) / (std + 1e-4) over each group of rewards (G, n), 0 where all of it are equal."""
    return policy_gradient.group_advantages(rewards).advantages


def _instead(rewards: Tensor) -> dict[str, Tensor]:
    """What is often written for them, and its result."""
    centred = rewards - rewards.mean(1, keepdim=True)
    down = rewards.std(0, correction=min(1, len(rewards) - 1))  # (n), without a warning for one row
    return {
        _TURNED: -group_advantages(rewards),
        _BATCH: (rewards - rewards.mean()) / (rewards.std() + 1e-4),
        "The mean of the group is taken off, and of the batch the deviation: both are the group's.":
            centred / (rewards.std() + 1e-4),
        "The axis is turned round: a group is a row, and what is compared stands in one row.":
            (rewards - rewards.mean(0)) / (down + 1e-4),
        "The mean is taken off, and nothing divided: that is Dr. GRPO's. Here a group's standard "
        "deviation divides.": centred,
        "The deviation divides, and the mean is not taken off: then nothing is below its group.":
            rewards / (rewards.std(1, keepdim=True) + 1e-4),
        "The variance divides: its root is asked for, the standard deviation.":
            centred / (rewards.var(1, keepdim=True) + 1e-4),
        "The deviation is divided by n. The one that is asked for, by n - 1, is torch's default.":
            centred / (rewards.std(1, keepdim=True, unbiased=False) + 1e-4),
        "The guard is too large: 1e-4 hardly shows where rewards differ.":
            centred / (rewards.std(1, keepdim=True) + 1),
    }  # fmt: skip


def _held(function: Function, rewards: Tensor) -> None:
    expect(function, [rewards], group_advantages(rewards), _instead(rewards), within=_NEAR)


def _drawn(rng: random.Random, groups: int) -> Tensor:
    """Rewards of several sizes; no two groups alike, none of them dead."""
    n = rng.randint(4, 7)
    rows = [[rng.choice((0.0, 0.5, 1.0, 2.0)) + 3 * g for _ in range(n)] for g in range(groups)]
    for g, row in enumerate(rows):
        row[:2] = 3.0 * g, 3.0 * g + 1 + rng.random()
    return torch.tensor(rows)


def _formula(function: Function, rng: random.Random) -> None:
    _held(function, torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    _held(function, _drawn(rng, 1))


def _by_group(function: Function, rng: random.Random) -> None:
    _held(function, torch.tensor([[1.0, 0.0, 0.0], [4.0, 4.0, 5.0]]))
    _held(function, _drawn(rng, rng.randint(2, 4)))


def _dead(function: Function, rng: random.Random) -> None:
    """Of several numbers, since which of them a mean of floats misses depends on their count."""
    n = rng.choice((6, 9, 10))
    for group in ([1.0] * 4, [0.0] * 4, [0.2] * 8, [0.7] * 8, [0.3] * 12, [rng.random()] * n):
        _nought(function, torch.tensor([group]), len(group))
    living = rng.sample([1.0] * 2 + [0.0] * 6, 8)
    _nought(function, torch.tensor([living, [0.7] * 8]), 8)


def _nought(function: Function, rewards: Tensor, n: int) -> None:
    """The last group of these is dead, and its advantages are exactly 0; a first one is not."""
    call = f"group_advantages({brief(rewards)})"
    yours = function(rewards.clone())
    if tuple(yours.shape) != tuple(rewards.shape):
        raise difference(call, brief(yours), f"a tensor {tuple(rewards.shape)}")
    dead = yours[-1]
    if dead.isnan().any():
        raise difference(call, brief(yours), "0 where all rewards are equal", _NAN)
    if (dead != 0).any():
        raise difference(call, brief(dead), brief([0.0] * n), _NEARLY)
    if len(rewards) > 1 and not yours[0].any():
        raise difference(call, brief(yours), brief(group_advantages(rewards)), _ALL)


_NAN = "0 divided by 0 is NaN, and one NaN makes the whole step's gradient NaN: guard the division."
_NEARLY = "Nearly 0 is not 0: the mean of eight times .2 is not quite .2 in floats. Ask the "
_NEARLY += "rewards themselves whether they are equal, largest and smallest."
_ALL = "The first group's rewards differ: it is not dead."
_TURNED = "The sign is turned: what is better than its group has an advantage above 0."
_BATCH = "Mean and deviation are those of the whole batch: each group has its own, or an easy "
_BATCH += "question would count as good work."
_FORMULA = "the distance from the group's mean, in standard deviations"
GROUP_ADVANTAGES = Exercise(
    "lab5e",
    "group_advantages",
    group_advantages,
    (
        Step(_FORMULA, 1, _formula),
        Step("each group by itself", 1, _by_group),
        Step("exactly 0 for a group whose rewards are all equal", 1, _dead),
    ),
    (
        "rewards.mean(1, keepdim=True) is each group's mean, in a shape that can be taken off.",
        "(rewards - mean) / (std + 1e-4), with the std of each row. The 1e-4 keeps 0 / 0 away.",
        "equal = rewards.amax(1, keepdim=True) == rewards.amin(1, keepdim=True), and "
        "advantages.masked_fill(equal, 0.0).",
    ),
    TENSOR,
    (Slip(_TURNED, _FORMULA, lambda f: lambda rewards: _negative(f(rewards))),),
    minutes=10,
    difficulty="medium",
)


def _negative(advantages: Any) -> Tensor:
    return -TENSOR.plain(advantages)
