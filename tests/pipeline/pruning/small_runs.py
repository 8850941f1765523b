"""A small model with both label words, and the settings of a run of pruning that takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AddedToken, AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from distill_lab.pipeline.pruning.settings import (
    AdaptSettings,
    MeasureSettings,
    PrunedModelSettings,
    PruneSettings,
    PruningConfig,
    PruningDataSettings,
    PruningRuntime,
    RecoverSettings,
)
from distill_lab.run.settings import data_folder
from distill_lab.tasks.sst2.prompt import LABEL_WORDS

METHODS = ("magnitude-row:0.5", "magnitude-tensor:0.5", "wanda:0.5", "blocks:1", "neurons:0.5")
WORDS = {1: "fine funny warm clever", 0: "dull long cold clumsy"}


def small_model(folder: Path) -> Path:
    """A Llama of four blocks with random weights, saved in the folder."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(data_folder() / "tiny_models" / "teacher")
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in LABEL_WORDS])
    size: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4}
    size |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    config = AutoConfig.for_model(
        "llama", vocab_size=len(tokenizer), max_position_embeddings=256,
        tie_word_embeddings=True, **size, **ends,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def reviews_file(path: Path, n: int, start: int = 0) -> Path:
    """A file as GLUE's with `n` reviews, as many of each label, whose words tell it."""
    rows = ["sentence\tlabel"]
    for k in range(start, start + n):
        words = WORDS[k % 2].split()
        rows.append(f"film {k} is {words[k % 4]} and {words[(k // 4) % 4]}\t{k % 2}")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def small_config(folder: Path, methods: tuple[str, ...] = METHODS, **recover: Any) -> PruningConfig:
    """Settings of a run on files in this folder."""
    model = folder / "model"
    if not model.exists():
        small_model(model)
    train = reviews_file(folder / "train.tsv", 48)
    evaluated = reviews_file(folder / "dev.tsv", 20, start=100)
    recover = {"methods": ("wanda:0.5",), "seeds": 2, "steps": 3, **recover}
    return PruningConfig(
        data=PruningDataSettings(train=str(train), eval=str(evaluated)),
        model=PrunedModelSettings(str(model)),
        adapt=AdaptSettings(steps=4, batch_size=8),
        prune=PruneSettings(methods, n_calibration=16),
        recover=RecoverSettings(**recover, batch_size=8),
        evaluate=MeasureSettings(prompt_tokens=8, new_tokens=2, repeats=2, bootstrap=100),
        runtime=PruningRuntime(device="cpu", threads=1, batch=8, micro_batch=8, save_every=2),
    )
