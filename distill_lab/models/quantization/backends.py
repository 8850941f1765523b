"""Back ends that compute with packed weights, beside our own codes: int8 by torchao, and NF4 by
bitsandbytes (Dettmers et al. 2023, arXiv 2305.14314), as transformers loads, saves and reloads
them.

What they write loads as any model does (`models.loading`): config.json names the back end.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from distill_lab.models.backend import Backend
from distill_lab.run.records import LabError

BackEnd = Literal["int8", "nf4"]
PACKAGES: dict[BackEnd, str] = {"int8": "torchao", "nf4": "bitsandbytes"}


def problem(kind: BackEnd) -> str | None:
    """Why the back end cannot be used here; None where it can."""
    package = PACKAGES[kind]
    if importlib.util.find_spec(package) is None:
        return f'{package} is not installed (pip install -e ".[quantization]")'
    return None


def save_by_back_end(model: Path, kind: BackEnd, backend: Backend, folder: Path) -> None:
    """Reads the model of a folder into the back end, and writes it packed into another, without
    its tokenizer.

    All linears but the head are packed: int8 with one scale a row, NF4 with one for 64 weights.
    LabError where the back end is not here.
    """
    if why := problem(kind):
        raise LabError(f"{kind}: expected {PACKAGES[kind]}, but {why}.")
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, backend.dtype)
    lm: Any = AutoModelForCausalLM.from_pretrained(
        model,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        device_map=backend.device,
        quantization_config=_settings(kind, dtype),
    )
    lm.save_pretrained(folder)


def _settings(kind: BackEnd, dtype: torch.dtype) -> Any:
    """What transformers is told of the back end."""
    from transformers import BitsAndBytesConfig, TorchAoConfig

    if kind == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    from torchao.quantization import Int8WeightOnlyConfig  # pyright: ignore[reportMissingImports]

    return TorchAoConfig(Int8WeightOnlyConfig())


def parts(parameter: Tensor) -> list[Tensor]:
    """The plain tensors that a parameter consists of: itself, or a back end's codes and scales."""
    if state := getattr(parameter, "quant_state", None):  # bitsandbytes
        return [parameter.data, state.absmax, state.code]
    if hasattr(parameter, "__tensor_flatten__"):  # torchao
        names, _ = parameter.__tensor_flatten__()  # type: ignore[operator]
        return [getattr(parameter, name) for name in names]
    return [parameter]


def n_weights(lm: nn.Module) -> int:
    """How many weights a model has, a tied one once; a packed one counts as what it stands for."""
    states = [(p, getattr(p, "quant_state", None)) for p in lm.parameters()]
    return sum(math.prod(state.shape) if state else p.numel() for p, state in states)


def held_tensors(lm: nn.Module) -> list[Tensor]:
    """All plain tensors of a model's parameters, a tied one once."""
    return [tensor for parameter in lm.parameters() for tensor in parts(parameter)]
