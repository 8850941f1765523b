"""Lab 7's exercise dequantize: the weights that codes stand for."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from distill_lab.course.exercises.comparing import Either
from distill_lab.course.exercises.exercise import Exercise, Function, Step, expect
from distill_lab.course.exercises.lab7.answer_types import FLOATS
from distill_lab.course.exercises.lab7.naming import unlike
from distill_lab.models.quantization import quantize as engine
from distill_lab.models.quantization.scheme import Scheme

Case = tuple[Tensor, Tensor, Tensor]  # the arguments of dequantize


def dequantize(codes: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """The weights, float32 (G, n), of codes (G, n)."""
    return engine.dequantize(engine.Quantized(codes, scale, zero_point, Scheme()))


def _instead(case: Case) -> dict[str, Any]:
    """What is often given, and its result; of equal results the first is named."""
    codes, scale, zero_point = case
    steps = codes - zero_point
    by_the_last = scale.flatten()[-1] * steps
    return {
        _ADDED: (codes + zero_point) * scale,
        _IGNORED: codes * scale,
        "All are one step off: code z itself must become 0.": Either(
            ((steps - 1) * scale, (steps + 1) * scale)),
        _LATE: codes * scale - zero_point,
        "Divided by the scale: a code counts steps, so steps times scale.": steps / scale,
        "These are steps: times the scale they are weights.": steps,
        "One scale serves all rows: each row has its own.": Either(
            (by_the_last, scale[0] * steps, scale.mean() * steps)),
        "The sign is turned: codes above the zero point are weights above 0.": -steps * scale,
        _BYTE: Either(
            (codes.to(kind) - zero_point) * scale for kind in (torch.int8, torch.uint8)),
        "An int16 ends at 32767: 16-bit codes without a sign go on to 65535.":
            (codes.to(torch.int16) - zero_point) * scale,
        _HALF: Either((_in(codes, kind) - _in(zero_point, kind)) * _in(scale, kind)
                      for kind in (torch.float16, torch.bfloat16)),
        f"{_HALF} ": Either((_in(codes, kind) - zero_point) * scale
                            for kind in (torch.float16, torch.bfloat16)),
        "The weights are cut to whole numbers: float32 is asked for.": Either(
            ((steps * scale).trunc(), (steps * scale).round())),
    }  # fmt: skip


def _in(values: Tensor, kind: torch.dtype) -> Tensor:
    return values.to(kind)


def _asked(function: Function, case: Case) -> None:
    right = dequantize(*case)
    expect(function, case, right, unlike(_instead(case), right), within=2e-5)


def _case(rng: random.Random, codes: list[list[int]], zero_points: list[int]) -> Case:
    scale = torch.tensor([[round(rng.uniform(0.1, 0.9), 3) * 3**n] for n in range(len(codes))])
    zero_point = torch.tensor([[float(z)] for z in zero_points])
    return torch.tensor(codes, dtype=torch.int32), scale, zero_point


def _small(function: Function, rng: random.Random) -> None:
    """Codes of at most 5 bits, symmetric ones too."""
    _asked(function, _case(rng, [[0, 1, 3, 7]], [3]))
    codes = [[rng.randint(0, 31) for _ in range(3)] for _ in range(2)]
    _asked(function, _case(rng, codes, [rng.randint(4, 15), rng.randint(16, 28)]))
    _asked(function, _case(rng, [[rng.randint(-8, 7) for _ in range(3)] for _ in range(2)], [0, 0]))


def _wide(function: Function, rng: random.Random) -> None:
    """Codes of 8 and of 16 bits, far from their zero points."""
    for highest in (255, 2**16 - 1):
        third = highest // 3
        codes = [
            [
                rng.randint(2 * third, highest),
                rng.randint(0, third // 8),
                highest - rng.randint(0, 9),
            ]
            for _ in range(2)
        ]
        _asked(function, _case(rng, codes, [rng.randint(third // 2, third) for _ in codes]))


_ADDED = "The zero point is added: it is the code of 0, so subtract it."
_IGNORED = "The zero point is missing: it is the code of 0, so subtract it."
_LATE = "The zero point is a code: subtract it before the scale is multiplied."
_BYTE = "In a byte codes wrap round: an int8 ends at 127, and makes -56 of 200. Take float32."
_HALF = (
    "Computed in 16 bits, which have 2 to 4 digits, and end at 65504 as a float16: take float32."
)
DEQUANTIZE = Exercise(
    "lab7",
    "dequantize",
    dequantize,
    (
        Step("(code - zero point) times scale, each row with its own", 1, _small),
        Step("codes of 8 and of 16 bits lose nothing", 1, _wide),
    ),
    (
        "The zero point is the code that stands for 0: how many steps above it is a code?",
        "Steps times scale. (G, n) and (G, 1) meet as they are: each row takes its own.",
        "Before you subtract make floats of the codes: codes.float().",
    ),
    FLOATS,
    minutes=5,
    difficulty="easy",
)
