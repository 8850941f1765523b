"""Flags: a command's settings from them, and a sentence for what is wrong with them."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from distill_lab.run.claim import check, flag, saved, settings
from distill_lab.run.records import LabError
from distill_lab.run.settings import Config, profile

Settings = TypeVar("Settings")


@dataclass(frozen=True, slots=True)
class Run(Config):
    """All settings of a run and where it lies."""

    out: Path = Path("runs/tiny")
    """The run's folder: every stage reads and writes there; the same command goes on from there."""


def parse_run(command: str, arguments: Sequence[str]) -> tuple[Config, Path]:
    """Settings and folder from flags; defaults from --profile, else from the run that is in the
    folder, else `tiny`.
    """
    known = ["--profile", "--out", "--help", "-h", *(flag(name) for name, _ in settings(Config()))]
    refuse_unknown(arguments, known)
    name, folder = value("--profile", arguments), value("--out", arguments)
    out = Path(f"runs/{name or 'tiny'}" if folder is None else folder)
    default = saved(out) or profile("tiny") if name is None else profile(name)
    made = parse(
        command,
        arguments,
        Run(**{f.name: getattr(default, f.name) for f in dataclasses.fields(Config)}, out=out),
    )
    config = Config(**{f.name: getattr(made, f.name) for f in dataclasses.fields(Config)})
    check(config)
    return config, made.out


def refuse_unknown(arguments: Sequence[str], known: Sequence[str]) -> None:
    for argument in arguments:
        given = argument.partition("=")[0].replace("_", "-")
        if (
            re.match(r"--?[a-zA-Z]", given)
            and given not in known
            and given.replace(".no-", ".") not in known
        ):
            near = difflib.get_close_matches(given, known, 1)
            raise LabError(
                f"Unknown flag {argument}; "
                + (f"did you mean {near[0]}?" if near else "see --help.")
            )


def value(wanted: str, arguments: Sequence[str]) -> str | None:
    """The last value given for a flag, ahead of the parse: the profile sets its defaults."""
    found = None
    for n, argument in enumerate(arguments):
        if argument == wanted and n + 1 < len(arguments):
            found = arguments[n + 1]
        elif argument.startswith(wanted + "="):
            found = argument.partition("=")[2]
    return found


def parse_flat(command: str, arguments: Sequence[str], default: Settings) -> Settings:
    """The settings of a command that has one flag a field."""
    fields = [field.name.replace("_", "-") for field in dataclasses.fields(default)]  # type: ignore[arg-type]
    known = [f"--{prefix}{name}" for name in fields for prefix in ("", "no-")]
    refuse_unknown(arguments, [*known, "--help", "-h"])
    return parse(command, arguments, default)


def parse(command: str, arguments: Sequence[str], default: Settings) -> Settings:
    """tyro's parse, with its box of an error made into a line."""
    import tyro

    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(
                type(default), prog=f"distill-lab {command}", args=list(arguments), default=default
            )
    except SystemExit as stop:
        if not stop.code:
            raise
    raise LabError(_sentence(errors.getvalue()))


_IN_OUR_WORDS = (
    (r"Error parsing (\S+): .*\bint\(\).*?('.*')", r"\1: expected a whole number, found \2."),
    (r"Error parsing (\S+): .*\bfloat: ('.*')", r"\1: expected a number, found \2."),
    (r"invalid choice ('.*') for .*'(\S+)'. E(.*)\((.*)\).", r"\2: e\3\4; found \1."),
    (r"Missing value for argument '(\S+)'.*", r"\1: expected a value, found none."),
    (r"Unrecognized options: (.*)", r"Expected flags and their values (see --help), found \1."),
)


def _sentence(box: str) -> str:
    """tyro's box as a sentence: what stands between title and first rule, in our words if known."""
    lines = [re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯]", "", line).strip() for line in box.splitlines()[1:]]
    text = " ".join(itertools.takewhile(lambda line: not line.startswith("─"), lines))
    for theirs, ours in _IN_OUR_WORDS:
        text = re.sub(theirs, ours, text)
    return text
