"""An adapter's folder as a teacher or as a base, and the one that travels with the package."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from distill_lab.models.adapters import adapter_of, whole_model
from distill_lab.models.backend import Backend
from distill_lab.models.loading import (
    LanguageModel,
    for_training,
    load,
    load_student,
    load_tokenizer_only,
    save_student,
)
from distill_lab.models.sources import SMOLLM2, resolve
from distill_lab.planning.model_shapes import shape_of
from distill_lab.run.records import LabError
from distill_lab.run.settings import SQUAD_TEACHER, ModelSettings

CPU = Backend("transformers", "cpu", "float32", 1, "for the tests")
HALF = replace(CPU, dtype="bfloat16")
IDS = torch.arange(20, 40)[None]


def save_adapter(base: LanguageModel, folder: Path, seed: int = 0) -> Path:
    """LoRA layers that are no longer 0, as after training."""
    student: Any = for_training(base, 4)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in student.lm.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    save_student(student, folder)
    return folder


@pytest.fixture
def adapter(tiny_model, tmp_path) -> Path:
    return save_adapter(load(str(tiny_model("llama")), CPU, "base"), tmp_path / "adapter")


def merged_by_hand(base: Path, adapter: Path) -> dict[str, Tensor]:
    """The base's weights with B A alpha / r added, in float64."""
    made = {n: w.double() for n, w in load_file(base / "model.safetensors").items()}
    added = load_file(adapter / "adapter_model.safetensors")
    for name in [n for n in added if n.endswith("lora_A.weight")]:
        a, b = added[name].double(), added[name.replace("lora_A", "lora_B")].double()
        weight = name.removeprefix("base_model.model.").replace("lora_A.weight", "weight")
        made[weight] += 2 * b @ a  # alpha is twice the rank
    return made


@torch.no_grad()
def logits(lm: Any) -> Tensor:
    return lm(input_ids=IDS).logits.float()


@pytest.mark.parametrize("role", ["teacher", "base"])
def test_in_float32_it_is_merged_into_the_weights_of_the_base_that_it_names(
    tiny_model, adapter, role
):
    model = load(str(adapter), CPU, role)
    found, expected = model.lm.state_dict(), merged_by_hand(tiny_model("llama"), adapter)
    assert found.keys() - {"lm_head.weight"} == expected.keys() - {"lm_head.weight"}
    for name, weight in expected.items():
        torch.testing.assert_close(found[name].double(), weight, rtol=0, atol=1e-6, msg=name)
    assert model.name == str(adapter)
    assert (
        model.tokenizer.get_vocab()
        == load(str(tiny_model("llama")), CPU, role).tokenizer.get_vocab()
    )


@pytest.mark.parametrize("role", ["teacher", "base", "student"])
def test_in_16_bits_it_is_merged_in_32_and_rounded_once(tiny_model, adapter, role):
    models = ModelSettings(student=str(tiny_model("llama")), lora_rank=4)
    student = role == "student"
    model = load_student(adapter, models, HALF) if student else load(str(adapter), HALF, role)
    found = model.lm.state_dict()
    for name, weight in merged_by_hand(tiny_model("llama"), adapter).items():
        assert found[name].dtype == torch.bfloat16
        error = (found[name].double() - weight).abs()
        assert (error <= 2**-8 * 1.01 * weight.abs() + 1e-9).all(), name


@pytest.mark.parametrize("backend", [CPU, HALF], ids=["float32", "bfloat16"])
def test_a_student_of_it_is_loaded_again_as_a_student_and_by_its_folder(adapter, tmp_path, backend):
    """Two adapters, one on the other: the second says that the first is its base."""
    models = ModelSettings(student=str(adapter), lora_rank=4)
    folder = save_adapter(load(str(adapter), backend, "base"), tmp_path / "student", seed=1)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(adapter)
    student = load_student(folder, models, backend)
    alone = load(str(folder), backend, "teacher")
    assert (logits(student.lm) - logits(load(str(adapter), backend, "base").lm)).abs().max() > 0.1
    rounding = 1e-5 if backend is CPU else 0.01
    torch.testing.assert_close(logits(alone.lm), logits(student.lm), rtol=0, atol=rounding)


def test_what_asks_for_a_models_files_or_shape_gets_the_bases(tiny_model, adapter):
    base = str(tiny_model("llama"))
    assert resolve(str(adapter), "teacher") == whole_model(str(adapter)) == base
    assert shape_of(str(adapter), "teacher") == shape_of(base, "teacher")
    known = load_tokenizer_only("teacher", ModelSettings(teacher=str(adapter)))
    assert (known.name, known.location) == (str(adapter), base)


# --- adapters that cannot be used -----------------------------------------------------------------


def rewrite(adapter: Path, **changes: Any) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("base", [None, "", 7])
def test_one_without_a_base_is_said(adapter, base):
    rewrite(adapter, base_model_name_or_path=base)
    with pytest.raises(LabError, match="found no base_model_name_or_path"):
        load(str(adapter), CPU, "teacher")


def test_one_whose_base_is_not_here_is_said(adapter):
    rewrite(adapter, base_model_name_or_path="./gone")
    with pytest.raises(LabError, match=r"Model './gone': expected a folder with a model in it"):
        load(str(adapter), CPU, "teacher")


@pytest.mark.parametrize("base", ["bundled", "gpt2"])
def test_one_on_another_base_is_said(tiny_model, adapter, base):
    """Another size; and other layers."""
    rewrite(
        adapter, base_model_name_or_path="bundled" if base == "bundled" else str(tiny_model(base))
    )
    with pytest.raises(LabError, match=r"Name its own base in its adapter_config\.json"):
        load(str(adapter), CPU, "teacher")


def test_one_without_weights_is_said(adapter):
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(LabError, match=r"expected adapter_model\.safetensors in it, found none"):
        load(str(adapter), CPU, "teacher")


def test_unsloth_takes_none_as_a_base(adapter):
    with pytest.raises(LabError, match=r"--models\.student .*Take --runtime\.backend transformers"):
        load(str(adapter), replace(CPU, name="unsloth"), "base")


# --- the one that ships ---------------------------------------------------------------------------


def test_the_squad_teacher_belongs_on_the_model_of_the_wheel():
    adapter = adapter_of(SQUAD_TEACHER)
    assert adapter
    assert adapter.base == SMOLLM2
    assert shape_of(SQUAD_TEACHER, "teacher") == shape_of(SMOLLM2, "base")


def test_the_squad_teacher_is_bfloat16_and_under_12_mb():
    adapter = adapter_of(SQUAD_TEACHER)
    assert adapter
    files = {file.name: file.stat().st_size for file in adapter.folder.iterdir()}
    assert files.keys() == {"adapter_config.json", "adapter_model.safetensors"}
    assert sum(files.values()) < 12e6
    with safe_open(adapter.folder / "adapter_model.safetensors", "pt") as weights:
        kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    assert kinds == {"BF16"}
