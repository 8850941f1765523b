"""Stage 3: pruned models are trained again, as many steps by KL to the dense model as by CE alone.

The KL is Hinton's, on every token of the reviews, or of the dense model's own answers, with the
dense model as the teacher (Minitron, arXiv 2407.14679, section 3, retrains so). CE is its control:
the same texts in the same order, the same steps. Masks are kept, so that what recovers is as sparse
as what was pruned.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from distill_lab.losses.distillation import Objective
from distill_lab.models.backend import start_on
from distill_lab.models.loading import LanguageModel, for_training, load, require_known_head
from distill_lab.models.pruning.masks import KeepMasks, Masks
from distill_lab.pipeline.pruning.records import (
    DENSE,
    MASKS,
    ModelsFolder,
    PruningFolder,
    Recovery,
    Variant,
    recovered,
)
from distill_lab.pipeline.pruning.settings import PruningConfig, TaskConfig
from distill_lab.pipeline.pruning.training import (
    KlSettings,
    hyperparameters_of,
    learnt_texts,
    train_and_save,
)


def run(config: PruningConfig, out: Path) -> bool:
    """Writes recovered/<method>/<kl or ce>-<seed>/model and log.jsonl. False if all were there."""
    folder = PruningFolder(out)
    todo = [variant for variant in recovered(config) if not folder.model(variant).exists()]
    for variant in todo:  # said before the first one's minutes
        folder.require_model(Variant(variant.method))
    for n, variant in enumerate(todo, 1):
        assert variant.recovery is not None
        before, place = folder.of(Variant(variant.method)), folder.of(variant)
        title = f"recover {n}/{len(todo)} {variant.title}"
        settings = config.recover
        recover_into(place, before, variant.recovery, variant.seed, settings, config, folder, title)
    return bool(todo)


def recover_into(
    place: Path,
    before: Path,
    recovery: Recovery,
    seed: int,
    settings: KlSettings,
    config: TaskConfig,
    folder: ModelsFolder,
    title: str,
    begin: Callable[[LanguageModel], None] | None = None,
    save: Callable[[str, LanguageModel, Path], None] | None = None,
) -> None:
    """Trains the model that lies in the folder `before`, by KL to the dense one or by CE alone, and
    writes it into `place`. `begin` changes it before its steps, `save` writes it otherwise than
    `train_and_save` does."""
    backend = start_on(config.runtime.as_of_a_run(), 0, folder.path)
    pruned = load(str(before / "model"), backend, "base", whole=True)
    require_known_head(pruned)
    by_kl = recovery == "kl"
    teacher = load(str(folder.require_model(DENSE)), backend, "teacher") if by_kl else None
    masks = before / MASKS
    student = for_training(pruned, 0)
    if begin:
        begin(student)
    train_and_save(
        student,
        learnt_texts(config, folder, pruned.tokenizer),
        Objective(alpha=1.0 if by_kl else 0.0, temperature=settings.temperature),
        teacher,
        hyperparameters_of(settings, seed, config.runtime, backend.dtype),
        place,
        title,
        KeepMasks(Masks.load(masks)) if masks.exists() else None,
        save,
    )
