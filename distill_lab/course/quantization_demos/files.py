"""Models in files: what there is to count, what lies on disk, and what others read from it."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch

from distill_lab.course.quantization_lab import QuantizationLab
from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.layout import distinct_parameters, prunable
from distill_lab.models.quantization.gguf_blocks import (
    BLOCK,
    q4_0_block,
    q4_0_weights,
    q8_0_block,
    q8_0_weights,
)
from distill_lab.pipeline.quantizing.evaluate import file_bytes
from distill_lab.pipeline.quantizing.ways import parse

_BLOCKS = {"q8_0": (q8_0_block, q8_0_weights), "q4_0": (q4_0_block, q4_0_weights)}


def shapes_of(model: LanguageModel) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """The shape of each name in a model's state dict; and names that are only another name of a
    tensor, with the one that it is stored by."""
    stored = {id(tensor): name for name, tensor in distinct_parameters(model).items()}
    every = dict(model.lm.named_parameters(remove_duplicate=False))
    shapes = {name: tuple(tensor.shape) for name, tensor in every.items()}
    tied = {name: stored[id(t)] for name, t in every.items() if stored[id(t)] != name}
    return shapes, tied


def packing_of(model: LanguageModel, way: str) -> tuple[list[str], int, int]:
    """The names of the weights that are packed in this way (`round-4-g32`, `q8_0`), their bits, and
    how many share a scale, 0 for a row: all matrices in a GGUF file, the blocks' linears else."""
    if way == "q8_0":
        return [name for name, shape in shapes_of(model)[0].items() if len(shape) == 2], 8, BLOCK
    of = parse(way)
    return [f"{name}.weight" for name in prunable(model)], of.bits, of.group


def bytes_on_disk(lab: QuantizationLab, name: str) -> tuple[int, int]:
    """Bytes of the tensors in the file of a model of that name, and of the whole file."""
    folder = lab.files(name)
    path = next(p for p in folder.iterdir() if p.suffix in (".safetensors", ".gguf"))
    of_tensors = _gguf_bytes(path) if path.suffix == ".gguf" else _safetensors_bytes(path)
    return of_tensors, file_bytes(folder)


def _safetensors_bytes(path: Path) -> int:
    """The header says where each tensor begins and ends; its own length stands before it."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    places = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    return sum(end - begin for begin, end in places)


def _gguf_bytes(path: Path) -> int:
    from gguf import GGUFReader

    return sum(int(tensor.n_bytes) for tensor in GGUFReader(path).tensors)


@torch.no_grad()
def as_gguf_rounds(model: LanguageModel, file_type: str) -> LanguageModel:
    """The model, in place, with each matrix as this type's blocks round it, by our own functions
    and without a file."""
    to_bytes, to_weights = _BLOCKS[file_type]
    for parameter in distinct_parameters(model).values():
        if parameter.ndim == 2 and parameter.shape[1] % BLOCK == 0:
            made = to_weights(to_bytes(parameter.float().reshape(-1, BLOCK)))
            parameter.copy_(made.reshape(parameter.shape))
    return model


@torch.inference_mode()
def apart(one: LanguageModel, other: LanguageModel, text: str) -> float:
    """The largest difference between the logits of two models that read a text."""
    ids = torch.tensor([one.tokenizer(text)["input_ids"]])
    made = [m.lm(input_ids=ids.to(m.lm.device)).logits.float().cpu() for m in (one, other)]
    return (made[0] - made[1]).abs().max().item()
