"""`distill-lab doctor`: what this machine can run, and why; how much memory and time a run will
take, here or on another GPU, before anything is downloaded."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from distill_lab.models.backend import choose_backend
from distill_lab.pipeline.report import version
from distill_lab.pipeline.runner import STAGES
from distill_lab.planning.budgets import BUDGETS
from distill_lab.planning.memory import Stage, Way, predict, weights
from distill_lab.planning.shapes import shape_of
from distill_lab.planning.timing import GPUS, Range, Speed, estimate, of_cpu, of_gpu
from distill_lab.run import history
from distill_lab.run.claim import flag
from distill_lab.run.records import LabError
from distill_lab.run.settings import BUNDLED, PROFILES, Config, RuntimeSettings

PACKAGES = ("torch", "transformers", "peft", "datasets", "accelerate", "unsloth", "vllm")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a prediction is for: `capacity` in bytes."""

    title: str
    capacity: float
    way: Way
    speed: Callable[[], Speed]
    device: str = ""  # of this machine


def report(config: Config | None = None, gpu: str | None = None) -> str:
    """A few lines: machine, packages, backend and profile, each choice with its reason; then memory
    and time of `config` (None: the profile that is recommended), here or on the card `gpu`."""
    backend = choose_backend(RuntimeSettings())
    profile, why = _profile(backend.device)
    config = config or PROFILES[profile]
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
        *prediction(config, gpu),
        f"start with distill-lab run --profile {config.profile} --out runs/{config.profile}",
    ]
    return "\n".join(lines)


# -- what a run will take


def prediction(config: Config, gpu: str | None) -> list[str]:
    """Memory of each stage, whether it fits and what to lower; time; what is downloaded."""
    machine = _card(gpu, config) if gpu else _here(config)
    try:
        stages = predict(config, machine.way)
    except LabError as error:
        return [f"predicted  nothing: {error}"]
    of = f"{config.profile} on {machine.title}, {machine.way.dtype}"
    lines = [f"predicted  memory of {of}, prompts and answers as long as they may be:"]
    lines += [f"           {s.name:<14}{_gb(s.total)}   {_parts(s)}" for s in stages]
    said = fits(config, machine, stages)
    if config == PROFILES[config.profile]:
        budget = BUDGETS[config.profile]
        said += [f"made for {budget.room:g} GB:", *budget.notes.splitlines()]
    lines += [f"{'           ' if n else 'fits       '}{line}" for n, line in enumerate(said)]
    whole, parts = _times(_estimated(config, machine, here=not gpu))
    lines.append(f"time       {whole}, an estimate: the more is kept and written, the longer")
    lines.append(f"           {parts}")
    download = _download(config)
    return [*lines, f"download   {download}"] if download else lines


def expected(config: Config, finished: Collection[str] = ()) -> str:
    """The same for those who begin or go on with a run here, of the stages that are not finished:
    one sentence."""
    if all(name in finished for name, stage in STAGES.items() if stage.slow):
        return "No model has to be run any more: what is left takes a moment."
    machine = _here(config)
    try:
        most = max(predict(config, machine.way), key=lambda stage: stage.total)
    except LabError as error:
        return f"Time and memory are not predicted: {error}"
    times = _estimated(config, machine, here=True)
    left = {stage: time for stage, time in times.items() if stage not in finished}
    whole, parts = _times(left)
    memory = f"at most {_gb(most.total).strip()} of memory ({most.name})"
    return f"Expected on {machine.title}: {whole} for what is left ({parts}), and {memory}."


def _estimated(config: Config, machine: Machine, here: bool) -> dict[str, Range]:
    """Of each stage that runs a model; `here`, corrected by what stages took on this machine."""
    speed = machine.speed()

    def of(config: Config) -> dict[str, Range]:
        return estimate(config, machine.way, speed)

    return history.learnt(of, config, machine.device) if here else of(config)


def _times(times: Mapping[str, Range]) -> tuple[str, str]:
    """Of all these stages together, and of each."""
    whole = sum(t[0] for t in times.values()), sum(t[1] for t in times.values())
    return _span(whole), ", ".join(f"{name} {_span(t)}" for name, t in times.items())


def _here(config: Config) -> Machine:
    backend = choose_backend(config.runtime, config.models.lora_rank)
    if backend.device.startswith("cuda"):
        card = torch.cuda.get_device_properties(backend.device)
        known = [gpu for gpu in GPUS.values() if gpu.title.split()[0] in card.name]
        # a card that is not in the table is taken as the slowest that is
        speed = min(known or GPUS.values(), key=lambda gpu: gpu.flops)
        gb = card.total_memory / 2**30 * 1e9  # as in timing.Gpu
        way = Way(backend.dtype, True, checkpointing=backend.name == "unsloth")
        return Machine(card.name, gb, way, lambda: of_gpu(speed), backend.device)
    return Machine(
        f"this machine's {backend.device}",
        _memory() or float("inf"),
        Way(backend.dtype, False),
        lambda: of_cpu(backend.dtype, backend.threads),
        backend.device,
    )


def _card(name: str, config: Config) -> Machine:
    gpu = GPUS.get(name.lower())
    if gpu is None:
        raise LabError(f"--gpu: expected one of {', '.join(GPUS)}; found {name!r}.")
    asked = config.runtime.dtype
    dtype = ("bfloat16" if gpu.bfloat16 else "float16") if asked == "auto" else asked
    way = Way(dtype, True, checkpointing=config.runtime.backend == "unsloth")
    return Machine(f"one {gpu.title}", gpu.memory, way, lambda: of_gpu(gpu))


_LOWERED = {
    "generate": "runtime.sample_batch",
    "evaluate": "runtime.sample_batch",
    "teacher cache": "runtime.micro_batch",
    "train": "runtime.micro_batch",
}


def fits(config: Config, machine: Machine, stages: list[Stage]) -> list[str]:
    """One line where all stages fit; else a line for each that does not, with what to lower."""
    most = max(stages, key=lambda stage: stage.total)
    room = _gb(machine.capacity).strip()
    if most.total <= machine.capacity:
        return [f"yes: the most is {most.name}'s {_gb(most.total).strip()} of {room}"]
    over = [stage.name for stage in stages if stage.total > machine.capacity]
    return [f"no: {name} wants more than {room}. {_advice(config, machine, name)}" for name in over]


def _advice(config: Config, machine: Machine, name: str) -> str:
    """The batch that fits, by halves; where none does, what else can be lowered."""
    if name == "train" and config.train.cache == "none" and config.train.alpha:
        return "Take --train.cache topk, so that the teacher is gone by then."
    section, field = _LOWERED[name].split(".")
    value = getattr(config.runtime, field)
    while value > 1:
        value //= 2
        smaller: Any = replace(config, runtime=replace(config.runtime, **{field: value}))
        stage = next(s for s in predict(smaller, machine.way) if s.name == name)
        if stage.total <= machine.capacity:
            return f"Lower {flag(f'{section}.{field}')} to {value}."
    if name == "train":
        if not config.models.lora_rank:
            return "Train by LoRA: --models.lora-rank 16."
        return "Lower --train.max-length or take a smaller --models.student."
    if machine.way.gpu and not config.models.teacher_4bit:
        return "Add --models.teacher-4bit or take a smaller --models.teacher."
    return "Take a smaller --models.teacher or lower --train.max-length."


def _download(config: Config) -> str:
    """The models that may have to come from a hub, and how large their files are (16 bits)."""
    sizes: list[str] = []
    m = config.models
    named = {m.teacher: ("teacher", m.teacher.endswith("bnb-4bit")), m.student: ("base", False)}
    for name, (role, four_bit) in named.items():
        if name != BUNDLED and "/" in name and not Path(name).exists():
            size = weights(shape_of(name, role), Way("bfloat16", True), four_bit, name)
            sizes.append(f"{name} {_gb(size).strip()}")
    return ", ".join(sizes) and f"{', '.join(sizes)}, unless they are here already"


def _parts(stage: Stage) -> str:
    return ", ".join(
        f"{name} {size / 1e9:.1f}" for name, size in stage.parts.items() if size >= 5e7
    )


def _gb(size: float) -> str:
    return f"{size / 1e9:5.1f} GB"


def _span(seconds: Range) -> str:
    """`3 to 20 minutes`."""
    unit, name = next(
        (u, n) for u, n in ((3600, "hours"), (60, "minutes"), (1, "seconds"))
        if seconds[1] >= 2 * u or u == 1
    )  # fmt: skip
    low, high = (
        f"{v:.0f}" if v >= 10 else f"{max(v, 0.1):.1f}" for v in (t / unit for t in seconds)
    )
    return f"{low} to {high} {name}"


# -- this machine


def recommended() -> tuple[str, str]:
    """The profile for this machine, and why."""
    return _profile(choose_backend(RuntimeSettings()).device)


def _profile(device: str) -> tuple[str, str]:
    if device.startswith("cuda"):
        gpus = torch.cuda.device_count()
        return (
            ("cluster", f"{gpus} CUDA GPUs are there")
            if gpus > 1
            else ("colab", "one CUDA GPU is there")
        )
    if _memory() < BUDGETS["cpu"].room * 1e9:
        return (
            "tiny",
            f"there is no CUDA GPU, and `cpu` wants {BUDGETS['cpu'].room:g} GB of memory where "
            f"this machine has {_gib(_memory())}",
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
