"""Wrong answers to those exercises of Lab 7 that look for a weight that rounds well."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from distill_lab.course.exercises.exercise import Function, mutants_of
from distill_lab.course.exercises.lab7 import CLIP_SEARCH, FAKE_QUANT
from distill_lab.course.exercises.lab7 import fake_slips as slips

FORWARD, BACKWARD, AS_IT_IS = (step.title for step in FAKE_QUANT.steps)
LEAST, EACH, EQUAL = (step.title for step in CLIP_SEARCH.steps)


def _rounded(weight: Tensor, bits: int) -> Tensor:
    scale = slips.scale_of(weight, bits)
    return (weight / scale).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale


def _handed_on(change: Callable[[Tensor, int], Tensor]) -> Function:
    """Straight through, with another value."""
    return lambda weight, bits: weight + (change(weight, bits) - weight).detach()


def flat(weight: Tensor, bits: int) -> Tensor:
    scale = slips.scale_of(weight, bits).detach()
    return (weight / scale).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale


def in_place(weight: Tensor, bits: int) -> Tensor:
    weight.data = _rounded(weight.data, bits)
    return weight


def in_place_with_a_gradient(weight: Tensor, bits: int) -> Tensor:
    weight.copy_(_rounded(weight, bits))
    return weight


def as_float32(weight: Tensor, bits: int) -> Tensor:
    weight = weight.float()
    return weight + (_rounded(weight, bits) - weight).detach()


def dequantized_before_rounding(weight: Tensor, bits: int) -> Tensor:
    scale = slips.scale_of(weight, bits).detach()
    return weight + ((weight / scale) * scale - weight).detach()


# -- clip_search

Costs = Callable[[Tensor, Tensor, Tensor], Tensor]  # of (made, rows, ends): (G, 1)


def _search(cost: Costs, order: Callable[[list[float]], list[float]] = sorted) -> Function:
    """The share of the least cost; of equal ones the first in this order."""

    def clip_search(rows: Tensor, bits: int, shrinks: Sequence[float]) -> Tensor:
        size, costs = rows.abs().amax(1, keepdim=True).clamp(min=1e-30), []
        shares = order(list(shrinks))
        for share in shares:
            scale = share * size / (2 ** (bits - 1) - 0.5)
            top = 2 ** (bits - 1)
            made = (rows / scale).round().clamp(-top, top - 1) * scale
            costs.append(cost(made, rows, share * size).expand(len(rows), 1))
        places = torch.stack(costs).argmin(0)  # (G, 1)
        return torch.tensor(shares)[places]

    return clip_search


def widest_first(shares: list[float]) -> list[float]:
    return sorted(shares, reverse=True)


def _squares(made: Tensor, rows: Tensor, ends: Tensor) -> Tensor:
    return (made - rows).square().sum(1, keepdim=True)


def _by_percentile(q: float) -> Function:
    def clip_search(rows: Tensor, bits: int, shrinks: Sequence[float]) -> Tensor:
        largest = rows.abs().amax(1, keepdim=True).clamp(min=1e-30)
        return rows.abs().quantile(q, dim=1, keepdim=True) / largest

    return clip_search


def without_a_guard(rows: Tensor, bits: int, shrinks: Sequence[float]) -> Tensor:
    size = rows.abs().amax(1, keepdim=True)
    best, share = torch.full_like(size, torch.inf), torch.zeros_like(size)
    for tried in widest_first(list(shrinks)):
        scale = tried * size / (2 ** (bits - 1) - 0.5)
        top = 2 ** (bits - 1)
        error = _squares((rows / scale).round().clamp(-top, top - 1) * scale, rows, size)
        share[error < best] = tried
        best = torch.minimum(best, error)
    return share


def scales(rows: Tensor, bits: int, shrinks: Sequence[float]) -> Tensor:
    size = rows.abs().amax(1, keepdim=True)
    return _search(_squares, widest_first)(rows, bits, shrinks) * size / (2 ** (bits - 1) - 0.5)


WEIGHT_MUTANTS = (
    *mutants_of(
        "lab7.fake_quant",
        ("no straight-through", _rounded, (BACKWARD,), "through the scale alone"),
        ("no straight-through, no scale", flat, (BACKWARD,), "The gradient is 0"),
        ("all detached", lambda weight, bits: _rounded(weight, bits).detach(), (BACKWARD,),
         "No gradient reaches"),
        ("scale learnt through", slips.scale_learnt_through, (FORWARD, BACKWARD), "not clamped"),
        ("scale and ends learnt through", slips.scale_and_ends_learnt_through, (BACKWARD,),
         "learnt through"),
        ("held back at the ends", slips.held_back_at_the_ends, (BACKWARD,), "no gradient comes"),
        ("in place", in_place, (AS_IT_IS,), "work on a copy"),
        ("in place, with a gradient", in_place_with_a_gradient, (FORWARD, BACKWARD, AS_IT_IS),
         "work on a copy"),
        ("float32", as_float32, (AS_IT_IS,), "number format"),
        ("dequantized before it is rounded", dequantized_before_rounding,
         (FORWARD, BACKWARD, AS_IT_IS), "Nothing is rounded"),
        ("the weight itself", lambda weight, bits: weight, (FORWARD, BACKWARD, AS_IT_IS),
         "Nothing is rounded"),
        ("the codes", _handed_on(slips.codes), (FORWARD,), "These are the codes"),
        ("cut off", _handed_on(slips.cut_off), (FORWARD,), "cut off"),
        ("not clamped", _handed_on(slips.not_clamped), (FORWARD,), "not clamped"),
        ("one scale for the weight", slips.one_scale, (FORWARD,), "One scale for the"),
        ("a scale for each column", slips.by_column, (FORWARD,), "A scale for each column"),
        ("128 for 127.5", slips.one_step_more, (FORWARD,), "not by 2^(bits-1)"),
        ("127 for 127.5", slips.one_step_less, (FORWARD,), "leaves the lowest code unused"),
        ("the largest, not the largest size", slips.of_the_largest, (FORWARD,), "of either sign"),
    ),
    *mutants_of(
        "lab7.clip_search",
        ("by a percentile", _by_percentile(0.95), (LEAST, EACH, EQUAL), "A percentile"),
        ("all rows together", _search(lambda made, rows, ends: (made - rows).square().sum(),
                                      widest_first), (EACH, EQUAL), "all rows together"),
        ("what is clipped alone", _search(lambda made, rows, ends: (
            (made - rows).square() * (rows.abs() > ends)).sum(1, keepdim=True), widest_first),
         (LEAST, EACH, EQUAL), "Only what is clipped"),
        ("the least errors' sizes", _search(
            lambda made, rows, ends: (made - rows).abs().sum(1, keepdim=True), widest_first),
         (LEAST, EACH, EQUAL), "errors' sizes"),
        ("the narrowest of equals", _search(_squares), (EQUAL,), "clipped for nothing"),
        ("the first of equals", _search(_squares, list), (EQUAL,), "clipped for nothing"),
        ("no guard for zeros", without_a_guard, (EQUAL,), "A row of zeros"),
        ("scales", scales, (LEAST, EACH, EQUAL), "the shares are asked for"),
        ("without keepdim", lambda *case: _search(_squares, widest_first)(*case)[:, 0],
         (LEAST,), "(G, 1)"),
    ),
)  # fmt: skip
