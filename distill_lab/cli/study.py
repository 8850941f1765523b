"""`distill-lab study run` and `distill-lab study check`."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from distill_lab.cli.parsing import check_bounds
from distill_lab.run.records import LabError
from distill_lab.run.settings import Bounds
from distill_lab.studies.definition import Definition
from distill_lab.studies.running.check_definition import checked
from distill_lab.studies.running.definition_file import DEFINITION, read_definition
from distill_lab.studies.running.parse_definition import definition_from
from distill_lab.studies.running.setting_values import setting_name

Texts = tuple[str, ...]
_NONE = arg(help_behavior_hint="")


@dataclass(frozen=True, slots=True)
class StudyRun:
    """What a study asks: in its file, in flags, or in both; flags come first."""

    file: Annotated[Positional[str], arg(metavar="FILE", help_behavior_hint="")] = ""
    """The study's definition, a TOML file; without one the flags are all, or a study in the folder
    goes on."""
    out: Path = Path("runs/study")
    """The study's folder; the same command goes on from there."""
    profile: Annotated[str, _NONE] = ""
    """The profile whose settings all cells have where neither axis nor setting says otherwise."""
    seeds: Annotated[int, Bounds(0)] = 0
    """How many seeds each cell has, each for the draw, the samples and the training (0: as many as
    the file says, else 3)."""
    students: Annotated[Texts, arg(metavar="ARM[:EXAMPLES]...", help_behavior_hint="")] = ()
    """Which students each point of the grid has: an arm (sft, kd; rft, grpo and on-policy learn
    from their own samples), or sft or kd on other examples than those that are kept
    (sft:unfiltered, sft:wrong-only, sft:right-only)."""
    measures: Annotated[Texts, arg(metavar="MEASURE...", help_behavior_hint="")] = ()
    """What is measured of each student: em, f1, pass@4, nll, kl, confidence, ece."""
    axis: Annotated[
        UseAppendAction[Texts], arg(metavar="SETTING=VALUE,VALUE...", help_behavior_hint="")
    ] = ()
    """A setting that varies, and its values; may be given several times, and all are crossed."""
    setting: Annotated[
        UseAppendAction[Texts], arg(metavar="SETTING=VALUE", help_behavior_hint="")
    ] = ()
    """A setting that all cells have; may be given several times."""
    choose: Annotated[str, _NONE] = ""
    """The set of evaluation questions on which settings are chosen."""
    report: Annotated[str, _NONE] = ""
    """The set of evaluation questions on which findings are reported."""
    jobs: Annotated[int, Bounds(1)] = 1
    """How many cells are trained at a time, each with one thread; the numbers are the same."""
    work: Annotated[str, _NONE] = ""
    """Where traces, the teacher's targets and students lie, by default in the study's folder.
    Studies that name the same folder, one after the other, make what they share once."""
    keep_models: bool = False
    """Keep the trained students in the study's folder instead of deleting them once measured."""


@dataclass(frozen=True, slots=True)
class StudyCheck:
    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """A study's folder, or one that holds several."""


def run(settings: StudyRun) -> int:
    """Runs the study; 1 where a cell failed, 2 where all students did by mistakes of the user's."""
    definition = definition_of(settings)
    from distill_lab.models import backend
    from distill_lab.studies.running.cell_configs import base_config, cells_of
    from distill_lab.studies.running.work_folder import Mistake

    backend.prepare(base_config(definition).runtime)  # Unsloth before transformers
    from distill_lab.studies.running.run_study import run_study

    work = Path(settings.work) if settings.work else None
    failed = run_study(definition, settings.out, settings.jobs, settings.keep_models, work)
    for cell, reason in failed.items():
        print(f"Failed: {cell}: {reason}", file=sys.stderr)
    if failed:
        print(
            f"distill-lab: {len(failed)} cells failed; the same command tries them again.",
            file=sys.stderr,
        )
    trained = len([cell for cell in cells_of(definition) if not cell.is_reference])
    mistakes = sum(isinstance(reason, Mistake) for reason in failed.values())
    return 2 if 0 < trained <= mistakes else int(bool(failed))


def definition_of(settings: StudyRun) -> Definition:
    """The definition of the file, or of the study in the folder, with what the flags say instead.
    LabError for what cannot be run."""
    check_bounds(settings)
    given = _given(settings)
    path = Path(settings.file) if settings.file else settings.out / DEFINITION
    if not settings.file and (not path.exists() or "axes" in given):
        if not given:
            raise LabError(
                "Expected a study's FILE, or --axis SETTING=VALUE,VALUE, found neither; see "
                "`distill-lab study run --help`."
            )
        return definition_from({"name": settings.out.name, "question": "", **given})
    definition = read_definition(path)
    # the flags are read as a definition of their own, so that its mistakes are named
    flags = definition_from({"name": "", "question": "", **given, "seeds": given.get("seeds", 1)})
    new = {name: getattr(flags, name) for name in given}
    new["settings"] = {**definition.settings, **flags.settings}
    return checked(dataclasses.replace(definition, **new))


def _given(settings: StudyRun) -> dict[str, Any]:
    """What the flags say, as a definition's file has it."""
    names = ("profile", "seeds", "choose", "report")
    values = {name: getattr(settings, name) for name in names}
    values |= {name: list(getattr(settings, name)) for name in ("students", "measures")}
    pairs = [_split("--axis", text) for text in settings.axis]
    values["axes"] = [{setting_name(name): _values(text)} for name, text in pairs]
    values["settings"] = dict(_split("--setting", text) for text in settings.setting)
    return {name: value for name, value in values.items() if value}


def _split(of: str, text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise LabError(f"{of}: expected SETTING=VALUE, found {text!r}. Write train.alpha=0.5, say.")
    return name.removeprefix("--"), value


def _values(text: str) -> list[str]:
    """The values between commas."""
    return [value.strip() for value in text.split(",") if value.strip()]


def check(settings: StudyCheck) -> int:
    """Prints what differs from the cells' scores, a line each; 2 if anything does."""
    from distill_lab.studies import results

    found = results.check(settings.folder)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print("Every finding and every mean that has its scores is what they come to.")
    return 2 if found else 0
