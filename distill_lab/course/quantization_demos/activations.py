"""What flows through a model, rounded: real values to try scales on, and where outliers hurt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from distill_lab.course.quantization_demos.meters import kl_to_dense
from distill_lab.course.quantization_lab import QuantizationLab
from distill_lab.models.loading import LanguageModel
from distill_lab.models.pruning.calibration import Batch, hooked, inputs_of
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.quantization.quantize import rounded
from distill_lab.models.quantization.scheme import Per, Scheme
from distill_lab.models.quantization.sensitivity import input_outliers
from distill_lab.pipeline.pruning.prune import calibration

# Linears of a block that read one and the same input, or one of their own.
SITES = {
    "q, k and v": ("q_proj", "k_proj", "v_proj"),
    "o": ("o_proj",),
    "gate and up": ("gate_proj", "up_proj"),
    "down": ("down_proj",),
}


def own_answers_as_batches(lab: QuantizationLab, model: LanguageModel, n: int) -> list[Batch]:
    """n of the dense model's own answers to training questions, prompts included."""
    return calibration(model, n, lab.config, lab.folder)


def linear_inputs(model: LanguageModel, name: str, batches: Sequence[Batch]) -> Tensor:
    """What enters the linear of that name at all real tokens (n, in), float32."""
    real = [batch["attention_mask"].bool() for batch in batches]
    seen = inputs_of(model, name, batches)
    return torch.cat([x[at] for x, at in zip(seen, real, strict=True)]).float()


def values_to_round(lab: QuantizationLab, block: int = 1) -> dict[str, Tensor]:
    """Real values, as rows (G, n) that share a scale: a weight; what enters the MLP's last linear;
    and what its gate lets through, the SiLU of which is never below −0.28."""
    model = lab.model()
    batches, mlp = own_answers_as_batches(lab, model, 8), f"model.layers.{block}.mlp"
    gates = linear_inputs(model, f"{mlp}.gate_proj", batches)
    linears = prunable(model)
    gate, down = (linears[f"{mlp}.{name}"].weight.detach() for name in ("gate_proj", "down_proj"))
    return {
        "a weight": down.float(),
        "what enters that linear": linear_inputs(model, f"{mlp}.down_proj", batches),
        "what the gate lets through": torch.nn.functional.silu(gates @ gate.float().T),
    }


def rounded_inputs(lab: QuantizationLab, bits: int = 8, n: int = 8) -> list[tuple[Any, ...]]:
    """KL in nats a token when inputs of linears are rounded, and weights are not.

    First all inputs, with one scale for each token, then with one for a whole tensor. Then, with
    one for a tensor, each site: max|x| over median|x| (of all blocks the greatest), the KL with
    these inputs alone rounded, and with all but these. Last the same of what enters `down_proj` in
    the block where that ratio is greatest, and in the one where it is least.
    """
    model = lab.model()
    outliers = input_outliers(model, own_answers_as_batches(lab, model, n))
    parts = {site: _ending(outliers, kinds) for site, kinds in SITES.items()}
    down = sorted(_ending(outliers, ("down_proj",)), key=lambda name: outliers[name])
    parts |= {f"down, in block {_block(name)}": [name] for name in (down[-1], down[0])}
    asked: list[tuple[Per, list[str]]] = [("row", [*outliers])]
    asked.append(("tensor", [*outliers]))
    for names in parts.values():
        asked.append(("tensor", names))
        asked.append(("tensor", [name for name in outliers if name not in names]))
    found = [kl for kl, _ in kl_to_dense(lab, _with_rounded_inputs(model, bits, asked), n)]
    rows: list[tuple[Any, ...]] = [
        ("all linears, a scale for each token", None, found[0], None),
        ("all linears, a scale for the tensor", None, found[1], None),
    ]
    for number, (part, names) in enumerate(parts.items(), 1):
        most = max(outliers[name] for name in names)
        rows.append((part, most, found[2 * number], found[2 * number + 1]))
    return rows


def _ending(names: Iterable[str], kinds: tuple[str, ...]) -> list[str]:
    return [name for name in names if name.endswith(kinds)]


def _block(name: str) -> str:
    """The number of the block that a linear is in."""
    return name.split(".layers.")[1].split(".")[0]


def _with_rounded_inputs(
    model: LanguageModel, bits: int, asked: Sequence[tuple[Per, list[str]]]
) -> Iterator[LanguageModel]:
    """The model, each time with the inputs of other linears rounded as long as it is asked."""
    linears = prunable(model)
    for per, names in asked:
        rounding = _rounding(Scheme(bits, per=per))
        with hooked([linears[name].register_forward_pre_hook(rounding) for name in names]):
            yield model


def _rounding(scheme: Scheme) -> Any:
    def with_rounded(_: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = given[0]  # (B, T, in)
        return (rounded(x.reshape(-1, x.shape[-1]), scheme).reshape(x.shape), *given[1:])

    return with_rounded
