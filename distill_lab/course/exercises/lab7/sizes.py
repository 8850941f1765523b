"""Lab 7's exercise size_bytes: what a quantized weight takes, with all that its codes need."""

from __future__ import annotations

import math
import random
from typing import Any

from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, expect
from distill_lab.course.exercises.lab7.answer_types import WHOLE
from distill_lab.course.exercises.lab7.naming import unlike
from distill_lab.models.quantization import scheme
from distill_lab.models.quantization.scheme import Scheme

Case = tuple[tuple[int, int], int, int, bool]  # the arguments of size_bytes


def in_groups(bits: int, group_size: int, symmetric: bool = True) -> Scheme:
    """The scheme of so many bits with one scale for each group, or where that is 0 each row."""
    if not group_size:
        return Scheme(bits, symmetric)
    return Scheme(bits, symmetric, "group", group_size)


def size_bytes(shape: tuple[int, int], bits: int, group_size: int, symmetric: bool) -> int:
    """Bytes of a quantized weight of this shape (out, in)."""
    return scheme.size_bytes(shape, in_groups(bits, group_size, symmetric))


def n_scales(shape: tuple[int, ...], group_size: int) -> int:
    return in_groups(8, group_size).n_scales(shape)


def _instead(case: Case) -> dict[str, Any]:
    """What is often given, and its number; of equal numbers the first is named."""
    shape, bits, group_size, symmetric = case
    n, scales = math.prod(shape), n_scales(shape, group_size)
    codes = math.ceil(n * bits / 8)

    def total(of_scale: float = 2, scales: int = scales, of_zero: float = bits / 8) -> int:
        zero_points = 0 if symmetric else math.ceil(scales * of_zero)
        return codes + round(scales * of_scale) + zero_points

    exact = n * bits / 8 + 2 * scales + (0 if symmetric else scales * bits / 8)
    zeros = math.ceil(scales * bits / 8)
    return {
        _NO_SCALES: total(of_scale=0),
        f"{_NO_SCALES} ": codes,
        _FLOAT32: total(of_scale=4),
        "A scale is a float16: 2 bytes.": total(of_scale=1),
        _BITS: exact * 8,
        "Of the codes these are bits: 8 bits are a byte.": total() - codes + n * bits,
        "Codes are packed without gaps: 4 bits take half a byte.":
            total() - codes + n * math.ceil(bits / 8),
        "Zero points are forgotten: an asymmetric scheme keeps one beside each scale.":
            total(of_zero=0),
        "Symmetric, the zero point is 0 and not kept.": total() + zeros * symmetric,
        "A zero point has as many bits as a code, no more: it is packed too.":
            total(of_zero=1) if bits != 8 else total(of_zero=2),
        "A zero point has as many bits as a code: it is no float16.": total(of_zero=2),
        "A zero point has as many bits as a code: it is no float32.": total(of_zero=4),
        "The group size is not used: each group has a scale of its own.": total(scales=shape[0]),
        "These are the groups of one row: each row has as many.":
            total(scales=scales // shape[0]),
        "A scale for each column: a row (or a group of its neighbours) has one.":
            total(scales=shape[1]),
        "One scale for all: each row, or each group, has one.": total(scales=1),
        "What is left over takes a byte too: round up (math.ceil).":
            n * bits // 8 + 2 * scales + (0 if symmetric else scales * bits // 8),
        "Bytes are whole: round up what the codes take, and the zero points (math.ceil).": exact,
        "Codes and zero points are two blocks: each ends with a whole byte.": math.ceil(exact),
    }  # fmt: skip


def _asked(function: Function, case: Case) -> None:
    right = size_bytes(*case)
    expect(function, case, right, unlike(_instead(case), right))


def _shape(rng: random.Random, width: int = 8) -> tuple[int, int]:
    """(out, in), not square; `in` is a multiple of the width."""
    return 8 * rng.randint(3, 20) + 8, width * rng.choice((3, 5, 7, 9))


def _rows(function: Function, rng: random.Random) -> None:
    _asked(function, ((3, 8), 8, 0, True))
    for bits in (4, 8, 2):
        _asked(function, (_shape(rng), bits, 0, True))


def _groups(function: Function, rng: random.Random) -> None:
    _asked(function, ((3, 128), 4, 32, True))
    for bits in (4, 8):
        group_size = rng.choice((16, 32, 64))
        _asked(function, (_shape(rng, group_size), bits, group_size, True))


def _zero_points(function: Function, rng: random.Random) -> None:
    """Codes and zero points each leave a part of a byte over, less than a byte together."""
    _asked(function, ((3, 8), 4, 0, False))
    bits = 3
    while True:
        shape = rng.randrange(3, 30, 2), 3 * rng.randrange(3, 30, 2)
        group_size = rng.choice((0, 3))
        left = math.prod(shape) * bits % 8, n_scales(shape, group_size) * bits % 8
        if min(left) > 0 and sum(left) < 8:
            break
    _asked(function, (shape, bits, group_size, False))
    _asked(function, (_shape(rng, 32), 4, 32, False))


def _plus(change: Any) -> Any:
    """A slip of so many bytes a scale: `change` is added for each."""
    return lambda f: (
        lambda shape, bits, group_size, symmetric: (
            f(shape, bits, group_size, symmetric) + change * n_scales(shape, group_size)
        )
    )


_NO_SCALES = "The scales are missing: without them nobody can read the codes."
_FLOAT32 = "A scale is a float16 here: 2 bytes, not 4."
_BITS = "These are bits: 8 of them are a byte."
_PACKED = "codes without gaps, and a float16 scale for each row"
SIZE_BYTES = Exercise(
    "lab7",
    "size_bytes",
    size_bytes,
    (
        Step(_PACKED, 1, _rows),
        Step("a scale for each group", 1, _groups),
        Step("zero points, packed as codes are; whole bytes", 1, _zero_points),
    ),
    (
        "Three blocks: codes, scales, zero points. Count the bits of each, and make bytes of them.",
        "There are out * in codes. How many scales does a row have with groups of `group_size`, "
        "and how many without?",
        "math.ceil(n * bits / 8) are the bytes of n codes; a symmetric scheme keeps no zero "
        "points.",
    ),
    WHOLE,
    (
        Slip(_NO_SCALES, _PACKED, _plus(2)),
        Slip(_FLOAT32, _PACKED, _plus(-2)),
    ),
    minutes=10,
    difficulty="medium",
)
