"""What a pruned model holds, counted by hand and held against files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, quants
from pruned_models import batch, deep, rows
from safetensors.torch import load_file

from distill_lab.models.loading import save_student
from distill_lab.models.pruning.blocks import drop_blocks
from distill_lab.models.pruning.layout import distinct_parameters, prunable
from distill_lab.models.pruning.ledger import ledger
from distill_lab.models.pruning.prune import prune_weights

# one block of `deep("llama")`: q and o, k and v, three of the MLP
LINEARS = 4 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32)
VOCABULARY = 1000 * 32
NORMS = (2 * 4 + 1) * 32


@pytest.mark.parametrize("tied", [True, False])
def test_zeros_over_linears_and_over_all_are_two_shares(tied):
    of = deep("llama", tie_word_embeddings=tied)
    dense = ledger(of)
    assert dense.parameters == LINEARS + NORMS + VOCABULARY * (1 if tied else 2)
    assert (dense.linear_weights, dense.zeros_linears, dense.refilled) == (LINEARS, 0, None)
    masks = prune_weights(of, "wanda", 0.5, [batch(rows())])
    pruned = ledger(of, masks)
    assert (pruned.zeros_linears, pruned.refilled) == (LINEARS // 2, 0)
    assert pruned.zeros_all - dense.zeros_all == LINEARS // 2
    assert pruned.sparsity_linears == 0.5
    assert pruned.sparsity_all == pytest.approx(pruned.zeros_all / pruned.parameters)
    assert pruned.sparsity_all < 0.35


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zeros_cost_as_much_as_other_numbers_but_in_a_bitmask(dtype, tmp_path):
    of = deep("llama", tie_word_embeddings=True)
    of.lm.to(dtype)  # type: ignore[arg-type]
    dense = ledger(of)
    prune_weights(of, "magnitude-row", 0.75)
    pruned = ledger(of)
    save_student(of, tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert pruned.bytes_dense == sum(t.numel() * t.element_size() for t in saved.values())
    assert pruned.bytes_dense == dense.bytes_dense
    size = dtype.itemsize
    others = (VOCABULARY + NORMS) * size
    assert pruned.bytes_bitmask == others + LINEARS // 8 + LINEARS // 4 * size
    assert dense.bytes_bitmask == dense.bytes_dense + LINEARS // 8


def test_gguf_holds_what_its_writer_writes(tmp_path):
    of = deep("llama", tie_word_embeddings=True)
    writer = GGUFWriter(tmp_path / "q8.gguf", "llama")
    for name, parameter in distinct_parameters(of).items():
        values = parameter.detach().numpy().astype(np.float32)
        kind = GGMLQuantizationType.Q8_0 if values.ndim > 1 else GGMLQuantizationType.F32
        writer.add_tensor(name, quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tensors: Any = GGUFReader(tmp_path / "q8.gguf").tensors
    assert ledger(of).bytes_gguf == sum(int(tensor.n_bytes) for tensor in tensors)


def test_a_width_that_q8_0_cannot_hold_has_a_reason():
    entries = ledger(deep("llama", intermediate_size=48))
    assert entries.bytes_gguf is None
    assert entries.gguf_reason == (
        "model.layers.0.mlp.down_proj.weight is 48 wide, no multiple of 32"
    )


def test_a_model_without_a_block_is_smaller_without_a_zero():
    of = deep("llama", tie_word_embeddings=True)
    before = ledger(of)
    drop_blocks(of, [1])
    after = ledger(of)
    assert before.parameters - after.parameters == LINEARS // 4 + 2 * 32
    assert after.bytes_dense == after.parameters * 4
    assert after.zeros_linears == 0
    assert len(prunable(of)) == 21
