"""Keys and values with room to grow: a step writes its own in place, where transformers' cache
copies all that was there before, in every layer and at every step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """Keys and values (B, heads, T, D) at the beginning of tensors that are longer."""

    def __init__(self, layer: DynamicLayer, room: int, repeats: int = 1) -> None:
        super().__init__()
        assert layer.keys is not None
        assert layer.values is not None
        self.dtype, self.device, self.is_initialized = layer.dtype, layer.device, True
        self._length = layer.keys.shape[-2]
        self._keys = _longer(layer.keys, room, repeats)
        self._values = _longer(layer.values, room, repeats)
        self._look()

    def _look(self) -> None:
        self.keys: Tensor = self._keys[..., : self._length, :]
        self.values: Tensor = self._values[..., : self._length, :]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """The keys and values up to and with those of this step."""
        end = self._length + key_states.shape[-2]
        if end > self._keys.shape[-2]:
            self._keys, self._values = (_longer(each, end) for each in (self._keys, self._values))
        self._keys[..., self._length : end, :] = key_states
        self._values[..., self._length : end, :] = value_states
        self._length = end
        self._look()
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps some rows, each at most once. Those that stay in their places are not copied."""
        moved = (indices != torch.arange(len(indices), device=indices.device)).nonzero()[:, 0]
        for each in (self._keys, self._values):
            # the right side is a copy, so that no row is overwritten before it has moved
            each[moved, :, : self._length] = each[indices[moved], :, : self._length]
        self._keys, self._values = self._keys[: len(indices)], self._values[: len(indices)]
        self._look()


def _longer(tensor: Tensor, room: int, repeats: int = 1) -> Tensor:
    """Each row (heads, T, D) so often, one beside the other, and empty places behind its tokens."""
    rows, heads, length, width = tensor.shape
    made = tensor.new_empty(rows, repeats, heads, length + room, width)
    made[..., :length, :] = tensor[:, None]
    return made.flatten(0, 1)


def with_room(cache: Any, room: int, repeats: int = 1) -> Any:
    """The cache with each row so often, and room for that many more tokens. Layers of another kind,
    such as a sliding window's, have their rows repeated and stay what they are.
    """
    layers = getattr(cache, "layers", None)
    if layers is None:
        cache.batch_repeat_interleave(repeats)
        return cache
    for i, layer in enumerate(layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            layers[i] = RoomyLayer(layer, room, repeats)
        else:
            layer.batch_repeat_interleave(repeats)
    return cache
