"""Norms of what enters each linear, held against sums written out over single texts."""

from __future__ import annotations

import pytest
import torch
from pruned_models import batch, model, rows
from torch import Tensor

from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.calibration import input_norms, norms_by_block, text_batches
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.pruning.prune import prune_weights
from distill_lab.run.records import LabError

KINDS = ["llama", "qwen3"]


def by_hand(of: LanguageModel, texts: list[Tensor]) -> dict[str, Tensor]:
    """Each text alone, so that nothing is padded; the inputs kept whole."""
    seen: dict[str, list[Tensor]] = {name: [] for name in prunable(of)}
    handles = [
        linear.register_forward_hook(
            lambda _, args, __, name=name: seen[name].append(args[0].flatten(0, -2))
        )
        for name, linear in prunable(of).items()
    ]
    with torch.no_grad():
        for text in texts:
            of.lm(input_ids=text[None])
    for handle in handles:
        handle.remove()
    return {name: torch.cat(inputs).norm(dim=0) for name, inputs in seen.items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    for name, norms in expected.items():
        torch.testing.assert_close(found[name], norms, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_norms_run_over_the_real_tokens_of_all_texts(tiny_model, kind):
    of = model(tiny_model(kind))
    assert_same(input_norms(of, [batch(rows())]), by_hand(of, rows()))


@pytest.mark.parametrize("kind", KINDS)
def test_neither_padding_nor_how_texts_are_put_into_batches_matters(tiny_model, kind):
    """Padding that counted would grow with the width; a mean of batches' norms with their size."""
    of, texts = model(tiny_model(kind)), rows()
    whole = input_norms(of, [batch(texts)])
    for batches in (
        [batch(texts, width=40)],
        [batch(texts, width=20, pad=77)],
        [batch([text]) for text in texts],
        [batch(texts[:1]), batch(texts[1:5], pad=3), batch(texts[5:], width=30)],
    ):
        assert_same(input_norms(of, batches), whole)


@pytest.mark.parametrize("method", ["wanda", "wanda-one-shot"])
def test_nor_does_it_change_a_mask(tiny_model, method):
    texts, masks = rows(), []
    for batches in (
        [batch(texts)],
        [batch(texts, width=50, pad=5)],
        [batch([text]) for text in texts],
    ):
        kept = prune_weights(model(tiny_model("llama")), method, 0.5, batches).kept
        masks.append(torch.cat([mask.flatten() for mask in kept.values()]))
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])


@pytest.mark.parametrize("kind", KINDS)
def test_block_by_block_each_block_reads_what_the_pruned_ones_make(tiny_model, kind):
    """The oracle reads the whole model again, after each block was changed."""
    of, batches = model(tiny_model(kind)), [batch(rows()[:3]), batch(rows()[3:])]
    dense = by_hand(of, rows())
    seen: dict[str, Tensor] = {}
    for norms in norms_by_block(of, batches):
        whole = by_hand(of, rows())
        assert_same(norms, {name: whole[name] for name in norms})
        seen |= norms
        for name in norms:
            prunable(of)[name].weight.data[:, ::2] = 0
    last = f"model.layers.{len(of.lm.model.layers) - 1}.self_attn.q_proj"
    assert not torch.allclose(seen[last], dense[last], rtol=1e-2)
    assert list(seen) == list(prunable(of))


def test_the_models_mode_is_given_back_and_dropout_is_off(tiny_model):
    of = model(tiny_model("llama"))
    expected = input_norms(of, [batch(rows())])
    of.lm.config.attention_dropout = 0.5
    for layer in of.lm.model.layers:
        layer.self_attn.attention_dropout = 0.5
    of.lm.train()
    assert_same(input_norms(of, [batch(rows())]), expected)
    assert all(module.training for module in of.lm.modules())
    assert not any(module._forward_pre_hooks for module in of.lm.modules())


def test_texts_become_right_padded_batches_whose_mask_tells_padding(tiny_model):
    of = model(tiny_model("llama"))
    batches = text_batches(of, ["Ann is here.", "", "Yes", "He is at the lake, says Ann."], 2, 6)
    assert [len(b["input_ids"]) for b in batches] == [2, 1]
    assert max(b["input_ids"].shape[1] for b in batches) == 6
    ids = of.tokenizer("Yes").input_ids
    row = batches[0]["input_ids"][1]
    assert row[: len(ids)].tolist() == ids
    assert batches[0]["attention_mask"][1].tolist() == [1] * len(ids) + [0] * (len(row) - len(ids))


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_calibration_without_a_token_is_refused(tiny_model, texts):
    with pytest.raises(LabError, match="Calibration: expected texts with at least one token"):
        text_batches(model(tiny_model("llama")), texts, 2, 8)


@pytest.mark.parametrize("method", ["wanda", "wanda-one-shot"])
def test_wanda_without_calibration_is_refused_and_changes_nothing(tiny_model, method):
    of = model(tiny_model("llama"))
    empty = {name: value * 0 for name, value in batch(rows()).items()}
    for batches in ([], [empty]):
        with pytest.raises(LabError, match="found none"):
            prune_weights(of, method, 0.5, batches)
    assert all((linear.weight != 0).all() for linear in prunable(of).values())
