"""The settings of a run: their bounds, and which of them may still change once a folder holds
records.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill_lab.run.folder import RunFolder
from distill_lab.run.json_text import parse
from distill_lab.run.records import LabError, write_text
from distill_lab.run.settings import Config

_AT_LEAST_1 = (1, math.inf)
_AT_LEAST_0 = (0, math.inf)
_BOUNDS: dict[str, tuple[float, float]] = {
    "evaluate.seed": _AT_LEAST_0,
    "train.seed": _AT_LEAST_0,
    "generate.seed": _AT_LEAST_0,
    "data.seed": _AT_LEAST_0,
    "data.n_train": _AT_LEAST_0,
    "data.n_eval": _AT_LEAST_0,
    "models.teacher_shots": (0, 3),
    "models.lora_rank": _AT_LEAST_0,
    "generate.n_samples": _AT_LEAST_1,
    "generate.temperature": _AT_LEAST_0,
    "generate.top_p": (1e-6, 1),
    "generate.top_k": _AT_LEAST_0,
    "generate.max_new_tokens": _AT_LEAST_1,
    "reject.min_f1": (0, 100),
    "reject.max_paragraph": _AT_LEAST_1,
    "reject.k": _AT_LEAST_1,
    "train.alpha": (0, 1),
    "train.temperature": (1e-3, math.inf),
    "train.beta": (1e-3, 1 - 1e-3),
    "train.cache_k": (1, 1024),
    "train.epochs": _AT_LEAST_1,
    "train.learning_rate": (1e-12, 10),
    "train.warmup": (0, 1),
    "train.batch_size": _AT_LEAST_1,
    "train.weight_decay": _AT_LEAST_0,
    "train.max_length": (8, math.inf),
    "evaluate.max_new_tokens": _AT_LEAST_1,
    "evaluate.bootstrap": (100, math.inf),
    "runtime.threads": _AT_LEAST_0,
    "runtime.sample_batch": _AT_LEAST_1,
    "runtime.micro_batch": _AT_LEAST_1,
    "runtime.save_every": _AT_LEAST_1,
}


def flag(name: str) -> str:
    """`generate.n_samples` as the user types it: `--generate.n-samples`."""
    return "--" + name.replace("_", "-")


def settings(config: Config) -> Iterator[tuple[str, Any]]:
    """All settings as (`section.name`, value); `profile` is a name, not a setting."""
    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        if section.name != "profile":
            yield from (
                (f"{section.name}.{f.name}", getattr(values, f.name))
                for f in dataclasses.fields(values)
            )


def check(config: Config) -> None:
    """Raises LabError for the first setting out of its bounds."""
    for name, value in settings(config):
        low, high = _BOUNDS.get(name, (-math.inf, math.inf))
        if isinstance(value, (int, float)) and not (low <= value <= high and math.isfinite(value)):
            expected = (
                f"{low:g} or more" if high == math.inf else f"a value from {low:g} to {high:g}"
            )
            raise LabError(f"{flag(name)}: expected {expected}, found {value}.")


# What the records of each slow stage depend on; what only cheap stages made is simply made again.
_TRACES = ("data.task", "data.train", "data.n_train", "data.seed", "models.teacher",
           "models.teacher_shots", "models.teacher_4bit", "generate", "runtime.dtype",
           "runtime.sampler")  # fmt: skip
_STUDENTS = (*_TRACES, "models", "reject", "train")
_PREDICTIONS = (*_STUDENTS, "data.eval", "data.n_eval", "evaluate.max_new_tokens")
_CACHE = ("models.teacher", "models.teacher_shots", "models.teacher_4bit", "models.student",
          "runtime.dtype", "train.temperature", "train.cache", "train.cache_k")  # fmt: skip


def _made_from(run: RunFolder) -> list[tuple[Path, tuple[str, ...]]]:
    return [
        (run.traces.path, _TRACES),
        (run.teacher_cache, _CACHE),
        (run.students, _STUDENTS),
        (run.all_predictions, _PREDICTIONS),
    ]


def _matters(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(part + ".") for part in parts)


def _has_records(path: Path) -> bool:
    """Whether a slow stage has left anything in its file or folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return any(file.is_file() and file.stat().st_size for file in files)


def saved(out: Path) -> Config | None:
    """The settings of the run in this folder; None where there is no run."""
    path = RunFolder(out).config
    if not path.exists():
        return None
    try:
        return from_json(parse(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError, KeyError):
        raise LabError(
            f"{path}: expected the settings of a run, found another file. Choose another --out."
        ) from None


def sampler_of(out: Path) -> str | None:
    """The sampler (own or vllm) that made the run's traces; None where there are none yet."""
    run = RunFolder(out)
    if not _has_records(run.traces.path):
        return None
    return run.read_notes().get("sampler", {}).get("name", "own")


def claim_run_folder(config: Config, out: Path) -> None:
    """Makes `config` the run's: saved as config.json, or refused where slow records were made with
    other settings.
    """
    check(config)
    before = saved(out)
    old = dict(settings(before)) if before else {}
    if config.runtime.sampler == "auto":  # it stays with what made the traces
        old["runtime.sampler"] = "auto"
    elif before:
        old["runtime.sampler"] = sampler_of(out) or before.runtime.sampler
    made_from = _made_from(RunFolder(out))
    for name, value in settings(config) if before else ():
        made = [path for path, parts in made_from if _matters(name, parts) and _has_records(path)]
        if made and old[name] != value:
            raise LabError(
                f"{made[0]} was made with {flag(name)} {old[name]}, "
                f"now {value} is asked for. Choose another --out, or go back to {old[name]}."
            )
    write_text(RunFolder(out).config, json.dumps(dataclasses.asdict(config), indent=1) + "\n")


def from_json(values: dict[str, Any]) -> Config:
    """The inverse of `dataclasses.asdict`."""
    sections = {
        f.name: f.default_factory for f in dataclasses.fields(Config) if f.name != "profile"
    }
    made: dict[str, Any] = {name: kind(**values[name]) for name, kind in sections.items()}  # type: ignore[operator]
    return Config(profile=values["profile"], **made)
