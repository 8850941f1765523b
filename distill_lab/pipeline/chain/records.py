"""The models of a chain: each is what one more step made of another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from distill_lab.pipeline.chain.settings import ChainConfig
from distill_lab.pipeline.pruning import methods
from distill_lab.pipeline.pruning.records import (
    DENSE,
    DENSE_FROM,
    SCORES_FROM,
    check_batches,
    claim_folder,
)
from distill_lab.pipeline.quantizing import ways
from distill_lab.pipeline.quantizing.records import QuantizationFolder
from distill_lab.run.records import LabError
from distill_lab.run.saved_settings import check

RECOVER = "recover"


@dataclass(frozen=True, slots=True)
class Link:
    """The student after these steps: a method that prunes, `recover`, or a way to quantize."""

    steps: tuple[str, ...] = ()

    @property
    def before(self) -> Link:
        """The model that the last step began with."""
        return Link(self.steps[:-1])

    @property
    def last(self) -> str:
        """The last step."""
        return self.steps[-1]

    @property
    def way(self) -> ways.Way | None:
        """How it is kept, where its last step quantized it."""
        if not self.steps or self.last == RECOVER or ":" in self.last:  # no way has a colon
            return None
        return ways.parse(self.last)

    @property
    def place(self) -> str:
        """Its folder, below the chain's."""
        return f"steps/{'.'.join(self.steps).replace(':', '-')}" if self.steps else DENSE.place

    @property
    def name(self) -> str:
        """Its name in tables."""
        return " → ".join(self.steps) or DENSE.name

    @property
    def title(self) -> str:
        """Its name in progress bars."""
        return self.name

    @property
    def stage(self) -> str:
        """The stage that makes it."""
        return "steps" if self.steps else DENSE.stage

    @property
    def dtype(self) -> str | None:
        return self.way.dtype if self.way else None

    @property
    def computes(self) -> bool:
        return self.way is None or self.way.computes


def links(config: ChainConfig, left_out: dict[str, str] | None = None) -> list[Link]:
    """All models, in the order in which they are made: the student, pruned, recovered, and that in
    each way; then both orders of pruning and quantizing without a recovery between them, where what
    is pruned after it was quantized has to be quantized once more to be as small. What a back end
    packed is never pruned."""
    prune = config.chain.prune
    asked = [way for way in config.chain.quantize if way not in (left_out or {})]
    made = [(), (prune,), (prune, RECOVER), *((prune, RECOVER, way) for way in asked)]
    for way in asked:
        made += [(prune, way), (way,)]
        if ways.parse(way).kind != "back end":
            made += [(way, prune), (way, prune, way)]
    return [Link(steps) for steps in made]


def orders(made: list[Link]) -> list[tuple[Link, Link]]:
    """Pairs that differ in their order alone: quantized after pruning, and before it."""
    there = {*made}
    pairs = [(Link((prune, way)), Link((way, prune, way))) for way, prune in _twos(made)]
    return [pair for pair in pairs if there >= {*pair}]


def _twos(made: list[Link]) -> list[tuple[str, str]]:
    return [(one.steps[0], one.steps[1]) for one in made if len(one.steps) == 2 and not one.way]


_STEPS = (*DENSE_FROM, "chain.n_calibration", "chain.steps", "chain.learning_rate",
          "chain.batch_size", "chain.temperature")  # fmt: skip
_SCORES = (*_STEPS, *SCORES_FROM)


def chain_folder(out: Path) -> QuantizationFolder:
    """The folder of a chain."""
    return QuantizationFolder(out, "chain RUN", has_stages=False)


def claim_chain_folder(config: ChainConfig, out: Path) -> None:
    """Makes `config` the folder's: saved as config.json, or refused where something that is there
    was made with other settings. LabError for steps that there are not, too."""
    check(config)
    check_batches(config.runtime.micro_batch, chain=config.chain)
    methods.parse(config.chain.prune)
    if not ways.parse_all(config.chain.quantize, "--chain.quantize"):
        raise LabError("--chain.quantize: expected at least one way, found none. Name q4_0.")
    made_from = {"steps": _STEPS, "scores": _SCORES, "closeness": _SCORES}
    claim_folder(config, chain_folder(out), made_from)
