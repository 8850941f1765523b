"""Label logits against a plain pass over each prompt alone."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill_lab.models.loading import LanguageModel
from distill_lab.run.records import LabError
from distill_lab.run.settings import data_folder
from distill_lab.sampling.label_logits import label_logits
from distill_lab.tasks.sst2.prompt import label_tokens, user_text
from distill_lab.tasks.sst2.reviews import Review

TEXTS = ("it drags .", "a film of rare charm , and never dull for all its length", "no", "fine fun")
REVIEWS = [Review(str(n), text, n % 2) for n, text in enumerate(TEXTS)]


@pytest.fixture(params=["llama", "gpt2"])
def model(tiny_model, request):
    """Random weights, large enough that all of a prompt counts, and a tokenizer with both words."""
    lm = AutoModelForCausalLM.from_pretrained(tiny_model(request.param)).eval()
    tokenizer = AutoTokenizer.from_pretrained(data_folder() / "tiny_models" / "sst2")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        lm.resize_token_embeddings(len(tokenizer))
        for weights in lm.parameters():
            weights.mul_(6 if weights.dim() == 2 else 1)
    return LanguageModel(lm, tokenizer, "tiny")


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_they_are_those_of_each_prompt_alone_at_its_last_token(model, batch_size):
    """Whatever a review is padded beside, and in whatever order."""
    words = list(label_tokens(model.tokenizer))
    found = label_logits(model, REVIEWS, batch_size)
    assert found.shape == (4, 2)
    for review, row in zip(REVIEWS, found, strict=True):
        ids = torch.tensor([model.tokenizer(user_text(review)).input_ids])
        with torch.inference_mode():
            expected = model.lm(input_ids=ids).logits[0, -1, words]
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-4)
    reordered = label_logits(model, REVIEWS[::-1], batch_size)
    torch.testing.assert_close(reordered.flip(0), found, rtol=1e-4, atol=1e-4)
    assert found.std() > 0.1  # else any position would do


def test_no_reviews_have_no_logits(model):
    assert label_logits(model, []).shape == (0, 2)


def test_what_a_model_cannot_read_is_one_clear_line(model):
    long = Review("long", "very " * 1100 + "long", 1)
    with pytest.raises(LabError, match=r"within the 1024 positions of tiny, found one of \d{4} "):
        label_logits(model, [*REVIEWS, long])


def test_logits_that_are_no_numbers_are_one_clear_line(model):
    with torch.no_grad():
        model.lm.get_input_embeddings().weight.fill_(math.nan)
    with pytest.raises(LabError, match=r"finite label logits, found others for 4 of 4 reviews"):
        label_logits(model, REVIEWS)
