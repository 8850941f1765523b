"""`distill-lab prune run`, each of its stages alone, and its doctor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_lab.cli.model_runs import Gpu, ModelRuns
from distill_lab.cli.run_settings import config_of
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

    gpu: Gpu = ""
    """Predict memory and time for this card: t4, l4, a100, a100-80 or h100."""


def _predicted(config: PruningConfig, gpu: str | None) -> str:
    from distill_lab.planning import pruning

    return pruning.DOCTOR.report(config, gpu)


def _table(report: Mapping[str, Any]) -> str:
    from distill_lab.pipeline.pruning import report as reporting

    return reporting.table(report)


RUNS = ModelRuns(
    "prune", PruneRun, PROFILES, tuple(STAGES), claim_pruning_folder, run_stage, _table,
    PruneDoctor, require_possible, _predicted,
)  # fmt: skip
