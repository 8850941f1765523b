"""Reviews as training examples, what a run's pruned models learn from, and one training from
examples to a saved model."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import TrainerCallback, set_seed

from distill_lab.losses.distillation import Objective
from distill_lab.models.backend import Backend, start_on
from distill_lab.models.loading import LanguageModel, save_student
from distill_lab.pipeline.pruning.reading.answers import own_answers
from distill_lab.pipeline.pruning.records import ModelsFolder
from distill_lab.pipeline.pruning.settings import PruningRuntime, TaskConfig
from distill_lab.run.folder import require_file
from distill_lab.run.json_files import read_json_lines
from distill_lab.run.records import LabError
from distill_lab.tasks.sst2.prompt import label_tokens, prompt_ids
from distill_lab.tasks.sst2.reviews import Review
from distill_lab.training.batches import Encoded
from distill_lab.training.checkpoints import last_checkpoint, remove_checkpoints, write_log
from distill_lab.training.trainer import DistillationTrainer, Hyperparameters


def plain_backend(runtime: PruningRuntime, out: Path) -> Backend:
    """The backend of what is not trained: plain torch on the same device, never Unsloth, whose
    kernels read a model's shape from elsewhere than its weights."""
    return replace(start_on(runtime.as_of_a_run(), 0, out), name="transformers")


def label_examples(reviews: Sequence[Review], tokenizer: Any) -> list[Encoded]:
    """Prompts with the label word as what is learnt: one token a review."""
    words = label_tokens(tokenizer)
    prompts = [prompt_ids(review, tokenizer) for review in reviews]
    return [
        Encoded(prompt, prompt, [words[review.label]])
        for prompt, review in zip(prompts, reviews, strict=True)
    ]


def text_examples(reviews: Sequence[Review], tokenizer: Any) -> list[Encoded]:
    """The same texts with all but the first token as what is learnt: pruning breaks the language
    too, and a training on label words alone would not mend it."""
    return [
        Encoded(whole.student_prompt[:1], whole.teacher_prompt[:1], _after_first(whole))
        for whole in label_examples(reviews, tokenizer)
    ]


def _after_first(example: Encoded) -> list[int]:
    return example.student_prompt[1:] + example.completion


def learnt_texts(config: TaskConfig, folder: ModelsFolder, tokenizer: Any) -> list[Encoded]:
    """What pruned models are calibrated on and recover on: reviews with their labels, or, for
    questions, the dense model's own answers."""
    if config.data.task == "squad":
        return own_answers(folder, tokenizer)
    return text_examples(folder.train_reviews.read(), tokenizer)


class StepSettings(Protocol):
    """What each stage that trains has settings of."""

    @property
    def steps(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def batch_size(self) -> int: ...


class KlSettings(StepSettings, Protocol):
    """And what each that trains by KL has."""

    @property
    def temperature(self) -> float: ...


def hyperparameters_of(
    settings: StepSettings, seed: int, runtime: PruningRuntime, dtype: str
) -> Hyperparameters:
    """How the steps of a stage are taken; `dtype` is the backend's."""
    return Hyperparameters(
        epochs=1,  # steps count, however many passes that takes
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        warmup=0.1,
        seed=seed,
        micro_batch=runtime.micro_batch,
        dtype=dtype,
        save_every=runtime.save_every,
        steps=settings.steps,
    )


def train_and_save(
    student: LanguageModel,
    examples: Sequence[Encoded],
    objective: Objective,
    teacher: LanguageModel | None,
    hyperparameters: Hyperparameters,
    folder: Path,
    title: str,
    callback: TrainerCallback | None = None,
    save: Callable[[str, LanguageModel, Path], None] | None = None,
) -> None:
    """Trains the student, going on from the last checkpoint in `folder`, and writes log.jsonl and
    model/ there, without LoRA layers beside its weights: `save` does, by default `save_in`, and is
    told the backend's dtype, as what was trained is float32. LabError where the training
    diverged."""
    set_seed(hyperparameters.seed)
    callbacks = [callback] if callback else []
    trainer = DistillationTrainer(
        student, examples, objective, teacher, hyperparameters, folder, title, callbacks
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    log = folder / "log.jsonl"
    write_log(trainer, log)
    _require_finite(log, folder)
    (save or save_in)(hyperparameters.dtype, _merged(student), folder)
    remove_checkpoints(folder)


def save_in(dtype: str, model: LanguageModel, folder: Path) -> None:
    """Writes `model` with the numbers' format of the one that it was made from: in float32 it would
    weigh twice as much as that."""
    lm: Any = model.lm
    save_whole(LanguageModel(lm.to(getattr(torch, dtype)), model.tokenizer, model.name), folder)


def save_whole(model: LanguageModel, folder: Path) -> None:
    """Writes `model` into the folder; it has this name only once it is whole."""
    write_whole(folder, lambda partial: save_student(model, partial))


def write_whole(folder: Path, write: Callable[[Path], object]) -> None:
    """The model/ in the folder that `write` fills; it has this name only once it is whole."""
    partial = folder / "model.partial"
    shutil.rmtree(partial, ignore_errors=True)  # a kill may have left one
    partial.mkdir(parents=True)
    write(partial)
    partial.rename(folder / "model")


def _require_finite(log: Path, folder: Path) -> None:
    """A model that diverged answers too, and at random."""
    rows = read_json_lines(require_file(log, "prune run"), "Train again in another --out")
    steps = [row["step"] for row in rows if not all(map(math.isfinite, row.values()))]
    if steps:
        remove_checkpoints(folder)
        raise LabError(
            f"{folder}: expected a finite loss and gradient, found NaN or infinity at step "
            f"{steps[0]}. Lower the learning rate."
        )


def _merged(student: LanguageModel) -> LanguageModel:
    """The model without LoRA layers beside its weights: the update is added in float32, as 16 bits
    would round most of it away, and the sum is rounded once, by `save_in`."""
    lm: Any = student.lm
    if not hasattr(lm, "merge_and_unload"):
        return student
    return LanguageModel(lm.float().merge_and_unload(), student.tokenizer, student.name)
