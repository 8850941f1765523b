"""Neurons cut out of MLPs: which, how many, and that the model is a whole one after it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pruned_models import BACKEND, batch, deep, logits, rows
from test_blocks import generated
from test_calibration import by_hand

from distill_lab.models.loading import load, save_student
from distill_lab.models.pruning.layout import blocks
from distill_lab.models.pruning.neurons import cut_neurons
from distill_lab.run.records import LabError

BATCHES = [batch(rows())]


def test_neurons_without_a_part_in_the_output_go_first_and_change_nothing():
    """A quarter of them is silent in one of two ways: no weight after them, or none before."""
    of = deep("llama")
    silent = torch.randperm(64, generator=torch.manual_seed(0))[:16].tolist()
    for block in blocks(of):
        mlp: Any = block.mlp
        mlp.down_proj.weight.data[:, silent[:8]] = 0
        mlp.up_proj.weight.data[silent[8:]] = 0
    expected = logits(of, rows()[4])
    rest = [index for index in range(64) if index not in silent]
    weights = [layer.mlp.gate_proj.weight.clone() for layer in blocks(of)]  # type: ignore[union-attr]
    cut_neurons(of, 0.25, BATCHES)
    for block, weight in zip(blocks(of), weights, strict=True):
        mlp = block.mlp
        assert torch.equal(mlp.gate_proj.weight, weight[rest])  # in their order
        assert (mlp.up_proj.out_features, mlp.down_proj.in_features) == (48, 48)
    torch.testing.assert_close(logits(of, rows()[4]), expected)


def test_the_score_is_the_norm_of_wandas_in_the_neurons_column():
    of = deep("qwen2")
    norms = by_hand(of, rows())
    expected = []
    for index, block in enumerate(blocks(of)):
        weight: Any = block.mlp.down_proj.weight  # type: ignore[union-attr]
        wanda = weight.abs() * norms[f"model.layers.{index}.mlp.down_proj"]
        columns = wanda.square().sum(0).sqrt().tolist()
        kept = sorted(sorted(range(64), key=lambda j: -columns[j])[: 64 - 19])
        expected.append(weight[:, kept].clone())
    cut_neurons(of, 0.3, BATCHES)
    for block, weight in zip(blocks(of), expected, strict=True):
        assert torch.equal(block.mlp.down_proj.weight, weight)  # type: ignore[union-attr]
    assert of.lm.config.intermediate_size == 45


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_a_narrower_model_loads_and_generates_alike_with_and_without_cache(kind, tmp_path):
    of = deep(kind)
    cut_neurons(of, 0.5, BATCHES)
    save_student(of, tmp_path)
    again = load(str(tmp_path), BACKEND, "student")
    assert again.lm.num_parameters() == of.lm.num_parameters() == of_width(kind, 32)
    assert generated(of, True) == generated(again, True) == generated(again, False)
    assert torch.equal(logits(of, rows()[4]), logits(again, rows()[4]))


def of_width(kind: str, width: int) -> int:
    return deep(kind, intermediate_size=width).lm.num_parameters()


def test_biases_are_cut_with_their_neurons():
    of = deep("llama", mlp_bias=True)
    before: Any = blocks(of)[1].mlp
    for linear in (before.gate_proj, before.up_proj, before.down_proj):
        linear.bias.data.copy_(torch.arange(len(linear.bias)))
    cut_neurons(of, 0.5, BATCHES)
    after: Any = blocks(of)[1].mlp
    assert len(after.up_proj.bias) == len(after.gate_proj.bias) == 32
    assert torch.equal(after.up_proj.bias, after.gate_proj.bias)
    assert after.down_proj.bias.tolist() == list(range(32))


@pytest.mark.parametrize("bad", [0, 1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(bad):
    with pytest.raises(LabError, match="Sparsity: expected a number above 0 and below 1"):
        cut_neurons(deep("llama"), bad, BATCHES)


def test_another_mlp_and_calibration_without_text_are_refused_and_change_nothing():
    phi = deep("phi", pad_token_id=0)
    with pytest.raises(LabError, match=r"found fc1, fc2 in block 0 \(PhiMLP\)"):
        cut_neurons(phi, 0.5, BATCHES)
    of = deep("llama")
    with pytest.raises(LabError, match="Calibration: expected texts"):
        cut_neurons(of, 0.5, [])
    assert of.lm.num_parameters() == of_width("llama", 64)
