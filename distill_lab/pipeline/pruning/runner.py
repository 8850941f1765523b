"""The stages of pruning, one at a time. Each imports what it needs as it starts, so that a help
text loads neither torch nor transformers."""

from __future__ import annotations

from pathlib import Path

from distill_lab.pipeline.pruning.settings import PruningConfig
from distill_lab.pipeline.runner import Stage, prepare_and_run


def _adapt(config: PruningConfig, out: Path) -> object:
    from distill_lab.pipeline.pruning import adapt

    return adapt.run(config, out)


def _prune(config: PruningConfig, out: Path) -> object:
    from distill_lab.pipeline.pruning import prune

    return prune.run(config, out)


def _recover(config: PruningConfig, out: Path) -> object:
    from distill_lab.pipeline.pruning import recover

    return recover.run(config, out)


def _evaluate(config: PruningConfig, out: Path) -> object:
    from distill_lab.pipeline.pruning import evaluate

    return evaluate.run(config, out)


def _report(config: PruningConfig, out: Path) -> object:
    from distill_lab.pipeline.pruning import report

    return report.build(config, out)


STAGES = {
    stage.name: stage
    for stage in (
        Stage("adapt", "fine-tune the model on the task, where it has not learnt it", _adapt,
              slow=True),
        Stage("prune", "make the pruned models from the dense one", _prune, slow=True),
        Stage("recover", "train pruned models again, with the dense one as teacher and without",
              _recover, slow=True),
        Stage("evaluate", "score and time all models, and count their zeros and bytes", _evaluate,
              slow=True),
        Stage("report", "write what pruning cost, what it bought, and what came back", _report),
    )
}  # fmt: skip


def run_stage(name: str, config: PruningConfig, out: Path) -> None:
    """Runs one stage and notes its seconds."""
    prepare_and_run(STAGES[name], config, config.runtime.as_of_a_run(), out)
