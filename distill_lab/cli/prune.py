"""`distill-lab prune run`, and each of its stages alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from distill_lab.cli.model_runs import ModelRuns
from distill_lab.cli.run_settings import config_of, defaults, first_of
from distill_lab.pipeline.pruning.records import claim_pruning_folder, require_possible
from distill_lab.pipeline.pruning.runner import STAGES, run_stage
from distill_lab.pipeline.pruning.settings import PROFILES, PruningConfig


@dataclass(frozen=True, slots=True)
class PruneRun(PruningConfig):
    """All settings of a run of pruning and the folder in which it lies."""

    out: Path = Path("runs/prune-tiny")
    """The run's folder: every stage reads and writes there; the same command goes on from there."""

    @property
    def config(self) -> PruningConfig:
        """The settings without the folder. Raises LabError for a profile that there is not."""
        return config_of(self, PROFILES)


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


def _table(report: Mapping[str, Any]) -> str:
    from distill_lab.pipeline.pruning import report as reporting

    return reporting.table(report)


RUNS = ModelRuns(
    "prune", PruneRun, PROFILES, tuple(STAGES), claim_pruning_folder, run_stage, _table
)
