"""A short chain in a notebook: prune, recover, quantize, in both orders, and its ledger."""

from __future__ import annotations

from typing import Any, NamedTuple

from distill_lab.course.quantization_lab import QuantizationLab
from distill_lab.pipeline.chain import report, runner
from distill_lab.pipeline.chain.records import chain_folder, claim_chain_folder, links
from distill_lab.pipeline.chain.settings import ChainConfig, ChainSettings
from distill_lab.pipeline.pruning.results.readings import MEASURES
from distill_lab.pipeline.quantizing.results.pictures import score_by_bytes
from distill_lab.reporting.plots import Plot


class ShortChain(NamedTuple):
    """A row a step, below the columns' names; what one order is above the other; score against
    bytes."""

    ledger: list[tuple[str, ...]]
    orders: list[tuple[Any, ...]]
    picture: Plot


def short_chain(
    lab: QuantizationLab, prune: str = "neurons:0.25", way: str = "q4_0", steps: int = 30
) -> ShortChain:
    """Takes the lab's dense model through `distill-lab chain` with one way, or goes on with it, in
    the folder chain of the run."""
    of, out = lab.config, lab.out / "chain"
    settings = ChainSettings(prune, (way,), n_calibration=32, steps=steps)
    config = ChainConfig(
        profile=of.profile,
        data=of.data,
        model=of.model,
        adapt=of.adapt,
        evaluate=of.evaluate,
        runtime=of.runtime,
        chain=settings,
    )
    claim_chain_folder(config, out)
    runner.run(config, out)
    made = report.build(config, out)
    asked = links(config, chain_folder(out).left_out())
    orders = [
        (f["plus"], f["minus"], f["measure"], f["difference"], *f["ci95"], f["reading"])
        for f in made["orders"]
    ]
    measure = MEASURES[of.data.task][0]
    return ShortChain(report.rows(made, asked), orders, score_by_bytes(made["models"], measure))
