"""Wrong answers to the exercises of Lab 7, each of which its check must catch and name. More
are in `lab7_weights` and `lab7_sizes`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distill_lab.course.exercises.exercise import Function, mutants_of
from distill_lab.course.exercises.lab7 import DEQUANTIZE, Q8_0_BLOCK, QUANTIZE, SCALE_AND_ZERO_POINT
from distill_lab.course.exercises.mutants.lab7_sizes import SIZE_MUTANTS
from distill_lab.course.exercises.mutants.lab7_weights import WEIGHT_MUTANTS

SYM, ASYM, HOLDS_0, ZEROS = (step.title for step in SCALE_AND_ZERO_POINT.steps)
NEAREST, ENDS, OFFSET = (step.title for step in QUANTIZE.steps)
SMALL, WIDE = (step.title for step in DEQUANTIZE.steps)
BLOCK, TIES, BLOCK_OF_ZEROS = (step.title for step in Q8_0_BLOCK.steps)
TINY = torch.finfo(torch.float32).tiny


def _scales(
    size: Callable[[Tensor], Tensor] = lambda rows: rows.abs().amax(1, keepdim=True),
    steps: Callable[[int], float] = lambda bits: 2**bits - 1,
    half: Callable[[int], float] = lambda bits: (2**bits - 1) / 2,
    low: Callable[[Tensor], Tensor] = lambda rows: rows.amin(1, keepdim=True).clamp(max=0),
    high: Callable[[Tensor], Tensor] = lambda rows: rows.amax(1, keepdim=True).clamp(min=0),
    zero: Callable[[Tensor, int], Tensor] = lambda exact, bits: exact.round(),
    guard: Callable[[Tensor], Tensor] = lambda scale: scale.clamp(min=TINY),
) -> Function:
    """The right answer, but for what is changed."""

    def scale_and_zero_point(rows: Tensor, bits: int, symmetric: bool) -> Any:
        if symmetric:
            scale = guard(size(rows) / half(bits))
            return scale, torch.zeros_like(scale)
        scale = guard((high(rows) - low(rows)) / steps(bits))
        return scale, zero(-low(rows) / scale, bits)

    return scale_and_zero_point


def always_symmetric(rows: Tensor, bits: int, symmetric: bool) -> Any:
    return _scales()(rows, bits, True)


def always_asymmetric(rows: Tensor, bits: int, symmetric: bool) -> Any:
    return _scales()(rows, bits, False)


def without_keepdim(rows: Tensor, bits: int, symmetric: bool) -> Any:
    return tuple(part[:, 0] for part in _scales()(rows, bits, symmetric))


def for_each_column(rows: Tensor, bits: int, symmetric: bool) -> Any:
    return _scales()(rows.T, bits, symmetric)


def one_for_all(rows: Tensor, bits: int, symmetric: bool) -> Any:
    scale, zero_point = _scales()(rows.reshape(1, -1), bits, symmetric)
    return scale.expand(len(rows), 1), zero_point.expand(len(rows), 1)


def _codes(
    how: Callable[[Tensor], Tensor] = torch.round,
    offset: Callable[[Tensor, Tensor], Tensor] = torch.add,
    ends: Callable[[Tensor, int, int], Tensor] = torch.clamp,
) -> Function:
    """The right answer, but for what is changed."""

    def quantize(rows: Tensor, scale: Tensor, zero: Tensor, bits: int, symmetric: bool) -> Tensor:
        low = -(2 ** (bits - 1)) if symmetric else 0
        return ends(offset(how(rows / scale), zero), low, low + 2**bits - 1)

    return quantize


def half_away(ratio: Tensor) -> Tensor:
    return ratio.sign() * (ratio.abs() + 0.5).floor()


def as_int8(codes: Tensor, low: int, high: int) -> Tensor:
    return (codes.int() + 128) % 256 - 128


def as_int8_within(codes: Tensor, low: int, high: int) -> Tensor:
    return as_int8(codes, low, high).clamp(low, high)


def clamped_first(rows: Tensor, scale: Tensor, zero: Tensor, bits: int, symmetric: bool) -> Tensor:
    low = -(2 ** (bits - 1)) if symmetric else 0
    return (rows / scale).round().clamp(low, low + 2**bits - 1) + zero


def dequantized(rows: Tensor, scale: Tensor, zero: Tensor, bits: int, symmetric: bool) -> Tensor:
    return (_codes()(rows, scale, zero, bits, symmetric) - zero) * scale


def _block(
    divisor: float = 127,
    size: Callable[[Tensor], Tensor] = lambda weights: weights.abs().max(),
    made_with: Callable[[Tensor], Tensor] = lambda scale: scale,
    how: Callable[[Tensor], Tensor] = lambda ratio: half_away(ratio.double()),
    stored: Callable[[Tensor], Tensor] = lambda scale: scale.half(),
    of_zeros: float = 0.0,
) -> Function:
    """The right answer, but for what is changed."""

    def q8_0_block(weights: Tensor) -> Tensor:
        scale = size(weights) / divisor
        if not scale:
            scale = scale + of_zeros
        ratio = weights / made_with(scale) if scale else weights
        codes = how(ratio).to(torch.int32).to(torch.int8)  # wraps where it is too large
        return torch.cat([stored(scale).reshape(1).view(torch.uint8), codes.view(torch.uint8)])

    return q8_0_block


def big_endian(weights: Tensor) -> Tensor:
    block = _block()(weights)
    return torch.cat([block[:2].flip(0), block[2:]])


def codes_first(weights: Tensor) -> Tensor:
    block = _block()(weights)
    return torch.cat([block[2:], block[:2]])


def signed_bytes(weights: Tensor) -> Tensor:
    return _block()(weights).view(torch.int8)


def number_by_number(weights: Tensor) -> list[int]:
    """A block of zeros divides 0 by 0."""
    scale = weights.abs().max() / 127
    codes = [int(half_away(w.double() / scale)) % 256 for w in weights]
    return [*scale.half().reshape(1).view(torch.uint8).tolist(), *codes]


MUTANTS = (
    *mutants_of(
        "lab7.scale_and_zero_point",
        ("128 for 127.5", _scales(half=lambda bits: 2 ** (bits - 1)), (SYM,),
         "steps between them"),
        ("127 for 127.5", _scales(half=lambda bits: 2 ** (bits - 1) - 1), (SYM,),
         "leaves the lowest code unused"),
        ("all steps on one side", _scales(half=lambda bits: 2**bits - 1), (SYM,),
         "twice as far"),
        ("the largest, not the largest size", _scales(size=lambda rows: rows.amax(1, keepdim=True)),
         (SYM,), "of either sign"),
        ("256 for 255 steps", _scales(steps=lambda bits: 2**bits), (ASYM, HOLDS_0),
         "steps between them"),
        ("0 not in the range", _scales(low=lambda rows: rows.amin(1, keepdim=True),
                                       high=lambda rows: rows.amax(1, keepdim=True)),
         (HOLDS_0,), "0 must be in the range"),
        ("0 in the range of positive ones alone",
         _scales(high=lambda rows: rows.amax(1, keepdim=True)), (HOLDS_0,),
         "0 must be in the range"),
        ("zero point not rounded", _scales(zero=lambda exact, bits: exact), (ASYM,),
         "not rounded: it is a code"),
        ("zero point cut off", _scales(zero=lambda exact, bits: exact.floor()), (ASYM,),
         "cut off"),
        ("zero point negative", _scales(zero=lambda exact, bits: -exact.round()),
         (ASYM, HOLDS_0), "wrong sign"),
        ("zero point from -128", _scales(zero=lambda exact, bits: exact.round() - 2 ** (bits - 1)),
         (ASYM, HOLDS_0, ZEROS), "counted from 0"),
        ("zero point one too high", _scales(zero=lambda exact, bits: exact.round() + 1),
         (ASYM, HOLDS_0), "one too high"),
        ("no guard for zeros", _scales(guard=lambda scale: scale), (ZEROS,), "has the scale 0"),
        ("something added to each scale", _scales(guard=lambda scale: scale + 1e-4),
         (SYM, ASYM, HOLDS_0), "added to each scale"),
        ("always symmetric", always_symmetric, (ASYM, HOLDS_0), "symmetric scale"),
        ("always asymmetric", always_asymmetric, (SYM,), "asymmetric scale"),
        ("a scale for each column", for_each_column, (SYM, ASYM, HOLDS_0, ZEROS),
         "a scale for each column"),
        ("one scale for all", one_for_all, (SYM, ASYM, HOLDS_0, ZEROS), "one scale for all rows"),
        ("without keepdim", without_keepdim, (SYM,), "keepdim=True"),
        ("swapped", lambda *case: _scales()(*case)[::-1], (SYM,), "swapped"),
    ),
    *mutants_of(
        "lab7.quantize",
        ("cut off", _codes(torch.trunc), (NEAREST, OFFSET), "cut off"),
        ("floor", _codes(torch.floor), (NEAREST, OFFSET), "codes below"),
        ("halves away from 0", _codes(half_away), (NEAREST,), "the even one is asked for"),
        ("not rounded", _codes(lambda ratio: ratio), (NEAREST, OFFSET), "Nothing is rounded"),
        ("no clamp", _codes(ends=lambda codes, low, high: codes), (ENDS,), "nothing is clamped"),
        ("wraps as an int8", _codes(ends=as_int8), (ENDS, OFFSET), "wrap round"),
        ("wraps, then clamps", _codes(ends=as_int8_within), (ENDS, OFFSET), "wrap round"),
        ("always int8's range", _codes(ends=lambda codes, low, high: codes.clamp(-128, 127)),
         (ENDS, OFFSET), "that is the range"),
        ("the lowest left out", _codes(ends=lambda codes, low, high: codes.clamp(low + 1, high)),
         (ENDS,), "it is left out"),
        ("zero point subtracted", _codes(offset=torch.sub), (OFFSET,), "is subtracted"),
        ("zero point forgotten", _codes(offset=lambda codes, zero: codes), (OFFSET,), "not added"),
        ("clamped first", clamped_first, (ENDS, OFFSET), "before the zero point"),
        ("weights again", dequantized, (NEAREST, ENDS, OFFSET), "the codes are asked for"),
    ),
    *mutants_of(
        "lab7.dequantize",
        ("zero point one off", lambda q, s, z: (q - z - 1) * s, (SMALL, WIDE), "one step off"),
        ("zero point one off, upwards", lambda q, s, z: (q - (z - 1)) * s, (SMALL, WIDE),
         "one step off"),
        ("zero point added", lambda q, s, z: (q + z) * s, (SMALL, WIDE), "is added"),
        ("zero point forgotten", lambda q, s, z: q * s, (SMALL, WIDE), "is missing"),
        ("zero point of weights", lambda q, s, z: q * s - z, (SMALL, WIDE), "before the scale"),
        ("divided", lambda q, s, z: (q - z) / s, (SMALL, WIDE), "Divided by the scale"),
        ("int8", lambda q, s, z: (q.to(torch.int8) - z) * s, (WIDE,), "wrap round"),
        ("int16", lambda q, s, z: (q.to(torch.int16) - z) * s, (WIDE,), "32767"),
        ("float16", lambda q, s, z: (q.half() - z) * s, (WIDE,), "16 bits"),
        ("bfloat16", lambda q, s, z: (q.bfloat16() - z) * s, (WIDE,), "16 bits"),
        ("float16 throughout", lambda q, s, z: (q.half() - z.half()) * s.half(), (SMALL, WIDE),
         "16 bits"),
    ),
    *mutants_of(
        "lab7.q8_0_block",
        ("halves to the even one", _block(how=torch.round), (TIES,), "the even one is taken"),
        ("halves upwards", _block(how=lambda ratio: (ratio + 0.5).floor()), (TIES,),
         "the greater is taken"),
        ("cut off", _block(how=torch.trunc), (BLOCK, TIES), "cut off"),
        ("128 for 127", _block(128), (BLOCK, TIES), "Divided by 128"),
        ("127.5 for 127", _block(127.5), (BLOCK, TIES), "Divided by 127.5"),
        ("codes of the float16", _block(made_with=lambda scale: scale.half().float()), (BLOCK,),
         "rounded only where it is stored"),
        ("scale as a float32", _block(stored=lambda scale: scale), (BLOCK, TIES, BLOCK_OF_ZEROS),
         "a float16 has 2"),
        ("scale as a bfloat16", _block(stored=lambda scale: scale.bfloat16()),
         (BLOCK, TIES), "bfloat16"),
        ("the largest, not the largest size", _block(size=lambda weights: weights.max()),
         (BLOCK, BLOCK_OF_ZEROS), "of either sign"),
        ("high byte first", big_endian, (BLOCK, TIES), "low one first"),
        ("codes first", codes_first, (BLOCK, TIES, BLOCK_OF_ZEROS), "the scale comes first"),
        ("signed bytes", signed_bytes, (BLOCK,), "the same bytes as uint8"),
        ("zeros with a scale of 1", _block(of_zeros=1.0), (BLOCK_OF_ZEROS,), "stored as 0"),
        ("zeros with a tiny scale", _block(of_zeros=1e-6), (BLOCK_OF_ZEROS,), "stored as 0"),
        ("zeros divided by 0", number_by_number, (BLOCK_OF_ZEROS,), "NaN"),
    ),
    *SIZE_MUTANTS,
    *WEIGHT_MUTANTS,
)  # fmt: skip
