"""The commands: the settings of each, and what it does with them.

Each imports what it needs as it begins, so that `--help` is instant and Unsloth comes first.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from distill_lab.cli.parsing import Command, Group, parse
from distill_lab.pipeline.runner import STAGES, run_stage
from distill_lab.run.claim import check, claim_run_folder, saved
from distill_lab.run.distributed import from_main, is_main, join
from distill_lab.run.folder import RunFolder
from distill_lab.run.settings import PROFILES, Config, ExportSettings, profile

# -- run, its stages, and doctor


@dataclass(frozen=True, slots=True)
class Run(Config):
    """All settings of a run and the folder in which it lies."""

    out: Path = Path("runs/tiny")
    """The run's folder: every stage reads and writes there; the same command goes on from there."""

    @property
    def config(self) -> Config:
        """The settings without the folder. Raises LabError for one that is not possible."""
        profile(self.profile)
        config = Config(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Config)})
        check(config)
        return config


@dataclass(frozen=True, slots=True)
class Doctor(Run):
    """All settings of a run, and the card for which memory and time are predicted."""

    gpu: Annotated[str, arg(help_behavior_hint="(default: this machine's)")] = ""
    """Predict memory and time for this card: t4, l4, a100, a100-80 or h100."""


@dataclass(frozen=True, slots=True)
class _First:
    """What is read before the other flags, as their defaults depend on it; "" where not given."""

    profile: str = ""
    out: str = ""
    gpu: str = ""


def starting_from(first: _First) -> dict[str, Any]:
    """The fields of `Run`: defaults from --profile, else from the run that is in the folder, else
    `tiny`."""
    out = Path(first.out or f"runs/{first.profile or 'tiny'}")
    config = profile(first.profile) if first.profile else saved(out) or PROFILES["tiny"]
    return {**{f.name: getattr(config, f.name) for f in dataclasses.fields(config)}, "out": out}


def _first(arguments: Sequence[str]) -> tuple[_First, list[str]]:
    return parse(_First(), arguments, return_unknown_args=True, add_help=False)


def _run(run: Callable[[Config, Path], None], arguments: Sequence[str]) -> tuple[Run, Any]:
    """Of `run` and each stage: the processes meet, and the folder takes the settings or refuses."""

    def claim_and_run(settings: Run) -> None:
        config, out = settings.config, settings.out
        join(config.runtime.device)
        from_main(lambda: claim_run_folder(config, out))
        run(config, out)

    first, _ = _first(arguments)
    return Run(**starting_from(first)), claim_and_run


def _all_stages(config: Config, out: Path) -> None:
    folder = RunFolder(out)
    print(f"Run {out} ({config.profile}); settings in {folder.config}", flush=True)
    for name in STAGES:
        run_stage(name, config, out)
    if not is_main():
        return
    from distill_lab.pipeline import report

    print("\n" + report.table(folder.read_report()))
    print(f"\nReport: {folder.report('html')}")


def _doctor(arguments: Sequence[str]) -> tuple[Doctor, Any]:
    """Without flags: this machine, and the profile that it recommends."""
    first, others = _first(arguments)
    alone = not (first.profile or first.out or others)
    if first.gpu and alone:
        first = dataclasses.replace(first, profile="colab")

    def examine(settings: Doctor) -> None:
        from distill_lab.planning import doctor

        asked = settings.config if first.gpu or not alone else None
        print(doctor.report(asked, settings.gpu or None))

    return Doctor(**starting_from(first)), examine


def _export(arguments: Sequence[str]) -> tuple[ExportSettings, Any]:
    def run(settings: ExportSettings) -> None:
        if settings.converter == "unsloth":  # before transformers, which the module imports
            from distill_lab.models import unsloth_backend

            unsloth_backend.problem()
        from distill_lab.pipeline.export import export

        export(settings)

    return ExportSettings(), run


# -- files of questions


@dataclass(frozen=True, slots=True)
class Score:
    """The two files that the official SQuAD script takes."""

    data: Annotated[Positional[Path], arg(metavar="DATA")]
    """A SQuAD JSON file."""
    predictions: Annotated[Positional[Path], arg(metavar="PREDICTIONS")]
    """A JSON file of answers by question id."""


@dataclass(frozen=True, slots=True)
class CheckData:
    """The file to check."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """A SQuAD JSON file."""


def _score(arguments: Sequence[str]) -> tuple[type[Score], Any]:
    from distill_lab.tasks.squad import questions

    return Score, lambda files: _print_json(questions.score_files(files.data, files.predictions))


def _check_data(arguments: Sequence[str]) -> tuple[type[CheckData], Any]:
    from distill_lab.tasks.squad import questions

    return CheckData, lambda files: _print_json(questions.check_file(files.file))


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1))


# -- the course


def _grade(arguments: Sequence[str]) -> tuple[Any, Any]:
    from distill_lab.cli import grade

    return grade.GradeCommand(), grade.run


def _notebooks(word: str, arguments: Sequence[str]) -> tuple[Any, Any]:
    from distill_lab.course import builder

    in_step = "The notebooks are in step with their sources."
    figures_right = "Each number in the prose is as its source has it."
    start, function, all_right = {
        "build": (builder.Build(), builder.build, in_step),
        "check": (builder.Check(), builder.check, in_step),
        "figures": (builder.Measure(), builder.measure, figures_right),
    }[word]

    def run(settings: Any) -> int:
        """Prints what is wrong, a line each; 2 if anything is."""
        findings: list[str] = function(settings)
        print(*findings or [all_right], sep="\n", file=sys.stderr if findings else sys.stdout)
        return 2 if findings else 0

    return start, run


COMMANDS = Group(
    "Teach a small model to reason: sample a teacher, keep its right answers, train a student.\n\n"
    f"Profiles: {', '.join(PROFILES)} (--profile NAME; `distill-lab doctor` recommends one).",
    {
        "run": Command("Run all stages in order, or go on with a run.", partial(_run, _all_stages)),
        **{
            name: Command(f"{stage.help.capitalize()}.", partial(_run, partial(run_stage, name)))
            for name, stage in STAGES.items()
        },
        "export": Command("Export a student: its adapter, merged weights, or GGUF.", _export),
        "doctor": Command(
            "Say what this machine can run, and why; predict a run's memory and time.", _doctor
        ),
        "notebooks": Group(
            "Build or check the labs' notebooks, or measure the numbers in their text.",
            {
                "build": Command("Write the labs' notebooks.", partial(_notebooks, "build")),
                "check": Command(
                    "Say whether the notebooks are in step with their sources.",
                    partial(_notebooks, "check"),
                ),
                "figures": Command(
                    "Measure the numbers in the labs' text.", partial(_notebooks, "figures")
                ),
            },
        ),
        "grade": Command(
            "Grade a class: a folder or a zip file of notebooks to marks and feedback.", _grade
        ),
        "score": Command("Print EM and F1 as the official SQuAD script does, as JSON.", _score),
        "check-data": Command("Print the problems of a SQuAD file, as JSON.", _check_data),
    },
)
