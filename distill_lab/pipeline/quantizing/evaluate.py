"""Stage 4: all models answer the same questions, or read the same reviews; how far each is from the
dense model, what it weighs, and, where it computes in the form it is kept in, how fast it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distill_lab.models.backend import Backend
from distill_lab.models.loading import LanguageModel, load
from distill_lab.models.quantization.backends import n_weights
from distill_lab.pipeline.pruning.evaluate import score, speed
from distill_lab.pipeline.pruning.settings import TaskConfig
from distill_lab.pipeline.pruning.speed import peak_bytes
from distill_lab.pipeline.pruning.training import plain_backend
from distill_lab.pipeline.quantizing.closeness import compare, held_out_texts
from distill_lab.pipeline.quantizing.records import (
    Measured,
    QuantizationFolder,
    QuantizedModel,
    models,
)
from distill_lab.pipeline.quantizing.settings import QuantizationConfig
from distill_lab.run.records import write_text


def run(config: QuantizationConfig, out: Path) -> bool:
    """Writes scores/, closeness/ and ledgers/ of all models. False if all were there."""
    folder = QuantizationFolder(out)
    left_out = folder.left_out()
    asked = [model for model in models(config) if not (model.way and model.way.text in left_out)]
    return evaluate(asked, config, folder)


def evaluate(
    asked: Sequence[Measured],
    config: TaskConfig,
    folder: QuantizationFolder,
    all_timed: bool = False,
) -> bool:
    """The same of these models, the dense one first. `all_timed`: also those that are read back as
    floats, where their shapes differ."""
    for model in asked:  # said before the first one's minutes
        folder.require_model(model)
    backend = plain_backend(config.runtime, folder.path)
    entries, done = folder.entries(config.data.task)[1].read(), False
    for model in asked:
        as_kept = replace(backend, dtype=model.dtype or backend.dtype)
        done |= score(model, entries, config, folder, as_kept)
    dense = cache(lambda: _loaded(QuantizedModel(), folder, backend))  # if anything is missing
    for model in asked[1:]:
        done |= _compare(model, entries, dense, config, folder, backend)
    dense.cache_clear()
    todo = [model for model in asked if not folder.ledger(model).exists()]
    for model in tqdm(todo, "evaluate bytes and time", unit="model") if todo else ():
        _count(model, config, folder, backend, all_timed or model.computes)
    return done or bool(todo)


def _loaded(model: Measured, folder: QuantizationFolder, backend: Backend) -> LanguageModel:
    as_kept = replace(backend, dtype=model.dtype or backend.dtype)
    return load(str(folder.require_model(model)), as_kept, "student")


def _compare(
    model: Measured,
    entries: Sequence[Any],
    dense: Callable[[], LanguageModel],
    config: TaskConfig,
    folder: QuantizationFolder,
    backend: Backend,
) -> bool:
    """Writes what is missing of a model's distances. False if all were there."""
    with folder.closeness(model).log() as log:
        existing = {record.entry_id for record in log.records}
        if existing >= {entry.id for entry in entries}:
            return False
        texts = held_out_texts(config.data.task, folder, dense().tokenizer)
        title = f"evaluate KL of {model.title}"
        size = config.runtime.batch
        batches = compare(_loaded(model, folder, backend), dense(), texts, existing, size, title)
        with closing(batches):
            for batch in batches:
                log.append(record for record in batch if record.entry_id not in existing)
    return True


def _count(
    model: Measured, config: TaskConfig, folder: QuantizationFolder, backend: Backend, timed: bool
) -> None:
    """Writes what a model weighs and, where it is timed, what it takes."""
    found: dict[str, Any] = {"bytes": file_bytes(folder.require_model(model))}
    loaded = _loaded(model, folder, backend)
    found["parameters"] = n_weights(loaded.lm)
    if timed:
        found["peak_bytes"] = peak_bytes(loaded, config.evaluate)
        found["speed"] = speed(model, loaded, config, folder, backend)
    write_text(folder.ledger(model), json.dumps(found, indent=1) + "\n")


def file_bytes(folder: Path) -> int:
    """Bytes of the files that hold a model's weights; a GGUF file holds its tokenizer too."""
    kinds = (".safetensors", ".gguf")
    return sum(file.stat().st_size for file in folder.iterdir() if file.suffix in kinds)
