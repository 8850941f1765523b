"""Where the parts that can be pruned lie in a causal LM: its blocks, and the linears in them.

Known is what Llama, Mistral, Qwen2, Qwen3 and Gemma share: a decoder with `layers`, whose weight
matrices are all `nn.Linear`. Embeddings, the output head (tied to them or not) and norms lie
outside the blocks or are no matrices, and so are never named here.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from distill_lab.models.loading import LanguageModel, decoder
from distill_lab.run.records import LabError

KNOWN = "the layout of Llama, Mistral, Qwen2, Qwen3 or Gemma"


def blocks(model: LanguageModel) -> nn.ModuleList:
    """The decoder's blocks, in order. LabError for a layout that we do not know, weights of 4 or 8
    bits, and an adapter that is not merged."""
    _require_plain(model)
    layers: Any = getattr(decoder(model.lm), "layers", None)
    if not isinstance(layers, nn.ModuleList) or not len(layers):
        raise _unknown(model, f"no decoder blocks under `layers` in {_kind(decoder(model.lm))}")
    for index, block in enumerate(layers):
        if problem := _problem(block):
            raise _unknown(model, f"{problem} in block {index}")
    return layers


def prunable(model: LanguageModel) -> dict[str, nn.Linear]:
    """The linears of all blocks by their names in the model, block by block. LabError as `blocks`
    has it."""
    inside = {id(module) for block in blocks(model) for module in block.modules()}
    return {
        name: module
        for name, module in model.lm.named_modules()
        if isinstance(module, nn.Linear) and id(module) in inside
    }


def names_by_block(model: LanguageModel) -> list[dict[str, nn.Linear]]:
    """`prunable`, apart for each block."""
    named = prunable(model)
    return [
        {name: linear for name, linear in named.items() if id(linear) in inside}
        for inside in ({id(module) for module in block.modules()} for block in blocks(model))
    ]


def distinct_parameters(model: LanguageModel) -> dict[str, Tensor]:
    """All parameters by name, a tied one once."""
    return dict(model.lm.named_parameters())  # torch names a shared one once


def text_config(model: LanguageModel) -> Any:
    """The config of the language model, in which its number of blocks and their width stand."""
    return model.lm.config.get_text_config()


def _require_plain(model: LanguageModel) -> None:
    """LabError for packed weights, whose numbers are codes, and for LoRA layers: what is merged
    later would fill the zeros again."""
    for name, parameter in model.lm.named_parameters():
        if "lora_" in name:
            raise LabError(
                f"Model {model.name!r}: expected plain weights, found an adapter that is not "
                f"merged ({name}). Merge it first: `distill-lab export --to merged`."
            )
        plain = type(parameter.data) is Tensor  # torchao packs behind a dtype of 16 bits
        if not plain or not parameter.is_floating_point():
            held = parameter.dtype if plain else type(parameter.data).__name__
            raise LabError(
                f"Model {model.name!r}: expected weights of 16 or 32 bits, found {name} packed "
                f"in {held}. Load it without 4-bit or 8-bit quantisation."
            )


def _problem(block: nn.Module) -> str | None:
    """What of a block is not as we know it; None where all is."""
    for name, module in block.named_modules():
        matrices = [p for p in module.parameters(recurse=False) if p.ndim > 1]
        if matrices and not isinstance(module, nn.Linear):
            return f"{name} of the type {_kind(module)}"
    for part in ("self_attn", "mlp"):
        inside = getattr(block, part, None)
        if not isinstance(inside, nn.Module):
            return f"no {part}"
        if not any(isinstance(module, nn.Linear) for module in inside.modules()):
            return f"no nn.Linear in {part}"
    return None


def _kind(module: nn.Module) -> str:
    return type(module).__name__


def _unknown(model: LanguageModel, found: str) -> LabError:
    return LabError(
        f"Model {model.name!r}: expected {KNOWN}, found {_kind(model.lm)} with {found}. "
        "Take another model."
    )
