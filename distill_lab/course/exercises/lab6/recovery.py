"""Lab 6's exercise masked_step: a step of training after which the zeros are zeros still."""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from distill_lab.course.exercises.calling import result_of
from distill_lab.course.exercises.exercise import (
    Exercise,
    Function,
    Step,
    WrongError,
    difference,
)
from distill_lab.course.exercises.lab6.toys.training import Case, on_toy_layers, taken_steps

Weights = Mapping[str, nn.Parameter]
Masks = Mapping[str, Tensor]


def masked_step(
    loss: Tensor, optimizer: torch.optim.Optimizer, weights: Weights, masks: Masks
) -> None:
    """One step of the optimiser on `loss`; behind it each weight is 0 where its mask is False."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for name, weight in weights.items():
            weight.mul_(masks[name])


# -- what is often written


def unmasked(loss: Tensor, optimizer: Any, weights: Weights, masks: Masks) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def gradients_masked(loss: Tensor, optimizer: Any, weights: Weights, masks: Masks) -> None:
    optimizer.zero_grad()
    loss.backward()
    for name, weight in weights.items():
        assert weight.grad is not None
        weight.grad *= masks[name]
    optimizer.step()


def masked_before(loss: Tensor, optimizer: Any, weights: Weights, masks: Masks) -> None:
    optimizer.zero_grad()
    loss.backward()
    with torch.no_grad():
        for name, weight in weights.items():
            weight.mul_(masks[name])
    optimizer.step()


def turned_round(loss: Tensor, optimizer: Any, weights: Weights, masks: Masks) -> None:
    masked_step(loss, optimizer, weights, {name: ~mask for name, mask in masks.items()})


def gradients_kept(loss: Tensor, optimizer: Any, weights: Weights, masks: Masks) -> None:
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for name, weight in weights.items():
            weight.mul_(masks[name])


def first_weight_alone(loss: Tensor, optimizer: Any, weights: Weights, masks: Masks) -> None:
    masked_step(loss, optimizer, dict(list(weights.items())[:1]), masks)


def no_step(loss: Tensor, optimizer: Any, weights: Weights, masks: Masks) -> None:
    with torch.no_grad():
        for name, weight in weights.items():
            weight.mul_(masks[name])


def gradients_cleared(loss: Tensor, optimizer: Any, weights: Weights, masks: Masks) -> None:
    loss.backward()
    optimizer.zero_grad()
    no_step(loss, optimizer, weights, masks)


_BEFORE = "The masks are laid on before the step, which fills the zeros again."
_GRADIENT = "The gradients are masked, and the weights are not: the optimiser also moves what has "
_GRADIENT += "no gradient, by what it remembers of the steps before the pruning."
INSTEAD = {
    "The masks are not laid on, or on new tensors, which the optimiser does not hold: the zeros "
    "are trained as all others are.": unmasked,
    _BEFORE: masked_before,
    _GRADIENT: gradients_masked,
    "The masks are laid on the wrong way round: True is what is kept.": turned_round,
    "Gradients of earlier steps are added up: clear them before each backward pass.":
        gradients_kept,
    "Only the first weight has its mask laid on.": first_weight_alone,
    "The optimiser takes no step, or none with a gradient: nothing is learnt.": no_step,
}  # fmt: skip


# -- the check


@functools.lru_cache(maxsize=128)
def _drawn(seed: int, dense_steps: int, masked: bool = True) -> Case:
    draw = torch.Generator().manual_seed(seed)
    up, down = torch.randn(4, 3, generator=draw), torch.randn(2, 4, generator=draw)
    up_mask, down_mask = (torch.rand(w.shape, generator=draw) > 0.5 * masked for w in (up, down))
    for mask in (up_mask, down_mask):  # something of each kind in each
        mask[0, :2] = torch.tensor([True, not masked])
    inputs, targets = torch.randn(8, 3, generator=draw), torch.randn(8, 2, generator=draw)
    return Case(up, down, up_mask, down_mask, inputs, targets, 2 + seed % 2, dense_steps)


@functools.lru_cache(maxsize=256)
def _taken(case: Case, step: Function) -> list[Tensor]:
    """The weights after the steps of a case, by another step than the student's."""
    return taken_steps(case, step)


def _shown(case: Case) -> str:
    past = f", behind {case.dense_steps} steps without masks" if case.dense_steps else ""
    return f"{case.steps} calls of masked_step, AdamW{past}; the weights `up` (4, 3), `down` (2, 4)"


def _weights(function: Function, case: Case) -> list[Tensor]:
    weights = result_of(function, case.arguments, _shown(case), "the weights change in place")
    if not isinstance(weights, list) or [type(w) for w in weights] != [Tensor, Tensor]:
        raise WrongError(f"{_shown(case)}\nThe weights could not be read behind it.")
    return weights


def _named(yours: list[Tensor], case: Case, places: list[Tensor]) -> str:
    """The known mistake that gives these weights, compared at these places; "" for none."""
    for name, step in INSTEAD.items():
        theirs = _taken(case, step)
        if _same(yours, theirs, places) and not _same(_taken(case, masked_step), theirs, places):
            return name
    return ""


def _same(one: list[Tensor], other: list[Tensor], places: list[Tensor]) -> bool:
    return all(
        a.shape == b.shape and torch.allclose(a[p], b[p], atol=1e-5)
        for a, b, p in zip(one, other, places, strict=True)
    )


def _learns(function: Function, rng: random.Random) -> None:
    """What is kept moves as the optimiser moves it. No mask cuts anything here."""
    case = _drawn(rng.randrange(2**31), 0, masked=False)
    yours, everywhere = _weights(function, case), [case.up_mask, case.down_mask]
    if not _same(yours, _taken(case, masked_step), everywhere):
        says = _named(yours, case, everywhere)
        shown = f"{_shown(case)}, of which nothing is masked"
        raise difference(shown, _brief(yours[0]), _brief(_taken(case, masked_step)[0]), says)


def _brief(weight: Tensor) -> str:
    return f"up[0] = {[round(value, 4) for value in weight[0].tolist()]}"


def _zeros(function: Function, case: Case) -> None:
    """WrongError where a masked weight is not 0, or nothing was learnt beside it."""
    yours, masks = _weights(function, case), [case.up_mask.bool(), case.down_mask.bool()]
    cut = [~mask for mask in masks]
    moved = sum(int((w[c] != 0).sum()) for w, c in zip(yours, cut, strict=True))
    n = sum(int(c.sum()) for c in cut)
    if moved:
        says = _named(yours, case, cut) or "Is each weight set to 0 in place, behind the step?"
        raise difference(_shown(case), f"{moved} of {n} masked weights are not 0", "0", says)
    if _same(yours, _taken(case, no_step), masks):
        says = _named(yours, case, masks) or "The weights are as they were."
        raise difference(_shown(case), _brief(yours[0]), _brief(_taken(case, masked_step)[0]), says)


def _fresh(function: Function, rng: random.Random) -> None:
    _zeros(function, _drawn(rng.randrange(2**31), 0))


def _remembering(function: Function, rng: random.Random) -> None:
    _zeros(function, _drawn(rng.randrange(2**31), 3))


MASKED_STEP = Exercise(
    "lab6",
    "masked_step",
    masked_step,
    (
        Step("what is kept is trained, a step each time", 1, _learns),
        Step("what is masked is 0 behind the step", 1, _fresh),
        Step("also where the optimiser remembers steps before the pruning", 2, _remembering),
    ),
    (
        "A step of training has three lines: clear the old gradients, go backward from the loss, "
        "let the optimiser step. What it moved, the masks put right.",
        "Lay the masks on when the optimiser has stepped: it moves each weight that it holds, by "
        "this gradient and by those that it remembers.",
        "In place, and without a gradient: with torch.no_grad(), then weight.mul_(masks[name]) for "
        "each name. weight = weight * mask would make a new tensor, which nobody holds.",
    ),
    runner=on_toy_layers,
    minutes=10,
    difficulty="medium",
)
