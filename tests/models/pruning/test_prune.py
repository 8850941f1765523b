"""Whole models pruned: which zeros, how many, and what stays as it was."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from pruned_models import BACKEND, batch, model, rows
from torch.nn.utils import prune

from distill_lab.models.loading import load, save_student
from distill_lab.models.pruning.calibration import input_norms
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.pruning.ledger import ledger
from distill_lab.models.pruning.patterns import nm_violations, wanda_mask
from distill_lab.models.pruning.prune import Method, prune_weights
from distill_lab.run.records import LabError

METHODS: tuple[Method, ...] = get_args(Method)
BATCHES = [batch(rows())]


@pytest.mark.parametrize("method", METHODS)
def test_each_method_drops_its_exact_count_and_leaves_the_rest_bit_for_bit(tiny_model, method):
    dense, pruned = model(tiny_model("qwen3")), model(tiny_model("qwen3"))
    masks = prune_weights(pruned, method, 0.5, BATCHES)
    linears = prunable(pruned)
    assert list(masks.kept) == list(linears)
    total = sum(linear.weight.numel() for linear in linears.values())
    assert masks.n_dropped == ledger(pruned, masks).zeros_linears == total // 2
    before: dict[str, Any] = dict(dense.lm.named_parameters())
    for name, parameter in pruned.lm.named_parameters():
        mask = masks.kept.get(name.removesuffix(".weight"))
        expected = before[name] if mask is None else before[name] * mask
        assert torch.equal(parameter, expected), name
        if mask is not None and method != "magnitude-global":
            assert (~mask).sum() == mask.numel() // 2
        if mask is not None and method in ("magnitude-row", "wanda", "wanda-one-shot"):
            assert set((~mask).sum(1).tolist()) == {mask.shape[1] // 2}


def test_tensor_and_global_magnitude_are_torchs_on_the_whole_model(tiny_model):
    for method in ("magnitude-tensor", "magnitude-global"):
        oracle, pruned = model(tiny_model("llama")), model(tiny_model("llama"))
        for linear in prunable(oracle).values():  # their sizes differ, so that thresholds do
            linear.weight.data.mul_(linear.in_features)
        for name, linear in prunable(pruned).items():
            linear.weight.data.copy_(prunable(oracle)[name].weight)
        prune_weights(pruned, method, 0.4)
        parameters = [(linear, "weight") for linear in prunable(oracle).values()]
        if method == "magnitude-global":
            prune.global_unstructured(parameters, prune.L1Unstructured, amount=0.4)
        else:
            for linear, name in parameters:
                prune.l1_unstructured(linear, name, amount=0.4)
        for linear, name in parameters:
            prune.remove(linear, name)
        for name, linear in prunable(pruned).items():
            assert torch.equal(linear.weight, prunable(oracle)[name].weight)


def test_one_shot_takes_the_dense_models_norms_and_sequential_the_pruned_blocks(tiny_model):
    """The first block reads the same in both; the oracle of the second reads the pruned first."""
    dense = model(tiny_model("llama"))
    norms = input_norms(dense, BATCHES)
    one_shot = prune_weights(model(tiny_model("llama")), "wanda-one-shot", 0.5, BATCHES)
    for name, linear in prunable(dense).items():
        assert torch.equal(one_shot.kept[name], wanda_mask(linear.weight, norms[name], 0.5))
    sequential = prune_weights(model(tiny_model("llama")), "wanda", 0.5, BATCHES)
    first = {name for name in one_shot.kept if ".layers.0." in name}
    for name in first:
        assert torch.equal(sequential.kept[name], one_shot.kept[name])
        prunable(dense)[name].weight.data.mul_(sequential.kept[name])
    again = input_norms(dense, BATCHES)
    for name in one_shot.kept.keys() - first:
        weight = prunable(dense)[name].weight
        assert torch.equal(sequential.kept[name], wanda_mask(weight, again[name], 0.5))
    assert any(not torch.equal(sequential.kept[n], one_shot.kept[n]) for n in one_shot.kept)


@pytest.mark.parametrize("method", ["magnitude-row", "wanda", "wanda-one-shot"])
@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8)])
def test_n_of_m_leaves_no_group_too_full(tiny_model, method, n, m):
    pruned = model(tiny_model("llama"))
    prune_weights(pruned, method, (n, m), BATCHES)
    weights = [linear.weight for linear in prunable(pruned).values()]
    assert sum(nm_violations(weight, n, m) for weight in weights) == 0
    assert sum(nm_violations(weight, 1, m) for weight in weights) > 0
    assert ledger(pruned).sparsity_linears == 0.5


def test_a_pruned_model_is_saved_as_an_ordinary_one(tiny_model, tmp_path):
    """No weight_orig beside a weight_mask, and the zeros are there after loading."""
    pruned = model(tiny_model("llama"))
    masks = prune_weights(pruned, "wanda", 0.5, BATCHES)
    save_student(pruned, tmp_path)
    again = load(str(tmp_path), BACKEND, "student")
    assert not [name for name in pruned.lm.state_dict() if "orig" in name or "mask" in name]
    assert masks.violations(again) == 0
    assert ledger(again, masks) == ledger(pruned, masks)


@pytest.mark.parametrize("bad", [0, 1, 1.5, math.nan])
@pytest.mark.parametrize("method", METHODS)
def test_a_bad_sparsity_changes_nothing(tiny_model, method, bad):
    refused(tiny_model, method, bad, "Sparsity: expected a number above 0 and below 1")


@pytest.mark.parametrize(
    ("method", "pattern", "message"),
    [
        ("magnitude-row", (2, 5), "expected an input width that 5 divides, found 32 at model.lay"),
        ("wanda", (2, 5), "expected an input width that 5 divides, found 32 at model.layers.0"),
        ("wanda", (4, 4), "expected whole numbers with 0 < n < m, found 4:4"),
        ("magnitude-global", (2, 4), "expected magnitude-row or Wanda for 2:4"),
        ("magnitude-tensor", (2, 4), "expected magnitude-row or Wanda for 2:4"),
        ("magnitude", 0.5, "expected one of magnitude-row, magnitude-tensor, magnitude-global, w"),
        ("sparsegpt", 0.5, "found 'sparsegpt'. Name one."),
    ],
)
def test_other_bad_input_changes_nothing_either(tiny_model, method, pattern, message):
    refused(tiny_model, method, pattern, message)


def refused(tiny_model, method, pattern, message):
    pruned = model(tiny_model("llama"))
    with pytest.raises(LabError) as error:
        prune_weights(pruned, method, pattern, BATCHES)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert all((linear.weight != 0).all() for linear in prunable(pruned).values())
