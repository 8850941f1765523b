"""The teacher's cache: float64 over all logits is the oracle, and files cut anywhere are mended."""

from __future__ import annotations

import copy
import json
import math
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MODEL_KINDS, ROOT
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from distill_lab.losses.distillation import (
    DenseTeacher,
    Head,
    Objective,
    divergence,
    plain_loss,
    soften,
)
from distill_lab.losses.fused import distillation_loss
from distill_lab.models.loading import LanguageModel, head
from distill_lab.reporting.plots import cached_teacher
from distill_lab.run.records import LabError
from distill_lab.training.batches import Encoded
from distill_lab.training.teacher_cache.build import TeacherCache, fill, measure
from distill_lab.training.teacher_cache.files import Meta, key, read_index, read_meta, write_meta
from distill_lab.training.teacher_cache.forward import (
    NO_PREFIX,
    completion_logits,
    read_shared_prefix,
    teacher_states,
)
from distill_lab.training.teacher_cache.rows import (
    LOG_ZERO,
    RowFormat,
    kl_errors,
    pack_ids,
    row_dtype,
    rows_of_logits,
    targets,
    unpack_ids,
)

TEMPERATURES = (1.0, 2.0, 5.0)
FILES = ("index.jsonl", "meta.json", "rows.bin")


def loaded(folder: Path, sharpness: float = 15.0) -> LanguageModel:
    """A tiny model; its random head is scaled up, so that some tokens are likelier than others."""
    lm = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        lm.get_output_embeddings().weight.mul_(sharpness)  # type: ignore[union-attr]
    return LanguageModel(lm, AutoTokenizer.from_pretrained(folder), "a teacher")


@pytest.fixture
def teacher(tiny_model) -> LanguageModel:
    return loaded(tiny_model("llama"))


def ids(n: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(5, 900, n).tolist()


def made_examples(n: int = 11, shared: int = 40) -> list[Encoded]:
    """Prompts and completions of many lengths; the teacher's prompts begin alike."""
    beginning = ids(shared, 1000)
    return [
        Encoded(ids(4 + i % 3, i), beginning + ids(3 + i % 4, 100 + i), ids(1 + 3 * i, 200 + i))
        for i in range(n)
    ]


EXAMPLES = made_examples()


def kind_of(
    teacher: LanguageModel, name: Any = "topk", k=16, temperatures=TEMPERATURES
) -> RowFormat:
    return RowFormat(name, k, temperatures, teacher.lm.config.vocab_size)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def some_logits(n: int, vocabulary: int, scale: float = 3.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, vocabulary, generator=generator) * scale


def true_logits(model: LanguageModel, example: Encoded) -> Tensor:
    """One example by itself, in float64, through the whole model: (N, V)."""
    lm = copy.deepcopy(model.lm).double()
    tokens = torch.tensor([example.teacher_prompt + example.completion])
    with torch.no_grad():
        return lm(tokens).logits[0, len(example.teacher_prompt) - 1 : -1]


def assert_is_top_k_of(z: Tensor, kept, temperature: float) -> None:
    """`kept` is what float64 finds in the logits z (n, V), as exactly as float16 gaps allow."""
    all_of = (z.double() / temperature).log_softmax(-1)
    right = all_of.gather(1, kept.ids)
    width = kept.ids.shape[1]
    sure = z.double().topk(width + 1).values.diff(dim=1).abs().min(1).values > 1e-4
    assert torch.equal(kept.ids[sure], z.topk(width).indices[sure])
    gap = (right - right[:, :1]).abs()
    # a float16 has 11 bits; the whole is scaled back by no more than the worst of them
    allowed = gap * 2**-11 + (gap * 2**-11).max(1, keepdim=True).values + 2e-5
    assert bool(((kept.log_p - right).abs() <= allowed).all())
    tail = all_of.scatter(1, kept.ids, -torch.inf).logsumexp(-1)
    torch.testing.assert_close(kept.log_tail.double(), tail, rtol=1e-5, atol=1e-5)
    total = kept.log_p.double().exp().sum(1) + kept.log_tail.double().exp()
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


# --- records --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.01, 3.0, 40.0])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_top_k_and_its_tail_are_exact_at_every_temperature(temperature, scale):
    z = some_logits(50, 3000, scale)
    kind = RowFormat("topk", 16, TEMPERATURES, 3000)
    assert_is_top_k_of(z, targets(rows_of_logits(z, kind), kind, temperature), temperature)


def test_the_tail_at_one_temperature_says_nothing_of_another():
    """What goes wrong elsewhere: the mass outside the k at T = 1, used at T = 5."""
    z = some_logits(50, 3000)
    kind = RowFormat("topk", 16, (1.0, 5.0), 3000)
    rows = rows_of_logits(z, kind)
    at_1, at_5 = (targets(rows, kind, t).log_tail for t in kind.temperatures)
    assert at_1 is not None
    assert at_5 is not None
    assert (at_5.exp() - at_1.exp()).min() > 0.3


def test_a_tail_too_small_to_count_stays_finite():
    z = torch.full((1, 100), -math.inf)
    z[0, [7, 3, 9]] = torch.tensor([2.0, 1.0, 0.0])
    kind = RowFormat("topk", 3, (1.0,), 100)
    kept = targets(rows_of_logits(z, kind), kind, 1.0)
    assert kept.ids.tolist() == [[7, 3, 9]]
    assert kept.log_tail is not None
    assert kept.log_tail.tolist() == [LOG_ZERO]
    assert kept.log_p.exp().sum().item() == pytest.approx(1)
    far = torch.tensor([[0.0, -300.0, -301.0]])  # beyond where float32 has an exponent
    kind = RowFormat("topk", 1, (1.0,), 3)
    kept = targets(rows_of_logits(far, kind), kind, 1.0)
    assert kept.log_tail is not None
    assert kept.log_tail.item() == pytest.approx(-300 + math.log1p(math.exp(-1)))


@pytest.mark.parametrize("loss", [plain_loss, distillation_loss])
@pytest.mark.parametrize("form", ["forward-kl", "reverse-kl", "jsd"])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_identical_models_give_zero(loss, form, temperature):
    z = some_logits(40, 500)
    kind = RowFormat("topk", 32, (temperature,), 500)
    kept = targets(rows_of_logits(z, kind), kind, temperature)
    objective = Objective(1.0, temperature, form)
    found = loss(z, Head(torch.eye(500)), z.argmax(-1), objective, kept)
    assert abs(found.kl.item()) < 1e-4


@pytest.mark.parametrize("k", [300, 1000])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_all_tokens_kept_is_the_dense_kl(k, temperature):
    z, student = some_logits(40, 300), some_logits(40, 300, seed=1)
    kind = RowFormat("topk", k, TEMPERATURES, 300)
    kept = targets(rows_of_logits(z, kind), kind, temperature)
    assert kept.log_tail is None
    assert kept.ids.sort(1).values.tolist() == [list(range(300))] * 40
    same, objective = Head(torch.eye(300)), Objective(1.0, temperature)
    dense = plain_loss(student, same, z.argmax(-1), objective, DenseTeacher(z, same))
    sparse = plain_loss(student, same, z.argmax(-1), objective, kept)
    assert sparse.kl.item() == pytest.approx(dense.kl.item(), rel=1e-3)


@pytest.mark.parametrize("name", ["topk", "sampled"])
def test_logits_are_cut_to_the_vocabulary_before_everything(name):
    z = some_logits(20, 300)
    padded = torch.cat([z, torch.full((20, 64), 50.0)], 1)
    kind = RowFormat(name, 16, TEMPERATURES, 300)
    uniforms = np.random.default_rng(0).random((20, 3, 16))
    assert (
        rows_of_logits(padded, kind, uniforms).tobytes()
        == rows_of_logits(z, kind, uniforms).tobytes()
    )


@pytest.mark.parametrize("vocabulary", [65_536, 65_537, 70_000, 151_936, 1_000_000, 2**20])
@pytest.mark.parametrize("k", [1, 63, 64])
@pytest.mark.parametrize("name", ["topk", "sampled"])
def test_packed_ids_come_back(vocabulary, k, name):
    kind = RowFormat(name, k, (1.0, 2.0), vocabulary)
    shape = (100, 2, k) if name == "sampled" else (100, k)
    there = np.random.default_rng(0).integers(0, vocabulary, shape)
    there.flat[:3] = vocabulary - 1, 0, 65_535
    rows = np.zeros(100, row_dtype(kind))
    pack_ids(rows, there)
    assert np.array_equal(unpack_ids(rows), there)
    assert ("high" in (rows.dtype.names or ())) == (vocabulary > 65_536)


def test_ids_beyond_16_bits_are_kept_of_real_logits():
    z = some_logits(3, 151_936)
    kind = RowFormat("topk", 5, (1.0,), 151_936)
    assert torch.equal(targets(rows_of_logits(z, kind), kind, 1.0).ids, z.topk(5).indices)


def test_a_token_takes_at_most_320_bytes():
    assert row_dtype(RowFormat("topk", 64, (1.0, 2.0), 151_936)).itemsize == 296
    assert row_dtype(RowFormat("topk", 64, (1.0,), 49_152)).itemsize == 260
    assert row_dtype(RowFormat("sampled", 64, (1.0,), 151_936)).itemsize == 228


@pytest.mark.parametrize(
    "kind", [RowFormat("topk", 0, (1.0,), 9), RowFormat("topk", 9, (1.0,), 2**20 + 1)]
)
def test_what_cannot_be_stored_is_said(kind):
    with pytest.raises(LabError, match="expected k from 1"):
        row_dtype(kind)


# --- draws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 8, 70])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_kl_of_draws_and_its_gradient_are_right_on_average(k, temperature):
    n, times, vocabulary = 3, 6000, 50
    z, y = some_logits(n, vocabulary, 2.0), some_logits(n, vocabulary, 2.0, seed=1)
    kind = RowFormat("sampled", k, (temperature,), vocabulary)
    uniforms = np.random.default_rng(2).random((n * times, 1, k))
    kept = targets(rows_of_logits(z.repeat(times, 1), kind, uniforms), kind, temperature)
    assert (kept.ids.sort(1).values.diff(dim=1) > 0).all()  # distinct
    torch.testing.assert_close(kept.log_p.exp().sum(1), torch.ones(n * times))
    assert kept.offset is not None
    student = y.repeat(times, 1).requires_grad_()
    found = divergence(*kept.outcomes(student, temperature), Objective()) + kept.offset
    (slope,) = torch.autograd.grad(found.sum(), student)
    exact = y.double().requires_grad_()
    log_p, log_q = (each.double() / temperature for each in (z, exact))
    log_p, log_q = log_p.log_softmax(-1), log_q.log_softmax(-1)
    full = (log_p.exp() * (log_p - log_q)).sum(-1)
    (right_slope,) = torch.autograd.grad(full.sum(), exact)
    found = found.detach().view(times, n)
    error = found.std(0) / times**0.5
    assert bool(((found.mean(0) - full.detach()).abs() < 4.5 * error).all())
    # a share of k draws; a rare token's is no normal variable: a few draws more or less
    p = log_p.detach().exp()
    error = (p * (1 - p) / (k * times)).sqrt() / temperature
    apart = (slope.view(times, n, vocabulary).mean(0) - right_slope).abs()
    assert bool((apart < 4.5 * error + 5 / (k * times)).all())
    biased = found.mean(0) - kept.offset.view(times, n).mean(0)  # the draws' own KL
    assert (biased - full.detach()).min() > 0.02


def test_every_token_is_drawn_as_often_as_it_is_likely():
    z = some_logits(1, 20)
    kind = RowFormat("sampled", 60_000, (2.0,), 20)
    uniforms = (np.arange(60_000)[None, None] + 0.5) / 60_000
    kept = targets(rows_of_logits(z, kind, uniforms), kind, 2.0)
    right = soften(z, 2.0).exp().gather(1, kept.ids)
    torch.testing.assert_close(kept.log_p.exp(), right, rtol=0, atol=2 / 60_000)


def test_the_first_and_the_last_place_have_a_token():
    kind = RowFormat("sampled", 2, (1.0,), 1000)
    uniforms = np.array([[[0.0, np.nextafter(1.0, 0.0)]]])
    kept = targets(rows_of_logits(some_logits(1, 1000), kind, uniforms), kind, 1.0)
    assert sorted(kept.ids[0].tolist()) == [0, 999]
    z = torch.tensor([[-math.inf, 0.0, 0.0]])
    kind = RowFormat("sampled", 1, (1.0,), 3)
    kept = targets(rows_of_logits(z, kind, np.zeros((1, 1, 1))), kind, 1.0)
    assert kept.ids.tolist() == [[1]]  # a token without probability is not drawn


# --- the teacher's pass ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_reading_the_beginning_once_changes_nothing(tiny_model, kind):
    model = loaded(tiny_model(kind))
    beginning = read_shared_prefix(model.lm, EXAMPLES)
    assert beginning.length == 40
    assert beginning.reason == "40 tokens that all prompts share are read once"
    seen = []
    watch = model.lm.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    logits = head(model.lm)
    for batch in (EXAMPLES, EXAMPLES[2:3], EXAMPLES[:4]):  # the cache is as it was each time
        whole = logits(teacher_states(model.lm, batch, NO_PREFIX))
        short = logits(teacher_states(model.lm, batch, beginning))
        torch.testing.assert_close(short, whole, rtol=0, atol=1e-4)
        assert seen[-1] == seen[-2] - 40
    watch.remove()


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_states_are_those_that_predict_the_completion(tiny_model, kind):
    model = loaded(tiny_model(kind))
    found = head(model.lm)(teacher_states(model.lm, EXAMPLES, NO_PREFIX))
    right = torch.cat([true_logits(model, example) for example in EXAMPLES])
    torch.testing.assert_close(found.double(), right, rtol=0, atol=1e-4)


def test_what_is_not_worth_it_is_read_whole(teacher):
    short = made_examples(shared=20)
    assert read_shared_prefix(teacher.lm, short).length == 0
    assert "20 tokens are shared" in read_shared_prefix(teacher.lm, short).reason
    assert read_shared_prefix(teacher.lm, EXAMPLES[:1]).length == 0
    # the last token of a prompt is read with each, even where all prompts are one
    same = [replace(e, teacher_prompt=EXAMPLES[0].teacher_prompt) for e in EXAMPLES]
    assert read_shared_prefix(teacher.lm, same).length == len(EXAMPLES[0].teacher_prompt) - 1


def test_a_model_that_forgets_is_read_whole(teacher):
    """A sliding window keeps only the last tokens in its cache."""
    config = AutoConfig.for_model(
        "mistral", vocab_size=1000, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, sliding_window=16,
    )  # fmt: skip
    beginning = read_shared_prefix(AutoModelForCausalLM.from_config(config).eval(), EXAMPLES)
    assert beginning.length == 0
    assert "do not all look at every token" in beginning.reason


def test_a_model_without_a_cache_is_read_whole():
    config = AutoConfig.for_model("mamba", vocab_size=1000, hidden_size=16, num_hidden_layers=1)
    beginning = read_shared_prefix(AutoModelForCausalLM.from_config(config).eval(), EXAMPLES)
    assert beginning.length == 0
    assert "MambaModel cannot go on from a cache" in beginning.reason


def test_a_decoder_that_goes_on_wrongly_is_read_whole(teacher, monkeypatch):
    """One that takes a cache and positions, and then counts positions from 0."""
    forward = teacher.lm.base_model.forward

    def wrong(input_ids=None, past_key_values=None, position_ids=None, **more):
        return forward(input_ids, past_key_values=past_key_values, position_ids=None
                       if position_ids is None else position_ids - 40, **more)  # fmt: skip

    monkeypatch.setattr(teacher.lm.base_model, "forward", wrong)
    beginning = read_shared_prefix(teacher.lm, EXAMPLES)
    assert beginning.length == 0
    assert "its states are off by" in beginning.reason


# --- filled and read ------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [40, 10])
@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_what_is_read_is_the_teacher_at_every_completion_token(tiny_model, tmp_path, kind, shared):
    model, examples = loaded(tiny_model(kind)), made_examples(shared=shared)
    what = kind_of(model)
    fill(tmp_path, model, examples, what, rows=4)
    cache = TeacherCache(tmp_path, what, "a teacher")
    for example in examples:
        logits = true_logits(model, example)
        for temperature in TEMPERATURES:
            kept = cache.targets([example], temperature)
            assert len(kept) == len(example.completion)
            assert_is_top_k_of(logits, kept, temperature)


def test_rows_come_in_the_order_asked_for(teacher, tmp_path):
    fill(tmp_path, teacher, EXAMPLES, kind_of(teacher), rows=4)
    cache = TeacherCache(tmp_path, kind_of(teacher), "a teacher")
    some = [EXAMPLES[i] for i in (5, 1, 9, 1)]
    together, apart = cache.targets(some, 2.0), [cache.targets([e], 2.0) for e in some]
    assert torch.equal(together.ids, torch.cat([each.ids for each in apart]))
    assert torch.equal(together.log_p, torch.cat([each.log_p for each in apart]))
    assert together.ids.dtype == torch.int64
    assert together.log_p.dtype == torch.float32
    assert len(cache.targets([], 2.0)) == 0


def test_the_loss_of_a_cache_is_that_of_the_teacher(teacher, tiny_model, tmp_path):
    student = loaded(tiny_model("qwen3"))
    every = RowFormat("topk", 10_000, (2.0,), teacher.lm.config.vocab_size)
    fill(tmp_path, teacher, EXAMPLES, every)
    kept = TeacherCache(tmp_path, every, "a teacher").targets(EXAMPLES, 2.0)
    as_prompt = [replace(e, teacher_prompt=e.student_prompt) for e in EXAMPLES]
    states = teacher_states(student.lm, as_prompt, NO_PREFIX).detach()
    labels = torch.tensor([i for example in EXAMPLES for i in example.completion])
    dense = DenseTeacher(teacher_states(teacher.lm, EXAMPLES, NO_PREFIX), head(teacher.lm))
    objective = Objective(0.5, 2.0)
    with torch.no_grad():
        found = distillation_loss(states, head(student.lm), labels, objective, kept)
        right = distillation_loss(states, head(student.lm), labels, objective, dense)
    assert found.total.item() == pytest.approx(right.total.item(), rel=1e-4)


def test_a_cache_is_read_without_the_teacher(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model("llama"), tmp_path / "teacher")
    model = loaded(folder)
    what = kind_of(model)
    fill(tmp_path / "cache", model, EXAMPLES, what)
    before = TeacherCache(tmp_path / "cache", what, "a teacher").targets(EXAMPLES, 2.0)
    shutil.rmtree(folder)
    del model
    after = TeacherCache(tmp_path / "cache", what, "a teacher")
    assert after.missing(EXAMPLES) == 0
    assert torch.equal(after.targets(EXAMPLES, 2.0).log_p, before.log_p)


def test_the_same_example_is_stored_once(teacher, tmp_path, capsys):
    again = [replace(e, student_prompt=[1, 2]) for e in EXAMPLES]  # the teacher does not see it
    fill(tmp_path, teacher, EXAMPLES + again, kind_of(teacher))
    n = sum(len(example.completion) for example in EXAMPLES)
    assert (tmp_path / "rows.bin").stat().st_size == n * row_dtype(kind_of(teacher)).itemsize
    shown = capsys.readouterr()
    assert shown.out == "teacher cache: 40 tokens that all prompts share are read once\n"
    assert f"tokens={n}" in shown.err
    assert "11/11" in shown.err


@pytest.mark.parametrize("name", ["topk", "sampled"])
def test_neither_order_nor_a_second_time_changes_the_files(teacher, tmp_path, name):
    what = kind_of(teacher, name)
    fill(tmp_path / "a", teacher, EXAMPLES, what, rows=4)
    fill(tmp_path / "b", teacher, EXAMPLES[::-1], what, rows=4)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    fill(tmp_path / "b", teacher, EXAMPLES, what, rows=4)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_draws_belong_to_the_example_and_not_to_its_batch(teacher, tmp_path):
    what = kind_of(teacher, "sampled")
    fill(tmp_path / "a", teacher, EXAMPLES, what, rows=1)
    fill(tmp_path / "b", teacher, EXAMPLES, what, rows=16)
    a, b = (TeacherCache(tmp_path / x, what, "a teacher").targets(EXAMPLES, 2.0) for x in "ab")
    alike = [dense(a) == dense(b) for a, b in zip(rows_of(a), rows_of(b), strict=True)]
    assert sum(alike) > 0.97 * len(alike)  # rounding moves a draw now and then
    more = replace(EXAMPLES[0], completion=EXAMPLES[0].completion * 2)
    fill(tmp_path / "c", teacher, [*EXAMPLES, more], what)
    c = TeacherCache(tmp_path / "c", what, "a teacher").targets([more], 2.0)
    assert dense(rows_of(c)[0]) != dense(rows_of(c)[1])  # tokens of one example are drawn apart
    twin = moved(EXAMPLES[5], "completion")  # as likely up to its last token
    fill(tmp_path / "d", teacher, [EXAMPLES[5], twin], what)
    d = TeacherCache(tmp_path / "d", what, "a teacher")
    first, second = (rows_of(d.targets([e], 2.0))[0] for e in (EXAMPLES[5], twin))
    assert dense(first) != dense(second)


def rows_of(kept) -> list[tuple[list[int], list[float]]]:
    return list(zip(kept.ids.tolist(), kept.log_p.tolist(), strict=True))


def dense(row: tuple[list[int], list[float]]) -> dict[int, float]:
    return {i: p for i, p in zip(*row, strict=True) if p > LOG_ZERO}


def test_more_examples_may_be_added(teacher, tmp_path):
    what = kind_of(teacher)
    fill(tmp_path, teacher, EXAMPLES[:5], what)
    cache = TeacherCache(tmp_path, what, "a teacher")
    assert cache.missing(EXAMPLES) == 6
    before = cache.targets(EXAMPLES[:5], 1.0)
    fill(tmp_path, teacher, EXAMPLES, what)
    cache = TeacherCache(tmp_path, what, "a teacher")
    assert cache.missing(EXAMPLES) == 0
    assert torch.equal(cache.targets(EXAMPLES[:5], 1.0).log_p, before.log_p)


def test_no_examples_make_an_empty_cache(teacher, tmp_path):
    fill(tmp_path, teacher, [], kind_of(teacher))
    cache = TeacherCache(tmp_path, kind_of(teacher), "a teacher")
    assert cache.missing(EXAMPLES) == 11
    assert len(cache.targets([], 1.0)) == 0


# --- killed and gone on with ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["topk", "sampled"])
def test_files_cut_anywhere_are_mended_to_the_byte(teacher, tmp_path, name):
    what, draw = kind_of(teacher, name), random.Random(0)
    fill(tmp_path / "whole", teacher, EXAMPLES, what, rows=3)
    whole = contents(tmp_path / "whole")
    for attempt in range(12):
        folder = tmp_path / f"cut {attempt}"
        folder.mkdir()
        for file, content in whole.items():
            end = len(content) if file == "meta.json" else draw.randrange(len(content) + 1)
            junk = draw.choice([b"", b"\xff\x00{}\n", b'{"key": "'])
            (folder / file).write_bytes(content[:end] + junk * (file != "meta.json"))
        cut = TeacherCache(folder, what, "a teacher")  # what is left of it can be read
        left = [example for example in EXAMPLES if not cut.missing([example])]
        assert len(cut.targets(left, 1.0)) == sum(len(example.completion) for example in left)
        fill(folder, teacher, EXAMPLES, what, rows=3)
        assert contents(folder) == whole


@pytest.mark.parametrize("gone", [("index.jsonl",), ("rows.bin",), ("index.jsonl", "rows.bin")])
def test_a_lost_file_is_made_again(teacher, tmp_path, gone):
    fill(tmp_path, teacher, EXAMPLES, kind_of(teacher), rows=3)
    whole = contents(tmp_path)
    for name in gone:
        (tmp_path / name).unlink()
    fill(tmp_path, teacher, EXAMPLES, kind_of(teacher), rows=3)
    assert contents(tmp_path) == whole


def test_only_what_is_missing_is_computed(teacher, tmp_path):
    fill(tmp_path, teacher, EXAMPLES, kind_of(teacher), rows=3)
    whole = contents(tmp_path)
    lines = whole["index.jsonl"].splitlines(keepends=True)
    (tmp_path / "index.jsonl").write_bytes(b"".join(lines[:7]))
    batches = []
    watch = teacher.lm.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: batches.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    fill(tmp_path, teacher, EXAMPLES, kind_of(teacher), rows=3)
    watch.remove()
    assert batches[-2:] == [3, 2]  # of four batches the half one, whole, and the last
    assert [n for n in batches if n > 1] == [3, 2]
    assert contents(tmp_path) == whole


STAGE = """
import sys, torch
from pathlib import Path
from training.test_teacher_cache import fill, kind_of, loaded, made_examples
torch.set_num_threads(1)
model = loaded(Path(sys.argv[1]))
print("ready", flush=True)
fill(Path(sys.argv[2]), model, made_examples(60), kind_of(model, sys.argv[3]), rows=3)
"""


@pytest.mark.slow
def test_a_cache_killed_at_random_moments_ends_as_one_that_was_not(tiny_model, tmp_path):
    def started(out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", STAGE, str(tiny_model("llama")), str(out), "topk"]
        process = subprocess.Popen(
            command, cwd=ROOT / "tests", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        return process

    assert started(tmp_path / "whole").wait() == 0
    whole, out = (tmp_path / "whole/rows.bin").stat().st_size, tmp_path / "killed"
    rows, draw, sizes = out / "rows.bin", random.Random(0), []

    def size() -> int:
        return rows.stat().st_size if rows.exists() else 0

    # each time a share of what is to be written is there: how long that takes, the load decides
    for share in sorted(draw.random() for _ in range(5)):
        process = started(out)
        while size() < share * whole and process.poll() is None:
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        sizes.append(size())
    assert started(out).wait() == 0
    assert contents(tmp_path / "whole") == {
        name: content for name, content in contents(out).items() if not name.endswith(".tmp")
    }
    assert any(0 < size < whole for size in sizes), "no kill fell into the work"


# --- refused --------------------------------------------------------------------------------------


def moved(example: Encoded, name: str) -> Encoded:
    """One token changed."""
    tokens = list(getattr(example, name))
    tokens[-1] += 1
    return replace(example, **{name: tokens})


@pytest.mark.parametrize("name", ["teacher_prompt", "completion"])
def test_another_prompt_or_completion_is_not_there(teacher, tmp_path, name):
    fill(tmp_path, teacher, EXAMPLES, kind_of(teacher))
    cache = TeacherCache(tmp_path, kind_of(teacher), "a teacher")
    other = moved(EXAMPLES[3], name)
    assert cache.missing([EXAMPLES[3], other]) == 1
    with pytest.raises(LabError, match=r"found none of one of 46 \+ 10 tokens. Fill the cache"):
        cache.targets([EXAMPLES[3], other], 1.0)


def test_the_border_of_prompt_and_completion_is_part_of_the_key():
    meta = Meta(RowFormat("topk", 1, (1.0,), 9), "a", "b", "c")
    assert key(meta, Encoded([], [1, 2], [3])) != key(meta, Encoded([], [1], [2, 3]))
    assert key(meta, Encoded([5], [1, 2], [3])) == key(meta, Encoded([], [1, 2], [3]))
    for other in (replace(meta, teacher="x"), replace(meta, weights="x")):
        assert key(other, Encoded([], [1, 2], [3])) != key(meta, Encoded([], [1, 2], [3]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "sampled"}, "kind.name sampled, found one made with topk"),
        ({"k": 8}, "kind.k 8, found one made with 16"),
        ({"vocabulary": 900}, "kind.vocabulary 900, found one made with 1000"),
        (
            {"temperatures": (1.0, 3.0)},
            r"kind.temperatures \(1.0, 3.0\), found one made with \(1.0",
        ),
    ],
)
def test_a_cache_of_another_kind_is_refused(teacher, tmp_path, change, said):
    what = kind_of(teacher)
    fill(tmp_path, teacher, EXAMPLES[:2], what)
    before = contents(tmp_path)
    other = replace(what, **change)
    with pytest.raises(LabError, match=said):
        TeacherCache(tmp_path, other, "a teacher")
    with pytest.raises(LabError, match="Remove the folder to make it again, or go back to"):
        fill(tmp_path, teacher, EXAMPLES[:2], other)
    assert contents(tmp_path) == before


def test_fewer_temperatures_than_it_has_are_no_other_kind(teacher, tmp_path):
    fill(tmp_path, teacher, EXAMPLES[:2], kind_of(teacher))
    one = kind_of(teacher, temperatures=(2.0,))
    fill(tmp_path, teacher, EXAMPLES, one)
    kept = TeacherCache(tmp_path, one, "a teacher").targets(EXAMPLES[-1:], 2.0)
    assert_is_top_k_of(true_logits(teacher, EXAMPLES[-1]), kept, 2.0)
    with pytest.raises(LabError, match=r"that it was made for, 1, 2, 5, found 3. Make another"):
        TeacherCache(tmp_path, one, "a teacher").targets(EXAMPLES, 3.0)


def test_another_teacher_is_refused(teacher, tmp_path):
    fill(tmp_path, teacher, EXAMPLES[:2], kind_of(teacher))
    with pytest.raises(LabError, match="with teacher another, found one made with a teacher"):
        TeacherCache(tmp_path, kind_of(teacher), "another")
    with torch.no_grad():  # as little as a step of training
        for weight in teacher.lm.parameters():
            weight.add_(1e-4)
    with pytest.raises(LabError, match=r"with the weights of a teacher .*, found one made with"):
        fill(tmp_path, teacher, EXAMPLES, kind_of(teacher))


@pytest.mark.parametrize("place", ["model.norm.weight", "model.layers.1.mlp.up_proj.weight"])
def test_one_parameter_is_enough_to_be_another_teacher(teacher, tmp_path, place):
    fill(tmp_path, teacher, EXAMPLES[:2], kind_of(teacher))
    with torch.no_grad():
        teacher.lm.get_parameter(place).mul_(1.001)
    with pytest.raises(LabError, match="the weights of a teacher"):
        fill(tmp_path, teacher, EXAMPLES, kind_of(teacher))


def test_another_tokenizer_is_refused(teacher, tmp_path):
    fill(tmp_path, teacher, EXAMPLES[:2], kind_of(teacher))
    tokenizer = copy.deepcopy(teacher.tokenizer)
    tokenizer.add_tokens(["<another>"])
    with pytest.raises(LabError, match="the tokenizer of a teacher"):
        fill(tmp_path, replace(teacher, tokenizer=tokenizer), EXAMPLES, kind_of(teacher))


def test_what_is_no_cache_is_said(teacher, tmp_path):
    with pytest.raises(LabError, match=r"expected a teacher cache, found none. Fill it first"):
        TeacherCache(tmp_path, kind_of(teacher), "a teacher")
    for text in ("", "[]", "{}", '{"kind": {"temperatures": 3}}', '{"kind": {"temperatures": []}}'):
        (tmp_path / "meta.json").write_text(text)
        with pytest.raises(LabError, match="expected what a teacher cache was made with"):
            read_meta(tmp_path)
    (tmp_path / "meta.json").unlink()
    (tmp_path / "rows.bin").write_bytes(b"what somebody may want")
    with pytest.raises(LabError, match=r"expected it beside rows.bin, found none"):
        fill(tmp_path, teacher, EXAMPLES, kind_of(teacher))


def test_meta_json_is_what_older_runs_have(tmp_path):
    """Old run folders are resumed: the file's keys stay, whatever the fields are called."""
    text = (
        '{\n "kind": {\n  "name": "topk",\n  "k": 4,\n  "temperatures": [\n   1.0,\n   2.0\n  ],\n'
        '  "vocabulary": 9\n },\n "teacher": "a",\n "weights": "b",\n "tokenizer": "c",\n'
        ' "format": 1\n}\n'
    )
    (tmp_path / "meta.json").write_text(text)
    meta = read_meta(tmp_path)
    assert meta == Meta(RowFormat("topk", 4, (1.0, 2.0), 9), "a", "b", "c")
    assert meta
    write_meta(tmp_path, meta)
    assert (tmp_path / "meta.json").read_text() == text


def test_an_older_format_is_refused(teacher, tmp_path):
    fill(tmp_path, teacher, EXAMPLES[:2], kind_of(teacher))
    found = json.loads((tmp_path / "meta.json").read_text())
    (tmp_path / "meta.json").write_text(json.dumps({**found, "format": 0}))
    with pytest.raises(LabError, match="made with format 1, found one made with 0"):
        TeacherCache(tmp_path, kind_of(teacher), "a teacher")


def test_a_line_that_lies_about_its_place_ends_the_index(teacher, tmp_path):
    fill(tmp_path, teacher, EXAMPLES, kind_of(teacher))
    lines = (tmp_path / "index.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "index.jsonl").write_text("".join(lines[:2] + lines[3:]))
    assert len(read_index(tmp_path, kind_of(teacher)).places) == 2


# --- how far it is from the truth -----------------------------------------------------------------


def test_kl_errors_are_those_to_the_dense_kl():
    z, y = some_logits(30, 400), some_logits(30, 390, seed=1)
    log_p, log_q = ((each[:, :390].double() / 2).log_softmax(-1) for each in (z, y))
    full = (log_p.exp() * (log_p - log_q)).sum(-1)
    ids = log_p.topk(16).indices
    both = [each.gather(1, ids) for each in (log_p, log_q)]
    rests = [each.scatter(1, ids, -torch.inf).logsumexp(1, keepdim=True) for each in (log_p, log_q)]
    p, q = (torch.cat([a, b], 1) for a, b in zip(both, rests, strict=True))
    lumped = (p.exp() * (p - q)).sum(-1)
    (found,) = [row for row in kl_errors(z, y, 2.0, (16,), 3) if row["kind"] == "topk"]
    assert found["per_token"] == pytest.approx((lumped - full).abs().mean().item(), rel=0.01)
    assert found["of_mean"] == pytest.approx((lumped - full).mean().abs().item(), rel=0.01)


def test_logits_to_look_at_are_those_of_each_example_alone(teacher, tiny_model):
    """Each model reads its own prompt; rows are cut to the words that both have."""
    student = loaded(tiny_model("qwen3"), 2.0)
    student.lm.resize_token_embeddings(student.lm.config.vocab_size + 8)
    ours, theirs, targets = completion_logits(student, teacher, EXAMPLES[:3])
    for model, found in ((student, ours), (teacher, theirs)):
        rows = []
        for e in EXAMPLES[:3]:
            prompt = e.student_prompt if model is student else e.teacher_prompt
            with torch.no_grad():
                logits = model.lm(torch.tensor([prompt + e.completion])).logits[0]
            rows.append(logits[len(prompt) - 1 : -1, : teacher.lm.config.vocab_size])
        torch.testing.assert_close(found, torch.cat(rows), rtol=1e-4, atol=1e-4)
    assert targets.tolist() == [token for e in EXAMPLES[:3] for token in e.completion]


def test_measured_and_drawn(teacher, tiny_model):
    rows = measure(loaded(tiny_model("qwen3")), teacher, EXAMPLES[:6], 2.0, (4, 64, 1000), 4)
    assert len(rows) == 3 * (1 + 4)
    lumps = {row["k"]: row["of_mean"] for row in rows if row["kind"] == "topk"}
    assert lumps[4] > lumps[64] > lumps[1000]
    assert lumps[1000] < 1e-3  # the vocabulary: nothing is lost
    plot = cached_teacher(rows)
    assert plot.png
    assert plot.png.startswith(b"\x89PNG")
    assert f"{lumps[4]:.2g} at k = 4" in plot.alt
    assert cached_teacher([]).png is None
