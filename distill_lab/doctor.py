"""`distill-lab doctor`: what this machine can run, and why."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

import torch

from distill_lab.backends import choose_backend
from distill_lab.config import RuntimeSettings
from distill_lab.report import version

PACKAGES = ("torch", "transformers", "peft", "datasets", "accelerate", "unsloth")


def report() -> str:
    """A few lines: machine, packages, backend and profile, each choice with its reason."""
    backend = choose_backend(RuntimeSettings())
    profile, why = _profile(backend.device)
    packages = [f"{name} {version(name) or '(not installed)'}" for name in PACKAGES]
    lines = [
        f"python     {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"memory     {_gib(_memory())}, free disk {_gib(shutil.disk_usage(Path.cwd()).free)}",
        f"gpu        {_gpu()}",
        f"packages   {', '.join(packages)}",
        f"backend    {backend.name} on {backend.device}, {backend.dtype}",
        f"           because: {backend.reason}",
        f"profile    {profile}",
        f"           because: {why}",
        f"start with distill-lab run --profile {profile} --out runs/{profile}",
    ]
    return "\n".join(lines)


def _profile(device: str) -> tuple[str, str]:
    if device.startswith("cuda"):
        gpus = torch.cuda.device_count()
        return (
            ("cluster", f"{gpus} CUDA GPUs are there")
            if gpus > 1
            else ("colab", "one CUDA GPU is there")
        )
    if _memory() < 6 * 2**30:
        return (
            "tiny",
            "there is no CUDA GPU, and `cpu` wants 6 GiB of memory where this machine has "
            + _gib(_memory()),
        )
    return (
        "tiny",
        "there is no CUDA GPU; `tiny` needs nothing else and takes a minute or two. Then try `cpu`",
    )


def _memory() -> int:
    """Bytes of memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _gpu() -> str:
    if not torch.cuda.is_available():
        return "none"
    card = torch.cuda.get_device_properties(0)
    return f"{torch.cuda.device_count()} x {card.name}, {_gib(card.total_memory)}"
