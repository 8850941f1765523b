"""Whole blocks: how much each changes what goes through it, and a model without some of them.

Block influence is ShortGPT's (Men et al. 2024, arXiv 2403.03853, equation 1): 1 - cos of the hidden
states before and after the block. A block that turns them little is missed little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.calibration import Batch, hooked, read, require_tokens
from distill_lab.models.pruning.layout import blocks, text_config
from distill_lab.run.records import LabError


def block_influence(model: LanguageModel, batches: Sequence[Batch]) -> list[float]:
    """1 - mean cos(before, after) of each block over all real tokens, 0 to 2.

    States are taken at the blocks themselves: the last of `output_hidden_states` has gone through
    the final norm, which would be told as the last block's influence.
    """
    layers = blocks(model)
    totals, n_tokens = torch.zeros(len(layers), dtype=torch.float64), 0
    for batch in require_tokens(batches):
        real = batch["attention_mask"].bool()  # (B, T)
        totals += torch.tensor([_cosines(*pair)[real].sum() for pair in _states(model, batch)])
        n_tokens += int(real.sum())
    return (1 - totals / n_tokens).tolist()


def least_influential(influence: Sequence[float], n: int) -> list[int]:
    """The n blocks of the least influence, in their order; never the first or the last, of equal
    ones the earlier. LabError where there are not so many between them."""
    inner = range(1, len(influence) - 1)
    if not 0 < n <= len(inner):
        raise LabError(
            f"Blocks: expected to drop 1 to {len(inner)} of {len(influence)}, as the first and the "
            f"last stay; found {n}. Drop fewer."
        )
    return sorted(sorted(inner, key=lambda index: influence[index])[:n])


def drop_blocks(model: LanguageModel, indices: Sequence[int]) -> None:
    """Takes blocks out of the model, in place. LabError for the first block, the last one, one that
    is not there, or one named twice.

    What counts blocks is mended: `layer_idx`, by which the KV cache keeps them apart, and the
    config, by which the saved model is loaded again. Masks name blocks by number: prune weights
    after this, not before.
    """
    layers = blocks(model)
    _require(indices, len(layers))
    kept = [index for index in range(len(layers)) if index not in indices]
    for index in sorted(indices, reverse=True):
        del layers[index]
    for place, block in enumerate(layers):
        for module in block.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = place  # type: ignore[assignment]
    _mend(text_config(model), kept)


def _states(model: LanguageModel, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """The hidden states (B, T, H) before and after each block."""
    pairs: list[tuple[Tensor, Tensor]] = []

    def record(_: nn.Module, args: tuple[Any, ...], made: Any) -> None:
        pairs.append((args[0].cpu(), (made[0] if isinstance(made, tuple) else made).cpu()))

    with hooked([block.register_forward_hook(record) for block in blocks(model)]):
        read(model, batch)
    return pairs


def _cosines(before: Tensor, after: Tensor) -> Tensor:
    """(B, T, H) twice to (B, T)."""
    return F.cosine_similarity(before.double(), after.double(), dim=-1)


def _require(indices: Sequence[int], n_blocks: int) -> None:
    inner = range(1, n_blocks - 1)
    wrong = [index for index in indices if index not in inner]
    if wrong or len(set(indices)) < len(indices) or not indices:
        found = f"{wrong[0]}" if wrong else f"{list(indices)}"
        raise LabError(
            f"Blocks: expected some of 1 to {n_blocks - 2}, each once, as the first and the last "
            f"of {n_blocks} stay; found {found}. Name others."
        )


def _mend(config: Any, kept: Sequence[int]) -> None:
    """The number of blocks, and each list that says something of each: `layer_types` of Qwen and
    Gemma, `no_rope_layers` of SmolLM3."""
    n_before = config.num_hidden_layers
    for name, value in list(vars(config).items()):
        if "layer" in name and isinstance(value, list) and len(value) == n_before:
            setattr(config, name, [value[index] for index in kept])
    config.num_hidden_layers = len(kept)
