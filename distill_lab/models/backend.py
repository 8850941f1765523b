"""What models run on, and why: every `auto` of the runtime settings is resolved here."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from distill_lab.models import unsloth_backend
from distill_lab.run.distributed import is_main, local_rank, local_size, size
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError
from distill_lab.run.settings import Config, RuntimeSettings


@dataclass(frozen=True, slots=True)
class Backend:
    """What models run on, and why."""

    name: str
    device: str
    dtype: str
    threads: int
    reason: str


def choose_backend(runtime: RuntimeSettings, lora_rank: int = 0) -> Backend:
    """Resolves every `auto` of the runtime settings; the reason says how."""
    name, why_name = _backend_name(runtime.backend)
    device, why_device = _device(runtime.device)
    dtype, why_dtype = _dtype(runtime.dtype, device, lora_rank)
    threads = runtime.threads or _cores()
    together = f"; {size()} processes" if size() > 1 else ""
    return Backend(
        name,
        device,
        dtype,
        threads,
        f"{why_name}; {why_device}; {why_dtype}; {threads} CPU threads{together}",
    )


def start(config: Config, out: Path) -> Backend:
    """Chooses the backend for work that begins and notes it in the run's run.json; prints it with
    its reason where it is new.
    """
    gc.collect()  # a trainer and its model hold each other: their memory is free only after this
    backend = choose_backend(config.runtime, config.models.lora_rank)
    _say_what_is_idle(backend)
    torch.set_num_threads(backend.threads)
    said = {key: getattr(backend, key) for key in ("name", "device", "dtype", "reason")}
    if is_main() and RunFolder(out).read_notes().get("backend") != said:
        print(f"{backend.name} on {backend.device}, {backend.dtype}: {backend.reason}", flush=True)
        RunFolder(out).write_note("backend", said)
    return backend


def _say_what_is_idle(backend: Backend) -> None:
    gpus = torch.cuda.device_count() if backend.device.startswith("cuda") else 0
    if gpus > local_size():
        print(
            f"{local_size()} of {gpus} GPUs is used; "
            f"`accelerate launch --num-processes {gpus} -m distill_lab …` uses them all."
        )


def prepare(runtime: RuntimeSettings) -> None:
    """Imports Unsloth where these settings take it: before any module that imports transformers.

    The command line does it itself; a notebook calls it, or has `import unsloth`, first of all.
    """
    _backend_name(runtime.backend)


def _backend_name(asked: str) -> tuple[str, str]:
    if asked == "transformers":
        return asked, f"{asked} was asked for"
    if asked == "auto" and not torch.cuda.is_available():
        return "transformers", "transformers, as Unsloth is taken with a CUDA GPU alone"
    problem = unsloth_backend.problem()
    if asked == "auto":
        return (
            ("transformers", f"transformers, as {problem}")
            if problem
            else ("unsloth", "unsloth, as it and a CUDA GPU are there")
        )
    if problem:
        raise LabError(f"--runtime.backend unsloth: expected Unsloth, but {problem}.")
    return asked, f"{asked} was asked for"


def _device(asked: str) -> tuple[str, str]:
    if asked != "auto":
        try:
            torch.zeros(1, device=asked)
        except (RuntimeError, AssertionError) as error:
            first = str(error).splitlines()[0]
            raise LabError(
                f"--runtime.device: expected a device of this machine, found {asked!r} ({first})."
            ) from None
        return asked, f"{asked} was asked for"
    for device, there in (
        ("cuda", torch.cuda.is_available()),
        ("mps", torch.backends.mps.is_available()),
    ):
        if there:
            return (f"{device}:{local_rank()}" if size() > 1 else device), f"{device} is there"
    return "cpu", "cpu, as there is no GPU"


def _dtype(asked: str, device: str, lora_rank: int) -> tuple[str, str]:
    if asked != "auto":
        return asked, f"{asked} was asked for"
    if device.startswith("cuda"):
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return (
            ("bfloat16", "bfloat16, which this GPU has")
            if bf16
            else ("float16", "float16, as this GPU has no bfloat16")
        )
    if not lora_rank:
        return "float32", "float32, as all weights are trained"
    if device == "cpu" and _multiplies_bfloat16():
        return "bfloat16", "bfloat16, which this CPU multiplies natively; LoRA stays in float32"
    return "float32", f"float32, as {device} is not known to multiply bfloat16 faster"


def _multiplies_bfloat16() -> bool:
    """Whether the CPU has AVX512-BF16 or AMX; without them bfloat16 is slower than float32."""
    has = getattr(torch.cpu, "get_capabilities", dict)()  # since torch 2.12
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def _cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (there or 1) // local_size())
