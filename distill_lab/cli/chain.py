"""`distill-lab chain`: a student of Lab 5 is pruned, recovers, and is quantized, in one ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from distill_lab.cli.model_runs import require_one_process
from distill_lab.pipeline.chain.records import chain_folder, claim_chain_folder, links
from distill_lab.pipeline.chain.runner import run
from distill_lab.pipeline.chain.settings import ChainConfig, ChainSettings
from distill_lab.pipeline.pruning.settings import (
    MeasureSettings,
    PrunedModelSettings,
    PruningDataSettings,
    PruningRuntime,
)
from distill_lab.run.arms import ArmName
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError
from distill_lab.run.saved_settings import saved
from distill_lab.run.settings import Config


@dataclass(frozen=True, slots=True)
class ChainRun:
    run: Annotated[Positional[Path], arg(metavar="RUN")] = Path("runs/tiny")
    """The folder of a run of Lab 5: its student, and its questions."""
    arm: ArmName = "kd"
    """Which of the students."""
    out: Path = Path("runs/chain")
    """The chain's folder; the same command goes on from there."""
    chain: ChainSettings = field(default_factory=ChainSettings)
    evaluate: MeasureSettings = field(default_factory=MeasureSettings)
    runtime: PruningRuntime = field(default_factory=PruningRuntime)


def begin(arguments: Sequence[str]) -> tuple[ChainRun, Any]:
    """The defaults of how models answer and of batches are the run's own. LabError where RUN does
    not come first."""
    named = arguments[0] if arguments else f"{ChainRun().run}"
    if named.startswith("-") and named not in ("-h", "--help"):
        raise LabError(
            f"chain: expected RUN first, as its settings are the flags' defaults; found {named}. "
            f"Say `distill-lab chain {ChainRun().run} {named} …`."
        )
    config = None if named.startswith("-") else saved(Path(named))
    if config is None:
        return ChainRun(), _all_stages
    runtime = PruningRuntime(
        batch=config.runtime.sample_batch,
        micro_batch=min(config.runtime.micro_batch, ChainSettings().batch_size),
    )
    evaluate = MeasureSettings(max_new_tokens=config.evaluate.max_new_tokens)
    return ChainRun(evaluate=evaluate, runtime=runtime), _all_stages


def _all_stages(settings: ChainRun) -> None:
    require_one_process("chain")
    config = config_of(settings)
    claim_chain_folder(config, settings.out)
    print(f"Chain {settings.out}; settings in {RunFolder(settings.out).config}", flush=True)
    run(config, settings.out)
    from distill_lab.pipeline.chain import report

    folder = chain_folder(settings.out)
    asked = links(config, folder.left_out())
    print("\n" + report.table(folder.run.read_report(), asked))
    print(f"\nReport: {folder.run.report('html')}")


def config_of(settings: ChainRun) -> ChainConfig:
    """The chain's settings: questions and student are the run's. LabError where there is no such
    run or student, and for a task other than SQuAD."""
    of = _run_of(settings)
    student = RunFolder(settings.run).require_model(settings.arm)
    data = PruningDataSettings(
        "squad", of.data.train, of.data.eval, of.data.n_train, of.data.n_eval, of.data.seed
    )
    return ChainConfig(
        profile=of.profile,
        data=data,
        model=PrunedModelSettings(str(student)),
        chain=settings.chain,
        evaluate=settings.evaluate,
        runtime=settings.runtime,
    )


def _run_of(settings: ChainRun) -> Config:
    config = saved(settings.run)
    if config is None:
        raise LabError(
            f"RUN {settings.run}: expected the folder of a run of Lab 5, found none. Make one: "
            "distill-lab run."
        )
    if config.data.task != "squad":
        raise LabError(
            f"RUN {settings.run}: expected a run on squad, found one on {config.data.task}. Name "
            "another."
        )
    return config
