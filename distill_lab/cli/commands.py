"""The commands: the settings of each, and what it does with them.

Each imports what it needs as it begins, so that `--help` is instant and Unsloth comes first.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Fixed, Positional, Suppress, arg

from distill_lab.cli.parsing import Command, Group
from distill_lab.cli.run_settings import First, config_of, defaults, first_of
from distill_lab.pipeline.pruning.runner import STAGES as PRUNING_STAGES
from distill_lab.pipeline.pruning.settings import PROFILES as PRUNING_PROFILES
from distill_lab.pipeline.quantizing.runner import STAGES as QUANTIZATION_STAGES
from distill_lab.pipeline.quantizing.settings import PROFILES as QUANTIZATION_PROFILES
from distill_lab.pipeline.runner import STAGES, Stage, refuse_early, run_stage
from distill_lab.run.distributed import from_main, is_main, join
from distill_lab.run.folder import RunFolder
from distill_lab.run.saved_settings import check, claim_run_folder
from distill_lab.run.settings import PROFILES, Config, ExportSettings, OwnSettings

# -- run, its stages, and doctor


@dataclass(frozen=True, slots=True)
class Run(Config):
    """All settings of a run and the folder in which it lies."""

    own: Fixed[Suppress[OwnSettings]] = dataclasses.field(default_factory=OwnSettings)
    out: Path = Path("runs/tiny")
    """The run's folder: every stage reads and writes there; the same command goes on from there."""

    @property
    def config(self) -> Config:
        """The settings without the folder. Raises LabError for one that is not possible."""
        config = config_of(self, PROFILES)
        check(config)
        return config


@dataclass(frozen=True, slots=True)
class Doctor(Run):
    """All settings of a run, those of a study's arms that learn from own samples, and the card for
    which memory and time are predicted."""

    own: OwnSettings = dataclasses.field(default_factory=OwnSettings)
    gpu: Annotated[str, arg(help_behavior_hint="(default: this machine's)")] = ""
    """Predict memory and time for this card: t4, l4, a100, a100-80 or h100."""


def _defaults(first: First, others: Sequence[str]) -> dict[str, Any]:
    return defaults(PROFILES, "runs/", first, others)


def _run(stage: str, arguments: Sequence[str]) -> tuple[Run, Any]:
    """A stage; all of them where it is `run`: the processes meet, and the folder takes the settings
    or refuses them."""

    def claim_and_run(settings: Run) -> None:
        config, out = settings.config, settings.out
        join(config.runtime.device)
        from_main(lambda: claim_run_folder(config, out))
        if stage == "run":
            _all_stages(config, out)
        else:
            run_stage(stage, config, out)

    return Run(**_defaults(*first_of(arguments))), claim_and_run


def _all_stages(config: Config, out: Path) -> None:
    folder = RunFolder(out)
    print(f"Run {out} ({config.profile}); settings in {folder.config}", flush=True)
    if not folder.traces.path.exists():
        refuse_early(config)
    for name in STAGES:
        run_stage(name, config, out)
    if not is_main():
        return
    from distill_lab.pipeline import report

    print("\n" + report.table(folder.read_report()))
    print(f"\nReport: {folder.report('html')}")


def _doctor(arguments: Sequence[str]) -> tuple[Doctor, Any]:
    """Without flags: this machine, and the profile that it recommends."""
    first, others = first_of(arguments)
    alone = not (first.profile or first.out or others)
    if alone:
        first = dataclasses.replace(first, profile="colab" if first.gpu else "tiny")

    def examine(settings: Doctor) -> None:
        from distill_lab.planning import doctor

        asked = settings.config if first.gpu or not alone else None
        print(doctor.report(asked, settings.gpu or None))

    return Doctor(**_defaults(first, others)), examine


def _export(arguments: Sequence[str]) -> tuple[ExportSettings, Any]:
    def run(settings: ExportSettings) -> None:
        if settings.converter == "unsloth":  # before transformers, which the module imports
            from distill_lab.models import unsloth_backend

            unsloth_backend.problem()
        from distill_lab.pipeline.export import export

        export(settings)

    return ExportSettings(), run


def _chat(_: Sequence[str]) -> tuple[Any, Any]:
    from distill_lab.cli import chat

    return chat.Chat(), chat.run


def _publish(_: Sequence[str]) -> tuple[Any, Any]:
    from distill_lab.cli import publish

    return publish.Publish(), publish.run


# -- files of questions


@dataclass(frozen=True, slots=True)
class Score:
    data: Annotated[Positional[Path], arg(metavar="DATA")]
    """A SQuAD JSON file."""
    predictions: Annotated[Positional[Path], arg(metavar="PREDICTIONS")]
    """A JSON file of answers by question id."""


@dataclass(frozen=True, slots=True)
class CheckData:
    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """A SQuAD JSON file."""


def _score(_: Sequence[str]) -> tuple[type[Score], Any]:
    from distill_lab.tasks.squad import questions

    return Score, lambda files: _print_json(questions.score_files(files.data, files.predictions))


def _check_data(_: Sequence[str]) -> tuple[type[CheckData], Any]:
    from distill_lab.tasks.squad import questions

    return CheckData, lambda files: _print_json(questions.check_file(files.file))


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1))


# -- pruning


def _prune(stage: str, arguments: Sequence[str]) -> tuple[Any, Any]:
    """A stage of pruning; all of them where `stage` is `run`."""
    from distill_lab.cli import prune

    return prune.RUNS.begin(stage, arguments)


def _prune_doctor(arguments: Sequence[str]) -> tuple[Any, Any]:
    from distill_lab.cli import prune

    return prune.RUNS.examine(arguments)


# -- quantization


def _quantize(stage: str, arguments: Sequence[str]) -> tuple[Any, Any]:
    """A stage of quantization; all of them where `stage` is `run`."""
    from distill_lab.cli import quantize

    return quantize.RUNS.begin(stage, arguments)


def _quantize_doctor(arguments: Sequence[str]) -> tuple[Any, Any]:
    from distill_lab.cli import quantize

    return quantize.RUNS.examine(arguments)


def _chain(arguments: Sequence[str]) -> tuple[Any, Any]:
    from distill_lab.cli import chain

    return chain.begin(arguments)


# -- studies


def _study_run(_: Sequence[str]) -> tuple[Any, Any]:
    from distill_lab.cli import study

    return study.StudyRun(), study.run


def _study_check(_: Sequence[str]) -> tuple[Any, Any]:
    from distill_lab.cli import study

    return study.StudyCheck, study.check


# -- the course


def _grade(_: Sequence[str]) -> tuple[Any, Any]:
    from distill_lab.cli import grade

    return grade.GradeCommand(), grade.run


def _notebooks(word: str, _: Sequence[str]) -> tuple[Any, Any]:
    from distill_lab.course import builder

    start, function = {
        "build": (builder.Build(), builder.build),
        "check": (builder.Check(), builder.check),
        "figures": (builder.Measure(), builder.measure),
    }[word]

    def run(settings: Any) -> int:
        """Prints what is wrong, a line each; 2 if anything is."""
        findings: list[str] = function(settings)
        for finding in findings:
            print(finding, file=sys.stderr)
        if not findings and word == "figures":
            print("Each number in the prose is as its source has it.")
        elif not findings:
            print("The notebooks are in step with their sources.")
        return 2 if findings else 0

    return start, run


_NOTEBOOKS = {
    "build": "Write the notebooks of all labs, from one source each.",
    "check": "Say whether the notebooks are in step with their sources.",
    "figures": "Measure the numbers in the labs' text.",
}


def _stages(stages: Mapping[str, Stage], begin: Callable[..., Any]) -> dict[str, Command]:
    """`run`, and each of the stages."""
    alone = {
        name: Command(f"{stage.help.capitalize()}.", partial(begin, name))
        for name, stage in stages.items()
    }
    return {
        "run": Command("Run all stages in order, or go on with a run.", partial(begin, "run")),
        **alone,
    }


COMMANDS = Group(
    "Teach a small model to reason: sample a teacher, keep its right answers, train a student.\n\n"
    f"Profiles: {', '.join(PROFILES)} (--profile NAME; `distill-lab doctor` recommends one).",
    {
        **_stages(STAGES, _run),
        "prune": Group(
            "Prune a model that has learnt a task, let it recover, and say what that costs.\n\n"
            f"Profiles: {', '.join(PRUNING_PROFILES)} (--profile NAME).",
            {
                **_stages(PRUNING_STAGES, _prune),
                "doctor": Command("Say what a run takes, here or on another card.", _prune_doctor),
            },
        ),
        "quantize": Group(
            "Keep a model that has learnt a task in fewer bits, and say what each costs and buys."
            f"\n\nProfiles: {', '.join(QUANTIZATION_PROFILES)} (--profile NAME).",
            {
                **_stages(QUANTIZATION_STAGES, _quantize),
                "doctor": Command(
                    "Say what a run takes, here or on another card.", _quantize_doctor
                ),
            },
        ),
        "chain": Command("Prune, recover and quantize a run's student, in one ledger.", _chain),
        "export": Command("Export a student: its adapter, merged weights, or GGUF.", _export),
        "chat": Command("Ask a student questions of your own, and watch it think.", _chat),
        "publish": Command("Show what the hub would get of a student, or upload it.", _publish),
        "doctor": Command("Say what this machine can run, and what a run takes.", _doctor),
        "study": Group(
            "Run a grid of settings by seeds, or check the findings of one.",
            {
                "run": Command("Run a study, or go on with one.", _study_run),
                "check": Command("Compute every finding of studies again.", _study_check),
            },
        ),
        "notebooks": Group(
            "Build or check the labs' notebooks, or measure the numbers in their text.",
            {word: Command(text, partial(_notebooks, word)) for word, text in _NOTEBOOKS.items()},
        ),
        "grade": Command("Grade a class: notebooks in, marks and feedback out.", _grade),
        "score": Command("Print EM and F1, as the official SQuAD script does, as JSON.", _score),
        "check-data": Command("Print what is wrong in a SQuAD file, as JSON.", _check_data),
    },
)
