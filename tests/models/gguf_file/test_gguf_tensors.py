"""A GGUF file's weights: transformers reads back what the package `gguf` says of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, quants
from gguf_texts import byte_level_tokenizer
from pruned_models import BUNDLED, deep, model
from tokenizers import Tokenizer, models
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from distill_lab.models.gguf_file.tensors import left_in_float16, predict_size
from distill_lab.models.gguf_file.vocabulary import text_bytes
from distill_lab.models.gguf_file.write import write_gguf
from distill_lab.models.loading import LanguageModel
from distill_lab.run.records import LabError
from distill_lab.run.settings import data_folder

TYPES = ("f16", "q8_0", "q4_0")


def read_back(path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()


def rounded_by_gguf(weight: torch.Tensor, file_type: str) -> torch.Tensor:
    if weight.ndim < 2:
        return weight
    wide = weight.shape[1] % 32 == 0
    kind = GGMLQuantizationType[file_type.upper() if wide else "F16"]
    return torch.from_numpy(quants.dequantize(quants.quantize(weight.numpy(), kind), kind))


@pytest.mark.parametrize(("file_type", "tied"), [("f16", True), ("q8_0", False), ("q4_0", True)])
def test_transformers_reads_the_weights_that_gguf_would_make(file_type, tied, tmp_path):
    """Two heads of keys for four of queries: a row in another place would be another weight."""
    of = deep("llama", tie_word_embeddings=tied)
    path = tmp_path / "new" / "student.gguf"
    write_gguf(of, path, file_type, "a student")
    back = read_back(path)
    assert back.config.tie_word_embeddings == tied
    made = dict(back.named_parameters())
    weights = dict(of.lm.named_parameters())
    assert made.keys() == weights.keys()
    for name, weight in weights.items():
        assert torch.equal(made[name], rounded_by_gguf(weight.detach(), file_type)), name
    assert [p.name for p in path.parent.iterdir()] == ["student.gguf"]


@pytest.mark.parametrize(("file_type", "apart"), [("f16", 1e-3), ("q8_0", 0.03)])
def test_logits_are_those_of_the_model_within_the_error_of_its_bits(file_type, apart, tmp_path):
    of = model(data_folder() / "tiny_models" / "teacher")
    path = tmp_path / "student.gguf"
    write_gguf(of, path, file_type, "a student")
    ids = torch.tensor(
        [BUNDLED("Anna has lived in Rome for 4 years. Where does she live?").input_ids]
    )
    with torch.no_grad():
        expected, made = of.lm(input_ids=ids).logits, read_back(path)(input_ids=ids).logits
    assert (made - expected).norm() < apart * expected.norm()


@pytest.mark.parametrize("file_type", TYPES)
@pytest.mark.parametrize("which", ["teacher", "base", "sst2"])
def test_the_tensors_bytes_are_predicted_exactly_and_the_files_nearly(which, file_type, tmp_path):
    of = model(data_folder() / "tiny_models" / which)
    path = tmp_path / "student.gguf"
    write_gguf(of, path, file_type, "a student")
    tensors = GGUFReader(path).tensors
    expected = predict_size(of, file_type)
    assert sum(int(tensor.n_bytes) for tensor in tensors) == expected
    texts = text_bytes(of.tokenizer, of.vocab_size)
    assert expected + texts < path.stat().st_size < 1.03 * (expected + texts)
    halves = [tensor.name for tensor in tensors if tensor.tensor_type.name == "F16"]
    assert left_in_float16(of, file_type) == ([] if file_type == "f16" else halves)
    assert bool(halves) == (which == "sst2" or file_type == "f16")  # sst2 is 48 wide


def test_bytes_by_hand():
    of = deep("llama", num_hidden_layers=1, tie_word_embeddings=True)
    matrices = 1000 * 32 + 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64  # the tied embedding once
    assert predict_size(of, "f16") == matrices * 2 + 3 * 32 * 4  # norms are float32
    assert predict_size(of, "q8_0") == matrices // 32 * 34 + 3 * 32 * 4
    assert predict_size(of, "q4_0") == matrices // 32 * 18 + 3 * 32 * 4


# --- what is refused, with nothing left behind ------------------------------------------------


def broken(value: float) -> LanguageModel:
    of = deep("llama")
    weights = dict(of.lm.named_parameters())
    weights["model.layers.3.mlp.up_proj.weight"].data[1, 2] = value
    return of


def words() -> LanguageModel:
    of = deep("llama")
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    return LanguageModel(of.lm, PreTrainedTokenizerFast(tokenizer_object=tokenizer), "words")


def packed() -> LanguageModel:
    of: Any = deep("llama")
    of.lm.model.layers[0].mlp.up_proj.weight = nn.Parameter(
        torch.zeros(1024, 1, dtype=torch.uint8), requires_grad=False
    )
    return of


LONG_ROPE = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
REFUSED = (
    (lambda: broken(float("nan")), "expected finite weights .* found nan in blk.3.ffn_up.weight"),
    (lambda: broken(1e5), "of at most 65,504, .* found 100000 in blk.3.ffn_up.weight"),
    (lambda: deep("qwen2"), "expected Llama's layout, found qwen2. Export it with llama.cpp"),
    (lambda: deep("llama", attention_bias=True), "expected linears without bias"),
    (lambda: deep("llama", rope_parameters=LONG_ROPE), "rope without scaling, found linear"),
    (words, "expected a tokenizer of byte-level BPE, found WordLevel after nothing"),
    (packed, "packed in torch.uint8"),
)


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_does_not_fit_is_refused_and_nothing_is_left(make, said, tmp_path):
    with pytest.raises(LabError, match=said) as error:
        write_gguf(make(), tmp_path / "student.gguf", "q8_0", "a student")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_another_type_is_refused(tmp_path):
    with pytest.raises(LabError, match="expected one of f16, q8_0, q4_0; found 'q5_0'"):
        write_gguf(deep("llama"), tmp_path / "student.gguf", "q5_0", "a student")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_stays_as_it_is(tmp_path):
    path = tmp_path / "student.gguf"
    path.write_text("another")
    with pytest.raises(LabError, match=re.escape(f"{path}: expected no file, found one.")):
        write_gguf(deep("llama"), path, "f16", "a student")
    assert path.read_text() == "another"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_kill_left_is_written_over(tmp_path):
    path = tmp_path / "student.gguf"
    path.with_name("student.gguf.partial").write_bytes(b"half a file" * 100_000)
    write_gguf(deep("llama"), path, "q4_0", "a student")
    assert list(tmp_path.iterdir()) == [path]
    assert GGUFReader(path).tensors


def test_rows_of_the_embedding_without_a_token_are_unused_tokens(tmp_path):
    tokenizer = byte_level_tokenizer()
    of = LanguageModel(deep("llama", vocab_size=1024).lm, tokenizer, "padded")
    write_gguf(of, tmp_path / "student.gguf", "f16", "a student")
    fields = GGUFReader(tmp_path / "student.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    assert len(tokens) == len(types) == 1024
    assert tokens[len(tokenizer)] == f"[PAD{len(tokenizer)}]"
    assert types[:4] == [3, 3, 3, 1]  # control, control, control, normal
    assert set(types[len(tokenizer) :]) == {5}
