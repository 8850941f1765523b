"""What a run of `distill-lab prune` will take, here or on another card, by the same arithmetic as
`distill-lab doctor`: memory of each stage at its worst moment, and time as a range."""

from __future__ import annotations

from dataclasses import dataclass

from distill_lab.pipeline.pruning.methods import BLOCKS, NEURONS
from distill_lab.pipeline.pruning.records import variants
from distill_lab.pipeline.pruning.settings import PruningConfig
from distill_lab.planning.memory import Parts, Stage, Way, forward, weights
from distill_lab.planning.model_runs import (
    Doctor,
    Work,
    adapting,
    evaluating,
    in_process,
    learning_by_kl,
    longest,
    shape,
)
from distill_lab.planning.model_shapes import Shape

_SORTING = 30  # how often sorting scores goes through a matrix in memory, roughly


def predict(config: PruningConfig, way: Way) -> list[Stage]:
    """The stages that load a model, in their order. LabError where the model's shape is not
    known."""
    of = shape(config)
    stages = {"adapt": adapting(of, config, way), "prune": _pruning(of, config, way)}
    if config.recover.methods:
        learning = learning_by_kl(of, config, config.recover, way)
        stages["recover"] = {**learning, "masks": of.matrices}
    return in_process({**stages, "evaluate": evaluating(of, config, way)})


def _pruning(of: Shape, config: PruningConfig, way: Way) -> Parts:
    """What Wanda holds: each text before the next block, a block's pass over a batch, the masks,
    and the scores of the largest matrix with their order."""
    rows, length = min(config.runtime.batch, config.prune.n_calibration), longest(config)
    entered = config.prune.n_calibration * length * of.hidden * way.bytes
    largest = max(a * b for a, b in of.linears)
    return {
        "weights": weights(of, way),
        "activations": entered + way.held(forward(of, rows, length, way)),
        "masks": of.matrices + (4 + 8) * largest,  # a byte a weight; float32 and int64
    }


@dataclass(frozen=True, slots=True)
class _PruningWork(Work):
    config: PruningConfig

    def seconds(self) -> dict[str, float]:
        c, models = self.config, variants(self.config)
        once = [v for v in models if v.method and not v.recovery]
        again = [v for v in models if v.recovery]
        by_kl = sum(v.recovery == "kl" for v in again)
        return {
            "adapt": self.adapted(),
            "prune": sum(self._pruned(v.method.name if v.method else "") for v in once),
            "recover": len(again) * self.steps(c.recover, 0) + by_kl * self.by_kl(c.recover),
            "evaluate": len(models) * self.scored() + (1 + 2 * len(once)) * self.timed(),
        }

    def _pruned(self, name: str) -> float:
        """Loading, and where scores are sorted going through each matrix; a pass over the texts,
        for Wanda block by block a second one."""
        passes = {"wanda": 2, "wanda-one-shot": 1, BLOCKS: 1, NEURONS: 1}.get(name, 0)
        tokens = passes * self.config.prune.n_calibration * self.tokens()[0]
        through = 1 if name in (BLOCKS, NEURONS) else _SORTING
        return tokens * 2 * self.shape.matrices / self.flops + through * self.loading()


estimate = _PruningWork.estimate
DOCTOR = Doctor("prune", predict, estimate, "recover")
