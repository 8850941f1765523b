"""A model that we quantized, on disk: codes without gaps between them, float16 scales, and all that
was not quantized as it is. The bytes of the file are those that `size_bytes` counts.

One safetensors file; what its tensors are stands in its header.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from distill_lab.models.quantization.quantize import Quantized, dequantize
from distill_lab.models.quantization.scheme import Scheme
from distill_lab.run.records import LabError

FILE = "model.packed.safetensors"
_HEADER = "distill_lab.quantized"


def write_packed(
    plain: Mapping[str, Tensor], quantized: Mapping[str, Quantized], folder: Path
) -> None:
    """Writes a model's weights by their names: those that are `plain`, and the quantized ones.
    LabError for a scale that float16 does not have."""
    tensors, header = {name: tensor.contiguous() for name, tensor in plain.items()}, {}
    for name, made in quantized.items():
        header[name] = {"shape": list(made.codes.shape), **dataclasses.asdict(made.scheme)}
        for part, tensor in _parts(name, made).items():
            tensors[f"{name}.{part}"] = tensor
    save_file(tensors, folder / FILE, {"format": "pt", _HEADER: json.dumps(header)})


def read_packed(location: str | Path) -> dict[str, Tensor] | None:
    """All weights of a model that `write_packed` wrote, dequantized in float32; None where the
    folder holds no such file. LabError for one that cannot be read."""
    path = Path(location) / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        made = {name: _weight(name, dict(of), tensors) for name, of in header.items()}
    except (SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise LabError(
            f"{path}: expected the weights of a quantized model, found {type(error).__name__} in "
            "reading it. Quantize the model again."
        ) from None
    return tensors | made


def _parts(name: str, made: Quantized) -> dict[str, Tensor]:
    """What is stored of a weight."""
    scheme = made.scheme
    parts = {"codes": _packed(made.codes, scheme), "scale": _half(made.scale, name)}
    if not scheme.symmetric:
        parts["zero_point"] = _packed(made.zero_point.int(), scheme)
    if made.factors is not None and bool((made.factors != 1).any()):
        parts["factors"] = _half(made.factors, name)
    return parts


def _weight(name: str, of: dict[str, Any], tensors: dict[str, Tensor]) -> Tensor:
    """The weight (out, in); what is stored of it is taken out of `tensors`."""
    n_out, n_in = of.pop("shape")
    scheme = Scheme(**of)
    n_scales = scheme.n_scales((n_out, n_in))
    codes = _unpacked(tensors.pop(f"{name}.codes"), n_out * n_in, scheme).reshape(n_out, n_in)
    scale = tensors.pop(f"{name}.scale").float()[:, None]
    zero_point = torch.zeros_like(scale)
    if not scheme.symmetric:
        zero_point = _unpacked(tensors.pop(f"{name}.zero_point"), n_scales, scheme)[:, None]
    factors = tensors.pop(f"{name}.factors", None)
    factors = None if factors is None else factors.float()
    return dequantize(Quantized(codes, scale, zero_point, scheme, factors))


def _packed(codes: Tensor, scheme: Scheme) -> Tensor:
    """Codes one after another, the highest bit of each first, as uint8."""
    least, _ = scheme.code_range
    numbers = (codes.cpu().flatten() - least).numpy().astype(np.uint16)
    bits = numbers[:, None] >> np.arange(scheme.bits - 1, -1, -1, dtype=np.uint16) & 1
    return torch.from_numpy(np.packbits(bits.astype(np.uint8)))


def _unpacked(stored: Tensor, n: int, scheme: Scheme) -> Tensor:
    """n codes, int32."""
    bits = np.unpackbits(stored.numpy(), count=n * scheme.bits).reshape(n, scheme.bits)
    powers = 1 << np.arange(scheme.bits - 1, -1, -1, dtype=np.int32)
    return torch.from_numpy(bits @ powers).int() + scheme.code_range[0]


def _half(numbers: Tensor, name: str) -> Tensor:
    made = numbers.detach().cpu().flatten().half()
    if not made.isfinite().all():
        raise LabError(
            f"{name}: expected scales of at most 65,504, as float16 has them; found "
            f"{numbers.max().item():g}. Quantize with more bits."
        )
    return made
