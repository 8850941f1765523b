"""What stages took on this machine: a file of the user's, from which the next estimate learns."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import platform
from collections.abc import Callable, Mapping
from pathlib import Path

from distill_lab.run.json_text import parse
from distill_lab.run.records import LabError, write_text
from distill_lab.run.saved_settings import from_json
from distill_lab.run.settings import Config, cache_folder

Range = tuple[float, float]  # seconds, at best and at worst
_KEPT = 100  # stages in the file
_TAKEN = 5  # of a stage's last times
_SPREAD = 1.25  # a machine is never the same twice


def file() -> Path:
    """`stages.jsonl` in the cache folder."""
    return cache_folder() / "stages.jsonl"


def remember(stage: str, seconds: float, config: Config, device: str) -> None:
    """Writes down the seconds of a finished stage; where the file cannot be written, nothing."""
    entry = {"stage": stage, "seconds": seconds, "machine": _machine(device)}
    entry["config"] = dataclasses.asdict(config)
    with contextlib.suppress(OSError):
        lines = [*_lines()[1 - _KEPT :], json.dumps(entry)]
        write_text(file(), "\n".join(lines) + "\n")


def learnt(
    estimate: Callable[[Config], Mapping[str, Range]], config: Config, device: str
) -> dict[str, Range]:
    """The estimate of each stage, in seconds, corrected by how far off it was for this machine's
    past stages: those with the same settings if there are any, else all. Without a past it is
    returned unchanged."""
    times = dict(estimate(config))
    past = _past(estimate, device)
    for stage, now in times.items():
        of_stage = [(then, ratio) for name, then, ratio in past if name == stage]
        of_stage = [entry for entry in of_stage if entry[0] == config] or of_stage
        ratios = [ratio for _, ratio in of_stage[-_TAKEN:]]
        if ratios:
            low, high = min(ratios) / _SPREAD, max(ratios) * _SPREAD
            times[stage] = (low * _middle(now), high * _middle(now))
    return times


def _past(
    estimate: Callable[[Config], Mapping[str, Range]], device: str
) -> list[tuple[str, Config, float]]:
    """(stage, settings, time / estimate) of each past stage on this machine, the latest last. Lines
    of other versions, and runs of models that are gone and so have no estimate, are left out."""
    entries: list[tuple[str, Config, float]] = []
    for line in _lines():
        with contextlib.suppress(ValueError, TypeError, KeyError, LabError):
            entry = parse(line)
            if entry["machine"] == _machine(device) and entry["seconds"] > 0:
                config, stage = from_json(entry["config"]), entry["stage"]
                ratio = entry["seconds"] / _middle(estimate(config)[stage])
                entries.append((stage, config, ratio))
    return entries


def _lines() -> list[str]:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return file().read_text(encoding="utf-8").splitlines()
    return []


def _middle(range_: Range) -> float:
    """The geometric mean: a range of times is one of factors."""
    return math.sqrt(range_[0] * range_[1])


def _machine(device: str) -> str:
    return f"{platform.node()} {device}"
