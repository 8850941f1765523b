"""Lab 6's exercise count_sparsity: zeros over the pruned layers, and over the whole model."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from distill_lab.course.exercises.exercise import (
    Exercise,
    Function,
    Slip,
    Step,
    expect,
    on_results,
)
from distill_lab.course.exercises.lab6.answer_types import THREE
from distill_lab.course.exercises.lab6.toys.model import on_a_pruned_toy

WIDTH = 4  # of the toy: a block has matrices of 16, 32 and 32 weights
BLOCK = (WIDTH**2, 2 * WIDTH**2, 2 * WIDTH**2)


def count_sparsity(model: nn.Module, linears: Mapping[str, nn.Linear]) -> tuple[float, float, int]:
    """(zeros' share of the linears' weights, of all parameters, how many these are); tied ones are
    counted once, as `parameters()` gives each once."""
    weights = [linear.weight for linear in linears.values()]
    parameters = list(model.parameters())
    n_linears, n_all = (sum(p.numel() for p in of) for of in (weights, parameters))
    zeros, all_zeros = (sum(int((p == 0).sum()) for p in of) for of in (weights, parameters))
    return zeros / n_linears, all_zeros / n_all, n_all


Case = tuple[int, int, bool, list[float]]  # blocks, vocabulary, tied, share of zeros in each linear


def _counts(case: Case) -> tuple[int, int, int, int]:
    """Zeros, weights of the linears, embedding, norm; the head is as large as the embedding."""
    blocks, vocab_size, _, shares = case
    sizes = BLOCK * blocks
    zeros = sum(round(share * size) for share, size in zip(shares, sizes, strict=True))
    return zeros, sum(sizes), vocab_size * WIDTH, WIDTH


def _counted(function: Function, case: Case, places: Sequence[int]) -> None:
    """Judges the numbers at these places of the three."""
    blocks, _, tied, shares = case
    zeros, linears, embedding, norm = _counts(case)
    head = 0 if tied else embedding
    n_all = linears + embedding + norm + head
    shown = (
        f"count_sparsity of a model of {blocks} blocks: {zeros} of {linears} weights in its "
        f"linears are 0; the embedding has {embedding}, the norm {norm}, the head "
        f"{'is the embedding' if tied else embedding}"
    )

    def numbers(share: float, of_all: float, n: int) -> list[float]:
        return [(share, of_all, n)[place] for place in places]

    def chosen(*arguments: Any) -> list[float]:
        result = function(*arguments)
        return [result[place] for place in places]

    right = zeros / linears, zeros / n_all, n_all
    of_layers = sum(shares) / len(shares)
    known = {
        _DENSITY: numbers(1 - right[0], 1 - right[1], n_all),
        _PERCENT: numbers(100 * right[0], 100 * right[1], n_all),
        "Each layer's share, and their mean: a small layer then counts as much as a large one.":
            numbers(of_layers, *right[1:]),
        "The output head is no layer of a block: it is never pruned.":
            numbers(zeros / (linears + embedding), *right[1:]),
        _LINEARS: numbers(right[0], right[0], n_all),
        f"{_LINEARS} Their number is that of the linears too.":
            numbers(right[0], right[0], linears),
        "The zeros are counted, and their share is asked for.":
            numbers(float(zeros), float(zeros), n_all),
        "The embedding is left out: it belongs to all parameters.":
            numbers(right[0], zeros / (n_all - embedding), n_all - embedding),
        "The norm is left out: it belongs to all parameters.":
            numbers(right[0], zeros / (n_all - norm), n_all - norm),
        **({_TWICE: numbers(right[0], zeros / (n_all + embedding), n_all + embedding)}
           if tied else {}),
    }  # fmt: skip
    chosen.__name__ = function.__name__
    kept = {name: value for name, value in known.items() if value != numbers(*right)}
    expect(chosen, case, numbers(*right), kept, shown=f"{shown}; {_PLACES[tuple(places)]}")


_PLACES = {
    (0,): "the first number",
    (1, 2): "the second number and the third",
}


def _case(rng: random.Random, tied: bool) -> Case:
    """Shares that are whole numbers of weights, not the same in all layers."""
    blocks = rng.randint(2, 4)
    shares = [rng.choice((0.25, 0.5, 0.75)) for _ in range(3 * blocks)]
    shares[0], shares[1] = 0.25, 0.75
    return blocks, rng.choice((8, 12, 20)), tied, shares


_SMALL = (1, 5, False, [0.5, 0.25, 0.25])


def _step(places: Sequence[int], *tied: bool) -> Callable[[Function, random.Random], None]:
    def check(function: Function, rng: random.Random) -> None:
        blocks, vocab_size, _, shares = _SMALL
        _counted(function, (blocks, vocab_size, tied[0], shares), places)
        for is_tied in tied:
            _counted(function, _case(rng, is_tied), places)

    return check


_DENSITY = "That is the share of what is not 0: the share of zeros is asked for."
_PERCENT = "Shares are asked for, 0 to 1, not percent."
_LINEARS = "The share over the linears stands for that over all parameters: the embedding and the "
_LINEARS += "norms are parameters too, and have no zeros."
_TWICE = "The tied weights are counted twice: the head is the embedding, one matrix on disk and in "
_TWICE += "memory."
_OVER = "zeros over the weights of the linears"
COUNT_SPARSITY = Exercise(
    "lab6",
    "count_sparsity",
    count_sparsity,
    (
        Step(_OVER, 1, _step((0,), False)),
        Step("zeros over all parameters, and how many these are", 1, _step((1, 2), False)),
        Step("what is tied is counted once", 1, _step((1, 2), True)),
    ),
    (
        "(weight == 0).sum() counts a matrix's zeros, weight.numel() its weights. Add up both over "
        "the layers first, and divide last.",
        "model.parameters() gives everything that is trained: embedding, norms, linears.",
        "model.parameters() gives a matrix that two layers share once. state_dict() and "
        "named_parameters(remove_duplicate=False) give it twice, under two names.",
    ),
    THREE,
    (
        Slip(_PERCENT, _OVER, on_results(lambda three: (three[0] / 100, three[1] / 100, three[2]))),
        Slip(_DENSITY, _OVER, on_results(lambda three: (1 - three[0], 1 - three[1], three[2]))),
    ),
    on_a_pruned_toy,
    minutes=10,
    difficulty="easy",
)
