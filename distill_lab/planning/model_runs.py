"""What runs of `prune` and of `quantize` will take, as far as they do the same: the dense model
answers or learns its task, others are trained by KL to it, and all of them are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from distill_lab.pipeline.pruning.settings import TaskConfig
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

if TYPE_CHECKING:  # loads transformers
    from distill_lab.pipeline.pruning.training import StepSettings

# Tokens of a text and how many texts there are: to train on, to evaluate on; and the longest one.
# Measured with SmolLM2's tokenizer on SST-2, with the bundled models' on the bundled sets.
_ALL = {"sst2": (67_349, 872), "squad": (87_599, 10_570)}
_ALL_BUNDLED = {"sst2": (5_000, 1_000), "squad": (1_200, 400)}
_REVIEW, _BUNDLED_REVIEW = (18, 29), (17, 23)
_LONGEST, _LONGEST_BUNDLED = {"sst2": 66, "squad": 1024}, {"sst2": 45, "squad": 512}
_ASKED = 400  # reviews on which `adapt` looks whether a model has learnt the task


@dataclass(frozen=True, slots=True)
class Doctor:
    """A command's doctor: the memory of its stages (LabError where the model's shape is not known),
    their seconds at best and at worst, and the one that trains by KL."""

    command: str
    predict: Callable[[Any, Way], list[Stage]]
    estimate: Callable[[Any, Way, Speed], dict[str, Range]]
    trains: str

    def report(self, config: TaskConfig, gpu: str | None) -> str:
        """A few lines: memory of each stage, whether it fits and what to lower; time of each."""
        machine = card(gpu, as_of_a_run(config)) if gpu else here(as_of_a_run(config))
        run = f"distill-lab {self.command} run --profile {config.profile}"
        begin = f"{run} --out runs/{self.command}-{config.profile}"
        try:
            stages = self.predict(config, machine.way)
            whole, each = in_words(self.estimate(config, machine.way, machine.speed()))
        except LabError as error:
            return f"predicted  nothing: {error}\nstart with {begin}"
        of = f"{self.command}, {config.profile} on {machine.title}, {machine.way.dtype}"
        memory = [f"memory of {of}, texts as long as they may be:", *in_parts(stages)]
        time = [f"{whole}, an estimate", each]
        fit = fits(machine, stages, partial(self._advice, config, machine))
        lines = in_sections({"predicted": memory, "fits": fit, "time": time})
        return "\n".join([*lines, f"start with {begin}"])

    def _advice(self, config: TaskConfig, machine: Machine, name: str) -> str:
        """The batch that fits, by halves; where none does, a smaller model."""
        trains = name == self.trains or (name == "adapt" and config.data.task == "sst2")
        field = "micro_batch" if trains else "batch"
        smaller = smaller_batch(config, field, name, machine, self.predict)
        return smaller or "Take a smaller --model.name."


def as_of_a_run(config: TaskConfig, by_kl: StepSettings | None = None) -> Config:
    """The settings by which a stage trains, as those of a run of Lab 5: what the arithmetic of
    memory and the choice of a backend read. `adapt`, or `by_kl` a stage that trains all weights by
    KL to a teacher that runs at every step."""
    steps, name = by_kl or config.adapt, config.model.name
    rank = 0 if by_kl else config.model.lora_rank
    trained = TrainSettings(
        alpha=1.0 if by_kl else 0.0,
        cache="none",
        batch_size=steps.batch_size,
        max_length=longest(config),
    )
    runtime = replace(config.runtime.as_of_a_run(), micro_batch=config.runtime.micro_batch)
    return Config(models=ModelSettings(name, name, lora_rank=rank), train=trained, runtime=runtime)


def longest(config: TaskConfig) -> int:
    """Tokens of the longest text: a review with its label, a prompt with its answer."""
    known = _LONGEST_BUNDLED if config.data.train == BUNDLED else _LONGEST
    return known[config.data.task]


def shape(config: TaskConfig) -> Shape:
    """The shape of the dense model. LabError where it is not known."""
    bundled = "sst2" if config.data.task == "sst2" else "teacher"
    return shape_of(config.model.name, bundled)


# -- memory


def in_process(stages: Mapping[str, Parts]) -> list[Stage]:
    """The stages, each in a process that weighs something itself."""
    return [Stage(name, {**parts, "process": PROCESS}) for name, parts in stages.items()]


def adapting(of: Shape, config: TaskConfig, way: Way) -> Parts:
    """CE on one label word a review; on questions the model answers, and is not trained."""
    if config.data.task == "squad":
        return answering(of, config, way)
    return training(of, as_of_a_run(config), way, 1, None)


def answering(of: Shape, config: TaskConfig, way: Way) -> Parts:
    """Greedy answers, a batch of prompts at a time."""
    new = config.evaluate.max_new_tokens
    length = longest(config) - new
    return sampling(of, weights(of, way), 1, config.runtime.batch, length, new, way)


def learning_by_kl(of: Shape, config: TaskConfig, steps: StepSettings, way: Way) -> Parts:
    """All weights, by KL on every token of a review, or of an answer; the dense model beside."""
    learnt = config.evaluate.max_new_tokens if config.data.task == "squad" else longest(config)
    parts = training(of, as_of_a_run(config, steps), way, learnt, of)
    return {"teacher": weights(of, way), **parts}


def evaluating(of: Shape, config: TaskConfig, way: Way) -> Parts:
    """A model beside the dense one; its answers, or a pass over reviews with the logits of one of
    them."""
    dense = {"teacher": weights(of, way)}
    if config.data.task == "squad":
        return {**dense, **answering(of, config, way)}
    rows, length = config.runtime.batch, longest(config)
    return {
        **dense,
        "weights": weights(of, way),
        "activations": way.held(forward(of, rows, length, way)),
        "logits": length * of.vocab_size * (way.bytes + 2 * 4),
    }


# -- time


@dataclass(frozen=True, slots=True)
class Work:
    """The work of a run, and what is reached: operations and bytes a second; seconds that a layer
    takes for a step at least; the share of max-new-tokens that is written."""

    config: Any
    way: Way
    flops: float
    bandwidth: float
    step: float
    written: float

    @classmethod
    def estimate(cls, config: TaskConfig, way: Way, speed: Speed) -> dict[str, Range]:
        """Seconds of each stage that runs a model, at best and at worst. LabError where the model's
        shape is not known."""
        best, worst = (
            cls(config, way, speed.flops * share, speed.bandwidth * share, step, written).seconds()
            for share, step, written in zip(speed.share, speed.step, (0.25, 1.0), strict=True)
        )
        return {stage: (best[stage], worst[stage]) for stage in best}

    def seconds(self) -> dict[str, float]:
        """Of each stage; a command says which there are."""
        raise NotImplementedError

    @property
    def shape(self) -> Shape:
        return shape(self.config)

    @property
    def asks(self) -> bool:
        """Whether questions are answered, or reviews read."""
        return self.config.data.task == "squad"

    def entries(self) -> Range:
        """How many reviews or questions there are to train on, and to evaluate on."""
        data = self.config.data
        known = _ALL_BUNDLED if data.train == BUNDLED else _ALL
        train, evaluated = known[data.task]
        return min(data.n_train or train, train), min(data.n_eval or evaluated, evaluated)

    def tokens(self) -> Range:
        """Tokens of a text to train on, and of one to evaluate on; an answer with its prompt."""
        bundled = self.config.data.train == BUNDLED
        if not self.asks:
            return _BUNDLED_REVIEW if bundled else _REVIEW
        text = PROMPTS[bundled] + self.written * self.config.evaluate.max_new_tokens
        return text, text

    def product(self, each: int) -> float:
        """Seconds of a token in all matrices and the head: 2 a pass, 6 with all gradients."""
        return each * (self.shape.matrices + self.shape.embedding) / self.flops

    def loading(self) -> float:
        """Seconds in which all weights are read once."""
        return weights(self.shape, self.way) / self.bandwidth

    def adapted(self) -> float:
        """The answers to the training questions; or a look at reviews, and the training."""
        if self.asks:
            return self.answers(self.entries()[0])
        c, (text, _) = self.config, self.tokens()
        return _ASKED * text * self.product(2) + self.steps(c.adapt, c.model.lora_rank)

    def steps(self, settings: StepSettings, rank: int) -> float:
        """A training; rank 0 has all gradients."""
        each = 4 + (0 if rank else 2) + (2 if self.way.checkpointing else 0)
        return settings.steps * settings.batch_size * self.tokens()[0] * self.product(each)

    def by_kl(self, settings: StepSettings) -> float:
        """What a training of all weights takes longer by KL: the teacher's passes."""
        return settings.steps * settings.batch_size * self.tokens()[0] * self.product(2)

    def scored(self) -> float:
        """One model on all that is held out: read, and where there are questions answered first."""
        n = self.entries()[1]
        read = n * self.tokens()[1] * self.product(2)
        return read + (self.answers(n) if self.asks else 0)

    def answers(self, n: float) -> float:
        """Greedy answers: the prompts' reading, then a step a token for each batch."""
        c = self.config
        rows = min(c.runtime.batch, n)
        prompt = PROMPTS[c.data.train == BUNDLED]
        new = self.written * c.evaluate.max_new_tokens
        cache = kv_cache(self.shape, int(rows * (prompt + new)), self.way) / self.bandwidth
        least = self.shape.layers * self.step
        step = max(rows * self.product(2), self.loading() + cache, least)
        return n * prompt * self.product(2) + max(1.0, n / rows) * new * step

    def timed(self) -> float:
        """The rounds in which a model's speed is measured, and the one that warms up."""
        how = self.config.evaluate
        step = max(self.loading(), self.shape.layers * self.step)
        a_round = how.prompt_tokens * self.product(2) + how.new_tokens * step
        return (how.repeats + 2) * a_round  # another one for the memory's peak
