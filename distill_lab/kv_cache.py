"""Keys and values with room to grow: a step writes its own in place, where transformers' cache
copies all that was there before, in every layer and at every step.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """Keys and values (B, heads, T, D) at the beginning of tensors that are longer."""

    def __init__(self, layer: DynamicLayer, room: int) -> None:
        super().__init__()
        assert layer.keys is not None
        assert layer.values is not None
        self.dtype, self.device, self.is_initialized = layer.dtype, layer.device, True
        self._length = layer.keys.shape[-2]
        self._keys, self._values = (_longer(each, room) for each in (layer.keys, layer.values))
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
        """Keeps some rows."""
        self._keys, self._values = self._keys[indices], self._values[indices]
        self._look()


def _longer(tensor: Tensor, room: int) -> Tensor:
    made = tensor.new_empty(*tensor.shape[:-2], tensor.shape[-2] + room, tensor.shape[-1])
    made[..., : tensor.shape[-2], :] = tensor
    return made


def with_room(cache: Any, room: int) -> Any:
    """The cache with room for that many more tokens. Layers of another kind, such as a sliding
    window's, stay as they are."""
    layers = getattr(cache, "layers", [])
    for i, layer in enumerate(layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            layers[i] = RoomyLayer(layer, room)
    return cache
