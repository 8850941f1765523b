"""All that calls Unsloth: its import, loading, LoRA, and reading on from a cache.

Of Unsloth we use loading, kernels, LoRA, gradient checkpointing and saving. We do not use its fused
loss: with labels it returns an `EmptyLogits` in place of logits, and KL needs both models' logits.

Nor do we use the path that its Llama, Qwen and Mistral take for a single token
(`fast_forward_inference`): it keeps keys and values in buffers on the model from one call to the
next, and reads only the length of the cache that it is given. Rows that left a batch, or the next
batch, would go on with the keys of others. `read` calls the decoder instead, which keeps nothing,
so that the sampler is the same for every backend.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distill_lab.run.json_text import first_line
from distill_lab.run.records import LabError
from distill_lab.run.settings import cache_folder


def problem() -> str | None:
    """Why Unsloth cannot be used in this process; None where it can, and then it is imported.

    It changes transformers while it is imported, so it must come first.
    """
    if "unsloth" in sys.modules:
        return None
    if not all(importlib.util.find_spec(name) for name in ("unsloth", "unsloth_zoo")):
        return 'Unsloth is not installed (pip install -e ".[gpu]")'
    if "transformers" in sys.modules:
        return (
            "transformers was imported before Unsloth: begin a new process (a notebook: restart "
            "the kernel) with `import unsloth`"
        )
    try:
        _import()
    except Exception as error:  # it raises every kind: no GPU, a version too old, a broken torch
        return f"Unsloth cannot be imported here ({first_line(error)})"
    return None


def _import() -> None:
    # a file fetched from the hub at every load, to count users
    os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
    # else a folder of generated modules appears wherever a run is started
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(cache_folder() / "unsloth"))
    with quiet():
        importlib.import_module("unsloth")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences its banners, and its advice on tokenizers that we do not take from it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def load(
    location: str, config: Any, dtype: torch.dtype, device: str, four_bit: bool, whole: bool
) -> Any:
    """A causal LM in evaluation mode, from a folder or hub name; `config` is its text model's,
    `whole` says that all its weights will be trained.

    All the positions that the model has are Unsloth's `max_seq_length`: beyond that it cuts rows
    inside the forward pass, with no more than a warning.
    """
    from unsloth import FastLanguageModel  # type: ignore[import-not-found]

    with quiet():
        lm, _ = FastLanguageModel.from_pretrained(
            model_name=location,
            max_seq_length=config.max_position_embeddings,
            dtype=dtype,
            load_in_4bit=four_bit,
            full_finetuning=whole,
            device_map={"": _with_index(device)},
            offload_embedding=False,  # else they may move to the CPU
            fix_tokenizer=False,  # its tokenizer is not used: all backends have the same one
            trust_remote_code=False,
            use_exact_model_name=True,  # else 4 bits fetch another repository than the one named
        )
        _require_as_asked(lm, config.vocab_size, dtype, four_bit)
        FastLanguageModel.for_inference(lm)
    return lm.eval()


def _with_index(device: str) -> str:
    """`cuda` as `cuda:0`, or as whichever GPU is this process's own."""
    if torch.device(device) == torch.device("cuda"):
        return f"cuda:{torch.cuda.current_device()}"
    return device


def _require_as_asked(lm: Any, vocab_size: int, dtype: torch.dtype, four_bit: bool) -> None:
    """LabError where Unsloth loaded other weights than it was told to, which it at most prints."""
    is_four_bit = any(type(module).__name__ == "Linear4bit" for module in lm.modules())
    if four_bit and not is_four_bit:
        raise LabError(
            "--models.teacher-4bit: expected weights in 4 bits, found Unsloth without a "
            "bitsandbytes that works here. Install it, or leave the flag out."
        )
    if not is_four_bit and lm.dtype != dtype:
        raise LabError(
            f"--runtime.dtype: expected weights in {dtype}, found that Unsloth makes them "
            f"{lm.dtype} on this machine. Ask for that one."
        )
    rows = lm.get_input_embeddings().weight.shape[0]
    if rows != vocab_size:  # Unsloth adds rows, of anything, for a tokenizer with more tokens
        raise LabError(
            f"Expected a model of {vocab_size:,} tokens, found that Unsloth made it one of "
            f"{rows:,}. Take --runtime.backend transformers."
        )


def with_lora(lm: Any, rank: int, alpha: int, targets: str) -> Any:
    """The model with LoRA layers on `targets`, initialised from the seed that is set."""
    from peft import PeftModel
    from unsloth import FastLanguageModel  # type: ignore[import-not-found]

    # Unsloth asks here how the last model was loaded, which may have been the teacher
    os.environ["UNSLOTH_USE_NEW_MODEL"] = "0" if reads_itself(lm.base_model) else "1"
    os.environ["UNSLOTH_ENABLE_FULL_FINETUNING"] = "0"
    with quiet():
        made = FastLanguageModel.get_peft_model(
            lm,
            r=rank,
            lora_alpha=alpha,
            target_modules=targets,
            lora_dropout=0.0,
            bias="none",
            use_gradient_checkpointing="unsloth",
            random_state=torch.initial_seed() % 2**32,
        )
    assert isinstance(made, PeftModel), "Unsloth added no LoRA"
    return made


def save_gguf(folder: Path, dtype: str, dest: Path, file_type: str = "f16") -> None:
    """A folder's model as GGUF in `dest`, through llama.cpp, which Unsloth fetches and builds; f16
    stands for the 16 bits that the weights have."""
    from unsloth import FastLanguageModel  # type: ignore[import-not-found]

    lm, tokenizer = FastLanguageModel.from_pretrained(
        model_name=str(folder), dtype=getattr(torch, dtype), load_in_4bit=False
    )
    method = "bf16" if (file_type, dtype) == ("f16", "bfloat16") else file_type
    lm.save_pretrained_gguf(str(dest), tokenizer=tokenizer, quantization_method=method)


def loaded(lm: Any) -> bool:
    """Whether Unsloth loaded this model: then it has methods for its two modes."""
    return hasattr(lm, "for_training")


def for_training(lm: Any) -> Any:
    """Switches a model from inference to training."""
    from unsloth import FastLanguageModel  # type: ignore[import-not-found]

    return FastLanguageModel.for_training(lm)


def reads_itself(decoder: nn.Module) -> bool:
    """Whether Unsloth wrote this decoder's forward pass; the others, and all on its CPU backend,
    are transformers' own.
    """
    forward = type(decoder).forward
    # since 2026.10.9 the class has both, and a mark on the model says which it takes
    taken = not getattr(forward, "_unsloth_gated", False) or hasattr(decoder, "_unsloth_fast_path")
    return forward.__module__.startswith("unsloth.") and taken


def read(
    decoder: nn.Module, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any
) -> tuple[Tensor, Any]:
    """Hidden states (R, H) after the last of the next tokens `ids` (R, T), and the cache of all.

    Unsloth's decoder takes and returns (keys, values) a layer, whole and new each time; the cache
    gets this step's alone, so that one with room stays where it is.
    """
    from transformers import DynamicCache

    before = None if cache is None else tuple((x.keys, x.values) for x in cache.layers)
    out: Any = decoder(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=before,
        use_cache=True,
    )
    cache = DynamicCache() if cache is None else cache
    for layer, (keys, values) in enumerate(out.past_key_values):
        step = (..., slice(-ids.shape[1], None), slice(None))
        cache.update(keys[step], values[step], layer)
    return out.last_hidden_state[:, -1], cache


def logits_of(lm: Any, out: Any) -> Tensor:
    """The logits of a forward pass; LabError for what Unsloth may put in their place: an object
    with a shape where it computed the loss itself, or hidden states where it was told to.
    """
    made, vocab_size = out.logits, lm.get_output_embeddings().out_features
    if isinstance(made, Tensor) and made.shape[-1] == vocab_size:
        return made
    width = f" of {made.shape[-1]:,}" if isinstance(made, Tensor) else ""
    raise LabError(
        f"{type(lm).__name__}: expected logits of {vocab_size:,} tokens, found "
        f"{type(made).__name__}{width}. Unset UNSLOTH_RETURN_HIDDEN_STATES where it is set; else "
        "take --runtime.backend transformers."
    )
