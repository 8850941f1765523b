"""Lab 7's exercise scale_and_zero_point: how long a step is, and which code stands for 0."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from distill_lab.course.exercises.calling import result_of
from distill_lab.course.exercises.comparing import brief
from distill_lab.course.exercises.exercise import (
    Exercise,
    Function,
    Slip,
    Step,
    difference,
    on_results,
)
from distill_lab.course.exercises.lab7.answer_types import PAIR
from distill_lab.course.exercises.lab7.naming import is_near, name_of
from distill_lab.models.quantization import quantize as engine
from distill_lab.models.quantization.scheme import Scheme

Pair = tuple[Tensor, Tensor]


def scale_and_zero_point(rows: Tensor, bits: int, symmetric: bool) -> Pair:
    """The scale and the zero point, (G, 1) each, of rows (G, n)."""
    return engine.scale_and_zero_point(rows, Scheme(bits, symmetric))


# -- what is often given


def _scales(rows: Tensor, bits: int, symmetric: bool) -> dict[str, Tensor]:
    """Scales (G, 1) by the mistake that gives them."""
    steps, size = 2**bits - 1, rows.abs().amax(1, keepdim=True)
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    right = scale_and_zero_point(rows, bits, symmetric)[0]
    whole = scale_and_zero_point(rows.reshape(1, -1), bits, symmetric)[0].expand_as(right)
    if symmetric:
        return {
            _WHOLE_TENSOR: whole,
            f"{2**bits} codes have {steps} steps between them: {steps / 2} on each side of 0, "
            f"not {2 ** (bits - 1)}.": size / 2 ** (bits - 1),
            f"That is max|w| / {2 ** (bits - 1) - 1}, which leaves the lowest code unused: all "
            f"{steps} steps are asked for, {steps / 2} a side.": size / (2 ** (bits - 1) - 1),
            "These steps reach from 0 to max|w|: from -max|w| to max|w| is twice as far.":
                size / steps,
            _SIGNED: high / (steps / 2),
            "The most negative weight sets the scale: the largest size does, of either sign.":
                low.abs() / (steps / 2),
            "That is the asymmetric scale: symmetric steps reach as far on both sides of 0.":
                (high - low) / steps,
            _INVERSE: 1 / right,
        }  # fmt: skip
    return {
        _WHOLE_TENSOR: whole,
        f"{2**bits} codes have {steps} steps between them, not {2**bits}.": right * steps / 2**bits,
        _OUTSIDE: (high - low) / steps,
        "That is the symmetric scale: asymmetric steps reach from the least to the greatest.":
            size / (steps / 2),
        _INVERSE: 1 / right,
    }  # fmt: skip


def _other_shapes(rows: Tensor, bits: int, symmetric: bool) -> dict[str, list[Tensor]]:
    """Scales of another shape than (G, 1), by the mistake that gives them."""
    by_column = scale_and_zero_point(rows.T, bits, symmetric)[0]  # (n, 1)
    whole = scale_and_zero_point(rows.reshape(1, -1), bits, symmetric)[0]  # (1, 1)
    return {
        _COLUMNS: [by_column, by_column.T, by_column[:, 0]],
        _WHOLE_TENSOR: [whole, whole[0], whole[0, 0]],
    }


def _zero_points(rows: Tensor, bits: int, symmetric: bool) -> dict[str, Tensor]:
    """Zero points (G, 1) of the right scale, by the mistake that gives them."""
    scale, right = scale_and_zero_point(rows, bits, symmetric)
    if symmetric:
        return {"Symmetric, the code of 0 is 0 itself.": right}  # of any other: see _fault
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    exact, most = -low.clamp(max=0) / scale, 2**bits - 1
    return {
        "The zero point is not rounded: it is a code, a whole number.": exact,
        "The zero point is cut off, not rounded: it is one code too low.": exact.floor(),
        "The zero point is rounded up: the nearest code is meant.": exact.ceil(),
        "The zero point has the wrong sign: it is the code of 0, so round(-min / scale).": -right,
        f"Codes run from 0 to {most} here, not from {-(2 ** (bits - 1))}: the zero point is "
        "counted from 0.": right - 2 ** (bits - 1),
        "The zero point is one too high.": right + 1,
        "The zero point is one too low.": right - 1,
        "An asymmetric zero point is the code that stands for 0: round(-min / scale).":
            torch.zeros_like(right),
        _WEIGHT: low,
        "That is the code of the greatest weight, counted from 0's: the zero point is counted from "
        "the least.": (high / scale).round(),
        _BEYOND: (-low / scale).round(),
    }  # fmt: skip


# -- the check


def _shown(pair: Pair) -> str:
    return f"scale {brief(pair[0])}, zero point {brief(pair[1])}"


def _asked(function: Function, rows: Tensor, bits: int, symmetric: bool) -> None:
    arguments, right = (rows, bits, symmetric), scale_and_zero_point(rows, bits, symmetric)
    call = f"{function.__name__}({brief(rows)}, {bits}, {symmetric})"
    yours = result_of(function, arguments, call, _shown(right))
    if not _is_right(yours, right):
        raise difference(call, _shown(yours), _shown(right), _named(yours, right, arguments))


def _is_right(yours: Pair, right: Pair) -> bool:
    return all(
        a.shape == b.shape and bool(is_near(a, b).all()) for a, b in zip(yours, right, strict=True)
    )


def _named(yours: Pair, right: Pair, case: tuple[Tensor, int, bool]) -> str:
    """What is wrong, the scale first."""
    (scale, zero_point), symmetric = yours, case[2]
    if scale.shape != right[0].shape:
        for name, shapes in _other_shapes(*case).items():
            if any(s.shape == scale.shape and bool(is_near(s, scale).all()) for s in shapes):
                return name
        return _shape("scale", scale, right[0])
    if not is_near(scale, right[0]).all():
        added = scale - right[0]
        is_same = bool((added > 0).all()) and torch.allclose(added, added[:1], rtol=0.05)
        return name_of(scale, right[0], _scales(*case)) or (_ADDED if is_same else "")
    if zero_point.shape != right[1].shape:
        return _shape("zero point", zero_point, right[1])
    return _SYMMETRIC_ZERO if symmetric else name_of(zero_point, right[1], _zero_points(*case))


def _shape(what: str, yours: Tensor, right: Tensor) -> str:
    return f"The {what} has the shape {tuple(yours.shape)}: {tuple(right.shape)} is asked for, so "\
        "that each meets its row (keepdim=True)."  # fmt: skip


def drawn_rows(rng: random.Random, n_rows: int, width: int) -> Tensor:
    """Rows of other sizes, with weights of both signs; in the first the largest is negative."""
    rows = []
    for number in range(n_rows):
        size = rng.uniform(0.5, 1) * 3**number
        values = [rng.uniform(-0.8, 0.8) * size for _ in range(width - 2)]
        sign = -1 if number == 0 else rng.choice((-1, 1))
        values += [sign * size, -sign * size * rng.uniform(0.4, 0.8)]
        rng.shuffle(values)
        rows.append([round(value, 3) for value in values])
    return torch.tensor(rows)


def _symmetric(function: Function, rng: random.Random) -> None:
    _asked(function, torch.tensor([[0.5, -1.5, 0.0], [3.0, 1.0, -2.0]]), 2, True)
    for bits in (8, rng.choice((3, 4))):
        _asked(function, drawn_rows(rng, 3, rng.randint(4, 5)), bits, True)


def _asymmetric(function: Function, rng: random.Random) -> None:
    _asked(function, torch.tensor([[0.5, -1.0, 2.0], [1.2, 0.5, -1.8]]), 2, False)
    for bits in (8, rng.choice((3, 4))):
        _asked(function, _straddling(rng, bits), bits, False)


def _straddling(rng: random.Random, bits: int) -> Tensor:
    """Rows with weights of both signs whose zero points are clearly nearest to one code: above it
    in one row, below it in another."""
    while True:
        rows = drawn_rows(rng, 3, 4)
        scale = scale_and_zero_point(rows, bits, False)[0]
        part = (-rows.amin(1, keepdim=True) / scale).frac()
        is_clear = ((part - 0.5).abs() > 0.1) & ((part - 0.5).abs() < 0.4)
        if is_clear.all() and (part > 0.5).any() and (part < 0.5).any():
            return rows


def _one_sign(function: Function, rng: random.Random) -> None:
    """Rows whose weights are all positive, or all negative. The steps are powers of 2, so that a
    zero point is exact."""
    _asked(function, torch.tensor([[2.0, 3.0], [-1.0, -3.0]]), 2, False)
    for bits in (4, 8):
        n_rows = rng.choice((2, 4))  # not 3, the number of columns
        signs = [1, -1, *rng.choices((1, -1), k=n_rows - 2)]
        rng.shuffle(signs)
        steps = 2**bits - 1
        rows = [[sign * part for part in (steps, *_parts(rng, steps))] for sign in signs]
        sizes = [[2.0 ** rng.randint(-5, 1)] for _ in signs]
        _asked(function, torch.tensor(rows) * torch.tensor(sizes), bits, False)


def _parts(rng: random.Random, steps: int) -> list[float]:
    """Two weights between a third of so many steps and all of them."""
    return [rng.randint(steps // 3, steps - 1) + 0.25 for _ in range(2)]


def _zero_row(function: Function, rng: random.Random) -> None:
    """Rows of zeros among others, of which only the order of size is asked."""
    for symmetric in (True, False):
        n_rows, bits = rng.randint(3, 4), rng.choice((4, 8))
        sizes = torch.tensor([[3.0**n] for n in range(n_rows)])
        rows = drawn_rows(rng, n_rows, 5) * sizes * 10 ** rng.uniform(-1, 2)
        at = rng.randrange(n_rows)
        rows[at] = 0
        call = f"{function.__name__}({brief(rows)}, {bits}, {symmetric})"
        asked = f"a positive, finite scale, and one of the codes, for row {at}"
        yours = result_of(function, (rows, bits, symmetric), call, asked)
        right = scale_and_zero_point(rows, bits, symmetric)
        if says := _zero_row_fault(yours, right, at, 0 if symmetric else 2**bits - 1):
            raise difference(call, _shown(yours), asked, says)


def _zero_row_fault(yours: Pair, right: Pair, at: int, most: int) -> str:
    """What is wrong; "" if nothing is."""
    for what, one, other in zip(("scale", "zero point"), yours, right, strict=True):
        if one.shape != other.shape:
            return _shape(what, one, other)
    scale, zero_point = yours[0][at].item(), yours[1][at].item()
    if not 0 < scale < torch.inf:
        says = "a weight divided by it is NaN" if scale == 0 else "it must be positive and finite"
        return f"Row {at} has the scale {scale:g}: {says}."
    if not (0 <= zero_point <= most and zero_point == round(zero_point)):
        return f"Row {at} has the zero point {zero_point:g}, which is none of the codes."
    others = [n for n in range(len(right[0])) if n != at]
    ratio = yours[0][others] / right[0][others]
    is_close = ((ratio > 1 / 3) & (ratio < 3)).all()
    return "" if is_close else "The other rows have no scale near theirs: mend these first."


_SIGNED = "The largest weight sets the scale: the largest size does, of either sign (abs())."
_COLUMNS = "That is a scale for each column: the weights of a row share one (dim=1)."
_WHOLE_TENSOR = "That is one scale for all rows: each row has its own."
_INVERSE = "That is one over the scale: w / scale counts steps, so the scale is a step's length."
_OUTSIDE = "0 must be in the range: where all weights are positive, it begins at 0 and not at the "
_OUTSIDE += "least weight; where all are negative, it ends at 0."
_SYMMETRIC_ZERO = "Symmetric, the zero point is 0."
_WEIGHT = "That is the least weight itself: the zero point is a code, round(-min / scale)."
_BEYOND = "The zero point is none of the codes: first widen the range until 0 is in it."
_ADDED = "Something is added to each scale: only that of a row of zeros needs it, "
_ADDED += "scale.clamp(min=...)."
_KEEPDIM = "Each is asked for as (G, 1), so that it meets its row: keepdim=True."
_SWAPPED = "The two are swapped: first the scale, then the zero point."
_SYM = "symmetric: from -max|w| to max|w|, zero point 0"
SCALE_AND_ZERO_POINT = Exercise(
    "lab7",
    "scale_and_zero_point",
    scale_and_zero_point,
    (
        Step(_SYM, 1, _symmetric),
        Step("asymmetric: from the least weight to the greatest, with a whole zero point", 1,
             _asymmetric),
        Step("0 is in the range, also where all weights of a row have one sign", 1, _one_sign),
        Step("a row of zeros has a positive, finite scale", 1, _zero_row),
    ),
    (
        "A step's length is how far the steps reach, over how many they are: 2^bits - 1. How far "
        "do they reach in each of the two schemes?",
        "rows.abs().amax(1, keepdim=True) is (G, 1). rows.amin(1, keepdim=True).clamp(max=0) is "
        "the lower end of a range that holds 0.",
        "The zero point is the code of 0, counted from the lower end: round(-low / scale). "
        "scale.clamp(min=...) with a tiny number keeps a row of zeros from the scale 0.",
    ),
    PAIR,
    (
        Slip(_KEEPDIM, _SYM, on_results(
            lambda pair: tuple(part.reshape(-1, 1) for part in PAIR.plain(pair)))),
        Slip(_SWAPPED, _SYM, on_results(lambda pair: tuple(reversed(pair)))),
    ),
    minutes=15,
    difficulty="medium",
)  # fmt: skip
