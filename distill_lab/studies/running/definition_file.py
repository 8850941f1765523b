"""A study's definition as a TOML file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_lab.run.records import LabError, write_text
from distill_lab.studies.definition import Definition
from distill_lab.studies.running.parse_definition import definition_from

DEFINITION = "study.toml"  # in a study's folder, after which the study is called


def read_definition(path: Path) -> Definition:
    """The definition in a TOML file. LabError, with the file's name, for what is wrong in it."""
    try:
        values = _toml().loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabError(
            f"{path}: expected a study's definition, found none that can be read "
            f"({error.strerror}). Check the path."
        ) from None
    except ValueError as error:  # TOML's fault, or bytes that are no UTF-8
        raise LabError(f"{path}: expected a TOML file, found another: {error}.") from None
    try:
        name = path.absolute().parent.name if path.name == DEFINITION else path.stem
        return definition_from({"name": name, "question": "", **values})
    except LabError as error:
        raise LabError(f"{path}: {error}") from None


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found]
    return tomllib


def write_definition(path: Path, definition: Definition) -> None:
    """Writes the file; one that says the same already keeps its comments."""
    if not path.exists() or read_definition(path) != definition:
        write_text(path, toml_text(definition))


def toml_text(definition: Definition) -> str:
    """The definition as a TOML file, from which the study can be run again."""
    plain = ("name", "question", "profile", "seeds", "students", "measures", "choose", "report")
    lines = [f"{name} = {_toml_value(getattr(definition, name))}" for name in plain]
    tables = {"settings": definition.settings, "start": definition.start}
    tables |= {f"by_student.{name}": of for name, of in definition.by_student.items()}
    for name, settings in tables.items():
        if settings or name == "settings":
            lines += ["", f"[{name}]", *_toml_lines(settings)]
    for axis in definition.axes:
        lines += ["", "[[axes]]", *_toml_lines(axis)]
    for each in definition.findings:
        lines += ["", "[[findings]]"]
        lines += [
            f"{name} = {_toml_value(getattr(each, name))}" for name in ("id", "contrast", "measure")
        ]
        for name, side in (("plus", each.plus), ("minus", each.minus)):
            at = ", ".join(_toml_lines({"student": side.student, **side.at}))
            lines.append(f"{name} = {{{at}}}")
    return "\n".join(lines) + "\n"


def _toml_lines(values: Mapping[str, Any]) -> list[str]:
    return [f"{json.dumps(name)} = {_toml_value(value)}" for name, value in values.items()]


def _toml_value(value: Any) -> str:
    """Texts, numbers, true and false, and lists of them are written in TOML as in JSON."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
