"""Stage 4: all models read the same held-out reviews, or answer the same held-out questions; what
each weighs and takes is measured.

A model that recovered has the zeros and the shape of the one that was pruned, so that only the
latter is timed, beside the dense model.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distill_lab.models.backend import Backend
from distill_lab.models.loading import LanguageModel, load
from distill_lab.models.pruning.ledger import ledger
from distill_lab.models.pruning.masks import Masks
from distill_lab.pipeline.pruning.reading.answers import score_answers
from distill_lab.pipeline.pruning.reading.reviews import score_reviews
from distill_lab.pipeline.pruning.records import (
    DENSE,
    Model,
    ModelsFolder,
    PruningFolder,
    Variant,
    variants,
)
from distill_lab.pipeline.pruning.settings import PruningConfig, TaskConfig
from distill_lab.pipeline.pruning.speed import peak_bytes, timed
from distill_lab.pipeline.pruning.training import plain_backend
from distill_lab.run.folder import RecordFile
from distill_lab.run.records import write_text


def run(config: PruningConfig, out: Path) -> bool:
    """Writes scores/ and ledgers/ of all models. False if all were there."""
    folder, asked = PruningFolder(out), variants(config)
    entries = folder.entries(config.data.task)[1].read()
    for variant in asked:  # said before the first one's minutes
        if not folder.scores(variant).path.exists():
            folder.require_model(variant)
    backend = plain_backend(config.runtime, out)
    scored = [score(variant, entries, config, folder, backend) for variant in asked]
    todo = [variant for variant in asked if not folder.ledger(variant).exists()]
    for variant in tqdm(todo, "evaluate bytes and time", unit="model") if todo else ():
        _count(variant, config, folder, backend)
    return any(scored) or bool(todo)


def score(
    variant: Model,
    entries: Sequence[Any],
    config: TaskConfig,
    folder: ModelsFolder,
    backend: Backend,
) -> bool:
    """Writes what is missing of a model's scores, a batch at a time. False if all were there."""
    on_questions = config.data.task == "squad"
    file: RecordFile[Any] = folder.answers(variant) if on_questions else folder.scores(variant)
    with file.log() as log:
        existing = {score.entry_id for score in log.records}
        if existing >= {entry.id for entry in entries}:
            return False
        model = load(str(folder.require_model(variant)), backend, "student")
        title = f"evaluate {variant.title}"
        if on_questions:
            dense = None if variant.place == DENSE.place else dense_answers(folder)
            batches = score_answers(model, entries, dense, existing, config, title)
        else:
            batches = score_reviews(model, entries, existing, config.runtime.batch, title)
        with closing(batches):  # ends the progress bar's line, whatever is said after it
            for batch in batches:
                log.append(score for score in batch if score.entry_id not in existing)
    return True


def dense_answers(folder: ModelsFolder) -> dict[str, str]:
    """The texts whose likelihood every model is asked for; the dense model is scored first."""
    return {score.question_id: score.completion for score in folder.answers(DENSE).read()}


def _count(
    variant: Variant, config: PruningConfig, folder: PruningFolder, backend: Backend
) -> None:
    """Writes what a model weighs, and of the dense and pruned ones what they take."""
    model = load(str(folder.require_model(variant)), backend, "student")
    kept = folder.masks(variant) if variant.method else None
    masks = Masks.load(kept) if kept and kept.exists() else None
    found: dict[str, Any] = dataclasses.asdict(ledger(model, masks))
    if variant.recovery is None:
        found["peak_bytes"] = peak_bytes(model, config.evaluate)
        found["speed"] = speed(variant, model, config, folder, backend)
    write_text(folder.ledger(variant), json.dumps(found, indent=1) + "\n")


def speed(
    variant: Model,
    model: LanguageModel,
    config: TaskConfig,
    folder: ModelsFolder,
    backend: Backend,
) -> dict[str, Any]:
    """Seconds a token of the model, and of the dense one in the same rounds."""
    if variant.place == DENSE.place:
        (own,), waited = timed([model], config.evaluate)
        beside = own
    else:
        dense = load(str(folder.require_model(DENSE)), backend, "teacher")
        (beside, own), waited = timed([dense, model], config.evaluate)
    return {"own": dataclasses.asdict(own), "dense": dataclasses.asdict(beside), "waited": waited}
