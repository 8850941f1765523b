"""Keys and values with room to grow: a step writes its own in place, where transformers' cache
copies all that was there before, in every layer and at every step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer


class PreallocatedLayer(DynamicLayer):
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

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keeps these rows, each named at most once. Those that keep their places are not copied.

        So named in transformers, where it is the one selection of rows that all caches know.
        """
        moved = (beam_idx != torch.arange(len(beam_idx), device=beam_idx.device)).nonzero()[:, 0]
        for each in (self._keys, self._values):
            # the right side is a copy, so that no row is overwritten before it has moved
            each[moved, :, : self._length] = each[beam_idx[moved], :, : self._length]
        self._keys, self._values = self._keys[: len(beam_idx)], self._values[: len(beam_idx)]
        self._look()


def _longer(tensor: Tensor, room: int, repeats: int = 1) -> Tensor:
    """Each row (heads, T, D) so often, one beside the other, and empty places behind its tokens."""
    rows, heads, length, width = tensor.shape
    made = tensor.new_empty(rows, repeats, heads, length + room, width)
    made[..., :length, :] = tensor[:, None]
    return made.flatten(0, 1)


def keeps_all(lm: PreTrainedModel) -> bool:
    """Whether every layer attends to all tokens before, through keys and values that are kept: no
    sliding window, no recurrent state.
    """
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=lm.config).layers)


def with_room(cache: Any, room: int, rows: int, repeats: int = 1) -> Any:
    """The cache of so many rows with each so often, and room for that many more tokens. Layers of
    another kind, such as a sliding window's, have their rows repeated and stay what they are.
    """
    for i, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            cache.layers[i] = PreallocatedLayer(layer, room, repeats)
        else:
            cache.layers[i].reorder_cache(torch.arange(rows).repeat_interleave(repeats))
    return cache
