"""Masks held against locuslab's arithmetic, torch.nn.utils.prune and tables written by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import prune

from distill_lab.models.pruning.patterns import (
    global_magnitude_masks,
    magnitude_mask,
    nm_mask,
    nm_violations,
    require_sparsity,
    wanda_mask,
    wanda_scores,
)
from distill_lab.run.records import LabError

SHAPES = [(32, 64), (48, 31), (7, 200)]
SPARSITIES = [0.3, 0.5, 0.29, 0.9]


def matrix(shape: tuple[int, int], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(width: int, n_tokens: int = 50) -> Tensor:
    """Tokens (N, in) whose features have sizes of their own, so that norms change the order."""
    random = torch.Generator().manual_seed(1)
    return torch.randn(n_tokens, width, generator=random) * torch.rand(width, generator=random) * 4


def torch_kept(linear: Any) -> Tensor:
    """The mask that torch.nn.utils.prune has made for a layer."""
    return linear.weight_mask.bool()


def zeros_a_row(mask: Tensor) -> set[int]:
    return set((~mask).sum(1).tolist())


def locuslab(weight: Tensor, scaler_row: Tensor, ratio: float, n: int = 0, m: int = 0) -> Tensor:
    """What prune_wanda in locuslab/wanda (lib/prune.py) drops; n is what a group of m loses."""
    W_metric = torch.abs(weight) * torch.sqrt(scaler_row.reshape((1, -1)))
    W_mask = torch.zeros_like(W_metric) == 1
    if n != 0:
        for ii in range(W_metric.shape[1]):
            if ii % m == 0:
                tmp = W_metric[:, ii : (ii + m)].float()
                W_mask.scatter_(1, ii + torch.topk(tmp, n, dim=1, largest=False)[1], True)
    else:
        sort_res = torch.sort(W_metric, dim=-1, stable=True)
        indices = sort_res[1][:, : int(W_metric.shape[1] * ratio)]
        W_mask.scatter_(1, indices, True)
    return W_mask


def scaler_row(samples: list[Tensor]) -> Tensor:
    """locuslab's running mean over samples (lib/layerwrapper.py, add_batch)."""
    row = torch.zeros(samples[0].shape[1])
    for nsamples, inp in enumerate(samples):
        row *= nsamples / (nsamples + 1)
        row += torch.norm(inp.t(), p=2, dim=1) ** 2 / (nsamples + 1)
    return row


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_wanda_is_locuslabs_arithmetic_bit_for_bit(shape, sparsity):
    weight, row = matrix(shape), scaler_row(list(inputs(shape[1]).split(10)))
    mask = wanda_mask(weight, row.sqrt(), sparsity)
    assert torch.equal(~mask, locuslab(weight, row, sparsity))
    assert zeros_a_row(mask) == {int(shape[1] * sparsity)}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_norms_over_all_tokens_give_the_mask_of_locuslabs_mean_over_samples(shape, dtype):
    """Theirs are ours divided by the root of the number of samples."""
    weight, tokens = matrix(shape).to(dtype), inputs(shape[1])
    mask = wanda_mask(weight, tokens.norm(dim=0), 0.5)
    assert torch.equal(~mask, locuslab(weight, scaler_row(list(tokens.split(10))), 0.5))


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 4), (3, 4)])
def test_n_of_m_with_wandas_score_is_locuslabs(n, m):
    weight, row = matrix((16, 64)), scaler_row([inputs(64)])
    mask = nm_mask(wanda_scores(weight, row.sqrt()), n, m)
    assert torch.equal(~mask, locuslab(weight, row, 0, m - n, m))
    assert mask.float().mean() == n / m
    assert nm_violations(weight * mask, n, m) == nm_violations(mask, n, m) == 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_magnitude_over_a_tensor_is_torchs(shape, sparsity):
    linear = torch.nn.Linear(shape[1], shape[0])
    linear.weight.data.copy_(matrix(shape))
    mask = magnitude_mask(linear.weight, sparsity, "tensor")
    prune.l1_unstructured(linear, "weight", amount=sparsity)
    assert torch.equal(mask, torch_kept(linear))
    assert int((~mask).sum()) == round(sparsity * linear.weight.numel())
    assert not mask.requires_grad


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_magnitude_over_all_tensors_is_torchs(sparsity):
    linears = {str(shape): torch.nn.Linear(shape[1], shape[0]) for shape in SHAPES}
    for seed, (linear, shape) in enumerate(zip(linears.values(), SHAPES, strict=True)):
        linear.weight.data.copy_(matrix(shape, seed) * (seed + 1))
    masks = global_magnitude_masks({n: x.weight for n, x in linears.items()}, sparsity)
    parameters = [(linear, "weight") for linear in linears.values()]
    prune.global_unstructured(parameters, prune.L1Unstructured, amount=sparsity)
    for name, linear in linears.items():
        assert torch.equal(masks[name], torch_kept(linear))
    dropped = {round((~mask).float().mean().item(), 2) for mask in masks.values()}
    assert len(dropped) == len(SHAPES)  # one threshold: each tensor loses a share of its own


@pytest.mark.parametrize("shape", SHAPES)
def test_magnitude_by_row_is_torchs_on_each_row_alone(shape):
    mask = magnitude_mask(matrix(shape), 0.5)
    for row, kept in zip(matrix(shape), mask, strict=True):
        linear = torch.nn.Linear(shape[1], 1)
        linear.weight.data.copy_(row[None])
        prune.l1_unstructured(linear, "weight", amount=int(shape[1] * 0.5))
        assert torch.equal(kept, torch_kept(linear)[0])


def test_a_table_by_hand():
    weight = torch.tensor([[1.0, -4, 2, 3], [-8, 5, 6, -7]])
    norms = torch.tensor([10.0, 1, 1, 2])
    kept = {
        "row": [[0, 1, 0, 1], [1, 0, 0, 1]],
        "tensor": [[0, 0, 0, 0], [1, 1, 1, 1]],
        "wanda": [[1, 0, 0, 1], [1, 0, 0, 1]],
    }
    assert magnitude_mask(weight, 0.5).int().tolist() == kept["row"]
    assert magnitude_mask(weight, 0.5, "tensor").int().tolist() == kept["tensor"]
    assert wanda_mask(weight, norms, 0.5).int().tolist() == kept["wanda"]
    assert nm_mask(weight.abs(), 1, 2).int().tolist() == [[0, 1, 0, 1], [1, 0, 0, 1]]


def test_without_a_difference_between_inputs_wanda_is_magnitude_by_row():
    """The wrong axis gives this too: a factor for each output changes no row's order."""
    weight = matrix((32, 64))
    assert torch.equal(wanda_mask(weight, torch.full((64,), 3.0), 0.5), magnitude_mask(weight, 0.5))
    right = wanda_mask(weight, inputs(64).norm(dim=0), 0.5)
    assert not torch.equal(right, magnitude_mask(weight, 0.5))


def test_a_square_root_that_is_forgotten_changes_the_mask():
    weight, norms = matrix((32, 64)), inputs(64).norm(dim=0)
    assert not torch.equal(wanda_mask(weight, norms, 0.5), wanda_mask(weight, norms**2, 0.5))


def test_the_sign_of_a_weight_says_nothing():
    weight, norms = matrix((32, 64)), inputs(64).norm(dim=0)
    for turned in (-weight, weight.abs()):
        assert torch.equal(wanda_mask(turned, norms, 0.5), wanda_mask(weight, norms, 0.5))
        assert torch.equal(magnitude_mask(turned, 0.5), magnitude_mask(weight, 0.5))


@pytest.mark.parametrize("group", ["row", "tensor"])
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.99])
def test_of_equal_weights_the_earlier_ones_go_and_exactly_as_many_as_asked(group, sparsity):
    """`|w| > threshold` keeps none of them."""
    mask = magnitude_mask(torch.full((4, 10), -2.0), sparsity, group).float()
    flat = mask.flatten() if group == "tensor" else mask
    n = round(40 * sparsity) if group == "tensor" else int(10 * sparsity)
    assert (flat.shape[-1] - flat.sum(-1) == n).all()
    assert torch.equal(flat.sort(dim=-1).values, flat)  # zeros first


def test_ties_over_all_tensors_and_within_a_group_are_exact_too():
    masks = global_magnitude_masks({"a": torch.ones(2, 3), "b": torch.ones(2, 2)}, 0.5)
    assert [mask.int().tolist() for mask in masks.values()] == [
        [[0, 0, 0], [0, 0, 1]],
        [[1, 1], [1, 1]],
    ]
    assert nm_mask(torch.ones(1, 8), 2, 4).int().tolist() == [[0, 0, 1, 1, 0, 0, 1, 1]]


def test_n_of_m_groups_along_the_input_and_not_the_output():
    weight = matrix((8, 8))
    along_output = nm_mask(weight.abs().T, 2, 4).T
    assert along_output.float().mean() == 0.5  # the count alone says nothing
    assert nm_violations(weight * along_output, 2, 4) > 0
    one_too_many = torch.tensor([[1.0, 1, 1, 0, 0, 0, 0, 0]])
    assert nm_violations(one_too_many, 2, 4) == 1
    assert nm_violations(torch.tensor([[0.0, 0, 1, 1, 1, 1, 0, 0]]), 2, 4) == 0


@pytest.mark.parametrize("bad", [0, 1, 1.5, -0.1, math.nan, math.inf, True, "0.5", None])
def test_a_sparsity_that_is_none_is_refused_in_one_line(bad):
    weight = matrix((4, 4))
    for call in (
        lambda: require_sparsity(bad),
        lambda: magnitude_mask(weight, bad),
        lambda: magnitude_mask(weight, bad, "tensor"),
        lambda: global_magnitude_masks({"a": weight}, bad),
        lambda: wanda_mask(weight, torch.ones(4), bad),
    ):
        with pytest.raises(LabError, match="Sparsity: expected a number above 0") as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("n", "m"), [(4, 4), (0, 4), (5, 4), (-1, 4), (2.0, 4), (True, 4)])
def test_a_pattern_that_is_none_is_refused(n, m):
    for check in (nm_mask, nm_violations):
        with pytest.raises(LabError, match="0 < n < m"):
            check(matrix((4, 8)), n, m)


def test_a_width_that_m_does_not_divide_is_refused():
    with pytest.raises(LabError, match="expected an input width that 4 divides, found 30"):
        nm_mask(matrix((8, 30)).abs(), 2, 4)


def test_packed_weights_wrong_norms_and_broken_weights_are_refused():
    with pytest.raises(LabError, match=r"expected a matrix \(out, in\) of floats, found torch.ui"):
        magnitude_mask(torch.zeros(64, 1, dtype=torch.uint8), 0.5)
    with pytest.raises(LabError, match="expected one for each of 4 input features"):
        wanda_mask(matrix((6, 4)), torch.ones(6), 0.5)
    with pytest.raises(LabError, match="found NaN or infinity"):
        magnitude_mask(torch.tensor([[1.0, math.nan]]), 0.5)
