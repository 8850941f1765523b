"""Greedy equals transformers' `generate`; what is sampled depends on seed, question and sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scripted import generated, scripted
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill_lab.models.loading import LanguageModel
from distill_lab.run.records import LabError
from distill_lab.sampling.decode import complete, complete_all
from distill_lab.sampling.jobs import Completion, Job, batches, encoded
from distill_lab.sampling.nucleus import Sampling, sample_tokens
from distill_lab.tasks.prompts import BEGUN, encode

KINDS = ("llama", "gpt2", "qwen2", "qwen3")
WORDS = "Anna lives in Paris. Her brother, who sells books, has lived in Rome since 1987. "
PROMPTS = ("Who?", WORDS + "Where does Anna live?", "Why?", "The book is " + "very " * 11 + "old.")
OTHERS = tuple(WORDS * 2 + end for end in ("Who?", "Where does her brother live now?", "When?"))


@pytest.fixture(scope="module")
def model(tiny_model: Callable[[str], Path]) -> Callable[[str], LanguageModel]:
    """A tiny model in float64, where a batch's shape does not change the digits that count.

    Its weights are enlarged, so that what it says hangs on all of the prompt and on positions.
    """
    made: dict[str, LanguageModel] = {}

    def load(kind: str) -> LanguageModel:
        if kind not in made:
            folder = tiny_model(kind)
            lm = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
            with torch.no_grad():
                for weights in lm.parameters():
                    weights.mul_(9 if weights.dim() > 1 else 1)
            made[kind] = LanguageModel(lm, AutoTokenizer.from_pretrained(folder), kind)
        return made[kind]

    return load


def jobs_of(prompts: Sequence[str]) -> list[Job]:
    return [Job(f"q{n}", prompt) for n, prompt in enumerate(prompts)]


def texts(
    model: LanguageModel, jobs: Sequence[Job], sampling: Sampling
) -> dict[str, list[Completion]]:
    return {job.question_id: made for job, made in complete(model, jobs, sampling)}


# -- greedy, against `generate`


@pytest.mark.parametrize("prompts", [PROMPTS, OTHERS, PROMPTS[:1]], ids=["apart", "shared", "one"])
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_is_generate_token_for_token(kind, prompts, model):
    loaded = model(kind)
    made = texts(loaded, jobs_of(prompts), Sampling(max_new_tokens=24))
    for job in jobs_of(prompts):
        assert made[job.question_id] == [generated(loaded, job.prompt, 24)]


def test_the_greedy_test_sees_the_whole_prompt(model):
    """Guards the one above: these models answer otherwise where the prompt begins otherwise."""
    for kind in KINDS:
        one, other = (generated(model(kind), word + OTHERS[0], 24).text for word in ("", "Yes, "))
        assert one != other


def test_every_sample_of_greedy_is_the_same(model):
    made = texts(model("llama"), jobs_of(PROMPTS), Sampling(n=3, max_new_tokens=5))
    assert all(len(set(completions)) == 1 for completions in made.values())


def input_shapes(lm: Any, called: Callable[[], object]) -> list[tuple[int, int]]:
    """(rows, tokens) of each forward pass that `called` makes."""
    shapes: list[tuple[int, int]] = []

    def note(_: Any, arguments: Any, given: dict[str, Any]) -> None:
        shapes.append(tuple(given["input_ids"].shape))

    hook = lm.register_forward_pre_hook(note, with_kwargs=True)
    try:
        called()
    finally:
        hook.remove()
    return shapes


def test_the_beginning_that_all_prompts_share_is_read_once_and_each_prompt_once(model):
    loaded = model("llama")
    lengths = [len(encode(loaded.tokenizer, prompt)) for prompt in OTHERS]
    common = len(encode(loaded.tokenizer, WORDS * 2)) - 1  # the last token may join what follows
    jobs, sampling = jobs_of(OTHERS), Sampling(n=4, temperature=1.0, max_new_tokens=2)
    shapes = input_shapes(loaded.lm, lambda: texts(loaded, jobs, sampling))
    assert shapes[0][0] == 1
    assert shapes[0][1] >= common
    assert shapes[1] == (len(jobs), max(lengths) - shapes[0][1])
    assert shapes[2] == (len(jobs) * 4, 1)


def test_a_short_common_beginning_takes_no_pass_of_its_own(model):
    jobs = jobs_of(["Who is it?", "Who was it then?"])
    sampling = Sampling(max_new_tokens=2)
    shapes = input_shapes(model("llama").lm, lambda: texts(model("llama"), jobs, sampling))
    assert [rows for rows, _ in shapes] == [2, 2]


def test_one_prompt_that_is_the_beginning_of_another(model):
    loaded = model("qwen2")
    prompts = (OTHERS[0], OTHERS[0] + " And why?", OTHERS[0])
    made = texts(loaded, jobs_of(prompts), Sampling(max_new_tokens=12))
    assert made["q0"] == made["q2"] == [generated(loaded, prompts[0], 12)]
    assert made["q1"] == [generated(loaded, prompts[1], 12)]


@pytest.fixture
def many_ends(model: Callable[[str], LanguageModel]) -> Iterator[LanguageModel]:
    """A model of which every seventh token is an end token: its rows end one by one."""
    loaded = model("qwen3")
    settings: Any = loaded.lm.generation_config
    before, settings.eos_token_id = settings.eos_token_id, list(range(1, 1000, 7))
    yield loaded
    settings.eos_token_id = before


def test_rows_that_go_on_keep_their_own_past_when_others_leave(many_ends):
    jobs = jobs_of([f"{n} {prompt}" for n in range(6) for prompt in (*PROMPTS, *OTHERS)])
    made = texts(many_ends, jobs, Sampling(max_new_tokens=12))
    assert {completion.n_tokens for (completion,) in made.values()} >= {1, 2, 3, 12}
    for job in jobs:
        assert made[job.question_id] == [generated(many_ends, job.prompt, 12)]
    sampling = Sampling(n=3, temperature=0.9, max_new_tokens=12)
    sampled = texts(many_ends, jobs, sampling)
    for job in jobs:
        assert texts(many_ends, [job], sampling) == {job.question_id: sampled[job.question_id]}


# -- sampled: seed, question and sample decide


SAMPLED = Sampling(n=3, temperature=0.8, top_p=0.9, max_new_tokens=12, seed=5)


@pytest.mark.parametrize("prompts", [PROMPTS, OTHERS], ids=["apart", "shared"])
@pytest.mark.parametrize("kind", KINDS)
def test_batch_and_order_do_not_change_a_trace(kind, prompts, model):
    jobs, loaded = jobs_of(prompts), model(kind)
    together = texts(loaded, jobs, SAMPLED)
    assert texts(loaded, jobs[::-1], SAMPLED) == together
    for job in jobs:
        assert texts(loaded, [job], SAMPLED) == {job.question_id: together[job.question_id]}


def test_fewer_samples_are_the_first_of_more(model):
    many, few = (
        texts(model("llama"), jobs_of(PROMPTS), Sampling(n, 0.8, 0.9, 12, seed=5)) for n in (5, 2)
    )
    assert {id: made[:2] for id, made in many.items()} == few


def test_more_tokens_go_on_from_fewer(model):
    long, short = (
        texts(model("llama"), jobs_of(PROMPTS), Sampling(2, 0.8, 0.9, n, seed=5)) for n in (12, 6)
    )
    for id, made in short.items():
        for one, other in zip(made, long[id], strict=True):
            assert other.text.startswith(one.text.rstrip("\ufffd"))


def test_samples_differ_and_seeds_decide(model):
    def made(seed: int) -> dict[str, list[Completion]]:
        return texts(model("llama"), jobs_of(PROMPTS), Sampling(4, 1.0, 1.0, 12, seed))

    one = made(1)
    for completions in one.values():
        assert len({completion.text for completion in completions}) == 4
    assert made(1) == one
    other = made(2)
    assert all(one[id] != other[id] for id in one)


def test_two_questions_with_one_prompt_have_their_own_samples(model):
    jobs = [Job("a", WORDS), Job("b", WORDS)]
    made = texts(model("llama"), jobs, Sampling(2, 1.0, 1.0, 12))
    assert len({completion.text for both in made.values() for completion in both}) == 4


# -- one token: `sample_tokens`


def walked(
    logits: Sequence[float], u: float, temperature: float, top_p: float
) -> tuple[int, float]:
    """By hand: the token, and how near the choice was to another (in probability)."""
    highest = max(logits)
    weights = [math.exp((value - highest) / temperature) for value in logits]
    whole = math.fsum(weights)
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    mass, nucleus, margins = 0.0, [], []
    for i in order:
        margins.append(abs(mass - top_p))
        if nucleus and mass >= top_p:
            break
        mass += weights[i] / whole
        nucleus.append(i)
    target, passed = u * mass, 0.0
    chosen = nucleus[-1]
    for i in nucleus:
        passed += weights[i] / whole
        margins.append(abs(passed - target))
        if passed > target:
            chosen = i
            break
    return chosen, min(margins)


# tokens in the order of the vocabulary; from most to least likely: 2, 0, 3, 1
PROBABILITIES = (0.3, 0.05, 0.5, 0.15)
EDGE = 1 - 2**-53  # the largest number that a generator in [0, 1) gives
ONE_TOKEN = [
    # temperature, top_p, uniform, token
    (1.0, 1.00, 0.00, 2),
    (1.0, 1.00, 0.49, 2),
    (1.0, 1.00, 0.51, 0),
    (1.0, 1.00, 0.79, 0),
    (1.0, 1.00, 0.81, 3),
    (1.0, 1.00, 0.94, 3),
    (1.0, 1.00, 0.96, 1),
    (1.0, 1.00, EDGE, 1),
    (1.0, 0.96, EDGE, 1),  # 0.95 of the mass is not enough: all four stay
    (1.0, 0.94, EDGE, 3),  # three stay, with 0.95 of the mass
    (1.0, 0.94, 0.83, 0),  # 0.83 x 0.95 = 0.79
    (1.0, 0.94, 0.85, 3),  # 0.85 x 0.95 = 0.81
    (1.0, 0.60, EDGE, 0),  # two stay, with 0.8
    (1.0, 0.60, 0.62, 2),  # 0.62 x 0.8 = 0.496
    (1.0, 0.60, 0.63, 0),
    (1.0, 0.49, EDGE, 2),  # the first one alone
    (1.0, 1e-6, EDGE, 2),
    (0.5, 1.00, 0.68, 2),  # squares: 0.6849, 0.2466, 0.0616, 0.0068
    (0.5, 1.00, 0.69, 0),
    (0.5, 1.00, 0.93, 0),
    (0.5, 1.00, 0.94, 3),
    (0.5, 0.90, EDGE, 0),
    (2.0, 1.00, 0.37, 2),  # roots: 0.3789, 0.2935, 0.2075, 0.1198 (of 1.8657)
    (2.0, 1.00, 0.39, 0),
    (2.0, 1.00, 0.68, 3),
    (2.0, 1.00, 0.89, 1),
    (0.0, 0.50, EDGE, 2),  # greedy
]


@pytest.mark.parametrize(("temperature", "top_p", "uniform", "token"), ONE_TOKEN)
def test_one_token_by_hand(temperature, top_p, uniform, token):
    logits = torch.tensor([PROBABILITIES], dtype=torch.float64).log() + 3.0
    sampling = Sampling(temperature=temperature, top_p=top_p)
    assert sample_tokens(
        logits, torch.tensor([uniform], dtype=torch.float64), sampling
    ).tolist() == [token]


@pytest.mark.parametrize("top_p", [0.3, 0.9, 1.0])
def test_a_token_without_probability_is_never_taken(top_p):
    """Padded rows of a vocabulary have a logit of minus infinity."""
    for seed in range(200):
        logits = torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 400)) * 3)
        logits[0, 50:] = -math.inf
        for uniform in (0.0, 0.5, EDGE):
            token = sample_tokens(logits, torch.tensor([uniform]).double(), Sampling(1, 1.0, top_p))
            assert token < 50


@given(
    st.lists(st.floats(-20, 20), min_size=1, max_size=40),
    st.floats(0, 1, exclude_max=True),
    st.floats(0.05, 5),
    st.floats(0.01, 1),
)
def test_one_token_is_as_walked(logits, uniform, temperature, top_p):
    token, margin = walked(logits, uniform, temperature, top_p)
    assume(margin > 1e-9)
    row = torch.tensor([logits], dtype=torch.float64)
    one = torch.tensor([uniform], dtype=torch.float64)
    assert sample_tokens(row, one, Sampling(temperature=temperature, top_p=top_p)).item() == token


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_a_large_vocabulary_is_as_walked_whichever_path_is_taken(spread):
    """With a small spread 256 tokens hold less than top_p: the whole vocabulary is sorted."""
    random = np.random.default_rng(0)
    logits, uniforms = random.normal(size=(50, 1000)) * spread, random.random(50)
    found = sample_tokens(
        torch.from_numpy(logits), torch.from_numpy(uniforms), Sampling(1, 0.7, 0.9)
    )
    for row, u, token in zip(logits.tolist(), uniforms.tolist(), found.tolist(), strict=True):
        assert token == walked(row, u, 0.7, 0.9)[0]


def test_equal_logits_do_not_make_a_row_depend_on_the_others():
    """bfloat16 has many equal logits; a flat row in the batch has the whole vocabulary sorted."""
    random = np.random.default_rng(1)
    peaked = torch.from_numpy(random.normal(size=(1, 2000)) * 3).bfloat16()
    both = torch.cat([peaked, torch.zeros(1, 2000).bfloat16()])
    sampling = Sampling(temperature=1.0, top_p=0.8)
    for uniform in torch.linspace(0, 0.999, 300).double():
        alone = sample_tokens(peaked, uniform[None], sampling)
        assert alone == sample_tokens(both, uniform.repeat(2), sampling)[0]
        assert alone == walked(peaked[0].tolist(), uniform.item(), 1.0, 0.8)[0]


def test_equal_logits_at_the_edge_of_what_is_looked_at_first():
    """One token with 0.75, and 999 equal ones: which 255 of them come with it is left to chance."""
    for place in (0, 500, 999):
        logits = torch.zeros(1, 1000, dtype=torch.float64)
        logits[0, place] = math.log(3 * 999)
        for uniform in (0.95, 0.97, 0.99):
            token = sample_tokens(logits, torch.tensor([uniform]).double(), Sampling(1, 1.0, 0.8))
            assert token == walked(logits[0].tolist(), uniform, 1.0, 0.8)[0]


@pytest.mark.parametrize("top_p", [0.5, 1.0])
@pytest.mark.parametrize("size", [5, 400])
def test_many_tokens_are_distributed_as_softmax(size, top_p):
    logits = torch.from_numpy(np.random.default_rng(2).normal(size=size) * 2)
    n, temperature = 20_000, 1.3
    uniforms = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    found = torch.cat(
        [
            sample_tokens(logits.expand(len(some), -1), some, Sampling(1, temperature, top_p))
            for some in uniforms.split(4000)
        ]
    )
    probabilities = (logits / temperature).softmax(-1)
    order = probabilities.argsort(descending=True)
    before = probabilities[order].cumsum(0) - probabilities[order]
    probabilities[order[before >= top_p]] = 0
    expected = probabilities / probabilities.sum() * n
    counts = torch.bincount(found, minlength=size)
    assert (counts - expected).abs().max() <= 1.001  # evenly spread numbers leave no more


# -- where a completion ends: a model whose next token is written down


TAIL = ">, and more"  # one token in which the answer's tag ends


@pytest.fixture(scope="module")
def written(tiny_model: Callable[[str], Path]) -> LanguageModel:
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_model("llama"))
    tokenizer.add_tokens([TAIL])
    lines = (
        ["A", "B", "</answer>", "C", "C"],
        [*"D</answer>", "C"],
        ["E", "F", "<eos>", "C"],
        ["G", "G"],
        ["H", "I", "<answer>", "J", "K", "</think>", "L", "M", "N", "O", "P", "Q"],
    )
    return LanguageModel(scripted(lines, tokenizer), tokenizer, "written")


ENDS: list[tuple[str, int, str, int, Literal["stop", "length"]]] = [
    # prompt, tokens allowed, text, tokens made, finish
    ("A", 9, "B</answer>", 2, "stop"),
    ("A", 2, "B</answer>", 2, "stop"),
    ("A", 1, "B", 1, "length"),
    ("D", 12, "</answer>", 9, "stop"),  # a token a letter
    ("D", 8, "</answer", 8, "length"),
    ("E", 9, "F", 2, "stop"),  # the end token counts, and is no text
    ("E", 2, "F", 2, "stop"),
    ("E", 1, "F", 1, "length"),
    ("G", 5, "GGGGG", 5, "length"),
    ("H", 8, "I<answer>JK</think>LMN", 8, "length"),
]


@pytest.mark.parametrize(("prompt", "allowed", "text", "n_tokens", "finish"), ENDS)
def test_where_a_completion_ends(prompt, allowed, text, n_tokens, finish, written):
    made = texts(written, [Job("q", f"Why?\n{prompt}")], Sampling(max_new_tokens=allowed))
    assert made["q"] == [Completion(text, n_tokens, finish)]


def test_each_row_of_a_batch_ends_on_its_own(written):
    ends = [end for end in ENDS if end[1] == 9]
    jobs = [Job(prompt, "Why?\n" * n + prompt) for n, (prompt, *_) in enumerate(ends)]
    jobs.append(Job("G", "G"))
    made = texts(written, jobs, Sampling(n=2, max_new_tokens=9))
    for prompt, _, text, n_tokens, finish in ends:
        assert made[prompt] == [Completion(text, n_tokens, finish)] * 2
    assert made["G"] == [Completion("G" * 9, 9, "length")] * 2


def test_finished_rows_leave_the_batch(written):
    jobs = [Job(end, end) for end in "AGDE"]
    sampling = Sampling(n=2, max_new_tokens=12)
    shapes = input_shapes(written.lm, lambda: texts(written, jobs, sampling))
    # The prompts, then a pass a token: A and E end with their second token, D with its ninth.
    assert [rows for rows, _ in shapes] == [4, 8, *[4] * 7, 2, 2, 2]


def test_nothing_is_computed_after_the_last_row_has_ended(written):
    shapes = input_shapes(
        written.lm, lambda: texts(written, [Job("A", "A")], Sampling(max_new_tokens=12))
    )
    assert len(shapes) == 2


def test_what_follows_the_answers_tag_in_the_same_token_is_cut_away(written):
    tail, last = written.tokenizer.convert_tokens_to_ids([TAIL, ">"])
    weights = written.lm.lm_head.weight.data
    weights[[tail, last]] = weights[[last, tail]]
    try:
        made = texts(written, [Job("q", "D")], Sampling(max_new_tokens=12))
    finally:
        weights[[tail, last]] = weights[[last, tail]]
    assert made["q"] == [Completion("</answer>", 9, "stop")]


def test_an_end_token_of_the_models_own_settings_ends_a_row_too(written):
    end = written.tokenizer.convert_tokens_to_ids("F")
    settings: Any = written.lm.generation_config
    before, settings.eos_token_id = settings.eos_token_id, [1, end]
    try:
        for allowed in (1, 9):
            made = texts(written, [Job("q", "E")], Sampling(max_new_tokens=allowed))
            assert made["q"] == [Completion("F", 1, "stop")]
    finally:
        settings.eos_token_id = before


def test_a_begun_think_stands_at_the_start_of_the_completion(model):
    loaded = model("llama")
    jobs = [Job("begun", WORDS + BEGUN), Job("not", WORDS)]
    made = texts(loaded, jobs, Sampling(max_new_tokens=6))
    assert made["begun"][0].text == BEGUN + generated(loaded, WORDS + BEGUN, 6).text
    assert made["begun"][0].n_tokens == 6
    assert made["not"] == [generated(loaded, WORDS, 6)]


# -- batches


def test_batches_hold_all_jobs_once_by_length_and_at_most_so_many_rows(model):
    tokenizer = model("llama").tokenizer
    jobs = jobs_of(["word " * (n % 7 + 1) for n in range(23)])
    made = batches(jobs, encoded(jobs, tokenizer), rows=9, n=2)
    assert sorted(job.question_id for batch in made for job in batch) == sorted(
        job.question_id for job in jobs
    )
    assert [len(batch) for batch in made] == [4, 4, 4, 4, 4, 3]
    lengths = [len(encode(tokenizer, job.prompt)) // 16 for batch in made for job in batch]
    assert lengths == sorted(lengths, reverse=True)


def test_a_batch_holds_one_question_even_where_its_samples_are_more_than_the_rows(model):
    jobs = jobs_of(PROMPTS)
    made = batches(jobs, encoded(jobs, model("llama").tokenizer), rows=4, n=9)
    assert [len(batch) for batch in made] == [1, 1, 1, 1]


def test_what_is_there_is_not_computed_again_and_the_rest_is_the_same(model):
    loaded, jobs = model("llama"), jobs_of(PROMPTS * 3)

    def made(have: set[tuple[str, int]]) -> dict[str, list[Completion]]:
        parts = complete_all(loaded, jobs, SAMPLED, rows=9, have=have, title="test")
        return {job.question_id: completions for part in parts for job, completions in part}

    whole = made(set())
    assert len(whole) == len(jobs)
    first = batches(jobs, encoded(jobs, loaded.tokenizer), 9, SAMPLED.n)[0]
    have = {(job.question_id, n) for job in first for n in range(SAMPLED.n)}
    rest = made(have)
    assert rest == {id: whole[id] for id in whole if id not in {job.question_id for job in first}}
    assert made(have - {(first[0].question_id, 2)}) == whole
    assert made({(job.question_id, n) for job in jobs for n in range(SAMPLED.n)}) == {}


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_prompt_beyond_the_models_positions_is_refused_before_any_work(model, kind):
    jobs = jobs_of([*PROMPTS, "word " * 1030])
    with pytest.raises(LabError, match=r"q4: .* 96 new tokens in the 1024 positions"):
        next(complete_all(model(kind), jobs, Sampling(), rows=8, have=set(), title="test"))


# -- top-k against transformers


@pytest.mark.parametrize("top_k", [1, 3, 50, 1000])
@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_top_k_then_top_p_as_transformers_has_them(top_k, top_p):
    """A fine grid of uniform numbers meets each token as often as its probability says."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits: Any = 3 * torch.randn(1, 60, generator=torch.Generator().manual_seed(top_k))
    no_ids: Any = None
    kept: Any = TemperatureLogitsWarper(0.8)(no_ids, logits)
    kept = TopKLogitsWarper(min(top_k, 60))(no_ids, kept)
    right = (TopPLogitsWarper(top_p)(no_ids, kept) if top_p < 1 else kept).softmax(-1)[0]
    grid = (torch.arange(20_000).double() + 0.5) / 20_000
    sampling = Sampling(temperature=0.8, top_p=top_p, top_k=top_k)
    chosen = sample_tokens(logits.expand(len(grid), -1), grid, sampling)
    met = torch.bincount(chosen, minlength=60) / len(grid)
    torch.testing.assert_close(met, right, rtol=0, atol=1e-4)


def test_a_paragraphs_prompts_stay_together_though_their_lengths_differ(model):
    """Also where the number of jobs, and their order, is another."""
    tokenizer = model("llama").tokenizer
    paragraphs = [f"{name} " + WORDS * 3 for name in ("Anna", "Berta", "Clara")]
    questions = ("Who?", "Why is that so? " * 3, "When? " * 9)
    jobs = jobs_of([paragraph + question for question in questions for paragraph in paragraphs])
    for some in (jobs, jobs[::-1]):
        made = batches(some, encoded(some, tokenizer), rows=6, n=2)
        assert [len({job.prompt.split()[0] for job in batch}) for batch in made] == [1, 1, 1]


def test_prompts_of_one_paragraph_are_side_by_side(model):
    prompts = [f"{paragraph} {question}" for question in "abc" for paragraph in ("One", "Two")]
    jobs = jobs_of(prompts)
    made = batches(jobs, encoded(jobs, model("llama").tokenizer), rows=3, n=1)
    assert [{job.prompt[:3] for job in batch} for batch in made] == [{"One"}, {"Two"}]
