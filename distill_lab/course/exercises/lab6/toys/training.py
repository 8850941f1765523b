"""Lab 6: two small linear layers that are trained, for answers that take an optimiser step. They
are made where the student's code runs: only numbers cross."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Step = Callable[[Tensor, torch.optim.Optimizer, dict[str, nn.Parameter], dict[str, Tensor]], Any]
NAMES = ("up", "down")


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """Weights up (H, in) and down (out, H) with their masks, inputs (N, in) and targets (N, out).
    `dense_steps` are taken before the masks are laid on; the optimiser remembers them."""

    up: Tensor
    down: Tensor
    up_mask: Tensor
    down_mask: Tensor
    inputs: Tensor
    targets: Tensor
    steps: int
    dense_steps: int

    @property
    def arguments(self) -> list[Any]:
        """As they cross to where the student's code runs."""
        return [getattr(self, name) for name in self.__slots__]


class ToyTraining:
    """The layers of a case and their optimiser; `weights` and `masks` by name."""

    def __init__(self, case: Case) -> None:
        self.weights = {name: nn.Parameter(getattr(case, name).clone()) for name in NAMES}
        self.masks = {name: getattr(case, f"{name}_mask").bool() for name in NAMES}
        self.inputs, self.targets = case.inputs, case.targets
        self.optimizer = torch.optim.AdamW(self.weights.values(), lr=0.05, weight_decay=0.01)
        for _ in range(case.dense_steps):
            self.optimizer.zero_grad()
            self.loss().backward()
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.lay_masks_on()

    def loss(self) -> Tensor:
        hidden = (self.inputs @ self.weights["up"].T).tanh()  # (N, H)
        return F.mse_loss(hidden @ self.weights["down"].T, self.targets)

    @torch.no_grad()
    def lay_masks_on(self) -> None:
        for name, weight in self.weights.items():
            weight.mul_(self.masks[name])


def taken_steps(case: Case, step: Step) -> list[Tensor]:
    """The weights after so many steps, as the optimiser holds them."""
    training = ToyTraining(case)
    for _ in range(
        case.steps
    ):  # a step gets a dict of its own, into which it may put other tensors
        step(training.loss(), training.optimizer, dict(training.weights), training.masks)
    return [weight.detach().clone() for weight in training.weights.values()]


def on_toy_layers(masked_step: Step) -> Callable[..., list[Tensor]]:
    """`masked_step` as its check calls it: the weights after some steps of a case."""

    def called(*fields: Any) -> list[Tensor]:
        return taken_steps(Case(*fields), masked_step)

    return called
