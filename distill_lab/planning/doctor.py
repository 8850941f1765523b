"""`distill-lab doctor`: what this machine can run, and why; how much memory and time a run will
take, here or on another GPU, before anything is downloaded."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from distill_lab.models.adapters import whole_model
from distill_lab.models.backend import choose_backend
from distill_lab.models.sources import source_of
from distill_lab.pipeline.report import version
from distill_lab.pipeline.runner import STAGES
from distill_lab.planning.budgets import BUDGETS
from distill_lab.planning.memory import Stage, Way, predict, weights
from distill_lab.planning.model_shapes import shape_of
from distill_lab.planning.own_arms import predict_own
from distill_lab.planning.timing import (
    GPUS,
    Range,
    Speed,
    estimate,
    estimate_own,
    of_cpu,
    of_gpu,
)
from distill_lab.run import past_times
from distill_lab.run.records import LabError
from distill_lab.run.saved_settings import flag
from distill_lab.run.settings import PROFILES, Config, RuntimeSettings

PACKAGES = ("torch", "transformers", "peft", "datasets", "accelerate", "unsloth", "vllm")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a prediction is for: `capacity` in bytes; `device` of this machine, "" of another. Its
    speed may have to be measured, so that it is a call."""

    title: str
    capacity: float
    way: Way
    speed: Callable[[], Speed]
    device: str = ""


def report(config: Config | None = None, gpu: str | None = None) -> str:
    """A few lines: machine, packages, backend and profile, each choice with its reason; then memory
    and time of `config` (None: the profile that is recommended), here or on the card `gpu`."""
    backend = choose_backend(RuntimeSettings())
    profile, why = recommended()
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
    machine = card(gpu, config) if gpu else here(config)
    try:
        stages = predict(config, machine.way)
    except LabError as error:
        return [f"predicted  nothing: {error}"]
    of = f"{config.profile} on {machine.title}, {machine.way.dtype}"
    memory = [f"memory of {of}, prompts and answers as long as they may be:"]
    memory += in_parts(stages)
    fit = fits(machine, stages, partial(_advice, config, machine))
    if config == PROFILES[config.profile]:
        budget = BUDGETS[config.profile]
        fit += [f"made for {budget.room:g} GB:", *budget.notes.splitlines()]
    whole, each = in_words(_estimated(config, machine))
    time = [f"{whole}, an estimate: the more is kept and written, the longer", each]
    own = _own_arms(config, machine)
    sections = {"predicted": memory, "fits": fit, "time": time, "own arms": own}
    return in_sections({**sections, "download": _download(config)})


def _own_arms(config: Config, machine: Machine) -> list[str]:
    """What a study's arms of own samples take, and which of them have no room."""
    stages = predict_own(config, machine.way)
    _, each = in_words(estimate_own(config, machine.way, machine.speed()))
    lines = [*in_parts(stages), f"{each}: one student of a study, without its start"]
    over = [stage.name for stage in stages if stage.total > machine.capacity]
    if over:
        room, advice = gigabytes(machine.capacity), _smaller_group(config, machine)
        lines += [f"no room in {room} for {', '.join(over)}. {advice}"]
    return lines


def _smaller_group(config: Config, machine: Machine) -> str:
    """The group, by halves, with which all of them fit; where none does, what else to lower."""

    def has_room(group: int) -> bool:
        smaller = replace(config, own=replace(config.own, group=group))
        return all(s.total <= machine.capacity for s in predict_own(smaller, machine.way))

    if group := _by_halves(config.own.group, 2, has_room):
        return f"Lower --own.group to {group}."
    return "Lower --train.max-length or take smaller models."


def in_sections(sections: Mapping[str, Sequence[str]]) -> list[str]:
    """The lines of each section, the first with its heading."""
    return [
        f"{'' if n else heading:<11}{line}"
        for heading, lines in sections.items()
        for n, line in enumerate(lines)
    ]


def in_parts(stages: Sequence[Stage]) -> list[str]:
    """A line for each stage: its bytes, and of what they are."""
    return [f"{s.name:<14}{s.total / 1e9:5.1f} GB   {_parts(s)}" for s in stages]


def expected(config: Config, finished: Collection[str] = ()) -> str:
    """One sentence for those who begin or go on with a run here: time of the stages that are not
    `finished`, and memory."""
    if all(name in finished for name, stage in STAGES.items() if stage.slow):
        return "No model has to be run any more: what is left takes a moment."
    machine = here(config)
    try:
        most = max(predict(config, machine.way), key=lambda stage: stage.total)
    except LabError as error:
        return f"Time and memory are not predicted: {error}"
    times = _estimated(config, machine)
    whole, each = in_words({stage: t for stage, t in times.items() if stage not in finished})
    memory = f"at most {gigabytes(most.total)} of memory ({most.name})"
    return f"Expected on {machine.title}: {whole} for what is left ({each}), and {memory}."


def _estimated(config: Config, machine: Machine) -> dict[str, Range]:
    """Seconds of each stage that runs a model, on this machine corrected by what stages took."""
    of = partial(estimate, way=machine.way, speed=machine.speed())
    return past_times.learnt(of, config, machine.device) if machine.device else of(config)


def in_words(times: Mapping[str, Range]) -> tuple[str, str]:
    """The time of all these stages together, and of each."""
    whole = sum(t[0] for t in times.values()), sum(t[1] for t in times.values())
    return _span(whole), ", ".join(f"{name} {_span(t)}" for name, t in times.items())


def here(config: Config) -> Machine:
    """This machine, as the settings would use it."""
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


def card(name: str, config: Config) -> Machine:
    """A card by its name. LabError where it is none of the table."""
    gpu = GPUS.get(name.lower())
    if gpu is None:
        raise LabError(f"--gpu: expected one of {', '.join(GPUS)}; found {name!r}.")
    dtype: str = config.runtime.dtype
    if dtype == "auto":
        dtype = "bfloat16" if gpu.bfloat16 else "float16"
    way = Way(dtype, True, checkpointing=config.runtime.backend == "unsloth")
    return Machine(f"one {gpu.title}", gpu.memory, way, lambda: of_gpu(gpu))


def fits(machine: Machine, stages: list[Stage], advice: Callable[[str], str]) -> list[str]:
    """One line where all stages fit; else a line for each that does not, with what to lower:
    `advice` says it of a stage's name."""
    most = max(stages, key=lambda stage: stage.total)
    room = gigabytes(machine.capacity)
    if most.total <= machine.capacity:
        return [f"yes: the most is {most.name}'s {gigabytes(most.total)} of {room}"]
    over = [stage.name for stage in stages if stage.total > machine.capacity]
    return [f"no: {name} wants more than {room}. {advice(name)}" for name in over]


def smaller_batch(
    config: Any,
    field: str,
    stage: str,
    machine: Machine,
    predict: Callable[[Any, Way], list[Stage]],
) -> str:
    """The batch, by halves, with which the stage fits, as advice; "" where none does. `field` is
    its name among the runtime's settings."""

    def has_room(value: int) -> bool:
        smaller = replace(config, runtime=replace(config.runtime, **{field: value}))
        made = next(s for s in predict(smaller, machine.way) if s.name == stage)
        return made.total <= machine.capacity

    value = _by_halves(getattr(config.runtime, field), 1, has_room)
    return f"Lower {flag(f'runtime.{field}')} to {value}." if value else ""


def _by_halves(value: int, least: int, has_room: Callable[[int], bool]) -> int | None:
    """The first of half the value, a quarter of it, … that has room; None where none from `least`
    on has."""
    while value > least:
        value //= 2
        if has_room(value):
            return value
    return None


def _advice(config: Config, machine: Machine, name: str) -> str:
    """The batch that fits, by halves; where none does, what else can be lowered."""
    cached = config.train.cache != "none" or config.train.other_tokenizer != "refuse"
    if name == "train" and not cached and config.train.alpha:
        return "Take --train.cache topk, so that the teacher is gone by then."
    field = "sample_batch" if name in ("generate", "evaluate") else "micro_batch"
    if smaller := smaller_batch(config, field, name, machine, predict):
        return smaller
    if name == "train":
        if not config.models.lora_rank:
            return "Train by LoRA: --models.lora-rank 16."
        return "Lower --train.max-length or take a smaller --models.student."
    if machine.way.gpu and not config.models.teacher_4bit:
        return "Add --models.teacher-4bit or take a smaller --models.teacher."
    return "Take a smaller --models.teacher or lower --train.max-length."


def _download(config: Config) -> list[str]:
    """The models that may have to come from a hub, and how large their files are (16 bits)."""
    sizes = []
    for source in (source_of(who, config.models) for who in ("teacher", "base")):
        name = whole_model(source.name)
        four_bit = name.endswith("bnb-4bit")
        if "/" in name and not Path(name).exists():
            shape = shape_of(name, source.role)
            sizes.append(
                f"{name} {gigabytes(weights(shape, Way('bfloat16', True), four_bit, name))}"
            )
    listed = ", ".join(dict.fromkeys(sizes))  # teacher and base may be one model
    return [f"{listed}, unless they are here already"] if sizes else []


def _parts(stage: Stage) -> str:
    return ", ".join(
        f"{name} {size / 1e9:.1f}" for name, size in stage.parts.items() if size >= 5e7
    )


def gigabytes(size: float) -> str:
    """`12.2 GB`."""
    return f"{size / 1e9:.1f} GB"


def _span(seconds: Range) -> str:
    """`3 to 20 minutes`."""
    units = {"hours": 3600, "minutes": 60, "seconds": 1}
    name = next((name for name, unit in units.items() if seconds[1] >= 2 * unit), "seconds")
    scaled = [time / units[name] for time in seconds]
    low, high = (f"{time:.0f}" if time >= 10 else f"{max(time, 0.1):.1f}" for time in scaled)
    return f"{low} to {high} {name}"


# -- this machine


def recommended() -> tuple[str, str]:
    """The profile for this machine, and why."""
    on_gpu = choose_backend(RuntimeSettings()).device.startswith("cuda")
    if on_gpu and torch.cuda.device_count() > 1:
        return "cluster", f"{torch.cuda.device_count()} CUDA GPUs are there"
    if on_gpu:
        return "colab", "one CUDA GPU is there"
    needed = BUDGETS["cpu"].room
    why = "there is no CUDA GPU"
    if _memory() < needed * 1e9:
        here = _gib(_memory())
        return (
            "tiny",
            f"{why}, and `cpu` wants {needed:g} GB of memory where this machine has {here}",
        )
    return (
        "tiny",
        f"{why}; `tiny` needs nothing else and takes one to three minutes. Then try `cpu`",
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
