"""Lab 7: what is often written for fake_quant, and the sentence that names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from distill_lab.course.exercises.exercise import Function


def scale_of(weight: Tensor, bits: int) -> Tensor:
    """The right one, (out, 1)."""
    return weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 0.5)


def _straight(values: Tensor) -> Tensor:
    """Rounded, with the gradient of what was not."""
    return values + (values.round() - values).detach()


def _clamped(codes: Tensor, bits: int) -> Tensor:
    top = 2 ** (bits - 1)
    return codes.clamp(-top, top - 1)


def _of(scale: Callable[[Tensor, int], Tensor]) -> Function:
    """With another scale, that is not learnt through."""

    def made(weight: Tensor, bits: int) -> Tensor:
        size = scale(weight, bits).detach()
        rounded = _clamped((weight / size).round(), bits) * size
        return weight + (rounded - weight).detach()

    return made


def not_rounded(weight: Tensor, bits: int) -> Tensor:
    scale = scale_of(weight, bits)
    return (weight / scale) * scale


def codes(weight: Tensor, bits: int) -> Tensor:
    return _clamped((weight / scale_of(weight, bits)).round(), bits)


def cut_off(weight: Tensor, bits: int) -> Tensor:
    scale = scale_of(weight, bits)
    return _clamped((weight / scale).trunc(), bits) * scale


def not_clamped(weight: Tensor, bits: int) -> Tensor:
    scale = scale_of(weight, bits)
    return (weight / scale).round() * scale


def _half_steps(bits: int) -> float:
    return 2 ** (bits - 1) - 0.5


one_scale = _of(lambda w, bits: w.abs().amax() / _half_steps(bits))
by_column = _of(lambda w, bits: w.abs().amax(0) / _half_steps(bits))
of_the_largest = _of(lambda w, bits: w.amax(1, keepdim=True) / _half_steps(bits))
one_step_more = _of(lambda w, bits: w.abs().amax(1, keepdim=True) / 2 ** (bits - 1))
one_step_less = _of(lambda w, bits: w.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1))

VALUES: Mapping[str, Function] = {
    "Nothing is rounded: what comes out is the weight itself.": not_rounded,
    "These are the codes: times the scale they are weights.": codes,
    "What is behind the point is cut off: the nearest code is asked for (round).": cut_off,
    "One scale for the whole weight: each row has its own.": one_scale,
    "A scale for each column: each row has its own (dim=1).": by_column,
    "The largest weight sets the scale: the largest size does, of either sign (abs()).":
        of_the_largest,
    "2^bits codes have 2^bits - 1 steps between them, half of them on each side of 0: max|w| is "
    "divided by 2^(bits-1) - 1/2, not by 2^(bits-1).": one_step_more,
    "The scale is max|w| / (2^(bits-1) - 1), which leaves the lowest code unused: the steps reach "
    "from -max|w| to max|w|, 2^(bits-1) - 1/2 a side.": one_step_less,
    "The codes are not clamped: the largest weight of a row got one that the bits do not have.":
        not_clamped,
}  # fmt: skip


def scale_learnt_through(weight: Tensor, bits: int) -> Tensor:
    scale = scale_of(weight, bits)
    return _straight(weight / scale) * scale


def scale_and_ends_learnt_through(weight: Tensor, bits: int) -> Tensor:
    scale = scale_of(weight, bits)
    return _clamped(_straight(weight / scale), bits) * scale


def held_back_at_the_ends(weight: Tensor, bits: int) -> Tensor:
    scale = scale_of(weight, bits).detach()
    return _clamped(_straight(weight / scale), bits) * scale


def in_codes(weight: Tensor, bits: int) -> Tensor:
    scale = scale_of(weight, bits).detach()
    return weight * scale


def through_the_scale_alone(weight: Tensor, bits: int) -> Tensor:
    scale = scale_of(weight, bits)
    return _clamped((weight / scale).round(), bits) * scale


def by_the_scale(weight: Tensor, bits: int) -> Tensor:
    return weight / scale_of(weight, bits).detach()


def twice(weight: Tensor, bits: int) -> Tensor:
    return 2 * weight


GRADIENTS: Mapping[str, Function] = {
    "A gradient comes through the scale alone, to the largest weight of each row: round() is flat "
    "between two codes. Hand it past the rounding, weight + (rounded - weight).detach().":
        through_the_scale_alone,
    "The scale is learnt through as well: at the largest weight of a row another gradient is "
    "added. Detach the scale, or the whole difference: weight + (rounded - weight).detach().":
        scale_learnt_through,
    "The scale is learnt through as well, and nothing comes through at a clamped code: detach the "
    "whole difference, weight + (rounded - weight).detach().": scale_and_ends_learnt_through,
    "Where a code is clamped, here at a row's largest weight, no gradient comes through: the "
    "scale follows the weight, and all of it is asked for.": held_back_at_the_ends,
    "The gradient is multiplied by the scale: what was divided by it on the way forward is "
    "multiplied by it again, and the gradient is as it came.": in_codes,
    "The gradient is divided by the scale: it goes on as it came.": by_the_scale,
    "The gradient comes through twice, once beside the rounding and once through it.": twice,
}  # fmt: skip
