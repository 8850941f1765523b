"""Masks on disk and on a model."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from pruned_models import batch, deep, model, rows

from distill_lab.models.pruning.blocks import drop_blocks
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.pruning.masks import Masks
from distill_lab.models.pruning.prune import prune_weights
from distill_lab.run.records import LabError

BATCHES = [batch(rows())]


def test_masks_come_back_bit_for_bit_in_one_bit_a_weight(tmp_path):
    random = torch.Generator().manual_seed(0)
    shapes = {"a": (3, 5), "b": (1, 8), "c": (257, 33)}
    kept = {n: torch.rand(shape, generator=random) > 0.4 for n, shape in shapes.items()}
    Masks(kept).save(tmp_path / "masks.safetensors")
    again = Masks.load(tmp_path / "masks.safetensors")
    assert again.n_dropped == sum(int((~mask).sum()) for mask in kept.values())
    assert {n: m.dtype for n, m in again.kept.items()} == dict.fromkeys(kept, torch.bool)
    assert all(torch.equal(again.kept[name], mask) for name, mask in kept.items())
    file = safetensors.torch.load_file(tmp_path / "masks.safetensors")
    assert {name: len(bits) for name, bits in file.items()} == {"a": 2, "b": 1, "c": 1061}


def test_applied_to_the_dense_model_they_give_the_pruned_one(tiny_model):
    pruned, again = model(tiny_model("llama")), model(tiny_model("llama"))
    masks = prune_weights(pruned, "wanda", 0.5, BATCHES)
    assert masks.violations(again) == masks.n_dropped
    masks.apply(again)
    assert masks.violations(again) == masks.violations(pruned) == 0
    for name, linear in prunable(again).items():
        assert torch.equal(linear.weight, prunable(pruned)[name].weight)
        assert not torch.signbit(linear.weight[~masks.kept[name]]).any()
    linear = prunable(again)["model.layers.1.mlp.up_proj"]
    linear.weight.data[~masks.kept["model.layers.1.mlp.up_proj"]] = 1e-30
    assert masks.violations(again) == int((~masks.kept["model.layers.1.mlp.up_proj"]).sum())


def test_a_file_of_something_else_is_refused(tmp_path):
    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "weights.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"\x01\x02")
    for name in ("weights", "torn", "absent"):
        with pytest.raises(LabError, match="expected masks that were saved here") as error:
            Masks.load(tmp_path / f"{name}.safetensors")
        assert "\n" not in str(error.value)


def test_masks_of_another_model_are_refused():
    masks = prune_weights(deep("llama"), "magnitude-row", 0.5)
    shorter, wider = deep("llama"), deep("llama", intermediate_size=96)
    drop_blocks(shorter, [1])
    for other, found in ((shorter, "found none"), (wider, r"found one of \(96, 32\)")):
        with pytest.raises(LabError, match=found):
            masks.apply(other)
