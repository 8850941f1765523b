"""Every setting of `distill-lab chain`, with its bounds and its help."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from distill_lab.pipeline.pruning.settings import TaskConfig
from distill_lab.run.settings import Bounds


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """The steps, and how the pruned model is trained again, by KL to the student."""

    prune: str = "neurons:0.25"
    """How the student is pruned, as --prune.methods has it: neurons:0.25, blocks:1, wanda:0.5."""
    quantize: tuple[str, ...] = ("q8_0", "q4_0")
    """In which ways each model is quantized, before and after pruning, as --quantize.ways has it:
    files of 8 and of 4 bits, q8_0 and q4_0; or round-8, gptq-4-g32, int8, nf4 (of these two the
    packed weights are not pruned)."""
    n_calibration: Annotated[int, Bounds(1)] = 64
    """The student's own answers that pruning, GPTQ and AWQ read, drawn with the run's seed."""
    steps: Annotated[int, Bounds(1)] = 60
    """Optimiser steps of the recovery."""
    learning_rate: Annotated[float, Bounds(1e-12, 10)] = 5e-4
    """Peak learning rate; linear warm-up over a tenth of the steps, then cosine to 0."""
    batch_size: Annotated[int, Bounds(1)] = 16
    """Answers in one optimiser step."""
    temperature: Annotated[float, Bounds(1e-3)] = 1.0
    """Temperature T that softens student and pruned model in the KL."""


@dataclass(frozen=True, slots=True)
class ChainConfig(TaskConfig):
    """All settings of a chain; its questions and its model are those of a run of Lab 5."""

    chain: ChainSettings = field(default_factory=ChainSettings)
