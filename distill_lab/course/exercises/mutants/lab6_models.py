"""Wrong answers to those exercises of Lab 6 that work on a model or an optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from distill_lab.course.exercises.exercise import Function, mutants_of
from distill_lab.course.exercises.lab6 import COUNT_SPARSITY, DROP_BLOCKS, MASKED_STEP, recovery
from distill_lab.course.exercises.lab6.blocks import drop_blocks
from distill_lab.course.exercises.lab6.sparsity import count_sparsity

OVER, WHOLE, TIED = (step.title for step in COUNT_SPARSITY.steps)
ORDER, BOOKS, GUARD = (step.title for step in DROP_BLOCKS.steps)
TRAINED, ZERO, REMEMBERS = (step.title for step in MASKED_STEP.steps)
Linears = Mapping[str, nn.Linear]


def _zeros(weights: Sequence[Tensor]) -> tuple[int, int]:
    """Zeros, and weights."""
    return sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)


def _of(linears: Linears) -> list[Tensor]:
    return [linear.weight for linear in linears.values()]


def _with_second(change: Any) -> Function:
    """The right first number; the other two are `change(model, linears)`."""

    def counted(model: nn.Module, linears: Linears) -> tuple[float, float, int]:
        return (count_sparsity(model, linears)[0], *change(model, linears))

    return counted


def tied_twice(model: nn.Module, linears: Linears) -> tuple[float, int]:
    zeros, n = _zeros(list(model.state_dict().values()))
    return zeros / n, n


def without_the_embedding(model: nn.Module, linears: Linears) -> tuple[float, int]:
    weights = [p for name, p in model.named_parameters() if "embed" not in name]
    zeros, n = _zeros(weights)
    return zeros / n, n


def mean_of_layers(model: nn.Module, linears: Linears) -> tuple[float, float, int]:
    shares = [float((w == 0).double().mean()) for w in _of(linears)]
    return (sum(shares) / len(shares), *count_sparsity(model, linears)[1:])


def with_the_head(model: nn.Module, linears: Linears) -> tuple[float, float, int]:
    zeros, n = _zeros([m.weight for m in model.modules() if isinstance(m, nn.Linear)])
    return (zeros / n, *count_sparsity(model, linears)[1:])


def one_after_the_other(model: Any, indices: Sequence[int]) -> Any:
    blocks = model.model.layers
    if {0, len(blocks) - 1} & {*indices}:
        raise ValueError
    for index in indices:
        del blocks[min(index, len(blocks) - 1)]
    return mended(model)


def mended(model: Any) -> Any:
    for number, block in enumerate(model.model.layers):
        block.self_attn.layer_idx = number
    model.config.num_hidden_layers = len(model.model.layers)
    return model


def unguarded(model: Any, indices: Sequence[int]) -> Any:
    kept = [block for n, block in enumerate(model.model.layers) if n not in indices]
    model.model.layers = nn.ModuleList(kept)
    return mended(model)


def _but(**left: Any) -> Function:
    """The right model, but for what is left as it was: `layer_idx`, `config`."""

    def dropped(model: Any, indices: Sequence[int]) -> Any:
        before = {id(b): b.self_attn.layer_idx for b in model.model.layers}
        n = len(model.model.layers)
        model = drop_blocks(model, indices)
        if "layer_idx" in left:
            for block in model.model.layers:
                block.self_attn.layer_idx = before[id(block)]
        if "config" in left:
            model.config.num_hidden_layers = n
        return model

    return dropped


def others_dropped(model: Any, indices: Sequence[int]) -> Any:
    others = set(range(1, len(model.model.layers) - 1)) - {*indices}
    if {0, len(model.model.layers) - 1} & {*indices}:
        raise ValueError
    kept = [block for n, block in enumerate(model.model.layers) if n in {*indices} - others]
    model.model.layers = nn.ModuleList(kept)
    return mended(model)


def rebound(loss: Tensor, optimizer: Any, weights: Any, masks: Any) -> None:
    recovery.unmasked(loss, optimizer, weights, masks)
    for name in weights:
        weights[name] = weights[name] * masks[name]


def mask_from_the_weights(loss: Tensor, optimizer: Any, weights: Any, masks: Any) -> None:
    """What is not 0 behind the step is everything."""
    recovery.unmasked(loss, optimizer, weights, masks)
    with torch.no_grad():
        for weight in weights.values():
            weight.mul_(weight != 0)


MODEL_MUTANTS = (
    *mutants_of(
        "lab6.count_sparsity",
        ("over the linears for over all",
         _with_second(lambda model, linears: (
             count_sparsity(model, linears)[0], count_sparsity(model, linears)[2])),
         (WHOLE, TIED), "stands for that over all parameters"),
        ("tied twice", _with_second(tied_twice), (TIED,), "counted twice"),
        ("without the embedding", _with_second(without_the_embedding), (WHOLE, TIED),
         "The embedding is left out"),
        ("density", lambda model, linears: (
            1 - count_sparsity(model, linears)[0], 1 - count_sparsity(model, linears)[1],
            count_sparsity(model, linears)[2]), (OVER,), "the share of what is not 0"),
        ("mean of the layers", mean_of_layers, (OVER,), "Each layer's share"),
        ("with the head", with_the_head, (OVER,), "no layer of a block"),
        ("percent", lambda model, linears: (
            100 * count_sparsity(model, linears)[0], 100 * count_sparsity(model, linears)[1],
            count_sparsity(model, linears)[2]), (OVER,), "not percent"),
        ("numbers for shares", lambda model, linears: (
            *[_zeros(_of(linears))[0]] * 2, count_sparsity(model, linears)[2]),
         (OVER, WHOLE, TIED), "their share is asked for"),
    ),
    *mutants_of(
        "lab6.drop_blocks",
        ("one after the other", one_after_the_other, (ORDER,), "those behind it move up"),
        ("layer_idx left", _but(layer_idx=True), (BOOKS,), "layer_idx still speaks"),
        ("config left", _but(config=True), (BOOKS,), "could not be loaded again"),
        ("both left", _but(layer_idx=True, config=True), (BOOKS,), "layer_idx still speaks"),
        ("unguarded", unguarded, (GUARD,), "block was taken out"),
        ("the others", others_dropped, (ORDER, BOOKS), "blocks that were named are left"),
        ("nothing done", lambda model, indices: model, (ORDER, BOOKS, GUARD),
         "No block was taken out"),
    ),
    *mutants_of(
        "lab6.masked_step",
        ("not masked", recovery.unmasked, (ZERO, REMEMBERS), "masks are not laid on"),
        ("masked before the step", recovery.masked_before, (ZERO, REMEMBERS),
         "laid on before the step"),
        ("gradients masked alone", recovery.gradients_masked, (REMEMBERS,),
         "The gradients are masked, and the weights are not"),
        ("gradients added up", recovery.gradients_kept, (TRAINED,), "clear them"),
        ("wrong way round", recovery.turned_round, (TRAINED, ZERO, REMEMBERS),
         "wrong way round"),
        ("one weight alone", recovery.first_weight_alone, (ZERO, REMEMBERS),
         "Only the first weight"),
        ("no step", recovery.no_step, (TRAINED, ZERO, REMEMBERS), "takes no step"),
        ("a new tensor", rebound, (ZERO, REMEMBERS), "on new tensors"),
        ("mask from the weights", mask_from_the_weights, (ZERO, REMEMBERS),
         "masks are not laid on"),
    ),
)  # fmt: skip
