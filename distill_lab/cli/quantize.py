"""`distill-lab quantize run`, and each of its stages alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_lab.cli.model_runs import ModelRuns
from distill_lab.cli.run_settings import config_of
from distill_lab.pipeline.quantizing.records import claim_quantization_folder
from distill_lab.pipeline.quantizing.runner import STAGES, run_stage
from distill_lab.pipeline.quantizing.settings import PROFILES, QuantizationConfig


@dataclass(frozen=True, slots=True)
class QuantizeRun(QuantizationConfig):
    """All settings of a run of quantization and the folder in which it lies."""

    out: Path = Path("runs/quantize-tiny")
    """The run's folder: every stage reads and writes there; the same command goes on from there."""

    @property
    def config(self) -> QuantizationConfig:
        """The settings without the folder. Raises LabError for a profile that there is not."""
        return config_of(self, PROFILES)


def _table(report: Mapping[str, Any]) -> str:
    from distill_lab.pipeline.quantizing import report as reporting

    return reporting.table(report)


RUNS = ModelRuns(
    "quantize", QuantizeRun, PROFILES, tuple(STAGES), claim_quantization_folder, run_stage, _table
)
