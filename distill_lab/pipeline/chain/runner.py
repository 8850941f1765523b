"""The stages of a chain, in order; each goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

from distill_lab.pipeline.chain.settings import ChainConfig
from distill_lab.pipeline.runner import Stage, run_and_note


def run(config: ChainConfig, out: Path) -> None:
    """Runs all stages, or goes on with them."""
    from distill_lab.models import backend

    backend.prepare(config.runtime.as_of_a_run())  # Unsloth comes before transformers
    from distill_lab.pipeline.chain import report, steps

    for stage in (
        Stage("adapt", "take the student, and let it answer", steps.begin, slow=True),
        Stage("steps", "prune, recover, quantize", steps.make, slow=True),
        Stage("evaluate", "score and time all models", steps.measure, slow=True),
        Stage("report", "write the ledger", report.build),
    ):
        run_and_note(stage, config, out)
