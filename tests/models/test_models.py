"""Loading, and what is taken from a model: hidden states and a head that make its own logits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import MODEL_KINDS, ROOT
from transformers import AutoConfig, AutoModelForCausalLM

from distill_lab.models.backend import Backend, choose_backend
from distill_lab.models.loading import (
    LanguageModel,
    for_training,
    head,
    hidden_states,
    load,
    load_model,
    require_known_head,
    require_shared_tokenizer,
    save_student,
)
from distill_lab.models.sources import source_of
from distill_lab.run.records import LabError
from distill_lab.run.settings import ModelSettings, RuntimeSettings
from distill_lab.sampling.shared_prefix import next_logits

CPU = Backend("transformers", "cpu", "float32", 1, "for the tests")
V = 50
SMALL = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
OTHERS = {  # they do something to the logits after the matrix product
    "gemma2": {"final_logit_softcapping": 3.0},
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 7.0},
}


def random_model(kind: str, **more: Any) -> Any:
    torch.manual_seed(0)
    lm: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SMALL, **more))
    with torch.no_grad():  # large logits, on which scaling and capping show
        lm.get_output_embeddings().weight.mul_(40)
    return lm.eval()


def with_lora(lm: Any) -> Any:
    """LoRA layers that are no longer 0, as after training."""
    model: Any = for_training(LanguageModel(lm, None, "m"), 4).lm  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5)
    return model.eval()


def assert_own_logits(lm: Any) -> None:
    ids = torch.arange(3, 15).reshape(2, 6)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
    with torch.no_grad():
        theirs = lm(input_ids=ids, attention_mask=mask).logits
        ours = head(lm)(hidden_states(lm, ids, mask)[mask.bool()])
    torch.testing.assert_close(ours, theirs[mask.bool()])


# --- backend --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_every_automatic_choice_has_its_reason(lora_rank):
    backend = choose_backend(RuntimeSettings(), lora_rank)
    assert backend.name == "transformers"
    assert backend.threads >= 1
    for part in (
        "transformers, as Unsloth is taken with a CUDA GPU alone",
        backend.device,
        backend.dtype,
        f"{backend.threads} CPU threads",
    ):
        assert part in backend.reason


def test_what_was_asked_for_is_taken_and_said():
    asked = RuntimeSettings(backend="transformers", device="cpu", dtype="bfloat16", threads=3)
    backend = choose_backend(asked)
    assert (backend.name, backend.device, backend.dtype) == ("transformers", "cpu", "bfloat16")
    assert backend.threads == 3
    assert backend.reason == (
        "transformers was asked for; cpu was asked for; bfloat16 was asked for; 3 CPU threads"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_the_cpu_in_float32():
    backend = choose_backend(RuntimeSettings(device="auto"))
    if backend.device == "cpu":
        assert backend.dtype == "float32"
        assert "as there is no GPU" in backend.reason


@pytest.mark.parametrize("device", ["cuda:7", "no-such-device", ""])
def test_a_device_that_is_not_there_is_said(device):
    with pytest.raises(LabError, match=r"--runtime.device: expected a device of this machine") as e:
        choose_backend(RuntimeSettings(device=device))
    assert "\n" not in str(e.value)


@pytest.mark.skipif(find_spec("unsloth") is not None, reason="Unsloth is installed")
def test_unsloth_that_is_not_there_is_said_and_not_replaced():
    said = r"--runtime.backend unsloth: expected Unsloth, .* not installed \(pip install .*gpu"
    with pytest.raises(LabError, match=said):
        choose_backend(RuntimeSettings(backend="unsloth"))


# --- hidden states and head -----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
@pytest.mark.parametrize("kind", MODEL_KINDS)
@pytest.mark.parametrize("lora", [False, True], ids=["whole", "lora"])
def test_head_of_hidden_states_is_the_models_logits(tiny_model, kind, lora):
    lm: Any = load(str(tiny_model(kind)), CPU, "base").lm
    assert_own_logits(with_lora(lm) if lora else lm)


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("lora", [False, True], ids=["whole", "lora"])
def test_logits_that_are_scaled_or_capped(kind, lora):
    lm = random_model(kind, **OTHERS[kind])
    ids = torch.arange(3, 9)[None]
    with torch.no_grad():  # the case is not trivial: the matrix product alone is something else
        plain = lm.get_output_embeddings()(hidden_states(lm, ids, torch.ones_like(ids)))
        assert (plain - lm(input_ids=ids).logits).abs().max() > 0.1
    assert_own_logits(with_lora(lm) if lora else lm)


@pytest.mark.parametrize("kind", ["llama", *OTHERS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_known_head_passes(kind, dtype):
    lm = random_model(kind, **OTHERS.get(kind, {})).to(dtype)
    require_known_head(LanguageModel(lm, None, "m"))  # type: ignore[arg-type]


def test_a_head_that_is_not_known_is_refused():
    """HyperCLOVA X multiplies by what Granite divides by."""
    lm = random_model("hyperclovax", logits_scaling=4.0)
    with pytest.raises(LabError, match=r"'m': expected logits made as .* \(HyperCLOVAX"):
        require_known_head(LanguageModel(lm, None, "m"))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_padding_on_the_right_changes_no_hidden_state(tiny_model, kind):
    lm = load(str(tiny_model(kind)), CPU, "base").lm
    ids = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 1, 1, 1]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
    with torch.no_grad():
        padded = hidden_states(lm, ids, mask)
        alone = hidden_states(lm, ids[1:, :3], mask[1:, :3])
    torch.testing.assert_close(padded[1:, :3], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_lora_on_16_bit_weights_is_trained_in_float32(tiny_model, kind, dtype):
    """The base keeps its 16 bits; an update too small for them moves what is trained."""
    base = load(str(tiny_model(kind)), replace(CPU, dtype=dtype), "base")
    student: Any = for_training(base, 4).lm
    trained = {n: p for n, p in student.named_parameters() if p.requires_grad}
    assert {p.dtype for p in trained.values()} == {torch.float32}
    frozen = {p.dtype for n, p in student.named_parameters() if n not in trained}
    assert frozen == {getattr(torch, dtype)}
    ids = torch.arange(3, 15).reshape(2, 6)
    states = hidden_states(student, ids, torch.ones_like(ids))
    assert states.dtype == getattr(torch, dtype)
    head(student)(states).float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in trained.values())
    assert any(p.grad.abs().max() > 0 for n, p in trained.items() if "lora_B" in n)
    first = next(p for n, p in trained.items() if "lora_A" in n)
    before = first.detach().clone()
    with torch.no_grad():
        first *= 1 + 1e-5
    assert not torch.equal(first, before)


@pytest.mark.parametrize("stand_in", [SimpleNamespace(shape=(1, 8, V)), torch.zeros(1, 8, 32)])
def test_what_stands_in_the_place_of_logits_is_refused(stand_in, monkeypatch):
    """Unsloth has an object with a shape, and on demand the hidden states (1, T, H)."""
    lm = random_model("llama")
    ids = torch.arange(8)[None]
    right = lm.forward
    monkeypatch.setattr(lm, "forward", lambda **inputs: replace(right(**inputs), logits=stand_in))
    for use in (
        lambda: require_known_head(LanguageModel(lm, None, "m")),  # type: ignore[arg-type]
        lambda: next_logits(lm, ids, torch.ones_like(ids), None),
    ):
        with pytest.raises(LabError, match="expected logits of 50 tokens, found"):
            use()


# --- models that cannot be loaded -----------------------------------------------------------------


def said_of(name: str, **more: Any) -> str:
    with pytest.raises(LabError) as error:
        load(name, CPU, "teacher", **more)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no-such-organisation/no-such-model", "a hub name that can be reached"),
        ("no-such-model", "a hub name that can be reached"),
        ("not a name!", "expected 'bundled'"),
        ("./no/such/folder", "expected a folder with a model in it, found none"),
        ("/no/such/folder", "Check the path"),
        ("no/such/folder", "Check the path"),
        ("README.md", "Check the path"),
    ],
)
def test_a_model_that_is_not_there_is_said(name, said, monkeypatch):
    monkeypatch.chdir(ROOT)
    message = said_of(name)
    assert said in message
    assert name in message


def test_a_hub_that_cannot_be_reached_is_said_at_once():
    """Not after minutes of retries: nobody listens at that port."""
    code = (
        "from distill_lab.models.backend import Backend\n"
        "from distill_lab.models.loading import LabError, load\n"
        "try:\n"
        "    cpu = Backend('transformers', 'cpu', 'float32', 1, '')\n"
        "    load('some-organisation/some-model', cpu, 'teacher')\n"
        "except LabError as error:\n"
        "    print(error)\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    (message,) = done.stdout.splitlines()
    assert "Model 'some-organisation/some-model' (teacher): expected" in message
    assert "a hub name that can be reached" in message
    assert "Retrying" not in done.stderr


@pytest.fixture
def copy(tiny_model, tmp_path) -> Path:
    return shutil.copytree(tiny_model("llama"), tmp_path / "model")


def test_a_folder_without_a_model_is_said(tmp_path):
    assert "expected a config.json or one .gguf file, found neither" in said_of(str(tmp_path))


def test_a_folder_without_weights_is_said(copy):
    (copy / "model.safetensors").unlink()
    assert "model.safetensors" in said_of(str(copy))


def test_weights_as_a_pickle_are_not_read(copy):
    lm: Any = load(str(copy), CPU, "base").lm
    torch.save(lm.state_dict(), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    said_of(str(copy))


def test_torn_weights_are_said(copy):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    said_of(str(copy))


def test_a_torn_config_is_said(copy):
    (copy / "config.json").write_text('{"model_type": "lla')
    said_of(str(copy))


def test_a_model_of_no_known_kind_is_said(copy):
    (copy / "config.json").write_text('{"model_type": "no-such-kind"}')
    said_of(str(copy))


def test_a_model_with_code_of_its_own_is_refused_without_a_question(copy, monkeypatch):
    """transformers would ask the user at the terminal, and wait."""
    path = copy / "config.json"
    own = {"auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    path.write_text(json.dumps({"model_type": "own", **own}))
    (copy / "own.py").write_text("raise SystemExit('it ran')")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("the user was asked"))
    said_of(str(copy))


def test_a_tokenizer_without_an_end_token_is_said(copy):
    path = copy / "tokenizer_config.json"
    values = json.loads(path.read_text())
    del values["eos_token"]
    path.write_text(json.dumps(values))
    assert "expected a tokenizer with an end token, found none" in said_of(str(copy))


def test_a_model_is_chosen_by_its_role(tiny_model, tmp_path):
    models = ModelSettings(str(tiny_model("llama")), str(tiny_model("gpt2")), teacher_shots=3)
    assert load_model("teacher", models, CPU).name == models.teacher
    assert load_model("base", models, CPU).name == models.student
    assert [source_of(who, models).shots for who in ("teacher", "base", "kd")] == [3, 0, 0]
    with pytest.raises(LabError, match=r"Run `distill-lab train` first"):
        load_model("kd", models, CPU, tmp_path)
    save_student(load_model("teacher", models, CPU), tmp_path / "students" / "kd" / "model")
    assert load_model("kd", models, CPU, tmp_path).lm.config.model_type == "llama"


def test_four_bits_need_a_gpu(tiny_model):
    models = ModelSettings(teacher=str(tiny_model("llama")), teacher_4bit=True)
    with pytest.raises(LabError, match=r"--models.teacher-4bit: expected a CUDA GPU, found cpu"):
        load_model("teacher", models, CPU)


def test_a_tokenizer_without_padding_gets_its_end_token(copy):
    path = copy / "tokenizer_config.json"
    values = json.loads(path.read_text())
    del values["pad_token"]
    path.write_text(json.dumps(values))
    tokenizer = load(str(copy), CPU, "base").tokenizer
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


# --- one vocabulary -------------------------------------------------------------------------------


def changed(folder: Path, to: Path, change: Any) -> LanguageModel:
    """The model with another tokenizer.json."""
    shutil.copytree(folder, to)
    path = to / "tokenizer.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values), encoding="utf-8")
    return load(str(to), CPU, "base")


def test_one_tokenizer_in_two_models_is_shared(tiny_model):
    one, other = (load(str(tiny_model(kind)), CPU, "base") for kind in ("llama", "gpt2"))
    require_shared_tokenizer(one, other, "Take another.")
    require_shared_tokenizer(other, one, "Take another.")


def test_rows_that_no_token_has_do_not_matter(tiny_model):
    """Qwen2.5 0.5B has 151,936 rows and 7B 152,064; the tokenizer has fewer."""
    one, other = (load(str(tiny_model("llama")), CPU, "base") for _ in range(2))
    one.lm.resize_token_embeddings(1200)
    require_shared_tokenizer(one, other, "Take another.")
    require_shared_tokenizer(other, one, "Take another.")


def test_tokens_beyond_the_shared_rows_do_not_matter(tiny_model):
    one, other = (load(str(tiny_model("llama")), CPU, "base") for _ in range(2))
    one.tokenizer.add_tokens(["more", "tokens"])
    one.lm.resize_token_embeddings(len(one.tokenizer))
    require_shared_tokenizer(one, other, "Take another.")


def test_a_token_of_another_meaning_is_named(tiny_model, tmp_path):
    def swap(values: Any) -> None:
        vocabulary = values["model"]["vocab"]
        vocabulary["ou"], vocabulary["iv"] = vocabulary["iv"], vocabulary["ou"]

    one = load(str(tiny_model("llama")), CPU, "base")
    other = changed(tiny_model("llama"), tmp_path / "other", swap)
    with pytest.raises(LabError, match=r"differ in 2 ids .*'ou' and 'iv'.*Take another"):
        require_shared_tokenizer(one, other, "Take another.")


def test_a_special_token_of_another_meaning_is_named(tiny_model, tmp_path):
    """As in R1-Distill-Qwen, which gives other meanings to ids that Qwen has."""

    def rename(values: Any) -> None:
        for token in values["added_tokens"]:
            token["content"] = token["content"].replace("<think>", "<reason>")

    one = load(str(tiny_model("llama")), CPU, "base")
    other = changed(tiny_model("llama"), tmp_path / "other", rename)
    with pytest.raises(LabError, match="'<think>' and '<reason>'"):
        require_shared_tokenizer(one, other, "Take another.")


def test_another_end_token_is_named(tiny_model):
    """A base model and its instruct model have the same ids and other end tokens."""
    one, other = (load(str(tiny_model("llama")), CPU, "base") for _ in range(2))
    other.tokenizer.eos_token = "</answer>"
    with pytest.raises(LabError, match="end tokens: '<eos>' and '</answer>'"):
        require_shared_tokenizer(one, other, "Take another.")
