"""Stage 3: quantization-aware training (Jacob et al. 2018, arXiv 1712.05877, section 3).

The forward pass multiplies with rounded weights, the gradient goes straight to those behind them,
and the dense model is the teacher by KL on every token of the reviews or of its own answers. CE on
the same texts in the same order is its control. What was learnt is then rounded as plain weights
are.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.quantization.apply import quantize_linears, save_packed
from distill_lab.models.quantization.fake import begin_fake, end_fake
from distill_lab.models.quantization.scheme import Scheme
from distill_lab.pipeline.pruning.recover import recover_into
from distill_lab.pipeline.pruning.training import write_whole
from distill_lab.pipeline.quantizing.records import QuantizationFolder, QuantizedModel, trained
from distill_lab.pipeline.quantizing.settings import QuantizationConfig


def run(config: QuantizationConfig, out: Path) -> bool:
    """Writes qat/<way>/<kl or ce>-<seed>/model and log.jsonl. False if all were there."""
    folder = QuantizationFolder(out)
    todo = [model for model in trained(config) if not folder.model(model).exists()]
    if todo:
        folder.require_model(QuantizedModel())
    for n, model in enumerate(todo, 1):
        _train(model, config, folder, f"qat {n}/{len(todo)} {model.title}")
    return bool(todo)


def _train(
    model: QuantizedModel, config: QuantizationConfig, folder: QuantizationFolder, title: str
) -> None:
    assert model.way is not None
    assert model.recovery is not None
    scheme = model.way.scheme()
    recover_into(
        folder.of(model),
        folder.of(QuantizedModel()),
        model.recovery,
        model.seed,
        config.qat,
        config,
        folder,
        title,
        begin=lambda student: begin_fake(prunable(student).values(), scheme),
        save=partial(_round_and_save, scheme),
    )


def _round_and_save(scheme: Scheme, dtype: str, student: LanguageModel, folder: Path) -> None:
    """What was trained is float32; what is not quantized has the numbers' format of its twin."""
    end_fake(student.lm)
    codes = quantize_linears(student, scheme)
    lm: Any = student.lm
    lm.to(getattr(torch, dtype))
    write_whole(folder, lambda partial: save_packed(student, codes, partial))
