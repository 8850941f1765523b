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
from distill_lab.run.json_text import first_line
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
    """Resolves every `auto` of the runtime settings; the reason says how. LabError where what was
    asked for is not here."""
    name, why_name = _backend_name(runtime.backend)
    device, why_device = _device(runtime.device)
    dtype, why_dtype = _dtype(runtime.dtype, device, lora_rank)
    threads = runtime.threads or _cores()
    reasons = [why_name, why_device, why_dtype, f"{threads} CPU threads"]
    reasons += [f"{size()} processes"] if size() > 1 else []
    return Backend(name, device, dtype, threads, "; ".join(reasons))


def start(config: Config, out: Path) -> Backend:
    """Chooses the backend as a stage begins; where the choice is new to the run, prints it with its
    reason and notes it in run.json."""
    return start_on(config.runtime, config.models.lora_rank, out)


def start_on(runtime: RuntimeSettings, lora_rank: int, out: Path) -> Backend:
    """The same from the settings on which the choice depends."""
    gc.collect()  # a trainer and its model hold each other: their memory is free only after this
    backend = choose_backend(runtime, lora_rank)
    gpus = torch.cuda.device_count() if backend.device.startswith("cuda") else 0
    if gpus > local_size():
        print(
            f"{local_size()} of {gpus} GPUs is used; "
            f"`accelerate launch --num-processes {gpus} -m distill_lab …` uses them all."
        )
    torch.set_num_threads(backend.threads)
    note = {key: getattr(backend, key) for key in ("name", "device", "dtype", "reason")}
    if is_main() and RunFolder(out).read_notes().get("backend") != note:
        print(f"{backend.name} on {backend.device}, {backend.dtype}: {backend.reason}", flush=True)
        RunFolder(out).write_note("backend", note)
    return backend


def prepare(runtime: RuntimeSettings) -> None:
    """Imports Unsloth where these settings take it: before any module that imports transformers.

    The command line does it itself; a notebook calls it, or has `import unsloth`, first of all.
    """
    _backend_name(runtime.backend)


def _backend_name(setting: str) -> tuple[str, str]:
    if setting == "transformers":
        return setting, f"{setting} was asked for"
    if setting == "auto" and not torch.cuda.is_available():
        return "transformers", "transformers, as Unsloth is taken with a CUDA GPU alone"
    problem = unsloth_backend.problem()
    if problem and setting == "auto":
        return "transformers", f"transformers, as {problem}"
    if problem:
        raise LabError(f"--runtime.backend unsloth: expected Unsloth, but {problem}.")
    if setting == "auto":
        return "unsloth", "unsloth, as it and a CUDA GPU are there"
    return setting, f"{setting} was asked for"


def _device(setting: str) -> tuple[str, str]:
    if setting != "auto":
        try:
            torch.zeros(1, device=setting)
        except (RuntimeError, AssertionError) as error:
            raise LabError(
                f"--runtime.device: expected a device of this machine, found {setting!r} "
                f"({first_line(error)})."
            ) from None
        return setting, f"{setting} was asked for"
    if torch.cuda.is_available():
        return f"cuda:{local_rank()}" if size() > 1 else "cuda", "cuda is there"
    if torch.backends.mps.is_available():
        return "mps", "mps is there"
    return "cpu", "cpu, as there is no GPU"


def _dtype(setting: str, device: str, lora_rank: int) -> tuple[str, str]:
    if setting != "auto":
        return setting, f"{setting} was asked for"
    if device.startswith("cuda"):
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bfloat16", "bfloat16, which this GPU has"
        return "float16", "float16, as this GPU has no bfloat16"
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
