"""The arithmetic of memory: what autograd keeps, tensor by tensor; the profiles' budgets; and,
slow, the peaks of real work in processes of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from distill_lab.models.loading import LanguageModel, for_training, hidden_states
from distill_lab.planning import memory
from distill_lab.planning.budgets import BUDGETS
from distill_lab.planning.memory import Way, predict
from distill_lab.planning.model_shapes import from_config, shape_of
from distill_lab.run.settings import PROFILES, data_folder

# -- what is kept for the backward pass


def kept_by(lm: Any, rows: int, length: int, autocast: bool) -> int:
    """Bytes of all tensors that autograd keeps in one pass, each storage once, parameters and
    their copies in half precision left out."""
    found: dict[int, tuple[int, Any]] = {}
    parameters = {p.untyped_storage().data_ptr() for p in lm.parameters()}
    shapes = {tuple(p.shape) for p in lm.parameters()}

    def pack(tensor: Any) -> Any:
        base = tensor if tensor._base is None else tensor._base
        storage = tensor.untyped_storage()
        weights = {tuple(base.shape), tuple(base.shape)[::-1]} & shapes
        if storage.data_ptr() not in parameters and not weights:
            found[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    ids = torch.randint(5, 400, (rows, length))
    mask = torch.ones_like(ids)
    mask[0, -5:] = 0
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast),
    ):
        hidden = hidden_states(lm, ids, mask)
        assert hidden.requires_grad
    return sum(size for size, _ in found.values())


WAYS = [  # dtype, on a GPU (autocast)
    Way("float32", False),
    Way("bfloat16", False),
    Way("bfloat16", True),
]


@pytest.mark.parametrize("way", WAYS, ids=["float32", "bfloat16", "autocast"])
@pytest.mark.parametrize("rank", [0, 8])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_what_autograd_keeps_of_a_layer(kind, rank, way):
    if not rank and way == WAYS[1]:
        pytest.skip("all weights are trained in float32")
    kept = []
    for layers in (2, 5):
        config = AutoConfig.for_model(
            kind, vocab_size=500, hidden_size=128, intermediate_size=352, num_hidden_layers=layers,
            num_attention_heads=4, num_key_value_heads=2 if kind == "qwen2" else 4,
        )  # fmt: skip
        dtype = torch.float32 if way.dtype == "float32" or not rank else torch.bfloat16
        lm = AutoModelForCausalLM.from_config(config).to(dtype)
        student = for_training(LanguageModel(lm, None, ""), rank).lm.train()  # type: ignore[arg-type]
        kept.append(kept_by(student, 4, 64, autocast=way.gpu))
    shape = from_config(config.to_dict(), kind)
    a_token = (kept[1] - kept[0]) / 3 / (4 * 64)
    assert memory._kept_by_a_token(shape, rank, way) == pytest.approx(a_token, rel=0.05)


# -- the profiles


WAY = {"tiny": Way("float32", False), "cpu": Way("float32", False)}
WAY |= {"colab": Way("float16", True), "cluster": Way("bfloat16", True)}


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_fits_its_budget(name):
    for stage in predict(PROFILES[name], WAY[name]):
        assert stage.total < BUDGETS[name].room * 1e9, stage


def figures(name: str) -> set[str]:
    """All that the notes of a profile may quote: totals and parts of stages, in GB."""
    stages = predict(PROFILES[name], WAY[name])
    sizes = [stage.total for stage in stages] + [p for s in stages for p in s.parts.values()]
    models = PROFILES[name].models
    teacher, student = shape_of(models.teacher, "teacher"), shape_of(models.student, "base")
    sizes += [memory.weights(teacher, WAY[name]), 4 * student.parameters]  # DDP's buckets: float32
    sizes += [teacher.parameters, teacher.matrices, student.parameters]  # billions
    return {f"{size / 1e9:.1f}" for size in sizes}


@pytest.mark.parametrize("name", PROFILES)
def test_every_figure_of_a_profiles_notes_is_what_the_arithmetic_gives(name):
    found = set(re.findall(r"\d+\.\d+", BUDGETS[name].notes.replace("1.5B", "")))
    assert found <= figures(name)
    most = max(predict(PROFILES[name], WAY[name]), key=lambda stage: stage.total)
    assert f"{most.total / 1e9:.1f}" in found


def test_the_notes_of_colab_name_its_rows_and_lengths():
    c, notes = PROFILES["colab"], BUDGETS["colab"].notes
    length = c.train.max_length + c.generate.max_new_tokens
    assert f"{c.runtime.sample_batch} rows of {length:,} tokens" in notes
    teacher = shape_of(c.models.teacher, "teacher")
    assert f"({memory.kv_cache(teacher, 1, WAY['colab']) / 1e3:.0f} kB each)" in notes
    assert f"{c.runtime.micro_batch} examples of {c.train.max_length:,} tokens" in notes


def test_seven_billion_in_four_bits_are_as_large_as_their_file():
    name = "unsloth/Qwen2.5-7B-Instruct-bnb-4bit"
    size = memory.weights(shape_of(name, "teacher"), Way("float16", True), True, name)
    assert size / 1e9 == pytest.approx(5.55, abs=0.01)


# -- what a setting changes


def total(name: str, config: Any, way: Way) -> float:
    return next(stage.total for stage in predict(config, way) if stage.name == name)


def colab(**changes: Any) -> Any:
    config = PROFILES["colab"]
    for name, value in changes.items():
        section, field = name.split("__")
        part: Any = replace(getattr(config, section), **{field: value})
        config = replace(config, **{section: part})
    return config


LARGER = [
    ("generate", {"runtime__sample_batch": 64}),
    ("generate", {"generate__max_new_tokens": 400}),
    ("generate", {"models__teacher_4bit": False}),
    ("evaluate", {"runtime__sample_batch": 64}),
    ("train", {"runtime__micro_batch": 8}),
    ("train", {"train__max_length": 2048}),
    ("train", {"models__lora_rank": 64}),
    ("train", {"models__lora_rank": 0}),
    ("train", {"train__cache": "none"}),
    ("teacher cache", {"train__max_length": 2048}),
]


@pytest.mark.parametrize(("stage", "changes"), LARGER)
def test_what_takes_more(stage, changes):
    way = WAY["colab"]
    assert total(stage, colab(**changes), way) > 1.02 * total(stage, colab(), way)


def test_checkpointing_takes_less_and_float32_more():
    way = WAY["colab"]
    assert total("train", colab(), replace(way, checkpointing=True)) < 0.5 * total(
        "train", colab(), way
    )
    assert total("train", colab(), replace(way, dtype="float32")) > total("train", colab(), way)


def test_the_loss_takes_no_more_for_more_tokens_once_its_budget_is_full():
    parts = [
        next(s.parts for s in predict(colab(**longer), WAY["colab"]) if s.name == "train")
        for longer in ({}, {"generate__max_new_tokens": 384, "train__max_length": 2048})
    ]
    assert parts[1]["logits"] < 1.02 * parts[0]["logits"]


def test_the_student_is_there_while_the_teachers_cache_is_filled():
    stages = {stage.name: stage.parts["weights"] for stage in predict(colab(), WAY["colab"])}
    student = memory.weights(shape_of(colab().models.student, "base"), WAY["colab"])
    assert stages["teacher cache"] == stages["generate"] + student


def test_without_kl_there_is_no_teacher_in_training():
    names = [stage.name for stage in predict(colab(train__alpha=0.0), WAY["colab"])]
    assert names == ["generate", "train", "evaluate"]


# -- against the operating system


WORK: list[tuple[str, dict[str, Any]]] = [
    ("sample", {"prompts": 4, "n": 8, "length": 300, "new": 20}),
    ("sample", {"prompts": 8, "n": 1, "length": 600, "new": 8}),
    ("fill", {"micro": 4, "length": 400, "new": 60}),
    ("train", {"micro": 4, "batch": 4, "length": 256, "new": 40, "lora_rank": 16}),
    ("train", {"micro": 2, "batch": 4, "length": 256, "new": 40}),
    ("train", {"micro": 4, "batch": 4, "length": 256, "new": 40, "lora_rank": 16, "online": True}),
    ("own", {"n": 4, "micro": 4, "batch": 8, "length": 256, "new": 40, "lora_rank": 16}),
]


@pytest.fixture(scope="module")
def hundred_million(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two random models of about 110 million parameters, one with fewer key heads."""
    tokenizer: Any = AutoTokenizer.from_pretrained(str(data_folder() / "tiny_models" / "teacher"))
    folders = {}
    for kind, kv_heads in (("llama", 12), ("qwen2", 4)):
        config = AutoConfig.for_model(
            kind, vocab_size=32_000, hidden_size=768, intermediate_size=2304, num_hidden_layers=12,
            num_attention_heads=12, num_key_value_heads=kv_heads, tie_word_embeddings=True,
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        folders[kind] = tmp_path_factory.mktemp(kind)
        AutoModelForCausalLM.from_config(config).save_pretrained(folders[kind])
        tokenizer.save_pretrained(folders[kind])
    return folders


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is reset by Linux alone")
@pytest.mark.parametrize(("work", "settings"), WORK)
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_the_peak_of_real_work_is_as_predicted(kind, work, settings, hundred_million):
    command = [sys.executable, str(ROOT / "tests" / "memory_worker.py"), work]
    command += [str(hundred_million[kind]), json.dumps(settings)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    ratio = found["predicted"] / found["peak"]
    print(f"{kind} {work} {settings}: {found}, {ratio:.2f}")
    assert 0.9 < ratio < 1.3, found
