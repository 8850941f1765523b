"""The settings of a run before its flags change them: a profile's, or those of the run that lies in
the folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_lab.cli.parsing import parse
from distill_lab.run.folder import RunFolder
from distill_lab.run.saved_settings import saved_as
from distill_lab.run.settings import named


@dataclass(frozen=True, slots=True)
class First:
    """What is read before the other flags, as their defaults depend on it; "" where not given."""

    profile: str = ""
    out: str = ""
    gpu: str = ""


def first_of(arguments: Sequence[str]) -> tuple[First, list[str]]:
    """These, and the other arguments."""
    return parse(First(), arguments, return_unknown_args=True, add_help=False)


def config_of(settings: Any, profiles: Mapping[str, Any]) -> Any:
    """What profiles are of, out of settings that have more. LabError for a profile that there is
    not."""
    kind = type(named(profiles, settings.profile))
    return kind(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(kind)})


def defaults(
    profiles: Mapping[str, Any], begins: str, first: First, others: Sequence[str]
) -> dict[str, Any]:
    """The settings and `out`, by name: the profile's, else those of the run in the folder, else
    `tiny`'s. The folder's name `begins` so and ends with the profile's name unless it was given."""
    out = Path(first.out or f"{begins}{first.profile or 'tiny'}")
    if first.profile:
        config = named(profiles, first.profile)
    elif {"-h", "--help"} & {*others}:
        config = profiles["tiny"]
    else:
        kind = type(profiles["tiny"])
        config = saved_as(kind, RunFolder(out).config) or profiles["tiny"]
    return {**{f.name: getattr(config, f.name) for f in dataclasses.fields(config)}, "out": out}
