"""Values of settings as a study gives them: of the setting's type and within its bounds."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from distill_lab.run.json_text import listed, shown
from distill_lab.run.records import LabError
from distill_lab.run.saved_settings import bounds_of_settings, hints_of_settings, settings
from distill_lab.run.settings import Config

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def setting_name(text: str) -> str:
    """`train.learning_rate` for that or `train.learning-rate`; LabError for an unknown one."""
    name = text.strip().replace("-", "_")
    require_known("setting", name, dict(settings(Config())))
    return name


def require_known(what: str, name: str, known: Collection[str]) -> None:
    """LabError for an unknown name, with the nearest known one."""
    if name in known:
        return
    near = difflib.get_close_matches(name, known, 1)
    advice = f"did you mean {near[0]}?" if near else f"expected one of {listed(known, 12)}."
    raise LabError(f"Unknown {what} {shown(name)}; {advice}")


def setting_value(name: str, given: Any) -> Any:
    """The value, or the text that stands for it, as the setting has it; LabError for another."""
    hint = hints_of_settings()[name]
    hint = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if get_origin(hint) is Literal:
        if given not in get_args(hint):
            raise _refused(name, f"one of {', '.join(map(repr, get_args(hint)))}", given)
        return given
    value = _parsed(given, hint) if isinstance(given, str) else given
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise _refused(name, _KINDS[hint], given)
    bounds = bounds_of_settings().get(name)
    if bounds and value not in bounds:
        raise _refused(name, str(bounds), given)
    return value


def changed(config: Config, values: Mapping[str, Any]) -> Config:
    """The configuration with other values of some settings, by `section.name`."""
    for name, value in values.items():
        section, field = name.split(".")
        part = dataclasses.replace(getattr(config, section), **{field: value})
        config = dataclasses.replace(config, **{section: part})
    return config


def _parsed(text: str, hint: type) -> Any:
    """The text's value; the text itself where it has none."""
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return hint(text)
    except ValueError:
        return text


def _refused(name: str, expected: str, given: Any) -> LabError:
    return LabError(f"{name}: expected {expected}, found {shown(given)}.")
