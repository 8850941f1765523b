"""The cache with room against transformers' own; what a prompt's reading shares; and models whose
cache is of another kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache as remembered
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, DynamicCache

from distill_lab.models.loading import LanguageModel
from distill_lab.sampling.decode import complete
from distill_lab.sampling.jobs import Job
from distill_lab.sampling.kv_cache import PreallocatedLayer, keeps_all, with_room
from distill_lab.sampling.nucleus import Sampling
from distill_lab.sampling.shared_prefix import prefill
from distill_lab.tasks.prompts import encode

SIZE: dict[str, Any] = {
    "vocab_size": 1000,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
# a window shorter than the prompts, and a recurrent state
SPECIAL: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": 16},
    "gemma3_text": {
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "lfm2": {"layer_types": ["conv", "full_attention"]},
}


@remembered
def made(kind: str) -> Any:
    """A tiny model in float64, its weights enlarged so that all of a prompt counts."""
    size = {"n_embd": 32, "n_layer": 2, "n_head": 4} if kind == "gpt2" else SIZE
    settings = size | {"vocab_size": 1000} | SPECIAL.get(kind, {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lm = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))
    lm = lm.double().eval()
    with torch.no_grad():
        for weights in lm.parameters():
            weights.mul_(6 if weights.dim() == 2 else 1)
    return lm


# -- the cache


def filled(rows: int, length: int) -> DynamicCache:
    cache = DynamicCache()
    keys = torch.randn(rows, 2, length, 4, generator=torch.Generator().manual_seed(0))
    cache.update(keys, keys + 1, 0)
    return cache


@pytest.mark.parametrize("room", [0, 1, 9])
def test_a_cache_with_room_holds_what_transformers_own_holds(room):
    """Also past its room, and after rows have left."""
    theirs: Any = filled(3, 5)
    ours = with_room(filled(3, 5), room, 3)
    assert isinstance(ours.layers[0], PreallocatedLayer)
    for step in range(6):
        rows = theirs.layers[0].keys.shape[0]
        new = torch.full((rows, 2, 1, 4), float(step))
        for one, other in zip(theirs.update(new, -new, 0), ours.update(new, -new, 0), strict=True):
            assert torch.equal(one, other)
        if step == 2:
            for cache in (theirs, ours):
                cache.reorder_cache(torch.tensor([2, 0]))
        assert ours.get_seq_length() == theirs.get_seq_length()


def test_a_step_writes_in_place():
    cache = with_room(filled(2, 5), 3, 2)
    before = cache.layers[0].keys.data_ptr()
    cache.update(torch.zeros(2, 2, 1, 4), torch.zeros(2, 2, 1, 4), 0)
    assert cache.layers[0].keys.data_ptr() == before


@pytest.mark.parametrize("kept", [[0, 1, 2, 3, 4], [0, 4, 2], [4, 3, 1, 0], [3], [1, 0]])
def test_rows_that_stay_are_the_ones_named_in_their_order(kept):
    theirs: Any = filled(5, 4)
    ours = with_room(filled(5, 4), 2, 5)
    for cache in (theirs, ours):
        cache.reorder_cache(torch.tensor(kept))
        new = torch.ones(len(kept), 2, 1, 4)
        cache.update(new, -new, 0)
    assert torch.equal(ours.layers[0].keys, theirs.layers[0].keys)
    assert torch.equal(ours.layers[0].values, theirs.layers[0].values)


def test_rows_are_repeated_side_by_side():
    theirs: Any = filled(2, 4)
    theirs.batch_repeat_interleave(3)
    ours = with_room(filled(2, 4), 5, 2, repeats=3)
    assert torch.equal(ours.layers[0].keys, theirs.layers[0].keys)
    assert torch.equal(ours.layers[0].values, theirs.layers[0].values)


# -- what is read once


class Counted:
    """The model, noting the shape of what it is given to read."""

    def __init__(self, lm: Any) -> None:
        self.lm, self.shapes = lm, []

    def __call__(self, input_ids: torch.Tensor, **kwargs: Any) -> Any:
        self.shapes.append(tuple(input_ids.shape))
        return self.lm(input_ids=input_ids, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lm, name)


FIRST, SECOND = list(range(10, 60)), list(range(60, 110))  # two paragraphs
SHOTS = list(range(110, 150))
QUESTIONS = [
    SHOTS + FIRST + [3, 4, 5],
    SHOTS + SECOND + [3],
    SHOTS + FIRST + [6],
    SHOTS + SECOND + [7, 8],
]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "gpt_neox"])
@pytest.mark.parametrize(
    ("prompts", "shapes"),
    [
        (QUESTIONS, [(1, 40), (2, 50), (4, 3)]),
        ([q[40:] for q in QUESTIONS], [(2, 50), (4, 3)]),
        ([*QUESTIONS, SHOTS + [9] * 9], [(1, 40), (3, 50), (5, 3)]),
        (QUESTIONS[::2], [(1, 90), (2, 3)]),
        ([QUESTIONS[0], SHOTS + [9] * 9], [(1, 40), (2, 53)]),
        (QUESTIONS[:1], [(1, 93)]),
        ([[3], [4, 5]], [(2, 2)]),
    ],
)
def test_what_prompts_share_is_read_once_and_changes_nothing(kind, prompts, shapes):
    lm = made(kind)
    counted: Any = Counted(lm)
    with torch.inference_mode():
        logits, cache, mask = prefill(counted, prompts, pad=0)
        assert counted.shapes == shapes
        assert mask.sum(1).tolist() == [len(p) for p in prompts]
        assert cache.get_seq_length() == mask.shape[1]
        for row, prompt in enumerate(prompts):
            alone = lm(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1]
            torch.testing.assert_close(logits[row], alone, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_window_or_a_state_has_each_prompt_read_whole(kind):
    lm = made(kind)
    counted: Any = Counted(lm)
    with torch.inference_mode():
        logits, _, _ = prefill(counted, QUESTIONS, pad=0)
        assert counted.shapes == [(4, 93)]
        for row, prompt in enumerate(QUESTIONS):
            alone = lm(input_ids=torch.tensor([prompt]), use_cache=False).logits[0, -1]
            torch.testing.assert_close(logits[row], alone, rtol=1e-7, atol=1e-7)


def test_which_models_keep_all():
    assert keeps_all(made("llama"))
    assert keeps_all(made("gpt2"))
    assert not any(keeps_all(made(kind)) for kind in SPECIAL)


WORDS = "Anna lives in Paris. Her brother, who sells books, has lived in Rome since 1987. "
ASKED = [WORDS * 2 + end for end in ("Who?", "Where does he live?", "When?")] + ["Who is it?"]


@pytest.mark.parametrize("kind", SPECIAL)
def test_greedy_is_generate_with_a_special_cache_too(kind, tiny_model: Callable[[str], Path]):
    """Rows end at different times: every ninth token is an end token."""
    lm, tokenizer = made(kind), AutoTokenizer.from_pretrained(tiny_model("llama"))
    lm.generation_config.eos_token_id = list(range(1, 1000, 9))
    jobs = [Job(prompt, prompt) for prompt in ASKED]
    found = complete(LanguageModel(lm, tokenizer, kind), jobs, Sampling(n=2, max_new_tokens=16))
    for job, completions in found:
        ids = torch.tensor([encode(tokenizer, job.prompt)])
        out = lm.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False,
            pad_token_id=0,
        )  # fmt: skip
        new = out[0, ids.shape[1] :].tolist()
        text = tokenizer.decode(new, skip_special_tokens=True)
        assert [(c.text, c.n_tokens) for c in completions] == [(text, len(new))] * 2
