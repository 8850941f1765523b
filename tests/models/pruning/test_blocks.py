"""Blocks measured and dropped, on models of four blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pruned_models import BACKEND, batch, deep, logits, rows
from torch import Tensor

from distill_lab.models.loading import LanguageModel, load, save_student
from distill_lab.models.pruning.blocks import block_influence, drop_blocks, least_influential
from distill_lab.models.pruning.layout import blocks
from distill_lab.run.records import LabError

KINDS = ["llama", "qwen2", "gemma2"]


def states(of: LanguageModel, text: Tensor) -> list[Tensor]:
    """The states before the first block and after each, (T, H), run by hand up to the norm."""
    made: list[Tensor] = []
    norm: Any = of.lm.model.norm  # type: ignore[union-attr]
    handle = norm.register_forward_pre_hook(lambda _, args: made.append(args[0][0]))
    with torch.no_grad():
        hidden: Any = of.lm(input_ids=text[None], output_hidden_states=True).hidden_states
    handle.remove()
    return [*(layer[0] for layer in hidden[:-1]), made[0]]


@pytest.mark.parametrize("kind", KINDS)
def test_influence_is_one_minus_the_cosine_over_real_tokens(kind):
    of, texts = deep(kind), rows()
    sums, n_tokens = torch.zeros(4, dtype=torch.float64), 0
    for text in texts:
        at = states(of, text)
        for index in range(4):
            sums[index] += F.cosine_similarity(at[index], at[index + 1], dim=-1).sum()
        n_tokens += len(text)
    expected = (1 - sums / n_tokens).tolist()
    for batches in ([batch(texts)], [batch(texts, 30, 9)], [batch([text]) for text in texts]):
        assert block_influence(of, batches) == pytest.approx(expected, abs=1e-5)


def test_the_last_blocks_influence_is_not_that_of_the_final_norm():
    """`hidden_states[-1]` has gone through the norm, whose gains turn it by anything."""
    of = deep("llama")
    norm: Any = of.lm.model.norm  # type: ignore[union-attr]
    before = block_influence(of, [batch(rows())])
    norm.weight.data.copy_(torch.randn(norm.weight.shape, generator=torch.manual_seed(0)) * 5)
    assert block_influence(of, [batch(rows())]) == before
    with torch.no_grad():
        hidden: Any = of.lm(**batch(rows()[:1]), output_hidden_states=True).hidden_states
    normed = 1 - F.cosine_similarity(hidden[-2], hidden[-1], dim=-1).mean()
    assert abs(normed - before[-1]) > 0.3


def test_a_block_that_adds_nothing_has_no_influence():
    of = deep("llama")
    block: Any = blocks(of)[2]
    block.self_attn.o_proj.weight.data.zero_()
    block.mlp.down_proj.weight.data.zero_()
    influence = block_influence(of, [batch(rows())])
    assert influence[2] == pytest.approx(0, abs=1e-6)
    assert least_influential(influence, 1) == [2]
    text = rows()[3]
    expected = logits(of, text)
    drop_blocks(of, [2])
    torch.testing.assert_close(logits(of, text), expected)


def test_the_least_influential_are_never_the_first_or_the_last():
    assert least_influential([0.0, 0.3, 0.1, 0.2, 0.0], 2) == [2, 3]
    assert least_influential([0.0, 0.2, 0.1, 0.1, 0.1, 0.0], 2) == [2, 3]  # of equal ones the first
    for n in (0, 4, -1):
        with pytest.raises(LabError, match="expected to drop 1 to 3 of 5"):
            least_influential([0.0, 0.3, 0.1, 0.2, 0.0], n)


def generated(of: LanguageModel, use_cache: bool) -> list[int]:
    ids = rows()[4][None]
    made: Any = of.lm.generate(  # type: ignore[operator]
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=12,
        do_sample=False,
        use_cache=use_cache,
    )
    return made[0].tolist()


@pytest.mark.parametrize(("kind", "indices"), [("llama", [2, 1]), ("qwen2", [1]), ("gemma2", [1])])
def test_without_blocks_the_model_generates_alike_with_and_without_cache_loaded_too(
    kind, indices, tmp_path
):
    of = deep(kind)
    kept = [layer for index, layer in enumerate(blocks(of)) if index not in indices]
    types = getattr(of.lm.config, "layer_types", None)
    drop_blocks(of, indices)
    assert list(blocks(of)) == kept
    assert of.lm.config.num_hidden_layers == len(kept)
    attention: list[Any] = [layer.self_attn for layer in kept]
    assert [part.layer_idx for part in attention] == list(range(len(kept)))
    if types:
        left = [name for index, name in enumerate(types) if index not in indices]
        assert of.lm.config.layer_types == left
    save_student(of, tmp_path)
    again = load(str(tmp_path), BACKEND, "student")
    assert len(blocks(again)) == len(kept)
    expected = generated(of, use_cache=False)
    assert len(expected) == 12 + 12
    assert generated(of, True) == generated(again, True) == generated(again, False) == expected
    assert torch.equal(logits(of, rows()[4]), logits(again, rows()[4]))


@pytest.mark.parametrize("bad", [[0], [3], [4], [-1], [1, 1], [], [1, 3], [1.5]])
def test_first_last_absent_or_repeated_blocks_are_refused_and_all_stay(bad):
    of = deep("llama")
    with pytest.raises(LabError, match="expected some of 1 to 2, each once") as error:
        drop_blocks(of, bad)
    assert "\n" not in str(error.value)
    assert len(blocks(of)) == of.lm.config.num_hidden_layers == 4
