"""Attention with grouped heads against transformers' own, and that models get theirs back."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from distill_lab.sampling.grouped_attention import NAME, for_sampling, grouped_attention

HEADS, GROUPS, SEEN, WIDTH = 6, 2, 7, 8


class Module(torch.nn.Module):
    num_key_value_groups = HEADS // GROUPS
    is_causal = True


@pytest.mark.parametrize("kind", ["none", "bool", "float"])
@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("scaling", [None, 0.5])
def test_it_gives_what_transformers_own_attention_gives(kind, tokens, scaling):
    torch.manual_seed(0)
    query = torch.randn(4, HEADS, tokens, WIDTH)
    key, value = torch.randn(2, 4, GROUPS, SEEN, WIDTH).unbind()
    visible = torch.rand(4, 1, tokens, SEEN) < 0.6
    visible[..., 0] = True
    mask = {
        "none": None,
        "bool": visible,
        "float": torch.where(visible, 0.0, torch.finfo(torch.float32).min),
    }[kind]
    ours, _ = grouped_attention(Module(), query, key, value, mask, scaling, dropout=0.0)
    theirs, _ = sdpa_attention_forward(
        Module(), query, key, value, mask, dropout=0.0, scaling=scaling
    )
    assert ours.shape == theirs.shape == (4, tokens, HEADS, WIDTH)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_only_a_model_whose_heads_share_keys_gets_it_and_not_for_good(tiny_model, kind):
    lm = AutoModelForCausalLM.from_pretrained(tiny_model(kind))
    with pytest.raises(KeyboardInterrupt):
        _stopped_while_sampling(lm, NAME if kind == "llama" else "sdpa")
    assert lm.config._attn_implementation == "sdpa"


def _stopped_while_sampling(lm, expected):
    with for_sampling(lm):
        assert lm.config._attn_implementation == expected
        raise KeyboardInterrupt


def test_attention_that_somebody_chose_stays(tiny_model):
    lm = AutoModelForCausalLM.from_pretrained(tiny_model("llama"), attn_implementation="eager")
    with for_sampling(lm):
        assert lm.config._attn_implementation == "eager"
