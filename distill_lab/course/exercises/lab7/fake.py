"""Lab 7's exercise fake_quant: rounded on the way forward, as if not rounded on the way back."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from distill_lab.course.exercises.calling import result_of
from distill_lab.course.exercises.comparing import brief
from distill_lab.course.exercises.exercise import Exercise, Function, Step, difference
from distill_lab.course.exercises.lab7.answer_types import TRACED
from distill_lab.course.exercises.lab7.fake_slips import GRADIENTS, VALUES, scale_of
from distill_lab.course.exercises.lab7.traced import on_a_weight
from distill_lab.models.quantization import fake
from distill_lab.models.quantization.scheme import Scheme

Case = tuple[Tensor, int, Tensor]  # the weight (out, in), bits, the gradient that comes in
Traced = tuple[Tensor, Tensor | None, bool]


def fake_quant(weight: Tensor, bits: int) -> Tensor:
    """The rounded weight (out, in); its gradient is handed straight to the weight."""
    return fake.fake_quantize(weight, Scheme(bits))


def drawn(rng: random.Random, bits: int, shape: tuple[int, int]) -> Case:
    """A weight whose codes are clear, and exact at the largest of a row: its scale is a power of 2.
    Rows differ in size, and in the first the largest weight is negative."""
    half, rows = 2 ** (bits - 1), []
    for number in range(shape[0]):
        scale = 2.0 ** (rng.randint(-3, -1) + 2 * number - bits)
        places = [_place(rng, half) for _ in range(shape[1] - 1)]
        sign = -1 if number == 0 else 1 if number == 1 else rng.choice((-1, 1))
        places.append(sign * (half - 0.5))
        rng.shuffle(places)
        rows.append([place * scale for place in places])
    gradient = [[round(rng.uniform(-2, 2), 3) for _ in range(shape[1])] for _ in range(shape[0])]
    return torch.tensor(rows), bits, torch.tensor(gradient)


def _place(rng: random.Random, half: int) -> float:
    """Between two codes, in the outer half of the range, clearly nearest to one."""
    return rng.choice((-1, 1)) * (
        rng.randint(half // 2, half - 2) + rng.choice((-1, 1)) * rng.uniform(0.2, 0.3)
    )


def _traced(function: Function, case: Case, call: str, expected: str) -> Traced:
    """What came of the call. WrongError where nothing was rounded, or no matrix came."""
    try:
        made, gradient, kept = result_of(function, case, call, expected)
    except Exception as wrong:
        if "leaf Variable" in str(wrong):
            raise difference(call, "it changes the weight in place", expected, _IN_PLACE) from None
        raise
    if made.shape != case[0].shape:
        shape = f"a tensor of the shape {tuple(made.shape)}"
        raise difference(call, shape, f"the weight's shape, {tuple(case[0].shape)}")
    if torch.equal(made.to(case[0].dtype), case[0]) and kept:
        raise difference(call, brief(made), expected, next(iter(VALUES)))
    return made, gradient, kept


def _steps_off(made: Tensor, right: Tensor, case: Case) -> Tensor:
    """By how many steps each weight is off, (out, in)."""
    weight, bits, _ = case
    return (made.float() - right.float()).abs() / scale_of(weight.float(), bits)


def _value(function: Function, case: Case) -> None:
    weight, bits, _ = case
    call, right = f"fake_quant({brief(weight)}, {bits})", fake_quant(weight, bits)
    made, *_ = _traced(function, case, call, brief(right))
    if not (_steps_off(made, right, case) < 0.05).all():
        names = [
            name
            for name, other in VALUES.items()
            if (_steps_off(made, other(weight, bits), case) < 0.02).all()
        ]
        raise difference(call, brief(made), brief(right), names[0] if names else "")


def _forward(function: Function, rng: random.Random) -> None:
    _value(function, (torch.tensor([[0.4, -1.75, 1.1]]), 3, torch.ones(1, 3)))
    for bits in (4, 8):
        _value(function, drawn(rng, bits, (3, 4)))


def _backward(function: Function, rng: random.Random) -> None:
    small = (torch.tensor([[0.4, 1.75, 1.1]]), 3, torch.tensor([[1.0, 2.0, 3.0]]))
    for case in (small, drawn(rng, 4, (2, 4)), drawn(rng, 8, (3, 4))):
        weight, bits, gradient = case
        call = f"fake_quant({brief(weight)}, {bits}).backward({brief(gradient)}); weight.grad"
        _, yours, _ = _traced(function, case, call, brief(gradient))
        if yours is None or not torch.allclose(yours.float(), gradient, atol=1e-4):
            raise difference(call, brief(yours), brief(gradient), _of_gradient(yours, case))


def _of_gradient(yours: Tensor | None, case: Case) -> str:
    if yours is None:
        return _NONE
    if not yours.any():
        return _FLAT
    for name, other in GRADIENTS.items():
        theirs: Any = on_a_weight(other)(*case)[1]
        if torch.allclose(theirs, yours.float(), rtol=1e-3, atol=1e-4):
            return name
    return "The gradient goes on as it came, number by number."


def _as_it_is(function: Function, rng: random.Random) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        weight, bits, gradient = drawn(rng, 4, (2, 4))
        case = (weight.to(dtype), bits, gradient)
        call = f"fake_quant of a weight in {dtype}, {brief(weight)}, {bits}"
        made, _, kept = _traced(function, case, call, f"{dtype}, and the weight as it was")
        if not kept:
            raise difference(call, "the weight is another now", "the weight as it was", _IN_PLACE)
        if made.dtype != dtype:
            raise difference(call, str(made.dtype), str(dtype), _DTYPE)


_IN_PLACE = "The weight itself was changed: training needs it unrounded, so work on a copy."
_DTYPE = "The weight's own number format is asked for: rounded.to(weight.dtype)."
_NONE = "No gradient reaches the weight: it was detached, all of it. Detach the rounding alone, "
_NONE += "weight + (rounded - weight).detach()."
_FLAT = "The gradient is 0: round() is flat between two codes. Hand it past the rounding, "
_FLAT += "weight + (rounded - weight).detach()."
FAKE_QUANT = Exercise(
    "lab7",
    "fake_quant",
    fake_quant,
    (
        Step("forward: rounded to its codes and back", 1, _forward),
        Step("backward: the gradient goes on to the weight as it came", 1, _backward),
        Step("in the weight's number format, and the weight stays as it is", 1, _as_it_is),
    ),
    (
        "First make the rounded weight, as with quantize and dequantize. Then give it the gradient "
        "of the weight that was not rounded.",
        "x.detach() has the value of x and no gradient. What has the value of `rounded`, and the "
        "gradient of `weight`?",
        "weight + (rounded - weight).detach(): forward the two weights cancel, backward only the "
        "first is seen.",
    ),
    TRACED,
    runner=on_a_weight,
    minutes=10,
    difficulty="medium",
)
