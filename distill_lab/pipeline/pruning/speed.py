"""Time a token and peak memory of models, measured side by side on this machine.

Rounds of dense and pruned model alternate, so that a machine that slows down slows both; what is
told of a round is their ratio, and of all rounds the median.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distill_lab.models.loading import LanguageModel
from distill_lab.models.quantization.backends import held_tensors
from distill_lab.pipeline.pruning.settings import MeasureSettings


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds a token of each round: reading the prompt (prefill), making new ones (decode)."""

    prefill: list[float]
    decode: list[float]


def times_faster(dense: Sequence[float], pruned: Sequence[float]) -> float:
    """How many times as fast as the dense model: the median of the rounds' ratios."""
    return median(slow / fast for slow, fast in zip(dense, pruned, strict=True))


def side_by_side(models: Sequence[LanguageModel], how: MeasureSettings) -> list[Speed]:
    """The speed of each model, at batch size 1. A first round warms up and is not counted."""
    speeds = [Speed([], []) for _ in models]
    for n in range(how.repeats + 1):
        order = list(zip(models, speeds, strict=True))
        for model, speed in order if n % 2 else reversed(order):
            prefill, decode = _round(model, how)
            if n:
                speed.prefill.append(prefill)
                speed.decode.append(decode)
    return speeds


def timed(
    models: Sequence[LanguageModel], how: MeasureSettings
) -> tuple[list[Speed], float | None]:
    """`side_by_side`, and the share of the time (0 to 1) in which this process waited for a core:
    where other programs run, its times are theirs too. None on a GPU, whose work is no core's."""
    begin, on_cores = time.perf_counter(), time.process_time()
    speeds = side_by_side(models, how)
    on_cores, took = time.process_time() - on_cores, time.perf_counter() - begin
    on_cpu = all(model.lm.device.type == "cpu" for model in models)
    return speeds, max(0.0, 1 - on_cores / took) if on_cpu else None


@torch.inference_mode()
def _round(model: LanguageModel, how: MeasureSettings) -> tuple[float, float]:
    """Seconds a token of one prompt, and of the tokens after it, which are made greedily."""
    lm: Any = model.lm
    prompt = _prompt(model, how)
    begin = _now(lm)
    made = lm(input_ids=prompt, use_cache=True, logits_to_keep=1)
    middle = _now(lm)
    for _ in range(how.new_tokens):
        token = made.logits[:, -1:].argmax(-1)  # (1, 1)
        made = lm(input_ids=token, past_key_values=made.past_key_values, use_cache=True)
    end = _now(lm)
    return (middle - begin) / prompt.shape[1], (end - middle) / how.new_tokens


def _prompt(model: LanguageModel, how: MeasureSettings) -> Tensor:
    """Token ids (1, T): which ones they are changes nothing; fewer where the model has no room."""
    positions = getattr(model.lm.config.get_text_config(), "max_position_embeddings", None)
    room = positions - how.new_tokens if positions else how.prompt_tokens
    length = max(1, min(how.prompt_tokens, room))
    return (torch.arange(length, device=model.lm.device) % model.vocab_size)[None]


def _now(lm: Any) -> float:
    if lm.device.type == "cuda":
        torch.cuda.synchronize(lm.device)
    return time.perf_counter()


def peak_bytes(model: LanguageModel, how: MeasureSettings) -> int:
    """The most memory that reading a prompt and making tokens takes, weights included: on a GPU as
    CUDA counts it, elsewhere as the tensors that operations return add up (what an operation uses
    inside itself is not seen there)."""
    device = model.lm.device
    held = held_tensors(model.lm)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in held)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _round(model, how)
        return weights + torch.cuda.max_memory_allocated(device) - before
    lasting = [*held, *model.lm.buffers()]
    return weights + peak_of_tensors(lambda: _round(model, how), lasting)


def peak_of_tensors(work: Callable[[], object], lasting: Sequence[Tensor] = ()) -> int:
    """The most bytes that tensors made in `work` held at one time; views of others, and of the
    tensors that last, hold none of their own."""
    with _Held({tensor.untyped_storage().data_ptr() for tensor in lasting}) as held:
        work()
    return held.peak


class _Held(TorchDispatchMode):
    """Adds up the storages of what operations return, until they are freed."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self.known, self.now, self.peak = known, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        address, size = storage.data_ptr(), storage.nbytes()
        if address in self.known:
            return
        self.known.add(address)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, address, size)

    def _free(self, address: int, size: int) -> None:
        self.known.discard(address)
        self.now -= size
