"""The exercise soften of Lab 5a: a softmax at a temperature."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from distill_lab.course.exercises.comparing import Either
from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, expect, on_results
from distill_lab.course.exercises.result_types import TENSOR, listed
from distill_lab.losses import distillation


def soften(logits: Tensor, temperature: float) -> Tensor:
    """softmax(logits / temperature) over the last axis, as probabilities."""
    return distillation.soften(logits, temperature).exp()


def _softened(
    function: Function,
    logits: Tensor,
    t: float,
    known: Mapping[str, Any],
    within: float = 1e-5,  # float32, whichever way it is summed
) -> None:
    expect(function, [logits, t], soften(logits, t), {**known, **_MISREAD}, within=within)


_MISREAD: dict[str, Any] = {
    "max(dim=...) gives two things, the largest and their places: take .values, or use amax.": (
        TypeError("return_types")
    ),
    "math.exp takes one number: torch.exp, or logits.exp(), takes all of a tensor.": Either(
        error(f"converted to {what}")
        for error in (RuntimeError, ValueError, TypeError)
        for what in ("Scalar", "Python scalars")
    ),
    "sum and max of Python's own go over the first axis: use those of the tensor, with dim=-1.": (
        RuntimeError("Boolean value of Tensor")
    ),
}
_KEEPDIM = "Without keepdim=True the last axis is gone, and what is left meets the columns: each "
_KEEPDIM += "row needs its own sum and its own largest."


def _mistakes(logits: Tensor, t: float) -> dict[str, Any]:
    """What is often written instead, and its result."""
    plain = logits.softmax(-1)
    no_t = "T is not used, or changes nothing: this is the softmax at T = 1."
    after = "T came after the softmax"
    return {
        "They were multiplied by T: dividing makes them flatter.": (logits * t).softmax(-1),
        f"{after}: these no longer add up to 1.": plain / t,
        f"{after}, and then a softmax again: one of logits / T is enough.": (plain / t).softmax(-1),
        **({} if t == 1 else {no_t: plain}),
        "These are log-probabilities: their exp is asked for.": distillation.soften(logits, t),
        "They do not add up to 1: divide by the sum.": (logits / t).exp(),
        "Counted from the front there may be no such axis: -1 is always the last.": IndexError,
    }


def _one_row(function: Function, rng: random.Random) -> None:
    logits = torch.tensor([0.0, math.log(4)])  # 1 : 4, and 1 : 2 at T = 2
    for t in (1.0, 2.0, 0.5):
        _softened(function, logits, t, _mistakes(logits, t))
    drawn, t = torch.tensor([rng.gauss(0, 2) for _ in range(5)]), rng.choice((1.5, 3.0, 4.0))
    _softened(function, drawn, t, _mistakes(drawn, t))


def _of_columns(z: Tensor) -> Either:
    """What comes of sums, or of largest logits, that have lost the last axis."""
    if z.shape[0] != z.shape[1]:
        return Either((RuntimeError("must match the size"),))
    return Either((z.exp() / z.exp().sum(-1), (z - z.amax(-1)).softmax(-1)))


def _by_row(function: Function, rng: random.Random) -> None:
    drawn = torch.tensor([[rng.gauss(0, 2) for _ in range(3)] for _ in range(2)])
    for logits, t in ((torch.tensor([[0.0, 2.0], [0.0, -2.0]]), 2.0), (drawn, 1.0)):
        z = logits / t
        known = {
            "The wrong axis: the columns add up to 1, and each row should.": z.softmax(0),
            "All of it adds up to 1, and each row should.": z.flatten().softmax(0).view_as(z),
            _KEEPDIM: _of_columns(z),
        }
        _softened(function, logits, t, known)


def _large(function: Function, rng: random.Random) -> None:
    """Their float32 has seven digits, of which a difference loses three."""
    shift, gap, nan = rng.uniform(100, 900), rng.uniform(1, 3), math.nan
    high = torch.tensor([[1000.0, 1000.0 + gap]]) + shift
    largest = "exp(1000) is too large for a float: take the row's largest logit off first."
    _softened(function, high, 2.0, {largest: [[nan, nan]]}, 1e-3)
    low = torch.tensor([[0.0, 0.0], [-1000.0 - shift, -1000.0 - shift - gap]])
    own = "exp(-1000) is 0, and 0 / 0 is no number: take each row's own largest logit off."
    _softened(function, low, 2.0, {own: [[0.5, 0.5], [nan, nan]]}, 1e-3)


_ONE, _ROWS = "one row of logits, at T = 1, 2 and 0.5", "each row of several by itself"
SOFTEN = Exercise(
    "lab5a",
    "soften",
    soften,
    (
        Step(_ONE, 1, _one_row),
        Step(_ROWS, 1, _by_row),
        Step("logits of 1,000 and of -1,000", 1, _large),
    ),
    (
        "First the logits are divided by T, then comes a softmax over the last axis (dim=-1).",
        "exp(z) / sum(exp(z)) does not change if the same number is taken off every z: take the "
        "largest, and nothing overflows.",
        "keepdim=True keeps the last axis, so that each row is divided by its own sum: "
        "e / e.sum(-1, keepdim=True).",
    ),
    TENSOR,
    (
        Slip("T divides the logits, before the softmax, and does nothing else.", _ONE,
             lambda f: lambda z, t: f(z / t, 1.0)),
        Slip("These are log-probabilities: their exp is asked for.", _ONE,
             on_results(lambda logs: torch.tensor(listed(logs)).exp())),
        Slip("They do not add up to 1: divide by the sum.", _ONE,
             on_results(lambda e: (e := torch.tensor(listed(e))) / e.sum(-1, keepdim=True))),
        Slip("One row alone is right: each row is to be softened by itself.", _ROWS,
             lambda f: lambda z, t: f(z, t) if z.dim() == 1 else [listed(f(row, t)) for row in z]),
        Slip("Of logits (V) there is one axis: dim=-1 is always the last.", _ONE,
             lambda f: lambda z, t: f(z.view(-1, z.shape[-1]), t).view_as(z)),
    ),
    minutes=10,
    difficulty="easy",
)  # fmt: skip
