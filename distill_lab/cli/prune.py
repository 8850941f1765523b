"""`distill-lab prune run`, and each of its stages alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from distill_lab.cli.run_settings import defaults, first_of
from distill_lab.pipeline.pruning.records import claim_pruning_folder, require_possible
from distill_lab.pipeline.pruning.runner import STAGES, run_stage
from distill_lab.pipeline.pruning.settings import PROFILES, PruningConfig, profile
from distill_lab.run.distributed import size
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError


@dataclass(frozen=True, slots=True)
class PruneRun(PruningConfig):
    """All settings of a run of pruning and the folder in which it lies."""

    out: Path = Path("runs/prune-tiny")
    """The run's folder: every stage reads and writes there; the same command goes on from there."""

    @property
    def config(self) -> PruningConfig:
        """The settings without the folder. Raises LabError for a profile that there is not."""
        profile(self.profile)
        names = [field.name for field in dataclasses.fields(PruningConfig)]
        return PruningConfig(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True)
class PruneDoctor(PruneRun):
    """All settings of a run of pruning, and the card for which memory and time are predicted."""

    gpu: Annotated[str, arg(help_behavior_hint="(default: this machine's)")] = ""
    """Predict memory and time for this card: t4, l4, a100, a100-80 or h100."""


def examine(arguments: Sequence[str]) -> tuple[PruneDoctor, Any]:
    """`prune doctor`: what a run would take; nothing is run or written."""
    first, others = first_of(arguments)
    if first.gpu and not (first.profile or first.out):
        first = dataclasses.replace(first, profile="colab")

    def predict(settings: PruneDoctor) -> None:
        from distill_lab.planning import pruning

        config = settings.config
        require_possible(config)
        print(pruning.report(config, settings.gpu or None))

    return PruneDoctor(**defaults(PROFILES, "runs/prune-", first, others)), predict


def begin(
    run: Callable[[PruningConfig, Path], None], arguments: Sequence[str]
) -> tuple[PruneRun, Any]:
    """`run`, or a stage: the folder takes the settings or refuses them."""

    def claim_and_run(settings: PruneRun) -> None:
        require_one_process("prune")
        config = settings.config
        claim_pruning_folder(config, settings.out)
        run(config, settings.out)

    settings = defaults(PROFILES, "runs/prune-", *first_of(arguments))
    return PruneRun(**settings), claim_and_run


def require_one_process(command: str) -> None:
    """LabError under a launcher of several: the models of a run are made one after another."""
    if size() > 1:
        raise LabError(
            f"{command}: expected one process, found {size()}. Start it without a launcher."
        )


def all_stages(config: PruningConfig, out: Path) -> None:
    """Runs them in order, then prints the table and where the report is."""
    folder = RunFolder(out)
    print(f"Run {out} ({config.profile}); settings in {folder.config}", flush=True)
    for name in STAGES:
        run_stage(name, config, out)
    from distill_lab.pipeline.pruning import report

    print("\n" + report.table(folder.read_report()))
    print(f"\nReport: {folder.report('html')}")
