"""The settings of a run: which of them may still change once its folder holds records."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from distill_lab.run.folder import RunFolder
from distill_lab.run.json_text import parse
from distill_lab.run.records import LabError, write_text
from distill_lab.run.settings import Bounds, Config

Settings = TypeVar("Settings")  # `Config`, or another command's settings in sections


def flag(name: str) -> str:
    """`generate.n_samples` as the user types it: `--generate.n-samples`."""
    return "--" + name.replace("_", "-")


def settings(config: Any) -> Iterator[tuple[str, Any]]:
    """All settings as (`section.name`, value); `profile` is a name, not a setting."""
    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        if section.name != "profile":
            yield from (
                (f"{section.name}.{f.name}", getattr(values, f.name))
                for f in dataclasses.fields(values)
            )


def check(config: Any) -> None:
    """Raises LabError for the first setting out of its bounds."""
    values = dict(settings(config))
    for name, bounds in bounds_of_settings(type(config)).items():
        if isinstance(values[name], (int, float)) and values[name] not in bounds:
            raise LabError(f"{flag(name)}: expected {bounds}, found {values[name]}.")


def bounds_of_settings(kind: type[Any] = Config) -> dict[str, Bounds]:
    """The bounds of each setting that has some, by `section.name`."""
    return bounds_among(hints_of_settings(kind))


def bounds_among(hints: Mapping[str, Any]) -> dict[str, Bounds]:
    """The bounds that stand beside types, of those names that have some."""
    return {
        name: bounds
        for name, hint in hints.items()
        for bounds in getattr(hint, "__metadata__", ())
        if isinstance(bounds, Bounds)
    }


@functools.cache
def hints_of_settings(kind: type[Any] = Config) -> dict[str, Any]:
    """The type of each setting, with its bounds beside it, by `section.name`."""
    return {
        f"{section.name}.{name}": hint
        for section in dataclasses.fields(kind)
        if section.default_factory is not dataclasses.MISSING
        for name, hint in get_type_hints(section.default_factory, include_extras=True).items()
    }


# What the records of each slow stage depend on; what only cheap stages made is simply made again.
TRACES = ("data.task", "data.train", "data.n_train", "data.seed", "models.teacher",
           "models.teacher_shots", "models.teacher_4bit", "generate", "runtime.dtype",
           "runtime.sampler")  # fmt: skip
STUDENTS = (*TRACES, "models", "reject", "train")
PREDICTIONS = (*STUDENTS, "data.eval", "data.n_eval", "evaluate.max_new_tokens")
CACHE = ("models.teacher", "models.teacher_shots", "models.teacher_4bit", "models.student",
          "runtime.dtype", "train.temperature", "train.cache", "train.cache_k")  # fmt: skip


def _made_from(run: RunFolder) -> list[tuple[Path, tuple[str, ...]]]:
    return [
        (run.traces.path, TRACES),
        (run.teacher_cache, CACHE),
        (run.students, STUDENTS),
        (run.all_predictions, PREDICTIONS),
    ]


def _matters(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(part + ".") for part in parts)


# Settings of later versions, and what they are where nobody names them: what was made before there
# were any was made so.
_LATER = {"train.other_tokenizer": "refuse"}


def fingerprint(config: Config, parts: tuple[str, ...], *more: str) -> str:
    """Twelve hexadecimal digits of the settings that these parts name (`train`, `data.seed`), and
    of what else is given: what agrees in them can share what was made from them."""
    values = {name: value for name, value in settings(config) if _matters(name, parts)}
    values = {name: value for name, value in values.items() if _LATER.get(name) != value}
    text = json.dumps([values, *more], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def has_records(path: Path) -> bool:
    """Whether a slow stage has left anything in its file or folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return any(file.is_file() and file.stat().st_size for file in files)


def saved(out: Path) -> Config | None:
    """The settings of the run in this folder; None where there is no run."""
    return saved_as(Config, RunFolder(out).config)


def saved_as(kind: type[Settings], path: Path) -> Settings | None:
    """The settings of this kind in a file; None where there is no file, LabError for another."""
    if not path.exists():
        return None
    try:
        return from_json(parse(path.read_text(encoding="utf-8")), kind)
    except (ValueError, TypeError, AttributeError, KeyError):
        raise LabError(
            f"{path}: expected the settings of a run, found another file. Choose another --out."
        ) from None


def sampler_of(out: Path) -> str | None:
    """The sampler (own or vllm) that made the run's traces; None where there are none yet."""
    run = RunFolder(out)
    if not has_records(run.traces.path):
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
    if before:
        refuse_changed(config, old, _made_from(RunFolder(out)))
    write_config(config, RunFolder(out).config)


def refuse_changed(
    config: Any, old: Mapping[str, Any], made_from: Sequence[tuple[Path, tuple[str, ...]]]
) -> None:
    """LabError where a setting differs from `old` and a file or folder that was made from it has
    records; `made_from` names each with the settings or sections that its records depend on."""
    for name, value in settings(config):
        made = [path for path, parts in made_from if _matters(name, parts) and has_records(path)]
        if made and old[name] != value:
            raise LabError(
                f"{made[0]} was made with {flag(name)} {old[name]}, "
                f"now {value} is asked for. Choose another --out, or go back to {old[name]}."
            )


def write_config(config: Any, path: Path) -> None:
    """Saves settings as `saved_as` reads them."""
    write_text(path, json.dumps(dataclasses.asdict(config), indent=1) + "\n")


_NEW = ("own",)  # sections that runs of earlier versions do not have


def from_json(values: dict[str, Any], kind: type[Settings] = Config) -> Settings:
    """The inverse of `dataclasses.asdict`; a list stands for a tuple."""
    any_kind: Any = kind
    sections: dict[str, Any] = {
        f.name: f.default_factory for f in dataclasses.fields(any_kind) if f.name != "profile"
    }
    old = {name: {} for name in _NEW}
    made = {name: make(**_with_tuples({**old, **values}[name])) for name, make in sections.items()}
    return any_kind(profile=values["profile"], **made)


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
