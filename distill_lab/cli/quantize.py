"""`distill-lab quantize run`, and each of its stages alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_lab.cli.prune import require_one_process
from distill_lab.cli.run_settings import defaults, first_of
from distill_lab.pipeline.quantizing.records import claim_quantization_folder
from distill_lab.pipeline.quantizing.runner import STAGES, run_stage
from distill_lab.pipeline.quantizing.settings import PROFILES, QuantizationConfig, profile
from distill_lab.run.folder import RunFolder


@dataclass(frozen=True, slots=True)
class QuantizeRun(QuantizationConfig):
    """All settings of a run of quantization and the folder in which it lies."""

    out: Path = Path("runs/quantize-tiny")
    """The run's folder: every stage reads and writes there; the same command goes on from there."""

    @property
    def config(self) -> QuantizationConfig:
        """The settings without the folder. Raises LabError for a profile that there is not."""
        profile(self.profile)
        names = [field.name for field in dataclasses.fields(QuantizationConfig)]
        return QuantizationConfig(**{name: getattr(self, name) for name in names})


def begin(
    run: Callable[[QuantizationConfig, Path], None], arguments: Sequence[str]
) -> tuple[QuantizeRun, Any]:
    """`run`, or a stage: the folder takes the settings or refuses them."""

    def claim_and_run(settings: QuantizeRun) -> None:
        require_one_process("quantize")
        config = settings.config
        claim_quantization_folder(config, settings.out)
        run(config, settings.out)

    settings = defaults(PROFILES, "runs/quantize-", *first_of(arguments))
    return QuantizeRun(**settings), claim_and_run


def all_stages(config: QuantizationConfig, out: Path) -> None:
    """Runs them in order, then prints the table and where the report is."""
    folder = RunFolder(out)
    print(f"Run {out} ({config.profile}); settings in {folder.config}", flush=True)
    for name in STAGES:
        run_stage(name, config, out)
    from distill_lab.pipeline.quantizing import report

    print("\n" + report.table(folder.read_report()))
    print(f"\nReport: {folder.report('html')}")
