"""Which parts are pruned, and which models are refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.layout import blocks, distinct_parameters, names_by_block, prunable
from distill_lab.run.records import LabError

LINEARS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
LINEARS += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}


def made(kind: str, **more: object) -> LanguageModel:
    config = AutoConfig.for_model(kind, **{**SMALL, **more})
    lm = AutoModelForCausalLM.from_config(config).eval()
    return LanguageModel(lm, None, f"a {kind}")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2"])
def test_the_linears_of_the_blocks_and_nothing_else(kind):
    pruned = made(kind)
    expected = [f"model.layers.{i}.{name}" for i in range(2) for name in LINEARS]
    assert list(prunable(pruned)) == expected
    assert [list(part) for part in names_by_block(pruned)] == [expected[:7], expected[7:]]
    assert len(blocks(pruned)) == 2


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_and_head_are_not_among_them_tied_or_not(tied):
    pruned = made("llama", tie_word_embeddings=tied)
    weights = {id(linear.weight) for linear in prunable(pruned).values()}
    ends: list[Any] = [pruned.lm.get_output_embeddings(), pruned.lm.get_input_embeddings()]
    assert not {id(end.weight) for end in ends} & weights
    matrices = [p for p in distinct_parameters(pruned).values() if p.ndim > 1]
    assert len(matrices) == len(weights) + (1 if tied else 2)


def refusal(of: LanguageModel) -> str:
    with pytest.raises(LabError) as error:
        prunable(of)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("gpt2", "GPT2LMHeadModel with no decoder blocks under `layers` in GPT2Model"),
        ("opt", "OPTForCausalLM with no decoder blocks under `layers`"),
        ("mixtral", "of the type Mixtral"),
    ],
)
def test_other_layouts_are_refused_by_name(kind, named):
    message = refusal(made(kind, word_embed_proj_dim=32))
    assert message.startswith(f"Model 'a {kind}': expected the layout of Llama, Mistral, Qwen2")
    assert named in message
    assert message.endswith("Take another model.")


def test_a_block_of_other_matrices_is_refused():
    from transformers.pytorch_utils import Conv1D

    pruned = made("llama")
    mlp: Any = blocks(pruned)[1].mlp
    mlp.up_proj = Conv1D(64, 32)
    assert "found LlamaForCausalLM with mlp.up_proj of the type Conv1D in block 1" in refusal(
        pruned
    )


def test_an_adapter_that_is_not_merged_is_refused():
    from peft import LoraConfig, get_peft_model

    plain = made("llama")
    lora = get_peft_model(plain.lm, LoraConfig(r=2, target_modules="all-linear"))  # type: ignore[arg-type]
    for lm in (lora, lora.get_base_model()):
        message = refusal(LanguageModel(lm, None, "adapted"))  # type: ignore[arg-type]
        assert "found an adapter that is not merged" in message
    assert len(prunable(LanguageModel(lora.merge_and_unload(), None, "merged"))) == 14  # type: ignore[arg-type]


def test_packed_weights_are_refused():
    pruned = made("llama")
    linear = prunable(pruned)["model.layers.0.mlp.up_proj"]
    packed = torch.zeros(1024, 1, dtype=torch.uint8)  # as bitsandbytes keeps 4 bits
    linear.weight = nn.Parameter(packed, requires_grad=False)
    assert "found model.layers.0.mlp.up_proj.weight packed in torch.uint8" in refusal(pruned)
