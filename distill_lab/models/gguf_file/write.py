"""Writes the file, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_VERSION, GGUFWriter, LlamaFileType

from distill_lab.models.gguf_file.tensors import FileTensor, FileType, file_tensors
from distill_lab.models.gguf_file.vocabulary import add_vocabulary, vocabulary_problem
from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.layout import text_config
from distill_lab.run.records import LabError

_NUMBERS = {
    "f16": LlamaFileType.MOSTLY_F16,
    "q8_0": LlamaFileType.MOSTLY_Q8_0,
    "q4_0": LlamaFileType.MOSTLY_Q4_0,
}


def write_gguf(model: LanguageModel, path: Path, file_type: FileType, name: str) -> None:
    """A model of Llama's layout with its tokenizer as one file, under a `name` for people.

    LabError where the file is there already, and for a layout, a tokenizer or weights that do not
    fit; nothing is left then. Embedding and head take the type too ("pure" Q4_0), which
    llama.cpp's own quantizer keeps at 6 bits.
    """
    if path.exists():
        raise LabError(f"{path}: expected no file, found one. Remove it, or name another.")
    tensors = file_tensors(model, file_type)
    if problem := vocabulary_problem(model.tokenizer):
        raise LabError(f"GGUF: expected {problem}. Export it with llama.cpp: --converter.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    writer = GGUFWriter(partial, "llama")
    try:
        writer.add_type("model")
        writer.add_name(name)
        writer.add_file_type(_NUMBERS[file_type])
        writer.add_quantization_version(GGML_QUANT_VERSION)
        _add_shape(writer, text_config(model))
        add_vocabulary(writer, model.tokenizer, model.vocab_size)
        _write(writer, tensors)
        writer.close()
        partial.rename(path)
    finally:
        writer.close()
        partial.unlink(missing_ok=True)


def _add_shape(writer: GGUFWriter, config: Any) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _write(writer: GGUFWriter, tensors: list[FileTensor]) -> None:
    """The fields, then one tensor after another: only one is in memory twice."""
    for tensor in tensors:
        shape, kind = tuple(tensor.weight.shape), tensor.kind
        writer.add_tensor_info(
            tensor.name, shape, np.dtype(np.float32), tensor.n_bytes, raw_dtype=kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(tensor.as_array())
