"""Wrong answers to those exercises of Lab 7 that count bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distill_lab.course.exercises.exercise import Function, mutants_of
from distill_lab.course.exercises.lab7 import PREDICT_SIZE, SIZE_BYTES

ROW_SIZES, GROUP_SIZES, ZERO_POINTS = (step.title for step in SIZE_BYTES.steps)
WHAT, GROUPS, TIED = (step.title for step in PREDICT_SIZE.steps)
Shapes = Mapping[str, tuple[int, ...]]


def _n_scales(n_out: int, n_in: int, group_size: int) -> int:
    return n_out * (n_in // group_size if group_size else 1)


def _size(
    of_codes: Callable[[int, int], float] = lambda n, bits: math.ceil(n * bits / 8),
    scales: Callable[[int, int, int], int] = _n_scales,
    of_scale: float = 2,
    of_zeros: Callable[[int, int], float] = lambda n, bits: math.ceil(n * bits / 8),
) -> Function:
    """The right answer, but for what is changed."""

    def size_bytes(shape: tuple[int, int], bits: int, group_size: int, symmetric: bool) -> float:
        n_scales = scales(*shape, group_size)
        zeros = 0 if symmetric else of_zeros(n_scales, bits)
        return of_codes(math.prod(shape), bits) + n_scales * of_scale + zeros

    return size_bytes


def together(shape: tuple[int, int], bits: int, group_size: int, symmetric: bool) -> int:
    n_scales = _n_scales(*shape, group_size)
    numbers = math.prod(shape) + n_scales * (not symmetric)
    return math.ceil(numbers * bits / 8) + 2 * n_scales


def zeros_though_symmetric(shape: tuple[int, int], bits: int, group_size: int, _: bool) -> float:
    return _size()(shape, bits, group_size, False)


def bits_of_all(*case: Any) -> float:
    return 8 * _size()(*case)


def _model(
    names: Callable[[Shapes, Mapping[str, str]], Sequence[str]] = lambda shapes, tied: [
        name for name in shapes if name not in tied
    ],
    is_quantized: Callable[[str, tuple[int, ...], Sequence[str]], bool] = lambda name, _, of: (
        name in of
    ),
    of_scale: int = 2,
    of_rest: int = 4,
    grouped: bool = True,
) -> Function:
    """The right answer, but for what is changed."""

    def predict_size(
        shapes: Shapes, tied: Mapping[str, str], quantized: Sequence[str], bits: int, group: int
    ) -> float:
        total = 0
        for name in names(shapes, tied):
            shape, n = shapes[name], math.prod(shapes[name])
            if is_quantized(name, shape, quantized):
                n_scales = n // group if group and grouped else shape[0]
                total += math.ceil(n * bits / 8) + of_scale * n_scales
            else:
                total += of_rest * n
        return total

    return predict_size


def only_quantized(
    shapes: Shapes, tied: Mapping[str, str], quantized: Sequence[str], bits: int, group: int
) -> float:
    kept = {name: shapes[name] for name in quantized if name not in tied}
    return _model()(kept, tied, quantized, bits, group)


SIZE_MUTANTS = (
    *mutants_of(
        "lab7.size_bytes",
        ("no scales", _size(of_scale=0), (ROW_SIZES,), "The scales are missing"),
        ("float32 scales", _size(of_scale=4), (ROW_SIZES,), "2 bytes, not 4"),
        ("bits", bits_of_all, (ROW_SIZES, GROUP_SIZES, ZERO_POINTS), "These are bits"),
        ("codes in bits", _size(of_codes=lambda n, bits: n * bits),
         (ROW_SIZES, GROUP_SIZES, ZERO_POINTS), "Of the codes these are bits"),
        ("a byte for each code", _size(of_codes=lambda n, bits: n * math.ceil(bits / 8)),
         (ROW_SIZES, GROUP_SIZES, ZERO_POINTS), "packed without gaps"),
        ("group size ignored", _size(scales=lambda n_out, n_in, group: n_out),
         (GROUP_SIZES, ZERO_POINTS), "group size is not used"),
        ("groups of one row", _size(scales=lambda n_out, n_in, group:
                                    n_in // group if group else n_out),
         (GROUP_SIZES, ZERO_POINTS), "groups of one row"),
        ("a scale for each column", _size(scales=lambda n_out, n_in, group:
                                          n_out * n_in // group if group else n_in),
         (ROW_SIZES, ZERO_POINTS), "A scale for each column"),
        ("zero points forgotten", _size(of_zeros=lambda n, bits: 0), (ZERO_POINTS,),
         "Zero points are forgotten"),
        ("zero points of a byte", _size(of_zeros=lambda n, bits: n), (ZERO_POINTS,),
         "it is packed too"),
        ("zero points as float16", _size(of_zeros=lambda n, bits: 2 * n), (ZERO_POINTS,),
         "it is no float16"),
        ("zero points though symmetric", zeros_though_symmetric, (ROW_SIZES, GROUP_SIZES),
         "not kept"),
        ("rounded down", _size(of_codes=lambda n, bits: n * bits // 8,
                               of_zeros=lambda n, bits: n * bits // 8),
         (ZERO_POINTS,), "round up"),
        ("one block", together, (ZERO_POINTS,), "two blocks"),
    ),
    *mutants_of(
        "lab7.predict_size",
        ("tied twice", _model(names=lambda shapes, tied: list(shapes)), (TIED,), "counted twice"),
        ("tied left out", _model(names=lambda shapes, tied: [
            name for name in shapes if name not in {*tied, *tied.values()}]), (TIED,),
         "is left out"),
        ("every matrix", _model(is_quantized=lambda name, shape, of: len(shape) == 2),
         (WHAT, GROUPS, TIED), "the embedding too"),
        ("no scales", _model(of_scale=0), (WHAT,), "The scales are missing"),
        ("float32 scales", _model(of_scale=4), (WHAT,), "2 bytes, not 4"),
        ("16 bits for the rest", _model(of_rest=2), (WHAT,), "4 bytes a number, not 2"),
        ("no vectors", _model(names=lambda shapes, tied: [
            name for name in shapes if name not in tied and len(shapes[name]) > 1]), (WHAT,),
         "Norms and biases"),
        ("what is quantized alone", only_quantized, (WHAT, GROUPS, TIED),
         "What is not quantized is left out"),
        ("group size ignored", _model(grouped=False), (GROUPS,), "group size is not used"),
        ("a byte for each code", lambda shapes, tied, of, bits, group: _model()(
            shapes, tied, of, 8, group), (WHAT, GROUPS, TIED), "a byte for each code"),
    ),
)  # fmt: skip
