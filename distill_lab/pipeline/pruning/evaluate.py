"""Stage 4: all models read the same held-out reviews; what each weighs and takes is measured.

A model that recovered has the zeros and the shape of the one that was pruned, so that only the
latter is timed, beside the dense model.
"""

from __future__ import annotations

import dataclasses
import json
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distill_lab.models.backend import Backend
from distill_lab.models.loading import LanguageModel, load
from distill_lab.models.pruning.ledger import ledger
from distill_lab.models.pruning.masks import Masks
from distill_lab.pipeline.pruning.reading import progress, read_reviews, review_batches
from distill_lab.pipeline.pruning.records import DENSE, PruningFolder, Variant, variants
from distill_lab.pipeline.pruning.settings import PruningConfig
from distill_lab.pipeline.pruning.speed import peak_bytes, timed
from distill_lab.pipeline.pruning.training import plain_backend
from distill_lab.run.records import write_text
from distill_lab.tasks.sst2.reviews import Review


def run(config: PruningConfig, out: Path) -> bool:
    """Writes scores/ and ledgers/ of all models. False if all were there."""
    folder = PruningFolder(out)
    reviews, asked = folder.eval_reviews.read(), variants(config)
    for variant in asked:  # said before the first one's minutes
        if not folder.scores(variant).path.exists():
            folder.require_model(variant)
    backend = plain_backend(config.runtime, out)
    scored = [_score(variant, reviews, config, folder, backend) for variant in asked]
    todo = [variant for variant in asked if not folder.ledger(variant).exists()]
    for variant in tqdm(todo, "evaluate bytes and time", unit="model") if todo else ():
        _count(variant, config, folder, backend)
    return any(scored) or bool(todo)


def _score(
    variant: Variant,
    reviews: list[Review],
    config: PruningConfig,
    folder: PruningFolder,
    backend: Backend,
) -> bool:
    """Writes what is missing of a model's scores, a batch at a time."""
    with folder.scores(variant).log() as log:
        existing = {score.review_id for score in log.records}
        if existing >= {review.id for review in reviews}:
            return False
        model = load(str(folder.require_model(variant)), backend, "student")
        batches = review_batches(reviews, model, config.runtime.batch)
        todo = [b for b in batches if not existing.issuperset(review.id for review in b)]
        title = f"evaluate {variant.name}" + (f", seed {variant.seed}" if variant.recovery else "")
        left = progress(todo, title, len(reviews) - sum(map(len, todo)))
        with closing(left):  # ends the progress bar's line, whatever is said after it
            for batch in left:
                log.append(s for s in read_reviews(model, batch) if s.review_id not in existing)
    return True


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
        found["speed"] = _speed(variant, model, config, folder, backend)
    write_text(folder.ledger(variant), json.dumps(found, indent=1) + "\n")


def _speed(
    variant: Variant,
    model: LanguageModel,
    config: PruningConfig,
    folder: PruningFolder,
    backend: Backend,
) -> dict[str, Any]:
    """Seconds a token of the model, and of the dense one in the same rounds."""
    if variant == DENSE:
        (own,), waited = timed([model], config.evaluate)
        beside = own
    else:
        dense = load(str(folder.require_model(DENSE)), backend, "teacher")
        (beside, own), waited = timed([dense, model], config.evaluate)
    return {"own": dataclasses.asdict(own), "dense": dataclasses.asdict(beside), "waited": waited}
