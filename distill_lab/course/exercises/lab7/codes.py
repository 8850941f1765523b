"""Lab 7's exercise quantize: the nearest code of each weight, and the last one beyond the ends."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distill_lab.course.exercises.comparing import Either
from distill_lab.course.exercises.exercise import Exercise, Function, Step, expect
from distill_lab.course.exercises.lab7.answer_types import CODES
from distill_lab.course.exercises.lab7.naming import unlike
from distill_lab.models.quantization import quantize as engine
from distill_lab.models.quantization.scheme import Scheme

Case = tuple[Tensor, Tensor, Tensor, int, bool]  # the arguments of quantize


def quantize(rows: Tensor, scale: Tensor, zero_point: Tensor, bits: int, symmetric: bool) -> Tensor:
    """The codes, int32 (G, n), of rows (G, n)."""
    return engine.codes_of(rows, scale, zero_point, Scheme(bits, symmetric))


def _instead(case: Case) -> dict[str, Any]:
    """What is often given, and its result; of equal results the first is named."""
    rows, scale, zero_point, bits, symmetric = case
    low, high = Scheme(bits, symmetric).code_range
    ratio = rows / scale  # (G, n)
    nearest = ratio.round() + zero_point

    def within(codes: Tensor) -> Tensor:
        return codes.clamp(low, high)

    def rounded(how: Callable[[Tensor], Tensor]) -> Either:
        codes = how(ratio) + zero_point, how(ratio + zero_point)
        return Either((*map(within, codes), *codes))

    return {
        "Beyond the ends nothing is clamped: what is too large gets the last code.": nearest,
        f"The lowest code is {low}: it is left out.": nearest.clamp(low + 1, high),
        _UNROUNDED: Either((within(ratio + zero_point), ratio + zero_point)),
        _TIES: Either(within(way(ratio) + zero_point) for way in (_away, _upwards)),
        _CUT: rounded(torch.trunc),
        "These are the codes below: the nearest is asked for (round, not floor).":
            rounded(torch.floor),
        "These are the codes above: the nearest is asked for (round, not ceil).":
            rounded(torch.ceil),
        _SUBTRACTED: within(ratio.round() - zero_point),
        _NO_ZERO: Either((within(ratio.round()), ratio.round())),
        _WRAPS: Either((_wrapped(nearest, -128, 256), _wrapped(nearest, 0, 256),
                        _wrapped(nearest, low, high - low + 1))),
        _CLAMP_FIRST: within(ratio.round()) + zero_point,
        f"The codes of {'these' if bits == 8 else f'{bits}'} bits run from {low} to {high}: "
        "that is the range.": Either(nearest.clamp(*ends) for ends in _other_ends(bits)),
        "Multiplied by the scale: w / scale counts the steps.": within(
            (rows * scale).round() + zero_point),
        "These are weights again: the codes are asked for.":
            (within(nearest) - zero_point) * scale,
    }  # fmt: skip


def _other_ends(bits: int) -> list[tuple[int, int]]:
    half = 2 ** (bits - 1)
    return [(-half, half - 1), (0, 2 * half - 1), (-128, 127), (0, 255), (-127, 127)]


def _away(ratio: Tensor) -> Tensor:
    """Of two equally near codes the one away from 0."""
    return ratio.sign() * (ratio.abs() + 0.5).floor()


def _upwards(ratio: Tensor) -> Tensor:
    """Of two equally near codes the greater."""
    return (ratio + 0.5).floor()


def _wrapped(codes: Tensor, low: int, n: int) -> Tensor:
    """As integers of n values from `low` on keep them."""
    return (codes - low) % n + low


def _asked(function: Function, case: Case) -> None:
    right = quantize(*case)
    expect(function, case, right, unlike(_instead(case), right))


def _case(rng: random.Random, bits: int, symmetric: bool, codes: list[list[float]]) -> Case:
    """Weights that stand at these codes, in rows of other scales and zero points."""
    low, high = Scheme(bits, symmetric).code_range
    scale = torch.tensor([[rng.uniform(0.1, 0.9) / 2**n] for n in range(len(codes))])
    middle = (high - low + 1) // 3
    zero_points = [[0.0 if symmetric else float(rng.randint(2, middle))] for _ in codes]
    zero_point = torch.tensor(zero_points)
    return (torch.tensor(codes) - zero_point) * scale, scale, zero_point, bits, symmetric


def _beside(rng: random.Random, low: int, high: int, shape: tuple[int, int]) -> list[list[float]]:
    """Places between these codes, each clearly nearest to one of them."""
    n_rows, width = shape

    def place() -> float:
        return rng.randint(low + 1, high - 1) + rng.choice((-1, 1)) * rng.uniform(0.2, 0.4)

    return [[place() for _ in range(width)] for _ in range(n_rows)]


def _nearest(function: Function, rng: random.Random) -> None:
    one, none = torch.tensor([[0.5]]), torch.tensor([[0.0]])
    _asked(function, (torch.tensor([[0.3, -0.3, 0.9, -1.4]]), one, none, 8, True))
    for bits, high in ((8, 127), (4, 7)):
        _asked(function, _case(rng, bits, True, _beside(rng, -high, high, (2, 4))))
    scale = torch.tensor([[2.0 ** -rng.randint(1, 4)] for _ in range(2)])
    halves = torch.tensor([[2.5, -2.5, 3.5, -3.5], [rng.randint(-90, 90) + 0.5 for _ in range(4)]])
    _asked(function, (halves * scale, scale, torch.zeros(2, 1), 8, True))


def _ends(function: Function, rng: random.Random) -> None:
    one, none = torch.tensor([[1.0]]), torch.tensor([[0.0]])
    _asked(function, (torch.tensor([[127.4, 127.6, 130.0, -128.6, -300.0]]), one, none, 8, True))
    for bits in (8, rng.choice((3, 4))):
        half = 2 ** (bits - 1)
        beyond = [[half * rng.choice((-1, 1)) * rng.uniform(1.1, 5) for _ in range(3)],
                  [half - 0.4, -half - 0.7, half + 0.3]]  # fmt: skip
        _asked(function, _case(rng, bits, True, beyond))
        far = [[half + half * rng.choice((-1, 1)) * rng.uniform(5, 9) for _ in range(5)]]
        _asked(function, _case(rng, bits, False, far))


def _zero_point(function: Function, rng: random.Random) -> None:
    _asked(function, (torch.tensor([[0.3, -0.3, 0.9]]), torch.tensor([[0.5]]),
                      torch.tensor([[3.0]]), 3, False))  # fmt: skip
    for bits in (8, rng.choice((4, 5))):
        high = 2**bits - 1
        places = _beside(rng, 0, high, (2, 4))
        for row in places:  # a code that symmetric ones do not have
            row[rng.randrange(4)] = high - 1 - rng.uniform(0.1, 0.4)
        _asked(function, _case(rng, bits, False, places))


_UNROUNDED = "Nothing is rounded: a code is a whole number."
_CUT = "What is behind the point is cut off (.int(), trunc): the nearest code is asked for, so "
_CUT += "that no weight is more than half a step away."
_TIES = "Of two equally near codes the even one is asked for: 2.5 becomes 2, as torch.round does."
_SUBTRACTED = "The zero point is subtracted: it is added to make codes, and subtracted to make "
_SUBTRACTED += "weights."
_NO_ZERO = "The zero point is not added."
_WRAPS = "The codes wrap round: an int8 has no 128, and makes -128 of it. Clamp before you "
_WRAPS += "change the number's format."
_CLAMP_FIRST = "The codes are clamped before the zero point is added: what is stored must be in "
_CLAMP_FIRST += "the range, so clamp last."
QUANTIZE = Exercise(
    "lab7",
    "quantize",
    quantize,
    (
        Step("the nearest code, of two equally near ones the even one", 1, _nearest),
        Step("what lies beyond the ends gets the last code", 1, _ends),
        Step("asymmetric: the zero point is added, and codes run from 0", 1, _zero_point),
    ),
    (
        "Three steps: how many scales long is the weight; round; add the zero point. And then stay "
        "in the range.",
        "torch.round takes the nearest whole number, and of two equally near ones the even one.",
        "codes.clamp(lowest, highest), with ends that depend on bits and on symmetric; then "
        ".int().",
    ),
    CODES,
    minutes=10,
    difficulty="easy",
)
