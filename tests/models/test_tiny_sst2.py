"""The bundled model has learnt the reviews, which bags of words have not, and has some to lose."""

from __future__ import annotations

import torch
from safetensors import safe_open
from transformers import AutoTokenizer

from data.tiny_models.make_sst2 import dev_scores
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import load
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.pruning.patterns import magnitude_mask
from distill_lab.run.settings import RuntimeSettings, data_folder
from distill_lab.tasks.sst2.prompt import label_tokens

FOLDER = data_folder() / "tiny_models" / "sst2"


def test_it_is_safetensors_and_about_1_mb():
    assert {file.suffix for file in FOLDER.iterdir()} == {".json", ".jinja", ".safetensors"}
    assert (FOLDER / "model.safetensors").stat().st_size < 1.2e6
    with safe_open(FOLDER / "model.safetensors", "pt") as weights:
        assert weights.keys()


def test_both_label_words_are_tokens():
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    assert len(set(label_tokens(tokenizer))) == 2


def test_it_has_learnt_the_reviews_and_misses_half_of_its_weights():
    model = load(str(FOLDER), choose_backend(RuntimeSettings(device="cpu")), "base")
    dense = dev_scores(model)
    assert 90 <= dense["accuracy"] <= 97  # bags of words: 66
    assert dense["AUC"] > 93
    assert dense["label NLL"] < 0.25  # a coin's is 0.693
    assert 60 < dense["perplexity"] < 75
    with torch.no_grad():
        for linear in prunable(model).values():
            linear.weight.mul_(magnitude_mask(linear.weight, 0.5))
    pruned = dev_scores(model)
    assert pruned["label NLL"] > 1.05 * dense["label NLL"]
    assert pruned["perplexity"] > 1.03 * dense["perplexity"]
    assert pruned["accuracy"] < dense["accuracy"]
