"""`distill-lab prune run`, and each of its stages alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_lab.cli.parsing import parse
from distill_lab.pipeline.pruning.records import claim_pruning_folder
from distill_lab.pipeline.pruning.runner import STAGES, run_stage
from distill_lab.pipeline.pruning.settings import PROFILES, PruningConfig, profile
from distill_lab.run.distributed import size
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError
from distill_lab.run.saved_settings import saved_as


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
class _First:
    """What is read before the other flags, as their defaults depend on it; "" where not given."""

    profile: str = ""
    out: str = ""


def begin(
    run: Callable[[PruningConfig, Path], None], arguments: Sequence[str]
) -> tuple[PruneRun, Any]:
    """`run`, or a stage: the folder takes the settings or refuses them."""

    def claim_and_run(settings: PruneRun) -> None:
        if size() > 1:
            raise LabError(
                f"prune: expected one process, found {size()}. Start it without a launcher."
            )
        config = settings.config
        claim_pruning_folder(config, settings.out)
        run(config, settings.out)

    return _start(arguments), claim_and_run


def _start(arguments: Sequence[str]) -> PruneRun:
    """The settings before the flags change them: the profile's, else those of the run in the
    folder, else `tiny`'s."""
    first, others = parse(_First(), arguments, return_unknown_args=True, add_help=False)
    out = Path(first.out or f"runs/prune-{first.profile or 'tiny'}")
    if first.profile:
        config = profile(first.profile)
    elif {"-h", "--help"} & {*others}:
        config = PROFILES["tiny"]
    else:
        config = saved_as(PruningConfig, RunFolder(out).config) or PROFILES["tiny"]
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return PruneRun(**values, out=out)


def all_stages(config: PruningConfig, out: Path) -> None:
    """Runs them in order, then prints the table and where the report is."""
    folder = RunFolder(out)
    print(f"Run {out} ({config.profile}); settings in {folder.config}", flush=True)
    for name in STAGES:
        run_stage(name, config, out)
    from distill_lab.pipeline.pruning import report

    print("\n" + report.table(folder.read_report()))
    print(f"\nReport: {folder.report('html')}")
