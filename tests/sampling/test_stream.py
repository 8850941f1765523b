"""An answer that comes piece by piece is the sampler's own, and no character comes in halves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MODEL_KINDS
from scripted import scripted
from transformers import AutoTokenizer

from distill_lab.models.backend import Backend
from distill_lab.models.loading import LanguageModel, load
from distill_lab.run.records import LabError
from distill_lab.sampling.decode import complete
from distill_lab.sampling.jobs import Completion, Job
from distill_lab.sampling.nucleus import Sampling
from distill_lab.sampling.stream import stream
from distill_lab.tasks.prompts import BEGUN

CPU = Backend("transformers", "cpu", "float32", 1, "for the tests")
PROMPT = "Anna lives in Rome. Where does Anna live?\n"


def streamed(model: LanguageModel, job: Job, sampling: Sampling) -> tuple[list[str], Completion]:
    """The pieces, and what the generator returns."""
    pieces: list[str] = []

    def all_of_it():
        completion = yield from stream(model, job, sampling)
        ended.append(completion)

    ended: list[Completion] = []
    pieces.extend(all_of_it())
    return pieces, ended[0]


@pytest.mark.parametrize("temperature", [0, 1.5])
@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_the_pieces_are_what_the_sampler_gives(kind, temperature, tiny_model):
    """The oracle is the sampler; a random model writes nonsense, half characters too."""
    model = load(str(tiny_model(kind)), CPU, "base")
    for begun in ("", BEGUN):
        for seed in range(3):
            job = Job("q", PROMPT + begun)
            sampling = Sampling(temperature=temperature, max_new_tokens=24, seed=seed)
            ((_, (whole,)),) = complete(model, [job], sampling)
            pieces, completion = streamed(model, job, sampling)
            assert completion == whole
            assert "".join(pieces) == whole.text
            assert all(pieces)


@pytest.fixture(scope="module")
def written(tiny_model: Callable[[str], Path]) -> LanguageModel:
    """`é` and `→` are no tokens of this tokenizer: their bytes are, two and three of them."""
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_model("llama"))
    lines = (
        ["A", *tokenizer.tokenize("é"), "b", *tokenizer.tokenize("→"), "c", "<eos>"],
        [*"E</answer>", "F"],
    )
    return LanguageModel(scripted(lines, tokenizer), tokenizer, "written")


@pytest.mark.parametrize(
    ("prompt", "allowed", "pieces", "n_tokens", "finish"),
    [
        ("A", 9, ["é", "b", "→", "c"], 8, "stop"),  # the end token is counted, and is no text
        ("A", 3, ["é", "b"], 3, "length"),
        ("A", 5, ["é", "b", "�"], 5, "length"),  # cut inside →
        ("E", 20, list("</answer>"), 9, "stop"),
    ],
)
def test_a_character_comes_whole_and_an_end_ends_it(
    prompt, allowed, pieces, n_tokens, finish, written
):
    found, completion = streamed(written, Job("q", prompt), Sampling(max_new_tokens=allowed))
    assert completion == Completion("".join(pieces), n_tokens, finish)
    assert found == pieces


def test_each_piece_comes_before_the_next_token_is_computed(written):
    passes: list[int] = []
    hook = written.lm.register_forward_hook(lambda *_: passes.append(1))
    try:
        answer = stream(written, Job("q", "E"), Sampling(max_new_tokens=20))
        for n, _ in enumerate(answer, 1):
            assert len(passes) == n
    finally:
        hook.remove()


def test_two_answers_may_be_read_in_turns(tiny_model):
    """As `distill-lab chat` does: gradients are off in each, and on between them."""
    models = [load(str(tiny_model(kind)), CPU, "base") for kind in ("llama", "qwen3")]
    alone = ["".join(stream(model, Job("q", PROMPT), Sampling())) for model in models]
    answers = [stream(model, Job("q", PROMPT), Sampling()) for model in models]
    texts = ["", ""]
    while any(pieces := [next(answer, "") for answer in answers]):
        assert not torch.is_inference_mode_enabled()
        texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
    assert texts == alone


def test_a_prompt_that_leaves_no_room_is_refused_at_the_first_piece(tiny_model):
    model = load(str(tiny_model("llama")), CPU, "base")
    with pytest.raises(LabError, match="Question 3: expected a prompt that leaves room for 96"):
        next(stream(model, Job("3", "word " * 2000), Sampling()))
