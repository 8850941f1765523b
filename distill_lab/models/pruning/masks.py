"""Masks of a pruned model: applied, checked, saved as bits, and kept while the model is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import TrainerCallback

from distill_lab.models.loading import LanguageModel
from distill_lab.run.json_text import first_line
from distill_lab.run.records import LabError, write_bytes

FORMAT = "distill-lab masks 1"


@dataclass(frozen=True, slots=True)
class Masks:
    """`kept` holds a Bool (out, in) for each linear by its name in the model: True is kept."""

    kept: Mapping[str, Tensor]

    @property
    def n_dropped(self) -> int:
        """How many weights are held at 0."""
        return sum(int((~mask).sum()) for mask in self.kept.values())

    def apply(self, model: LanguageModel) -> None:
        """Sets the dropped weights to 0, in place: what is saved is an ordinary model."""
        for weight, mask in _pairs(model.lm, self.kept):
            _zero(weight, mask)

    def violations(self, model: LanguageModel) -> int:
        """How many dropped weights are not 0."""
        return _violations(_pairs(model.lm, self.kept))

    def save(self, path: Path) -> None:
        """One bit a weight, as safetensors, whole or not at all."""
        bits = {
            name: torch.from_numpy(np.packbits(mask.cpu().numpy()))
            for name, mask in self.kept.items()
        }
        shapes = {name: f"{len(mask)} {mask.shape[1]}" for name, mask in self.kept.items()}
        write_bytes(path, safetensors.torch.save(bits, {"format": FORMAT, **shapes}))

    @classmethod
    def load(cls, path: Path) -> Masks:
        """LabError where the file is not one that `save` wrote."""
        try:
            with safe_open(path, "pt") as file:
                shapes = file.metadata() or {}
                if shapes.get("format") != FORMAT:
                    raise SafetensorError(f"no format {FORMAT!r}")
                return cls({n: _unpacked(file.get_tensor(n), shapes[n]) for n in file.keys()})  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise LabError(
                f"{path}: expected masks that were saved here, found none ({first_line(error)}). "
                "Prune the model again."
            ) from None


class KeepMasks(TrainerCallback):
    """Holds the dropped weights at 0 while a Trainer trains the others.

    After each optimiser step they are set to 0 again; their gradients are 0, so that they take no
    part in clipping and none in AdamW's averages. LabError when training begins with dropped
    weights that are not 0, or an optimiser that remembers them: its averages from before the
    pruning would move them. A checkpoint made under the same masks is gone on from.
    """

    def __init__(self, masks: Masks) -> None:
        self.masks = masks
        self._pairs: list[tuple[nn.Parameter, Tensor]] = []
        self._hooks: list[Any] = []

    def on_train_begin(
        self,
        args: Any,
        state: Any,
        control: Any,
        model: Any = None,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        self._pairs = _pairs(model, self.masks.kept)
        if n := _violations(self._pairs):
            raise LabError(
                f"Masks: expected a model whose {self.masks.n_dropped:,} dropped weights are 0, "
                f"found {n:,} that are not. Apply the masks first, or take their own checkpoint."
            )
        if n := sum(_remembered(optimizer, *pair) for pair in self._pairs):
            raise LabError(
                f"Masks: expected a fresh optimiser, found one that remembers {n:,} dropped "
                "weights from before the pruning. Make a new one."
            )
        self._hooks = [
            weight.register_hook(lambda gradient, mask=mask: gradient * mask)
            for weight, mask in self._pairs
            if weight.requires_grad
        ]

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for weight, mask in self._pairs:
            _zero(weight, mask)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        for hook in self._hooks:
            hook.remove()
        assert _violations(self._pairs) == 0, "dropped weights have come back"


def _pairs(lm: nn.Module, kept: Mapping[str, Tensor]) -> list[tuple[nn.Parameter, Tensor]]:
    """Each masked weight with its mask, on its device. LabError where the masks are those of
    another model, or of one without the adapter that this one has."""
    modules: dict[str, Any] = dict(lm.named_modules())
    pairs: list[tuple[nn.Parameter, Tensor]] = []
    for name, mask in kept.items():
        weight = getattr(modules.get(name), "weight", None)
        if not isinstance(weight, nn.Parameter) or weight.shape != mask.shape:
            found = "none" if weight is None else f"one of {tuple(weight.shape)}"
            raise LabError(
                f"Masks: expected a weight of {tuple(mask.shape)} at {name}, found {found}. "
                "Take the model that they were made for, without adapter."
            )
        pairs.append((weight, mask.to(weight.device)))
    return pairs


@torch.no_grad()
def _zero(weight: nn.Parameter, mask: Tensor) -> None:
    weight.masked_fill_(~mask, 0)  # a product would leave -0, and NaN where it is


def _violations(pairs: list[tuple[nn.Parameter, Tensor]]) -> int:
    return sum(int((weight.detach()[~mask] != 0).sum()) for weight, mask in pairs)


def _remembered(optimizer: Any, weight: nn.Parameter, mask: Tensor) -> int:
    """At how many dropped weights an optimiser's averages are not 0."""
    held = optimizer.state.get(weight, {}) if optimizer is not None else {}
    averages = [x for x in held.values() if isinstance(x, Tensor) and x.shape == mask.shape]
    return max((int((x[~mask] != 0).sum()) for x in averages), default=0)


def _unpacked(bits: Tensor, shape: str) -> Tensor:
    """Bool (out, in) of its bits."""
    rows, columns = map(int, shape.split())
    flat = np.unpackbits(bits.numpy(), count=rows * columns)
    return torch.from_numpy(flat.reshape(rows, columns)).bool()
