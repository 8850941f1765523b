"""Small models for the tests of pruning and quantization, each with reviews of unequal length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import LanguageModel, load
from distill_lab.models.pruning.calibration import Batch
from distill_lab.run.settings import RuntimeSettings, data_folder

BUNDLED = PreTrainedTokenizerFast.from_pretrained(data_folder() / "tiny_models" / "teacher")
BACKEND = choose_backend(RuntimeSettings(device="cpu", dtype="float32"))


def model(name: str | Path) -> LanguageModel:
    return load(str(name), BACKEND, "student")


def rows(lengths: tuple[int, ...] = (5, 9, 3, 7, 12, 4)) -> list[Tensor]:
    """Token ids of one text each."""
    random = torch.Generator().manual_seed(0)
    return [torch.randint(4, 900, (length,), generator=random) for length in lengths]


def batch(texts: list[Tensor], width: int = 0, pad: int = 0) -> Batch:
    """Right-padded to `width`, or to the longest, with the token `pad`."""
    width = max(width, *(len(text) for text in texts))
    ids = torch.full((len(texts), width), pad)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def logits(of: LanguageModel, text: Tensor) -> Tensor:
    with torch.no_grad():
        return of.lm(input_ids=text[None]).logits[0]  # (T, V)


def deep(kind: str, **more: Any) -> LanguageModel:
    """A model of four blocks with random weights and the bundled tokenizer, in memory."""
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "head_dim": 8}
    size |= {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, **{"vocab_size": 1000, **ends, **size, **more})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        lm = AutoModelForCausalLM.from_config(config).eval()
    return LanguageModel(lm, BUNDLED, f"a {kind}")
