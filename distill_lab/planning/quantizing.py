"""What a run of `distill-lab quantize` will take, here or on another card, by the same arithmetic
as `distill-lab doctor`: memory of each stage at its worst moment, and time as a range."""

from __future__ import annotations

from dataclasses import dataclass

from distill_lab.models.quantization.sensitivity import TOKENS
from distill_lab.pipeline.quantizing.records import models, trained
from distill_lab.pipeline.quantizing.settings import QuantizationConfig
from distill_lab.pipeline.quantizing.ways import Way as Kept
from distill_lab.pipeline.quantizing.ways import parse_all
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

_TRIED = {"clip": 20, "awq": 20}  # ranges or factors that a method tries; each rounds all weights
_ROUNDING = 10  # how often rounding once goes through a matrix in memory, roughly


def predict(config: QuantizationConfig, way: Way) -> list[Stage]:
    """The stages that load a model, in their order. LabError where the model's shape is not
    known."""
    of = shape(config)
    stages = {"adapt": adapting(of, config, way), "quantize": _quantizing(of, config, way)}
    if trained(config):
        learning = learning_by_kl(of, config, config.qat, way)
        stages["qat"] = {**learning, "rounded weights": 4 * of.matrices}  # kept for the backward
    return in_process({**stages, "evaluate": evaluating(of, config, way)})


def _quantizing(of: Shape, config: QuantizationConfig, way: Way) -> Parts:
    """The dense model beside the one that is made of it. GPTQ and AWQ hold each text before the
    next block and what enters a block's linears; GPTQ a matrix of the widest input and its inverse
    in float64. To find which linears can stand few bits, the logits of both models."""
    settings, length, widest = config.quantize, longest(config), max(a for a, _ in of.linears)
    made: dict[str, int] = {"teacher": weights(of, way), "weights": weights(of, way)}
    kinds = {kept.method for kept in _kept(config)}
    if kinds & {"awq", "gptq"}:
        n_tokens = settings.n_calibration * length
        rows = min(config.runtime.batch, settings.n_calibration)
        entered = sum(a for a, _ in of.linears) * 4 + of.hidden * way.bytes
        made["activations"] = n_tokens * entered + way.held(forward(of, rows, length, way))
    if "gptq" in kinds:
        largest = max(a * b for a, b in of.linears)
        inputs = settings.n_calibration * length * widest
        made["in float64"] = 8 * (inputs + 4 * widest**2 + 5 * largest)
    if settings.n_sensitivity:
        made["logits"] = 3 * 4 * min(TOKENS, settings.n_sensitivity * length) * of.vocab_size
    return made


def _kept(config: QuantizationConfig) -> list[Kept]:
    return parse_all(config.quantize.ways, "--quantize.ways")


@dataclass(frozen=True, slots=True)
class _QuantizingWork(Work):
    config: QuantizationConfig

    def seconds(self) -> dict[str, float]:
        c, made = self.config, models(self.config)
        again = trained(c)
        by_kl = sum(model.recovery == "kl" for model in again)
        timed = sum(kept.computes for kept in _kept(c))
        compared = len(made) * 2 * self.entries()[1] * self.tokens()[1] * self.product(2)
        return {
            "adapt": self.adapted(),
            "quantize": sum(map(self._quantized, _kept(c))) + self._alone(),
            "qat": len(again) * self.steps(c.qat, 0) + by_kl * self.by_kl(c.qat),
            "evaluate": len(made) * self.scored() + compared + (1 + 2 * timed) * self.timed(),
        }

    def _quantized(self, kept: Kept) -> float:
        """Loading and writing, and for each try rounding all weights; AWQ's tries multiply with
        them, too. GPTQ takes one column after another, each at least a step, and all that come
        after it in float64, whose operations are taken as twice as slow."""
        rounds = 2 + _ROUNDING * _TRIED.get(kept.method, 1) if kept.kind == "codes" else 4
        seconds = rounds * self.loading()
        if kept.calibrated:
            n_tokens = self.config.quantize.n_calibration * self.tokens()[0]
            passes = 2 + _TRIED.get(kept.method, 0)
            seconds += passes * n_tokens * 2 * self.shape.matrices / self.flops
        if kept.method == "gptq":
            n, of = self.shape.layers, self.shape.linears
            seconds += n * sum(a * self.step for a, _ in of)
            seconds += 2 * n * sum(a * a * b + 2 * a**3 for a, b in of) / self.flops
        return seconds

    def _alone(self) -> float:
        """Each linear rounded alone, and a pass over the texts."""
        n = 1 + len(self.shape.linears) * self.shape.layers
        tokens = self.config.quantize.n_sensitivity * self.tokens()[0]
        if not tokens:
            return 0.0
        return n * tokens * self.product(2) + _ROUNDING * self.loading()


estimate = _QuantizingWork.estimate
DOCTOR = Doctor("quantize", predict, estimate, "qat")
