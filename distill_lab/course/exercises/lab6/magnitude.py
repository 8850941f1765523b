"""Lab 6's exercise magnitude_mask: which weights are the smallest, of a tensor or of each row."""

from __future__ import annotations

import functools
import random

import torch
from torch import Tensor

from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, on_results
from distill_lab.course.exercises.lab6.answer_types import MASK
from distill_lab.course.exercises.lab6.mask_checks import (
    Masks,
    Wanted,
    by_row,
    by_tensor,
    expect_mask,
)
from distill_lab.models.pruning import patterns
from distill_lab.models.pruning.patterns import Group

GROUPS = {"tensor": by_tensor, "row": by_row}


def magnitude_mask(weight: Tensor, sparsity: float, group: Group) -> Tensor:
    """Bool (out, in): False at the `sparsity` smallest |w| of the tensor, or of each row."""
    return patterns.magnitude_mask(weight, sparsity, group)


def wanted(scores: Tensor, sparsity: float, group: str) -> Wanted:
    """The rule for scores (out, in), where sparsity * size is a whole number."""
    size = scores.numel() if group == "tensor" else scores.shape[1]
    return Wanted(scores, GROUPS[group], size - round(sparsity * size), group)


def spread(rng: random.Random, out: int, width: int) -> Tensor:
    """Weights (out, width) of both signs; no two magnitudes are within 4 % of each other."""
    magnitudes = [1.05**n / 10 for n in range(out * width)]
    rng.shuffle(magnitudes)
    signed = [rng.choice((-1, 1)) * round(magnitude, 4) for magnitude in magnitudes]
    return torch.tensor(signed).reshape(out, width)


def all_or_none(rule: Wanted) -> Masks:
    """The masks of one row by comparison with a threshold, the first score that is kept."""
    threshold = rule.scores.sort().values[0, -rule.kept]
    return {
        _EQUAL: rule.scores > threshold,
        f"{_EQUAL} (Here all of them stayed.)": rule.scores >= threshold,
    }


def _asked(function: Function, weight: Tensor, sparsity: float, group: str) -> None:
    rule = wanted(weight.abs(), sparsity, group)
    expect_mask(
        function, (weight, sparsity, group), rule, lambda: _instead(weight, sparsity, group)
    )


def _instead(weight: Tensor, sparsity: float, group: str) -> Masks:
    """What is often written, and its mask; of equal masks the first is named."""
    other = "row" if group == "tensor" else "tensor"
    magnitude, rule = weight.abs(), functools.partial(wanted, group=group)
    right = rule(magnitude, sparsity)
    by_column = wanted(magnitude.T, sparsity, "row").mask.T
    one = 1 / right.groups(weight).shape[-1]  # the share of one weight
    return {
        _TURNED: ~right.mask,
        _SIGNED: rule(weight, sparsity).mask,
        _LARGEST: rule(-magnitude, sparsity).mask,
        f"That is the mask by {other}: by {group} it was asked for.":
            wanted(magnitude, sparsity, other).mask,
        "Each column by itself: a row of W, (out, in), is what one output takes in.": by_column,
        "One too many is cut.": rule(magnitude, min(1, sparsity + one)).mask,
        "One too few is cut.": rule(magnitude, max(0, sparsity - one)).mask,
        "The share that is kept was cut: sparsity is the share of zeros.":
            rule(magnitude, 1 - sparsity).mask,
    }  # fmt: skip


def _tensor(function: Function, rng: random.Random) -> None:
    _asked(function, torch.tensor([[0.9, -0.1, 0.2, 0.8], [0.3, -0.7, 0.6, 0.5]]), 0.25, "tensor")
    _asked(function, spread(rng, rng.randint(3, 5), 8), rng.choice((0.25, 0.5, 0.75)), "tensor")


def _row(function: Function, rng: random.Random) -> None:
    _asked(function, torch.tensor([[0.9, -0.1, 0.2, 0.8], [0.3, -0.7, 0.6, 0.5]]), 0.25, "row")
    weight = spread(rng, rng.randint(3, 5), 8)
    weight[0] *= 20  # of the whole tensor hardly any of this row would go
    _asked(function, weight, rng.choice((0.25, 0.5, 0.75)), "row")


def _equal(function: Function, rng: random.Random) -> None:
    """One row, so that both groups are the same: most weights are equal."""
    width, level = rng.choice((8, 12, 16)), round(rng.uniform(0.1, 9), 3)
    group, sparsity = rng.choice(("row", "tensor")), rng.choice((0.25, 0.5, 0.75))
    signs = [rng.choice((-1, 1)) for _ in range(width)]
    few = rng.sample([1, 2] * (width // 2), width)
    for sizes in ([1] * width, few, [3 - size for size in few]):
        values = [sign * size * level for sign, size in zip(signs, sizes, strict=True)]
        weight = torch.tensor([values])
        rule = wanted(weight.abs(), sparsity, group)
        expect_mask(function, (weight, sparsity, group), rule, lambda r=rule: all_or_none(r))


_EQUAL = "Some are equal, and a comparison with a threshold takes all of them or none: "
_EQUAL += "count them."
_TURNED = "True is what is kept: this mask has it the other way round."
_SIGNED = "The most negative weights go first: it is their size that counts, not their sign."
_LARGEST = "The largest weights are cut."
_ALL = "of the whole tensor the smallest magnitudes go"
MAGNITUDE_MASK = Exercise(
    "lab6",
    "magnitude_mask",
    magnitude_mask,
    (
        Step(_ALL, 1, _tensor),
        Step("of each row the smallest magnitudes go", 1, _row),
        Step("as many as asked for go, where magnitudes are equal too", 1, _equal),
    ),
    (
        "How many weights go is known beforehand: sparsity times the size of a group, which is the "
        "whole tensor, or one row. Which of them go, a sort tells.",
        "`argsort` gives places, and so works with equal magnitudes, where a threshold does not. "
        "weight.abs().argsort(dim=-1) has the places of each row's smallest first.",
        "Start from a mask that is True everywhere; mask.scatter_(-1, places, False) writes False "
        "at these places of each row. For the tensor do it with one row: weight.reshape(1, -1).",
    ),
    MASK,
    (
        Slip(_TURNED, _ALL, on_results(lambda mask: 1 - MASK.plain(mask).int())),
        Slip(_SIGNED, _ALL, lambda f: lambda weight, *rest: f(weight.abs(), *rest)),
        Slip("These are the weights after the cut: the mask is asked for.", _ALL,
             on_results(lambda weight: weight != 0)),
    ),
    minutes=15,
    difficulty="medium",
)  # fmt: skip
