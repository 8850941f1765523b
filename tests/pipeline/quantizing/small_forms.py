"""Settings of a run of quantization that takes seconds, on the small model of pruning's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.pruning.small_runs import small_config

from distill_lab.pipeline.quantizing.settings import (
    QatSettings,
    QuantizationConfig,
    QuantizeSettings,
)

WAYS = ("bfloat16", "q8_0", "round-4-g8", "gptq-4-g8", "awq-4-g8")


def small_forms(folder: Path, ways: tuple[str, ...] = WAYS, qat: Any = None) -> QuantizationConfig:
    """Settings of a run on files in this folder, on SST-2."""
    of = small_config(folder)
    qat = {"ways": ("round-4-g8",), "steps": 3, "batch_size": 8, **(qat or {})}
    return QuantizationConfig(
        data=of.data,
        model=of.model,
        adapt=of.adapt,
        evaluate=of.evaluate,
        runtime=of.runtime,
        quantize=QuantizeSettings(ways, n_calibration=8, n_sensitivity=2, sensitivity="round-3-g8"),
        qat=QatSettings(**qat),
    )
