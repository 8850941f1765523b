"""Neurons of the MLPs, really cut out: narrower matrices, not zeros in wide ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.calibration import Batch, input_norms
from distill_lab.models.pruning.layout import blocks, prunable, text_config
from distill_lab.models.pruning.patterns import require_sparsity, wanda_scores
from distill_lab.run.records import LabError

INTO, OUT_OF = ("gate_proj", "up_proj"), "down_proj"


def cut_neurons(model: LanguageModel, share: float, batches: Sequence[Batch]) -> None:
    """Cuts int(width * share) neurons out of each block's MLP, in place: those that add least.

    Neuron j's score is the norm of Wanda's scores |W_ij| * ||X_j|| in its column of `down_proj`:
    the product of its activation's norm (Minitron, Muralidharan et al. 2024, arXiv 2407.14679,
    section 2.2, ranks by activations alone) and the norm of what it is multiplied with. All blocks
    lose as many, as the config has one width. LabError for another layout of the MLP.
    """
    width = _width(model)
    n_kept = width - int(width * require_sparsity(share))
    norms = input_norms(model, batches)
    scores = {
        id(linear): wanda_scores(linear.weight, norms[name].to(linear.weight.device)).norm(dim=0)
        for name, linear in prunable(model).items()
        if name.endswith(OUT_OF)
    }
    for block in blocks(model):
        mlp: Any = block.mlp
        order = scores[id(mlp.down_proj)].sort(stable=True, descending=True).indices
        _narrow(mlp, order[:n_kept].sort().values)
    text_config(model).intermediate_size = n_kept


def _width(model: LanguageModel) -> int:
    """How many neurons each MLP has. LabError where they differ, or are laid out otherwise."""
    width = getattr(text_config(model), "intermediate_size", None)
    for index, block in enumerate(blocks(model)):
        mlp: Any = block.mlp
        linears = {name: m for name, m in mlp.named_children() if isinstance(m, nn.Linear)}
        widths = {m.in_features if n == OUT_OF else m.out_features for n, m in linears.items()}
        if {*linears} != {*INTO, OUT_OF} or widths != {width}:
            raise LabError(
                f"Model {model.name!r}: expected MLPs of {', '.join(INTO)} and {OUT_OF}, of one "
                f"width, found {', '.join(linears) or 'no linear'} in block {index} "
                f"({type(mlp).__name__}). Drop blocks instead."
            )
    return int(width)  # type: ignore[arg-type]


@torch.no_grad()
def _narrow(mlp: Any, kept: Tensor) -> None:
    """Keeps these neurons: rows of what goes in, columns of what comes out."""
    for name in INTO:
        linear: nn.Linear = getattr(mlp, name)
        linear.weight = nn.Parameter(linear.weight[kept].clone())  # (kept, H)
        if linear.bias is not None:
            linear.bias = nn.Parameter(linear.bias[kept].clone())
        linear.out_features = len(kept)
    down: nn.Linear = mlp.down_proj
    down.weight = nn.Parameter(down.weight[:, kept].clone())  # (H, kept)
    down.in_features = len(kept)
    if hasattr(mlp, "intermediate_size"):
        mlp.intermediate_size = len(kept)
