"""Which linears can stand few bits, and which inputs have outliers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from tqdm import tqdm

from distill_lab.losses.distillation import DenseTeacher, Objective, divergence
from distill_lab.models.loading import LanguageModel, head, hidden_states
from distill_lab.models.pruning.calibration import NAMES, Batch, evaluating, require_tokens
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.quantization.apply import inputs_by_block
from distill_lab.models.quantization.quantize import rounded
from distill_lab.models.quantization.scheme import Scheme

TOKENS = 1024  # whose logits are in memory at a time


def sensitivity(
    model: LanguageModel, batches: Sequence[Batch], scheme: Scheme, title: str = ""
) -> dict[str, float]:
    """KL from the model to itself with one linear quantized, for each linear of the blocks: in
    nats, the mean over all real tokens. The model is as it was afterwards. With a `title` there is
    a progress bar."""
    linears = prunable(model)
    before = _token_states(model, require_tokens(batches))
    made = {}
    asked = linears.items()
    for name, linear in tqdm(asked, title, unit="linear") if title else asked:
        with _quantized(linear, scheme):
            made[name] = kl_to(before, model, batches)
    return made


def kl_to(before: Sequence[Tensor], model: LanguageModel, batches: Sequence[Batch]) -> float:
    """Mean KL in nats a token to a model from what it was: its last hidden states (n, H) then, for
    each batch. Its head is the same, as it lies outside the blocks."""
    logits, total, n_tokens = head(model.lm), 0.0, 0
    for old, new in zip(before, _token_states(model, batches), strict=True):
        for then, now in zip(old.split(TOKENS), new.split(TOKENS), strict=True):
            with torch.no_grad():
                pair = DenseTeacher(then, logits).outcomes(logits(now), 1.0)  # (n, V) twice
                total += divergence(*pair, Objective()).double().sum().item()
        n_tokens += len(old)
    return total / n_tokens


def input_outliers(model: LanguageModel, batches: Sequence[Batch]) -> dict[str, float]:
    """max|x| over median|x| of what enters each linear of the blocks, over all real tokens.

    With one scale for a whole tensor of activations, so many times the median has to be in reach
    of the codes: beyond 127 the median itself becomes 0 in int8.
    """
    made = {}
    for block in inputs_by_block(model, batches):
        for name, inputs in block.items():
            sizes = inputs.abs().flatten()
            made[name] = (sizes.max() / sizes.median()).item()
    return made


def _token_states(model: LanguageModel, batches: Sequence[Batch]) -> list[Tensor]:
    """Last hidden states (n, H) of the real tokens of each batch."""
    made = []
    for batch in batches:
        ids, mask = (batch[name].to(model.lm.device) for name in NAMES)
        with evaluating(model.lm), torch.no_grad():
            made.append(hidden_states(model.lm, ids, mask)[mask.bool()])
    return made


@contextmanager
def _quantized(linear: nn.Linear, scheme: Scheme) -> Iterator[None]:
    """While this lasts, the linear's weight is rounded."""
    kept = linear.weight.data
    linear.weight.data = rounded(kept, scheme)
    try:
        yield
    finally:
        linear.weight.data = kept
