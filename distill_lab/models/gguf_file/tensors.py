"""Which tensors a GGUF file has, in which type, and how many bytes they take.

Known is Llama's layout with rope as it came first. Matrices take the file's type, vectors float32,
as in llama.cpp's converter; a matrix whose rows are no whole number of blocks stays float16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, MODEL_ARCH, GGMLQuantizationType, get_tensor_name_map
from torch import Tensor

from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.layout import blocks, distinct_parameters, text_config
from distill_lab.models.quantization.gguf_blocks import BLOCK, q4_0_block, q8_0_block
from distill_lab.run.records import LabError

FileType = Literal["f16", "q8_0", "q4_0"]
_TO_BYTES: dict[GGMLQuantizationType, Callable[[Tensor], Tensor]] = {
    GGMLQuantizationType.Q8_0: q8_0_block,
    GGMLQuantizationType.Q4_0: q4_0_block,
}


@dataclass(frozen=True, slots=True)
class FileTensor:
    """A weight by its name in the file. `n_heads` is not 0 where its rows change their order."""

    name: str
    weight: Tensor
    kind: GGMLQuantizationType
    n_heads: int

    @property
    def n_bytes(self) -> int:
        """Bytes in the file, without what aligns the next tensor."""
        block, size = GGML_QUANT_SIZES[self.kind]
        return self.weight.numel() // block * size

    def as_array(self) -> np.ndarray:
        """What is written. LabError for numbers that float16 does not have: scales are float16."""
        weight = self.weight.detach().float().cpu()
        largest = weight.abs().max().item()
        if not largest <= torch.finfo(torch.float16).max:  # NaN is not
            raise LabError(
                f"GGUF: expected finite weights of at most 65,504, as float16 has them; found "
                f"{largest:g} in {self.name}. Export --to merged."
            )
        if self.n_heads:
            weight = llama_rows(weight, self.n_heads)
        if to_bytes := _TO_BYTES.get(self.kind):
            made = to_bytes(weight.reshape(len(weight), -1, BLOCK))  # (out, in / 32, bytes)
            return made.flatten(1).numpy()
        return weight.numpy().astype("f2" if self.kind is GGMLQuantizationType.F16 else "f4")


def file_tensors(model: LanguageModel, file_type: FileType) -> list[FileTensor]:
    """All tensors in the order of the file, a tied head not among them. LabError for another type,
    and for a model that is packed, carries an adapter, or has a layout that is not known."""
    if file_type not in get_args(FileType):
        known = ", ".join(get_args(FileType))
        raise LabError(f"GGUF: expected one of {known}; found {file_type!r}. Name one.")
    layers, config = blocks(model), text_config(model)
    if problem := layout_problem(model):
        raise LabError(f"GGUF: expected {problem}. Export it with llama.cpp: --converter.")
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, len(layers))
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    made = []
    for name, weight in distinct_parameters(model).items():
        known = names.get_name(name, try_suffixes=(".weight",))
        assert known, f"Llama's layout has no {name}"
        made.append(
            FileTensor(known, weight, _kind(weight, file_type), heads.get(name.split(".")[-2], 0))
        )
    return made


def predict_size(model: LanguageModel, file_type: FileType) -> int:
    """Bytes of all tensors in the file; the tokenizer's texts come to it (`text_bytes`)."""
    return sum(tensor.n_bytes for tensor in file_tensors(model, file_type))


def left_in_float16(model: LanguageModel, file_type: FileType) -> list[str]:
    """Names in the file of the matrices that stay float16, as 32 does not divide their width."""
    if file_type == "f16":
        return []
    tensors = file_tensors(model, file_type)
    return [tensor.name for tensor in tensors if tensor.kind is GGMLQuantizationType.F16]


def layout_problem(model: LanguageModel) -> str | None:
    """What was expected of the layout and found otherwise; None for Llama's."""
    config: Any = text_config(model)
    if config.model_type != "llama":
        return f"Llama's layout, found {config.model_type}"
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope != "default":
        return f"rope without scaling, found {rope}"
    if config.attention_bias or config.mlp_bias:
        return "linears without bias, found some with it"
    return None


def llama_rows(weight: Tensor, n_heads: int) -> Tensor:
    """Rows of q_proj or k_proj (out, in) as llama.cpp turns them with rope.

    transformers turns dimension i of a head with i + d/2, llama.cpp 2i with 2i + 1: the halves of
    each head are interleaved (`LlamaModel.permute` of its converter).
    """
    n_out, n_in = weight.shape
    halves = weight.reshape(n_heads, 2, n_out // n_heads // 2, n_in)
    return halves.swapaxes(1, 2).reshape(n_out, n_in)


def _kind(weight: Tensor, file_type: FileType) -> GGMLQuantizationType:
    if weight.ndim < 2:
        return GGMLQuantizationType.F32
    wanted = GGMLQuantizationType[file_type.upper()]
    whole = weight.shape[-1] % GGML_QUANT_SIZES[wanted][0] == 0
    return wanted if whole else GGMLQuantizationType.F16
