"""What Lab 6's cells do with real models, on a tiny one: held against the package's own engine."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from pipeline.pruning.small_runs import small_model

from distill_lab.course import pruning_demos as demos
from distill_lab.course import pruning_lab
from distill_lab.course.exercises.lab6.blocks import drop_blocks
from distill_lab.course.exercises.lab6.influence import block_influence
from distill_lab.course.exercises.lab6.recovery import gradients_masked, masked_step
from distill_lab.course.exercises.lab6.sparsity import count_sparsity
from distill_lab.course.exercises.lab6.wanda import wanda_mask
from distill_lab.models.backend import Backend
from distill_lab.models.loading import LanguageModel, load
from distill_lab.models.pruning.blocks import block_influence as influence_of_a_model
from distill_lab.models.pruning.calibration import input_norms
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.pruning.ledger import ledger
from distill_lab.models.pruning.patterns import wanda_mask as mask_by_norms
from distill_lab.models.pruning.prune import prune_weights
from distill_lab.pipeline.pruning import settings
from distill_lab.run.records import LabError
from distill_lab.tasks.sst2.reviews import Review, load_reviews

CPU = Backend("transformers", "cpu", "float32", 1, "a test")
NAME = "model.layers.1.mlp.down_proj"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model of four blocks with random weights, in whose tokenizer each label is a token."""
    return small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def model(folder) -> LanguageModel:
    return load(str(folder), CPU, "base")


@pytest.fixture(scope="module")
def reviews() -> list[Review]:
    return list(load_reviews("bundled", "train").reviews[:24])


def test_a_layers_inputs_give_the_mask_that_the_engine_makes(model, reviews):
    weight, inputs, attention_mask = demos.layer_inputs(model, NAME, reviews)
    norms = input_norms(model, demos.batches_of(model, reviews))[NAME]
    assert 0 < attention_mask.float().mean() < 1  # there is padding
    assert torch.equal(
        wanda_mask(weight, inputs, attention_mask, 0.5), mask_by_norms(weight, norms, 0.5)
    )


def test_states_give_the_influence_that_the_engine_finds(model, reviews):
    hidden, before_norm, attention_mask = demos.states_of(model, reviews)
    assert len(hidden) == 5
    assert not torch.allclose(hidden[-1], before_norm)  # the last one is normed
    expected = influence_of_a_model(model, demos.batches_of(model, reviews))
    assert block_influence(hidden, before_norm, attention_mask) == pytest.approx(expected, abs=1e-5)


def test_counts_of_a_real_model_are_the_ledgers(model):
    prune_weights(model, "magnitude-row", 0.5)
    counted = ledger(model)
    of_linears, of_all, n = count_sparsity(model.lm, prunable(model))
    assert (of_linears, of_all) == (counted.sparsity_linears, counted.sparsity_all)
    assert n == counted.parameters


def test_zeros_are_kept_by_the_exercises_step_and_by_no_other(model, reviews):
    masks = prune_weights(model, "magnitude-row", 0.5)
    assert demos.train_with(masked_step, model, masks, reviews, 2) == [0, 0]
    assert demos.train_with(gradients_masked, model, masks, reviews, 2) == [0, 0]  # a fresh AdamW
    first, second = demos.train_with(None, model, masks, reviews, 2)
    assert min(first, second) > masks.n_dropped / 2


def test_a_merged_adapter_leaves_hardly_a_zero(model):
    masks = prune_weights(model, "magnitude-row", 0.5)
    merged = demos.with_merged_lora(model, rank=2)
    assert masks.violations(merged) > 0.99 * masks.n_dropped
    masks.apply(merged)
    assert masks.violations(merged) == 0


def test_a_model_is_saved_loaded_and_saved_again(model, tmp_path):
    texts = []
    for _ in range(2):
        loaded = demos.saved_and_loaded(model, tmp_path)
        texts += [demos.generated(loaded, "Review: The", 5, cache) for cache in (True, False)]
    assert set(texts) == {demos.generated(model, "Review: The", 5)}


def test_the_exercises_function_drops_blocks_of_a_real_model(model, tmp_path):
    dropped = LanguageModel(drop_blocks(model.lm, [2]), model.tokenizer, model.name)
    loaded = demos.saved_and_loaded(dropped, tmp_path)
    assert loaded.lm.config.num_hidden_layers == 3
    texts = {demos.generated(m, "A film", 8, c) for m in (dropped, loaded) for c in (True, False)}
    assert len(texts) == 1
    with pytest.raises(ValueError, match="the first and the last"):
        drop_blocks(loaded.lm, [2])


def test_perplexity_of_a_random_model_is_about_its_vocabulary(model, reviews):
    assert math.log(demos.perplexity(model, reviews)) == pytest.approx(
        math.log(model.vocab_size), abs=1
    )


def test_zeros_are_zipped_away_and_a_csr_matrix_has_its_bytes(model):
    before = demos.zipped_bytes(model)
    prune_weights(model, "magnitude-row", 0.5)
    assert demos.zipped_bytes(model) < 0.95 * before
    [(sparsity, size, one, many)] = demos.sparse_products((0.5,), out=64, width=32)
    assert (sparsity, size) == (0.5, pytest.approx((0.5 * (4 + 8) + 8 * 65 / 2048) / 4))
    assert one > 0
    assert many > 0


# -- the lab itself


@pytest.fixture
def lab(folder, tmp_path, monkeypatch) -> pruning_lab.PruningLab:
    """The profile tiny on few reviews, with a model that counts as having learnt the task."""
    tiny = settings.PROFILES["tiny"]
    few = dataclasses.replace(
        tiny,
        data=dataclasses.replace(tiny.data, n_train=20, n_eval=12),
        adapt=dataclasses.replace(tiny.adapt, enough=0.0),
        evaluate=dataclasses.replace(tiny.evaluate, repeats=1, new_tokens=2, prompt_tokens=4),
        runtime=dataclasses.replace(tiny.runtime, threads=1),
    )
    monkeypatch.setitem(settings.PROFILES, "tiny", few)
    monkeypatch.setattr(pruning_lab, "TINY", ("wanda:0.5",))
    return pruning_lab.begin_pruning("tiny", tmp_path / "run", str(folder))


def test_a_lab_asks_for_recovered_models_only_when_they_are_there(lab, capsys):
    lab.run("adapt", "prune", "evaluate")
    assert set(lab.report["models"]) == {"dense", "wanda:0.5"}
    assert lab.masks("wanda:0.5").violations(lab.model("wanda:0.5")) == 0
    assert len(lab.reviews) == 12
    lab.show("recovery")
    assert "Nothing to draw: no model recovered." in capsys.readouterr().out
    again = pruning_lab.begin_pruning("tiny", lab.out, lab.config.model.name)
    assert "finished stages: adapt, prune, evaluate" in capsys.readouterr().out
    assert again == lab


def test_each_draw_of_wanda_is_calibrated_on_reviews_of_its_own(lab, monkeypatch):
    halves = ("magnitude-row:0.5", "magnitude-tensor:0.5", "wanda:0.5")
    monkeypatch.setattr(pruning_lab, "TINY", halves)
    lab = pruning_lab.begin_pruning("tiny", lab.out.with_name("draws"), lab.config.model.name)
    lab.run("adapt", "prune", "evaluate")
    rows = demos.wanda_draws(lab, 0.5, draws=2, size=8)
    assert [row[:2] for row in rows] == [
        (f"magnitude-{of}:0.5", label)
        for of in ("row", "tensor")
        for label in ("accuracy", "label NLL", "text NLL")
    ]
    pruned = lab.model()
    prune_weights(pruned, "wanda", 0.5, demos.batches_of(pruned, lab.train_reviews[8:16]))
    nats = [
        math.log(demos.perplexity(each, lab.reviews))
        for each in (pruned, lab.model("magnitude-tensor:0.5"))
    ]
    *_, value, low, high, first, second = rows[-1]
    assert second == pytest.approx(nats[0] - nats[1], abs=1e-4)
    assert first != second
    assert value == pytest.approx((first + second) / 2, abs=1e-4)
    assert low <= value <= high


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda lab: lab.model("wanda:0.6"), "Expected one of dense, wanda:0.5"),
        (lambda lab: lab.run("distil"), "Expected one of adapt, prune"),
        (lambda lab: lab.model(), "distill-lab prune adapt"),
    ],
)
def test_a_name_that_is_not_there_is_one_line(lab, call, says):
    with pytest.raises(LabError, match=says):
        call(lab)
