"""Unsloth's GPU code on a CPU: its own forward passes and LoRA kernels, with Triton's interpreter.

`make test-unsloth-kernels`. What is replaced here is what asks for a CUDA device, and nothing that
computes: the device's name and memory, streams, pinned memory, where rotary tables lie, and the
class of 4-bit layers, of which there are none. Slow, so the models are tiny.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import AbstractContextManager
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

ASKED = os.environ.get("UNSLOTH_ALLOW_CPU") == "1"  # Unsloth's own switch, for its tests


class _Device(AbstractContextManager[None]):
    def __init__(self, index: int = 0) -> None:
        self.idx = 0

    def __exit__(self, *error: object) -> None:
        return None


def _like_a_t4() -> None:
    card = SimpleNamespace(
        name="T4", total_memory=16 * 2**30, major=7, minor=5, multi_processor_count=40,
        is_integrated=0, gcnArchName="",
    )  # fmt: skip
    answers = {
        "get_device_properties": card, "get_device_name": "T4", "get_device_capability": (7, 5),
        "device_count": 1, "current_device": 0, "mem_get_info": (2**33, 2**34),
        "memory_allocated": 0, "memory_reserved": 0, "max_memory_reserved": 0,
        "is_bf16_supported": False, "empty_cache": None, "synchronize": None,
    }  # fmt: skip
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    torch.cuda.device = _Device  # type: ignore[assignment,misc]
    torch._C._cuda_getCurrentRawStream = lambda index: 0  # type: ignore[attr-defined]


def _empty_on_the_cpu() -> None:
    real = torch.empty

    def empty(*size: Any, device: Any = None, pin_memory: bool = False, **more: Any) -> Any:
        on_gpu = isinstance(device, int) or str(device).startswith("cuda")
        return real(*size, device="cpu" if on_gpu else device, **more)

    torch.empty = empty


def _rotary_tables_on_the_cpu(llama: Any) -> None:
    def build(self: Any, index: int) -> None:
        size = self.current_rope_size
        with self._rope_build_mode():
            self._set_cos_sin_cache(
                seq_len=self._rope_cache_rows(),
                device=torch.device("cpu", 0),
                dtype=self._rope_cache_dtype,
            )
        self.current_rope_size = size
        self._rope_cache_versions[index] = self._rope_cache_version
        self._mark_rope_build(index)

    llama._PerDeviceRopeCache._build_rope_cache = build
    llama.get_current_device = lambda: 0

    def scratch(self: Any, index: int) -> Any:  # of its generate
        return self._make(torch.device("cpu"))

    llama._LazyDeviceScratch.__getitem__ = scratch


def _without_4_bits() -> None:
    """It asks for the class of 4-bit layers while it puts dtypes right."""
    lora = importlib.import_module("peft.tuners.lora")
    if not hasattr(lora, "Linear4bit"):
        lora.Linear4bit = type("Linear4bit", (torch.nn.Module,), {})  # type: ignore[attr-defined]
    real = importlib.import_module("unsloth_zoo.patching_utils").patch_model_and_tokenizer
    package, module = ModuleType("bitsandbytes"), ModuleType("bitsandbytes.nn")
    module.Linear4bit = type("Linear4bit", (torch.nn.Linear,), {})  # type: ignore[attr-defined]

    def patch(*arguments: Any, **more: Any) -> Any:
        sys.modules |= {"bitsandbytes": package, "bitsandbytes.nn": module}
        try:
            return real(*arguments, **more)
        finally:
            del sys.modules["bitsandbytes"], sys.modules["bitsandbytes.nn"]

    for used in list(sys.modules.values()):
        if vars(used).get("patch_model_and_tokenizer") is real:
            used.patch_model_and_tokenizer = patch  # type: ignore[attr-defined]


def import_unsloth() -> None:
    """Imports Unsloth with its GPU half, before transformers. Raises where Triton is missing."""
    from distill_lab.models import unsloth_backend

    os.environ["TRITON_INTERPRET"] = "1"
    os.environ["UNSLOTH_COMPILE_DISABLE"] = "1"
    _like_a_t4()
    problem = unsloth_backend.problem()
    assert problem is None, problem
    llama: Any = importlib.import_module("unsloth.models.llama")
    loader: Any = importlib.import_module("unsloth.models.loader")
    vision: Any = importlib.import_module("unsloth.models.vision")
    for user in (llama, loader, vision):  # plain recomputing: offloading needs a GPU's streams
        user.apply_unsloth_gradient_checkpointing = lambda asked, *_, **__: bool(asked)
    _empty_on_the_cpu()
    _rotary_tables_on_the_cpu(llama)
    _without_4_bits()
