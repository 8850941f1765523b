"""A study's definition from the values of its file or of the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from distill_lab.run.json_text import shown
from distill_lab.run.records import LabError
from distill_lab.studies.definition import Contrast, Definition, Side
from distill_lab.studies.running.check_definition import checked
from distill_lab.studies.running.setting_values import require_known, setting_name, setting_value

_FIELDS = {field.name: field for field in dataclasses.fields(Definition)}
_TYPES = {
    "name": str, "question": str, "profile": str, "seeds": int, "students": list, "measures": list,
    "choose": str, "report": str, "settings": dict, "start": dict, "by_student": dict,
    "axes": list, "findings": list,
}  # fmt: skip
_KINDS = {str: "a text", int: "a whole number", list: "a list", dict: "a table"}
# what a study sets itself
_SET_HERE = {
    "data.seed": "seeds", "generate.seed": "seeds", "train.seed": "seeds",
    "data.eval": "choose and report", "runtime.threads": "one thread a cell",
}  # fmt: skip
# what would change the questions or the intervals, and not the students
_NO_AXES = ("data.task", "data.n_eval", "data.strict")


def definition_from(values: Mapping[str, Any]) -> Definition:
    """The definition that a file's or a command line's values make, checked."""
    for name, value in values.items():
        require_known("key", name, _FIELDS)
        _require_kind(name, value, _TYPES[name])
    texts: dict[str, Any] = {
        name: value for name, value in values.items() if _TYPES[name] in (str, int)
    }
    lists: dict[str, Any] = {
        name: _texts(name, values[name]) for name in ("students", "measures") if name in values
    }
    definition = Definition(
        **texts,
        **lists,
        settings=_settings(values.get("settings", {})),
        start=_settings(values.get("start", {})),
        by_student=_by_student(values.get("by_student", {})),
        axes=tuple(_axis(axis) for axis in values.get("axes", ())),
    )
    contrasts = tuple(_contrast(each, definition) for each in values.get("findings", ()))
    return checked(dataclasses.replace(definition, findings=contrasts))


def _contrast(values: Any, definition: Definition) -> Contrast:
    _require_kind("findings", values, dict)
    fields = {field.name for field in dataclasses.fields(Contrast)}
    for name in values:
        require_known("key of a finding", name, fields)
    lacking = sorted(fields - {"contrast"} - values.keys())
    if lacking:
        raise LabError(f"findings: expected {', '.join(lacking)} in each, found none in one.")
    for name in fields & values.keys() - {"plus", "minus"}:
        _require_kind(f"findings.{name}", values[name], str)
    sides = {name: _side(name, values[name]) for name in ("plus", "minus")}
    text = f"{sides['plus'].student} minus {sides['minus'].student}"
    return Contrast(**{"contrast": text, **values, **sides})


def _side(name: str, values: Any) -> Side:
    _require_kind(name, values, dict)
    if "student" not in values:
        raise LabError(f"{name}: expected a student, found none. Write {name} = {{student = ...}}.")
    at = {key: value for key, value in values.items() if key != "student"}
    return Side(str(values["student"]), _flat(at))


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    flat = _flat(values)
    for name in flat:
        _refuse_what_is_set(name)
    return flat


def _by_student(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    for student, settings in values.items():
        _require_kind(f"by_student.{student}", settings, dict)
    return {student: _settings(settings) for student, settings in values.items()}


def _axis(values: Any) -> dict[str, tuple[Any, ...]]:
    """One table of axes, whose lists are equally long."""
    _require_kind("axes", values, dict)
    axis: dict[str, tuple[Any, ...]] = {}
    for key, given in _leaves(values):
        name = setting_name(key)
        _refuse_what_is_set(name, axis=True)
        _require_kind(name, given, list)
        if not given:
            raise LabError(f"{name}: expected at least one value, found an empty grid. Name some.")
        axis[name] = tuple(setting_value(name, value) for value in given)
    lengths = {name: len(values) for name, values in axis.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise LabError(
            f"axes: expected as many values of each setting in one table, found {found}. Values of "
            "one table vary together; write a second [[axes]] to cross them."
        )
    if not axis:
        raise LabError("axes: expected a setting in each table, found an empty grid. Name one.")
    return axis


def _refuse_what_is_set(name: str, axis: bool = False) -> None:
    if name in _SET_HERE:
        raise LabError(f"{name}: expected another setting, as {_SET_HERE[name]} says it here.")
    how = name.startswith(("runtime.", "evaluate."))
    how = how and name not in ("runtime.dtype", "runtime.sampler")
    if axis and (how or name in _NO_AXES):
        raise LabError(
            f"{name}: expected an axis that changes the students, found one that does not. Put it "
            "into [settings]."
        )


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by `section.name`, whether the file writes them so, or in tables."""
    named = ((setting_name(key), given) for key, given in _leaves(values))
    return {name: setting_value(name, given) for name, given in named}


def _leaves(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """In TOML `data.n_train = 1` without quotes is a table `data`."""
    return [
        leaf
        for key, value in values.items()
        for leaf in (
            [(f"{key}.{name}", inner) for name, inner in value.items()]
            if isinstance(value, dict)
            else [(key, value)]
        )
    ]


def _texts(name: str, values: Sequence[Any]) -> tuple[str, ...]:
    for value in values:
        _require_kind(name, value, str)
        if values.count(value) > 1:
            raise LabError(f"{name}: expected each once, found {value} twice. Take one out.")
    return tuple(values)


def _require_kind(name: str, value: Any, kind: type) -> None:
    if type(value) is not kind:
        raise LabError(f"{name}: expected {_KINDS[kind]}, found {shown(value)}.")
