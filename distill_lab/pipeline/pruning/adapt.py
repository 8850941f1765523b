"""Stage 1: the model learns the task before it is pruned, unless it has learnt it already.

A model that says one label for most reviews has little to lose: its accuracy would tell nothing of
what pruning breaks. (Minitron calls the same step teacher correction: arXiv 2408.11796, section 3.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from distill_lab.losses.distillation import Objective
from distill_lab.models.backend import Backend, start_on
from distill_lab.models.loading import LanguageModel, for_training, load
from distill_lab.models.pruning.layout import prunable
from distill_lab.pipeline.data import draw
from distill_lab.pipeline.pruning.records import DENSE, PruningFolder
from distill_lab.pipeline.pruning.settings import PruningConfig
from distill_lab.pipeline.pruning.training import (
    hyperparameters_of,
    label_examples,
    save_whole,
    train_and_save,
)
from distill_lab.run.folder import RecordFile
from distill_lab.run.records import LabError
from distill_lab.run.settings import BUNDLED
from distill_lab.sampling.label_logits import label_logits
from distill_lab.tasks.sst2.reviews import LoadedReviews, Review, load_reviews
from distill_lab.tasks.sst2.scores import accuracy

ASKED = 400  # training reviews on which it is seen whether a model has learnt the task


def run(config: PruningConfig, out: Path) -> bool:
    """Writes reviews.train.jsonl, reviews.eval.jsonl and dense/model. False if all were there."""
    folder = PruningFolder(out)
    reviews = _draw_reviews(config, folder)
    if folder.model(DENSE).exists():
        return False
    backend = start_on(config.runtime.as_of_a_run(), 0, out)
    model = load_dense(config, backend)
    prunable(model)  # a layout that cannot be pruned is named before the minutes of training
    found = _accuracy(model, reviews, config)
    enough = config.adapt.enough
    of = f"of {min(ASKED, len(reviews))} training reviews it labels {found:.1f} % rightly"
    learnt = found >= enough
    if learnt:
        reason = f"{of}, and {enough:g} % are enough: taken as it is"
        save_whole(model, folder.of(DENSE))
    else:
        reason = f"{of}, and {enough:g} % would be enough: fine-tuned on the task"
        print(f"adapt: {config.model.name}: {reason}", flush=True)
        _fine_tune(model, reviews, config, backend, folder)
    folder.run.write_note("adapt", {"accuracy": found, "adapted": not learnt, "reason": reason})
    if learnt:
        print(f"adapt: {config.model.name}: {reason}", flush=True)
    return True


def load_dense(config: PruningConfig, backend: Backend) -> LanguageModel:
    """The model that the settings name, before anything is done to it."""
    name = config.model.name
    role = "sst2" if name == BUNDLED else "base"  # of the bundled models the one for this task
    return load(name, backend, role, whole=not config.model.lora_rank)


def _accuracy(model: LanguageModel, reviews: Sequence[Review], config: PruningConfig) -> float:
    asked = draw(reviews, ASKED, config.data.seed)
    logits = label_logits(model, asked, config.runtime.batch, "adapt: has it learnt the task?")
    return round(fmean(accuracy(logits, [review.label for review in asked])), 2)


def _fine_tune(
    model: LanguageModel,
    reviews: Sequence[Review],
    config: PruningConfig,
    backend: Backend,
    folder: PruningFolder,
) -> None:
    """CE on the label word alone: what the task asks."""
    settings = config.adapt
    hyperparameters = hyperparameters_of(settings, settings.seed, config.runtime, backend.dtype)
    examples = label_examples(reviews, model.tokenizer)
    student = for_training(model, config.model.lora_rank)
    train_and_save(student, examples, Objective(), None, hyperparameters, folder.of(DENSE), "adapt")


def _draw_reviews(config: PruningConfig, folder: PruningFolder) -> list[Review]:
    """Writes the two sets, prints their sizes, and returns the one that is trained on. No review of
    it is asked again in the evaluation, so both may come from one file."""
    settings = config.data
    train = load_reviews(settings.train, "train", settings.strict)
    held_out = load_reviews(settings.eval, "validation", settings.strict)
    chosen = draw(train.reviews, settings.n_train, settings.seed)
    ids = {review.id for review in chosen}
    others = [review for review in held_out.reviews if review.id not in ids]
    if not others:
        raise LabError(
            f"--data.eval {settings.eval}: expected reviews that are not trained on, found none. "
            "Choose another set, or draw fewer with --data.n-train."
        )
    evaluated = draw(others, settings.n_eval, settings.seed)
    _say("train", settings.train, train, chosen, settings.n_train)
    overlap = len(held_out.reviews) - len(others)
    _say("eval", settings.eval, held_out, evaluated, settings.n_eval, overlap)
    made = [path for path in (folder.of(DENSE), folder.all_scores) if path.exists()]
    for file, reviews, source in (
        (folder.train_reviews, chosen, settings.train),
        (folder.eval_reviews, evaluated, settings.eval),
    ):
        _require_same(file, reviews, source, made)
        file.write(reviews)
    return chosen


def _require_same(
    file: RecordFile[Review], reviews: Sequence[Review], source: str, made: Sequence[Path]
) -> None:
    """LabError where models or scores were made from other reviews: the source has changed."""
    if made and file.path.exists() and file.read() != [*reviews]:
        raise LabError(
            f"{made[-1]}: expected what was made from the reviews that {source} has, found what "
            "was made from others; it has changed since. Choose another --out."
        )


def _say(
    name: str,
    source: str,
    loaded: LoadedReviews,
    chosen: Sequence[Review],
    n: int,
    overlap: int = 0,
) -> None:
    """One line: nothing disappears without a count."""
    line = f"{name:5} {source}: {len(chosen):,} reviews, of {len(loaded.reviews):,} good ones"
    if n > len(chosen):
        line += f" ({n:,} were asked for: all are used)"
    if loaded.problems:
        line += f"; {loaded.n_bad} left out: {loaded.summary()}"
    if overlap:
        line += f"; {overlap} left out that are trained on"
    print(line, flush=True)
