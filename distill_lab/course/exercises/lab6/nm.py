"""Lab 6's exercise nm_mask: n of each m neighbours are kept."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, on_results
from distill_lab.course.exercises.lab6.answer_types import MASK
from distill_lab.course.exercises.lab6.magnitude import all_or_none, spread
from distill_lab.course.exercises.lab6.mask_checks import (
    Masks,
    Wanted,
    by_row,
    expect_mask,
    in_groups_of,
)
from distill_lab.models.pruning import patterns


def nm_mask(scores: Tensor, n: int, m: int) -> Tensor:
    """Bool (out, in): True at the n highest scores of each m neighbours along the input."""
    return patterns.nm_mask(scores, n, m)


def _asked(function: Function, scores: Tensor, n: int, m: int) -> None:
    rule = Wanted(scores, in_groups_of(m), n, f"group of {m}")
    expect_mask(function, (scores, n, m), rule, lambda: _instead(scores, n, m))


def _best(scores: Tensor, n: int, m: int) -> Tensor:
    return Wanted(scores, in_groups_of(m), n, "").mask


def _instead(scores: Tensor, n: int, m: int) -> Masks:
    """What is often written, and its mask; of equal masks the first is named."""
    (out, width), right = scores.shape, _best(scores, n, m)
    apart = scores.reshape(out, m, width // m).transpose(1, 2)  # every (in / m)-th is a group
    return {
        _WORST: _best(-scores, n, m),
        _CUT: _best(scores, m - n, m),
        _WORST_CUT: _best(-scores, m - n, m),
        _TURNED: ~right,
        _OUTPUTS: _best(scores.T, n, m).T if out % m == 0 else ~right,
        _APART: _best(apart.reshape(out, width), n, m)
        .reshape(out, width // m, m)
        .transpose(1, 2)
        .reshape(out, width),
        "The best of a whole row are kept, not of each group: some groups keep too many.": (
            Wanted(scores, by_row, n * width // m, "").mask
        ),
        "That is 2:4, whatever n and m are.": _best(scores, 2, 4) if width % 4 == 0 else ~right,
    }


def _scores(rng: random.Random, out: int, width: int) -> Tensor:
    return spread(rng, out, width).abs()


def _two_of_four(function: Function, rng: random.Random) -> None:
    small = torch.tensor([[0.9, 0.1, 0.7, 0.8, 0.6, 0.3, 0.2, 0.5]]).repeat(4, 1)
    small *= torch.tensor([[1.0], [3.0], [0.5], [2.0]])
    _asked(function, small, 2, 4)
    _asked(function, _scores(rng, 4 * rng.randint(1, 2), 4 * rng.randint(2, 3)), 2, 4)


def _any_pattern(function: Function, rng: random.Random) -> None:
    for n, m in ((1, 4), rng.choice(((2, 3), (3, 5), (5, 6), (1, 3)))):
        _asked(function, _scores(rng, m, m * rng.randint(2, 3)), n, m)


def _equal(function: Function, rng: random.Random) -> None:
    """One group of 2:4, so that it does not matter how groups lie. All are equal; then one is above
    the others, each time another one."""
    level = round(rng.uniform(0.1, 9), 3)
    for place in (None, *rng.sample(range(4), 3)):
        scores = torch.tensor([[level * (2 if n == place else 1) for n in range(4)]])
        rule = Wanted(scores, in_groups_of(4), 2, "group of 4")

        def known(rule: Wanted = rule) -> Masks:
            return {**all_or_none(rule), **_instead(rule.scores, 2, 4)}

        expect_mask(function, (scores, 2, 4), rule, known)


_WORST = "The lowest scores are kept: a high score says that a weight matters."
_CUT = "n of m are cut here: n is how many are kept."
_WORST_CUT = "The n best of each group are cut: they are kept."
_TURNED = "True is what is kept: this mask has it the other way round."
_OUTPUTS = "The groups lie along the outputs (down the columns): the share of zeros is the same, "
_OUTPUTS += "and no sparse kernel takes it. A product sums along the input."
_APART = "A group's members are apart, not neighbours: look at what reshape does with a row."
_TWO = "of each four neighbours along the input two are kept, those with the highest scores"
NM_MASK = Exercise(
    "lab6",
    "nm_mask",
    nm_mask,
    (
        Step(_TWO, 1, _two_of_four),
        Step("any n of any m", 1, _any_pattern),
        Step("n are kept where scores are equal too", 1, _equal),
    ),
    (
        "Bring the scores into a shape in which a group is a row of its own: (out, in / m, m). The "
        "rest is magnitude_mask again.",
        "scores.reshape(out, -1, m) has neighbours of the input in its last dimension; "
        "argsort(dim=-1) there sorts each group by itself.",
        "Write True at the n best places of each group with scatter_, and give the mask the shape "
        "of the scores again.",
    ),
    MASK,
    (
        Slip(_TURNED, _TWO, on_results(lambda mask: 1 - MASK.plain(mask).int())),
        Slip(_WORST, _TWO, lambda f: lambda scores, n, m: f(-scores, n, m)),
        Slip(_OUTPUTS, _TWO,
             lambda f: lambda scores, *nm: MASK.plain(f(scores.mT, *nm)).transpose(0, 1)),
        Slip("The mask is asked for in the shape of the scores, (out, in).", _TWO,
             lambda f: lambda scores, *nm: MASK.plain(f(scores, *nm)).reshape(scores.shape)),
    ),
    minutes=10,
    difficulty="medium",
)  # fmt: skip
