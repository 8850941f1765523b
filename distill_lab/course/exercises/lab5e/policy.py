"""Lab 5e's exercise policy_loss: GRPO's clipped loss of a batch of completions."""

from __future__ import annotations

import math
import random
from typing import Any

import torch
from torch import Tensor

from distill_lab.course.exercises.comparing import brief
from distill_lab.course.exercises.exercise import (
    Exercise,
    Function,
    Slip,
    Step,
    WrongError,
    difference,
    expect,
)
from distill_lab.course.exercises.result_types import LOSS, ResultType
from distill_lab.losses import policy_gradient

Case = tuple[Tensor, Tensor, Tensor, Tensor]  # the arguments of policy_loss
_LOW, _HIGH = 0.8, 1.2


def policy_loss(log_p: Tensor, old_log_p: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    """The clipped loss, a mean over all tokens of the batch (DAPO's), epsilon 0.2."""
    return policy_gradient.policy_loss(log_p, old_log_p, advantages, mask, "dapo").total


def _instead(case: Case) -> dict[str, Any]:
    """What is often written for the loss, and its result."""
    log_p, old, advantages, mask = case
    ratio, a = (log_p - old).exp(), advantages[:, None]
    clipped = ratio.clamp(_LOW, _HIGH)
    gain = torch.min(ratio * a, clipped * a)  # (B, T)
    n = mask.sum()

    def mean(each: Tensor, where: Tensor = mask) -> Tensor:
        return -(each * where).sum() / where.sum().clamp(min=1)

    shorter = mask * torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
    later = mask * torch.cat([torch.zeros_like(mask[:, :1]), mask[:, :-1]], 1)
    by_completion = -((gain * mask).sum(1) / mask.sum(1)).mean()
    return {
        _SIGN: -mean(gain),
        "Nothing is clipped: a step could move a probability as far as it likes.": mean(ratio * a),
        "The minimum is missing: where the ratio has moved against A, the clip then takes the "
        "gradient that would bring it back.": mean(clipped * a),
        "It is clipped above 1.2 alone: for A < 0 the ratio is clipped below 0.8.": mean(
            torch.min(ratio * a, ratio.clamp(max=_HIGH) * a)
        ),
        "It is clipped below 0.8 alone: for A > 0 the ratio is clipped above 1.2.": mean(
            torch.min(ratio * a, ratio.clamp(min=_LOW) * a)
        ),
        "The maximum is taken: the smaller of the two gains is meant, which is pessimistic.": mean(
            torch.max(ratio * a, clipped * a)
        ),
        "The ratio is upside down: the probability now over the one at which it was sampled.": mean(
            torch.min(a / ratio, (1 / ratio).clamp(_LOW, _HIGH) * a)
        ),
        "That is the ratio's logarithm: exp(log_p - old_log_p) is the ratio.": mean(
            (log_p - old) * a
        ),
        "That is REINFORCE, log p times A: here the ratio to the old probability is meant.": mean(
            log_p * a
        ),
        "That is p times A: the ratio is p over the old p, and of logarithms a difference.": mean(
            log_p.exp() * a
        ),
        _BY_COMPLETION: by_completion,
        _SUM: n * mean(gain),
        "The padding counts: tokens where the mask is 0 are none.": -gain.mean(),
        "The padding is left out of the sum, and still counted in what divides: divide by "
        "mask.sum().": -(gain * mask).mean(),
        _END: mean(gain, shorter),
        "The first token of each completion is left out: the mask has a 1 there, so it counts.":
            mean(gain, later),
        "It is divided by the number of completions: by the number of tokens, mask.sum().":
            n * mean(gain) / len(mask),
    }  # fmt: skip


def _lost(function: Function, case: Case) -> None:
    right = policy_loss(*case)
    known: dict[str, Any] = {
        "advantages (B) meet tokens (B, T): advantages[:, None] has one for each completion's row.":
            RuntimeError("size of tensor"),
        **_instead(case),
    }  # fmt: skip
    expect(function, case, right, _unlike(known, right), _shown(case), within=1e-5)


def _unlike(known: dict[str, Any], right: Tensor) -> dict[str, Any]:
    """Without what gives the right result in this case."""
    return {
        name: value
        for name, value in known.items()
        if not (isinstance(value, Tensor) and torch.allclose(value, right, 1e-4, 1e-5))
    }


def _shown(case: Case) -> str:
    log_p, old, advantages, mask = case
    return (
        f"policy_loss: ratios {brief((log_p - old).exp())}, advantages {brief(advantages)}, "
        f"mask {brief(mask)}"
    )


def _case(ratios: list[list[float]], advantages: list[float], mask: list[list[int]]) -> Case:
    """A case of these ratios; the old probabilities are from .3 to .6."""
    ratio = torch.tensor(ratios)
    old = torch.linspace(-1.2, -0.5, ratio.numel()).reshape(ratio.shape)
    return old + ratio.log(), old, torch.tensor(advantages), torch.tensor(mask)


def _ratio(function: Function, rng: random.Random) -> None:
    """Equal lengths, and nothing is clipped."""
    _lost(function, _case([[1.1]], [2.0], [[1]]))
    n, length = rng.randint(2, 3), rng.randint(4, 5)
    ratios = [[rng.uniform(0.85, 1.15) for _ in range(length)] for _ in range(n)]
    advantages = [rng.choice((-1, 1)) * rng.uniform(0.5, 2) for _ in range(n)]
    _lost(function, _case(ratios, advantages, [[1] * length] * n))


def _clip(function: Function, rng: random.Random) -> None:
    """Four completions of one token: both sides, each with A above and below 0. What is clipped on
    one side alone has another mean."""
    _lost(function, _case([[1.6], [0.5], [0.6], [1.5]], [1.0, -1.0, 1.0, -2.0], [[1]] * 4))
    corners = [(rng.uniform(*r), a) for r in ((0.3, 0.7), (1.3, 1.9)) for a in (-1.0, 1.0)]
    rng.shuffle(corners)
    scale = rng.uniform(0.5, 2)
    _lost(function, _case([[r] for r, _ in corners], [scale * a for _, a in corners], [[1]] * 4))


def _mean(function: Function, rng: random.Random) -> None:
    """Completions of other lengths; nothing is clipped. What stands at the padding is anything."""
    _lost(function, _case([[1.1, 1.05, 0.9], [0.95, 7.0, 3.0]], [1.0, 2.0], [[1, 1, 1], [1, 0, 0]]))
    lengths = rng.sample((1, 3, 4), 3)
    ratios = [
        [rng.uniform(0.85, 1.15) if t < n else rng.uniform(2, 5) for t in range(4)] for n in lengths
    ]
    advantages = [rng.uniform(0.5, 1), -rng.uniform(1, 2), rng.uniform(3, 4)]
    mask = [[int(t < n) for t in range(4)] for n in lengths]
    _lost(function, _case(ratios, advantages, mask))


def _gradient(function: Function, rng: random.Random) -> None:
    """Where nothing has moved yet, as in the first step on each sample."""
    advantages = [rng.uniform(0.5, 2), -rng.uniform(0.5, 2)]
    rng.shuffle(advantages)
    log_p, old, *rest = _case([[1.0] * 3] * 2, advantages, [[1] * 3] * 2)
    log_p = old.clone().requires_grad_()
    call = f"policy_loss(log_p, log_p.detach(), {brief(rest[0])}, {brief(rest[1])}).backward()"
    loss = function(log_p, old, *rest)
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        raise WrongError(f"{call}\n{_NO_GRADIENT}")
    if not math.isfinite(float(loss.detach())):
        raise difference(call, brief(loss), "a number")
    loss.backward()
    first = [0.0, 0.0] if log_p.grad is None else log_p.grad[:, 0].tolist()
    if [math.copysign(g != 0, g) for g in first] != [math.copysign(1, -a) for a in advantages]:
        expected = "below 0 where A > 0, above 0 where A < 0"
        raise difference(f"{call}\nlog_p.grad[:, 0]", brief(first), expected, _WRONG_GRADIENT)


def _mean_of(change: Any) -> Any:
    """A slip that multiplies the loss by something of its mask."""
    return lambda f: lambda p, old, a, mask: f(p, old, a, mask) * change(mask)


_NO_GRADIENT = (
    "The loss carries no gradient: nothing would be learnt. Give the tensor (no .item()), "
)
_NO_GRADIENT += "and detach nothing of log_p."
_WRONG_GRADIENT = "A token becomes likelier where its gradient is below 0: what is better than its "
_WRONG_GRADIENT += "group must."
_SIGN = "The sign is turned: a loss is minimised, so the gain has a minus."
_SUM = "That is the sum over the tokens: their mean is asked for."
_BY_COMPLETION = (
    "That is the mean over completions of their means: a token of a long completion then "
)
_BY_COMPLETION += "counts less. The mean over all tokens of the batch is asked for."
_END = "The last token of each completion is left out: the end token is sampled too, and the "
_END += "student must learn when to end."
_RATIO = "the ratio times the advantage, to be minimised"
POLICY_LOSS = Exercise(
    "lab5e",
    "policy_loss",
    policy_loss,
    (
        Step(_RATIO, 1, _ratio),
        Step("clipped on both sides, and pessimistic", 1, _clip),
        Step("the mean over the tokens of the batch, end tokens in and padding out", 1, _mean),
        Step("a gradient that makes the better likelier", 1, _gradient),
    ),
    (
        "ratio = (log_p - old_log_p).exp(), and a = advantages[:, None], which gives each token "
        "the advantage of its completion.",
        "The gain is torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a): clipped, and the smaller of "
        "the two.",
        "-(gain * mask).sum() / mask.sum() is the mean over tokens, as a loss.",
    ),
    ResultType("A tensor with one number is asked for: the mean over all tokens.", LOSS.plain),
    (
        Slip(_SIGN, _RATIO, _mean_of(lambda mask: -1)),
        Slip(_SUM, _RATIO, _mean_of(lambda mask: 1 / mask.sum())),
    ),
    minutes=20,
    difficulty="hard",
)
