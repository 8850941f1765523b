"""Lab 6's exercise wanda_mask: a weight matters as much as it is large, times its input's norm."""

from __future__ import annotations

import functools
import random

import torch
from torch import Tensor

from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, on_results
from distill_lab.course.exercises.lab6.answer_types import MASK
from distill_lab.course.exercises.lab6.magnitude import spread, wanted
from distill_lab.course.exercises.lab6.mask_checks import Known, Masks, Wanted, expect_mask
from distill_lab.models.pruning import patterns

Case = tuple[Tensor, Tensor, Tensor, float]  # the arguments of wanda_mask


def wanda_mask(weight: Tensor, inputs: Tensor, attention_mask: Tensor, sparsity: float) -> Tensor:
    """Bool (out, in): False at the lowest |W| * ||X|| of each output row. inputs: (N, T, in)."""
    norms = inputs[attention_mask.bool()].norm(dim=0)  # (tokens, in) to (in)
    return patterns.wanda_mask(weight, norms, sparsity)


def _wanted(case: Case) -> Wanted:
    weight, inputs, attention_mask, sparsity = case
    return wanted(weight.abs() * inputs[attention_mask.bool()].norm(dim=0), sparsity, "row")


def _asked(function: Function, case: Case, known: Known) -> None:
    weight, inputs, attention_mask, sparsity = case
    shown = (
        f"wanda_mask of a weight {tuple(weight.shape)}, inputs {tuple(inputs.shape)} of which "
        f"{int(attention_mask.sum())} positions are tokens, sparsity {sparsity}"
    )
    expect_mask(function, case, _wanted(case), known, shown)


def _instead(case: Case) -> Masks:
    """What is often taken for the score, and the mask that it gives by row."""
    weight, inputs, attention_mask, sparsity = case
    tokens, magnitude = inputs[attention_mask.bool()], weight.abs()  # (tokens, in)
    padded = inputs.flatten(0, 1)
    norms = tokens.norm(dim=0)
    scores = {
        _TURNED: -magnitude * norms,
        _SQUARED: magnitude * norms**2,
        _SIGNED: weight * norms,
        _ALONE: magnitude,
        _EACH_ROW: magnitude * inputs.norm(dim=1).mean(0),
        "The inputs are added up with their signs, which cancel.": magnitude * tokens.sum(0).abs(),
        "That is the sum of the inputs' sizes: Wanda takes the root of the sum of their squares.": (
            magnitude * tokens.abs().sum(0)
        ),
        "That is the largest input of each feature: Wanda takes the norm over all tokens.": (
            magnitude * tokens.abs().amax(0)
        ),
        "The norms alone: the weights' own sizes are missing.": norms.expand_as(weight),
        "Divided by the norm: a weight with a large input matters more.": magnitude / norms,
        "The norm of what stands at all positions: padding is no input.": (
            magnitude * padded.norm(dim=0)
        ),
    }
    return {name: wanted(score, sparsity, "row").mask for name, score in scores.items()}


@functools.lru_cache(maxsize=64)  # drawing takes longer than judging
def _drawn(seed: int) -> Case:
    """Two or three sequences without padding, one output. Each of the known mistakes gives
    a mask of its own."""
    draw = torch.Generator().manual_seed(seed)
    n, width = 2 + seed % 2, 40
    attention_mask = torch.ones(n, 5)
    while True:
        weight = torch.randn(1, width, generator=draw)
        sizes = torch.tensor([0.25, 1.0, 4.0])[torch.randperm(3, generator=draw)][:n, None, None]
        spikes = 1 + 8 * (torch.rand(n, 5, width, generator=draw) > 0.9)
        features = torch.linspace(0.3, 3, width)[torch.randperm(width, generator=draw)]
        inputs = torch.randn(n, 5, width, generator=draw) * sizes * spikes * features
        case = (weight, inputs, attention_mask, 0.5)
        scores = _wanted(case).scores.sort().values[0]  # (in)
        others = _instead(case)
        others.pop(_PADDED)  # there is no padding here
        masks = {tuple(mask[0].tolist()) for mask in (*others.values(), _wanted(case).mask)}
        is_near = scores[width // 2] < 1.02 * scores[width // 2 - 1]
        if not is_near and len(masks) == 1 + len(others):
            return case


def _score(function: Function, rng: random.Random) -> None:
    weight = torch.tensor([[0.4, -0.3, 0.2, -0.1]])
    inputs = torch.tensor([[[1.0, 0.5, 1.0, -6.0], [-1.7, 0.9, 0.2, 9.0]]])
    small = (weight, inputs, torch.ones(1, 2), 0.5)
    for case in (small, _drawn(rng.randrange(2**31)), _drawn(rng.randrange(2**31))):
        _asked(function, case, lambda case=case: _instead(case))


def _rows(function: Function, rng: random.Random) -> None:
    """All inputs are alike, and rows differ in size."""
    for out in (2, rng.randint(3, 5)):
        weight = spread(rng, out, 8).abs() * torch.tensor([3.0**n for n in range(out)])[:, None]
        case = (weight, torch.ones(1, 3, 8), torch.ones(1, 3), rng.choice((0.25, 0.5, 0.75)))
        _asked(function, case, lambda case=case: _other_groups(*case))


def _other_groups(weight: Tensor, _inputs: Tensor, _mask: Tensor, sparsity: float) -> Masks:
    """Masks of weights whose inputs are all alike, if they are compared elsewhere than by row."""
    return {
        _TURNED: wanted(-weight, sparsity, "row").mask,
        _TENSOR: wanted(weight, sparsity, "tensor").mask,
        _COLUMN: wanted(weight.T, sparsity, "row").mask.T,
    }


def _padding(function: Function, rng: random.Random) -> None:
    """Weights of about one size; of the inputs half are four times as large, and padding holds
    large numbers at the other half."""
    for width in (4, rng.choice((8, 12))):
        large = torch.zeros(width, dtype=torch.bool)
        large[rng.sample(range(width), width // 2)] = True
        weight = spread(rng, 1, width).abs().clamp(0.1, 0.12)
        weight += torch.tensor([[0.001 * n for n in rng.sample(range(width), width)]])
        n_tokens, n_padding = rng.randint(2, 3), rng.randint(2, 4)
        inputs = torch.where(large, 4.0, 1.0).repeat(1, n_tokens + n_padding, 1)
        inputs[:, n_tokens:] = torch.where(large, 0.5, 50.0)
        attention_mask = torch.tensor([[1] * n_tokens + [0] * n_padding])
        case = (weight, inputs, attention_mask, 0.5)
        known = {_PADDED: (~large)[None]}
        _asked(function, case, lambda case=case, known=known: {**known, **_instead(case)})


_TURNED = "True is what is kept: this mask has it the other way round."
_SQUARED = "The norm is squared: the root of the sum of squares is missing."
_SIGNED = "The sign counts here: a large negative weight matters as much as a positive one."
_ALONE = "That is the mask of magnitude alone. Either the inputs are not used, or their norm runs "
_ALONE += "over the wrong axis, and is one number for a whole row."
_EACH_ROW = "A norm of each sequence, and their mean: all tokens of all sequences go into one norm."
_PADDED = "The norm of what stands at all positions: padding is no input."
_TENSOR = "The scores of the whole tensor are compared: Wanda compares within each output's row. "
_TENSOR += "(torchao's WandaSparsifier does what you did.)"
_COLUMN = "The scores are compared down the columns: Wanda compares within each output's row."
_WHICH = "the size of a weight times the norm of its input decides"
WANDA_MASK = Exercise(
    "lab6",
    "wanda_mask",
    wanda_mask,
    (
        Step(_WHICH, 2, _score),
        Step("within each output's row", 1, _rows),
        Step("padding never counts", 1, _padding),
    ),
    (
        "Three things: pick the inputs that belong to tokens, take one norm for each input "
        "feature, and prune each row by |W| times these norms.",
        "inputs[attention_mask.bool()] is (tokens, in). The norm that belongs to column j of W is "
        "the norm of column j of that: root of the sum of squares over all tokens.",
        "scores = weight.abs() * norms has the shape of the weight. From there on it is "
        "magnitude_mask by row.",
    ),
    MASK,
    (Slip(_TURNED, _WHICH, on_results(lambda mask: 1 - MASK.plain(mask).int())),),
    minutes=15,
    difficulty="medium",
)
