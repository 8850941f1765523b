"""What `prune` and `quantize` do alike: the folder takes the settings or refuses them, then a stage
runs, or all of them and the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from distill_lab.cli.run_settings import defaults, first_of
from distill_lab.run.distributed import size
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError

Gpu = Annotated[str, arg(help_behavior_hint="(default: this machine's)")]


@dataclass(frozen=True, slots=True)
class ModelRuns:
    """A command: `settings` are its flags, with a `config` and the folder `out`; `table` makes the
    table of what stands in report.json. Its doctor has a flag more, `gpu`; of a config that is
    possible `predicted` says what it takes."""

    command: str
    settings: type[Any]
    profiles: Mapping[str, Any]
    stages: Sequence[str]
    claim: Callable[[Any, Path], None]
    run_stage: Callable[[str, Any, Path], None]
    table: Callable[[Mapping[str, Any]], str]
    doctor: type[Any]
    require_possible: Callable[[Any], None]
    predicted: Callable[[Any, str | None], str]

    def begin(self, stage: str, arguments: Sequence[str]) -> tuple[Any, Any]:
        """A stage; all of them where it is `run`."""

        def claim_and_run(settings: Any) -> None:
            require_one_process(self.command)
            config = settings.config
            self.claim(config, settings.out)
            if stage == "run":
                self._run_all(config, settings.out)
            else:
                self.run_stage(stage, config, settings.out)

        chosen = defaults(self.profiles, f"runs/{self.command}-", *first_of(arguments))
        return self.settings(**chosen), claim_and_run

    def examine(self, arguments: Sequence[str]) -> tuple[Any, Any]:
        """`doctor`: what a run would take; nothing is run or written."""
        first, others = first_of(arguments)
        if first.gpu and not (first.profile or first.out):
            first = dataclasses.replace(first, profile="colab")

        def predict(settings: Any) -> None:
            config = settings.config
            self.require_possible(config)
            print(self.predicted(config, settings.gpu or None))

        chosen = defaults(self.profiles, f"runs/{self.command}-", first, others)
        return self.doctor(**chosen), predict

    def _run_all(self, config: Any, out: Path) -> None:
        folder = RunFolder(out)
        print(f"Run {out} ({config.profile}); settings in {folder.config}", flush=True)
        for name in self.stages:
            self.run_stage(name, config, out)
        print("\n" + self.table(folder.read_report()))
        print(f"\nReport: {folder.report('html')}")


def require_one_process(command: str) -> None:
    """LabError under a launcher of several: the models of a run are made one after another."""
    if size() > 1:
        raise LabError(
            f"{command}: expected one process, found {size()}. Start it without a launcher."
        )
