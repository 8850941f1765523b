"""What a run of `distill-lab prune` will take, here or on another card, by the same arithmetic as
`distill-lab doctor`: memory of each stage at its worst moment, and time as a range."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from distill_lab.pipeline.pruning.methods import BLOCKS, NEURONS
from distill_lab.pipeline.pruning.records import variants
from distill_lab.pipeline.pruning.settings import PruningConfig
from distill_lab.planning.doctor import (
    Machine,
    card,
    fits,
    here,
    in_parts,
    in_sections,
    in_words,
    smaller_batch,
)
from distill_lab.planning.memory import (
    PROCESS,
    Parts,
    Stage,
    Way,
    forward,
    kv_cache,
    sampling,
    training,
    weights,
)
from distill_lab.planning.model_shapes import Shape, shape_of
from distill_lab.planning.timing import PROMPTS, Range, Speed
from distill_lab.run.records import LabError
from distill_lab.run.settings import BUNDLED, Config, ModelSettings, TrainSettings

# Tokens of a text and how many texts there are: to train on, to evaluate on; and the longest one.
# Measured with SmolLM2's tokenizer on SST-2, with the bundled models' on the bundled sets.
_ALL = {"sst2": (67_349, 872), "squad": (87_599, 10_570)}
_ALL_BUNDLED = {"sst2": (5_000, 1_000), "squad": (1_200, 400)}
_REVIEW, _BUNDLED_REVIEW = (18, 29), (17, 23)
_LONGEST, _LONGEST_BUNDLED = {"sst2": 66, "squad": 1024}, {"sst2": 45, "squad": 512}
_ASKED = 400  # reviews on which `adapt` looks whether a model has learnt the task
_SORTING = 30  # how often sorting scores goes through a matrix in memory, roughly


def report(config: PruningConfig, gpu: str | None) -> str:
    """A few lines: memory of each stage, whether it fits and what to lower; time of each."""
    machine = card(gpu, as_of_a_run(config)) if gpu else here(as_of_a_run(config))
    begin = f"distill-lab prune run --profile {config.profile} --out runs/prune-{config.profile}"
    try:
        stages = predict(config, machine.way)
        whole, each = in_words(estimate(config, machine.way, machine.speed()))
    except LabError as error:
        return f"predicted  nothing: {error}\nstart with {begin}"
    of = f"prune, {config.profile} on {machine.title}, {machine.way.dtype}"
    memory = [f"memory of {of}, texts as long as they may be:", *in_parts(stages)]
    time = [f"{whole}, an estimate", each]
    fit = fits(machine, stages, partial(_advice, config, machine))
    lines = in_sections({"predicted": memory, "fits": fit, "time": time})
    return "\n".join([*lines, f"start with {begin}"])


def as_of_a_run(config: PruningConfig, section: str = "adapt") -> Config:
    """The settings by which a stage trains, as those of a run of Lab 5: what the arithmetic of
    memory and the choice of a backend read. `recover` trains all weights, by KL to a teacher that
    runs at every step."""
    recovers = section == "recover"
    steps, name = config.recover if recovers else config.adapt, config.model.name
    rank = 0 if recovers else config.model.lora_rank
    trained = TrainSettings(
        alpha=1.0 if recovers else 0.0,
        cache="none",
        batch_size=steps.batch_size,
        max_length=longest(config),
    )
    runtime = replace(config.runtime.as_of_a_run(), micro_batch=config.runtime.micro_batch)
    return Config(models=ModelSettings(name, name, lora_rank=rank), train=trained, runtime=runtime)


def longest(config: PruningConfig) -> int:
    """Tokens of the longest text: a review with its label, a prompt with its answer."""
    known = _LONGEST_BUNDLED if config.data.train == BUNDLED else _LONGEST
    return known[config.data.task]


# -- memory


def predict(config: PruningConfig, way: Way) -> list[Stage]:
    """The stages that load a model, in their order. LabError where the model's shape is not
    known."""
    shape = _shape(config)
    stages = {
        "adapt": _adapting(shape, config, way),
        "prune": _pruning(shape, config, way),
        "recover": _recovering(shape, config, way),
        "evaluate": _evaluating(shape, config, way),
    }
    if not config.recover.methods:
        del stages["recover"]
    return [Stage(name, {**parts, "process": PROCESS}) for name, parts in stages.items()]


def _shape(config: PruningConfig) -> Shape:
    bundled = "sst2" if config.data.task == "sst2" else "teacher"
    return shape_of(config.model.name, bundled)


def _adapting(shape: Shape, config: PruningConfig, way: Way) -> Parts:
    """CE on one label word a review; on questions the model answers, and is not trained."""
    if config.data.task == "squad":
        return _answering(shape, config, way)
    return training(shape, as_of_a_run(config), way, 1, None)


def _answering(shape: Shape, config: PruningConfig, way: Way) -> Parts:
    new = config.evaluate.max_new_tokens
    length = longest(config) - new
    return sampling(shape, weights(shape, way), 1, config.runtime.batch, length, new, way)


def _pruning(shape: Shape, config: PruningConfig, way: Way) -> Parts:
    """What Wanda holds: each text before the next block, a block's pass over a batch, the masks,
    and the scores of the largest matrix with their order."""
    rows, length = min(config.runtime.batch, config.prune.n_calibration), longest(config)
    entered = config.prune.n_calibration * length * shape.hidden * way.bytes
    largest = max(a * b for a, b in shape.linears)
    return {
        "weights": weights(shape, way),
        "activations": entered + way.held(forward(shape, rows, length, way)),
        "masks": shape.matrices + (4 + 8) * largest,  # a byte a weight; float32 and int64
    }


def _recovering(shape: Shape, config: PruningConfig, way: Way) -> Parts:
    """All weights, by KL on every token of a review, or of an answer; the dense model beside."""
    learnt = config.evaluate.max_new_tokens if config.data.task == "squad" else longest(config)
    as_run = as_of_a_run(config, "recover")
    parts = training(shape, as_run, way, learnt, shape)
    return {"teacher": weights(shape, way), **parts, "masks": shape.matrices}


def _evaluating(shape: Shape, config: PruningConfig, way: Way) -> Parts:
    """A pruned model beside the dense one; its answers, or a pass over reviews with the logits of
    one of them."""
    dense = {"teacher": weights(shape, way)}
    if config.data.task == "squad":
        return {**dense, **_answering(shape, config, way)}
    rows, length = config.runtime.batch, longest(config)
    return {
        **dense,
        "weights": weights(shape, way),
        "activations": way.held(forward(shape, rows, length, way)),
        "logits": length * shape.vocab_size * (way.bytes + 2 * 4),
    }


def _advice(config: PruningConfig, machine: Machine, name: str) -> str:
    """The batch that fits, by halves; where none does, a smaller model."""
    trains = name == "recover" or (name == "adapt" and config.data.task == "sst2")
    field = "micro_batch" if trains else "batch"
    smaller = smaller_batch(config, field, name, machine, predict)
    return smaller or "Take a smaller --model.name."


# -- time


def estimate(config: PruningConfig, way: Way, speed: Speed) -> dict[str, Range]:
    """Seconds of each stage that runs a model, at best and at worst. LabError where the model's
    shape is not known."""
    best, worst = (
        _Work(config, way, speed.flops * share, speed.bandwidth * share, step, written).seconds()
        for share, step, written in zip(speed.share, speed.step, (0.25, 1.0), strict=True)
    )
    return {stage: (best[stage], worst[stage]) for stage in best}


@dataclass(frozen=True, slots=True)
class _Work:
    """The work of a run, and what is reached: operations and bytes a second; seconds that a layer
    takes for a step at least; the share of max-new-tokens that is written."""

    config: PruningConfig
    way: Way
    flops: float
    bandwidth: float
    step: float
    written: float

    def seconds(self) -> dict[str, float]:
        c, asks = self.config, self.config.data.task == "squad"
        n_train, n_eval = self._entries()
        models = variants(c)
        text, held_out = self._tokens()
        reading = n_eval * held_out * self._product(2)
        scoring = reading + (self._answers(n_eval) if asks else 0)
        adapted = _ASKED * text * self._product(2) + self._steps(c.adapt, text, c.model.lora_rank)
        once = [v for v in models if v.method and not v.recovery]
        again = [v for v in models if v.recovery]
        by_kl = sum(v.recovery == "kl" for v in again)
        return {
            "adapt": self._answers(n_train) if asks else adapted,
            "prune": sum(self._pruned(v.method.name if v.method else "", text) for v in once),
            "recover": len(again) * self._steps(c.recover, text, 0)
            + by_kl * c.recover.steps * c.recover.batch_size * text * self._product(2),
            "evaluate": len(models) * scoring + (1 + 2 * len(once)) * self._timed(),
        }

    @property
    def _shape(self) -> Shape:
        return _shape(self.config)

    def _entries(self) -> Range:
        """How many reviews or questions there are to train on, and to evaluate on."""
        data = self.config.data
        known = _ALL_BUNDLED if data.train == BUNDLED else _ALL
        train, evaluated = known[data.task]
        return min(data.n_train or train, train), min(data.n_eval or evaluated, evaluated)

    def _tokens(self) -> Range:
        """Tokens of a text to train on, and of one to evaluate on; an answer with its prompt."""
        bundled = self.config.data.train == BUNDLED
        if self.config.data.task == "sst2":
            return _BUNDLED_REVIEW if bundled else _REVIEW
        text = PROMPTS[bundled] + self.written * self.config.evaluate.max_new_tokens
        return text, text

    def _product(self, each: int) -> float:
        """Seconds of a token in all matrices and the head: 2 a pass, 6 with all gradients."""
        return each * (self._shape.matrices + self._shape.embedding) / self.flops

    def _steps(self, settings: Any, text: float, rank: int) -> float:
        each = 4 + (0 if rank else 2) + (2 if self.way.checkpointing else 0)
        return settings.steps * settings.batch_size * text * self._product(each)

    def _pruned(self, name: str, text: float) -> float:
        """Loading, and where scores are sorted going through each matrix; a pass over the texts,
        for Wanda block by block a second one."""
        shape = self._shape
        passes = {"wanda": 2, "wanda-one-shot": 1, BLOCKS: 1, NEURONS: 1}.get(name, 0)
        read = passes * self.config.prune.n_calibration * text * 2 * shape.matrices / self.flops
        through = 1 if name in (BLOCKS, NEURONS) else _SORTING
        return read + through * weights(shape, self.way) / self.bandwidth

    def _answers(self, n: float) -> float:
        """Greedy answers: the prompts' reading, then a step a token for each batch."""
        c, shape = self.config, self._shape
        rows = min(c.runtime.batch, n)
        prompt = PROMPTS[c.data.train == BUNDLED]
        new = self.written * c.evaluate.max_new_tokens
        step = max(
            rows * self._product(2),
            (weights(shape, self.way) + kv_cache(shape, int(rows * (prompt + new)), self.way))
            / self.bandwidth,
            shape.layers * self.step,
        )
        return n * prompt * self._product(2) + max(1.0, n / rows) * new * step

    def _timed(self) -> float:
        """The rounds in which a model's speed is measured, and the one that warms up."""
        how, shape = self.config.evaluate, self._shape
        step = max(weights(shape, self.way) / self.bandwidth, shape.layers * self.step)
        a_round = how.prompt_tokens * self._product(2) + how.new_tokens * step
        return (how.repeats + 2) * a_round  # another one for the memory's peak
