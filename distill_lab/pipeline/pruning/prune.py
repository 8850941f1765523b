"""Stage 2: pruned models, each made from the dense one by one method."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distill_lab.models.loading import LanguageModel, load
from distill_lab.models.pruning.blocks import block_influence, drop_blocks, least_influential
from distill_lab.models.pruning.calibration import Batch, id_batches
from distill_lab.models.pruning.neurons import cut_neurons
from distill_lab.models.pruning.prune import prune_weights
from distill_lab.pipeline.data import draw
from distill_lab.pipeline.pruning.methods import BLOCKS, NEURONS, Method
from distill_lab.pipeline.pruning.records import BLOCKS as BLOCKS_FILE
from distill_lab.pipeline.pruning.records import (
    DENSE,
    MASKS,
    ModelsFolder,
    PruningFolder,
    variants,
)
from distill_lab.pipeline.pruning.settings import PruningConfig, TaskConfig
from distill_lab.pipeline.pruning.training import learnt_texts, plain_backend, save_whole
from distill_lab.run.records import write_text


def run(config: PruningConfig, out: Path) -> bool:
    """Writes pruned/<method>/model, and masks or the blocks that went. False if all were there."""
    folder = PruningFolder(out)
    dense = str(folder.require_model(DENSE))
    pruned = [v for v in variants(config) if v.method and not v.recovery]
    todo = [variant for variant in pruned if not folder.model(variant).exists()]
    if not todo:
        return False
    backend = plain_backend(config.runtime, out)
    with tqdm(todo, desc="prune", unit="model") as bar:
        for variant in bar:
            bar.set_postfix_str(variant.name)
            assert variant.method is not None
            model = load(dense, backend, "base")
            batches = calibration(model, config.prune.n_calibration, config, folder)
            prune_into(folder.of(variant), model, variant.method, batches)
    return True


def calibration(
    model: LanguageModel, n: int, config: TaskConfig, folder: ModelsFolder
) -> list[Batch]:
    """So many whole texts of those that pruned models learn from: prompt and what follows it."""
    texts = learnt_texts(config, folder, model.tokenizer)
    drawn = draw(texts, n, config.data.seed)
    ids = [text.student_prompt + text.completion for text in drawn]
    return id_batches(model, ids, config.runtime.batch)


def prune_into(place: Path, model: LanguageModel, method: Method, batches: Sequence[Batch]) -> None:
    """Prunes the model in place, and writes it, and what went of it, into the folder `place`."""
    name, amount = method.name, method.amount
    if name == NEURONS:
        cut_neurons(model, _any(amount), batches)
    elif name == BLOCKS:
        _drop_blocks(model, _any(amount), batches, place / BLOCKS_FILE)
    else:
        masks = prune_weights(model, _any(name), _any(amount), batches)
        masks.save(place / MASKS)
    save_whole(model, place)


def _drop_blocks(model: LanguageModel, n: int, batches: Sequence[Batch], file: Path) -> None:
    """Takes out the n blocks of least influence."""
    influence = block_influence(model, batches)
    dropped = least_influential(influence, n)
    drop_blocks(model, dropped)
    found = {"influence": influence, "dropped": dropped}
    write_text(file, json.dumps(found) + "\n")


def _any(value: Any) -> Any:
    return value
