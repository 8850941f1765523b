"""Stage 4: the student learns from the kept traces, twice on the same examples.

Arm `sft` has alpha 0: what the paper did (section 2.4). Arm `kd` adds the temperature-softened KL
(Hinton et al. 2015), from a cache of the teacher's targets, so that it is run once and then gone. A
transformers Trainer does the work; the loss is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from transformers import Trainer, set_seed

from distill_lab.losses.distillation import Objective
from distill_lab.models.backend import start
from distill_lab.models.loading import (
    LanguageModel,
    for_training,
    load_model,
    load_tokenizer_only,
    require_known_head,
    save_student,
)
from distill_lab.pipeline.learning.teachers import (
    check_tokenizers,
    encode_for,
    reads_other_tokens,
    teacher_of,
)
from distill_lab.pipeline.learning.watching import (
    hold_out,
    watched_questions,
    watching,
    write_watched,
)
from distill_lab.run.arms import ARMS
from distill_lab.run.distributed import from_main
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import Example, LabError
from distill_lab.run.settings import Config, TrainSettings
from distill_lab.training.across_tokenizers import (
    AcrossTokenizersTrainer,
    in_words,
    shared_tokens,
)
from distill_lab.training.checkpoints import last_checkpoint, remove_checkpoints, write_log
from distill_lab.training.trainer import DistillationTrainer, Hyperparameters
from distill_lab.training.watch import HeldOut


def run(
    config: Config,
    out: Path,
    arms: Sequence[str] = tuple(ARMS),
    cache: Path | None = None,
    watch: bool = False,
) -> bool:
    """Writes students/<arm>/model and log.jsonl for these arms. False if all were there.

    `cache` is the folder of the teacher's targets, where it is not the run's own. `watch` has the
    students answer a few of the evaluation questions while they learn, for the report.
    """
    folder = RunFolder(out)
    examples = folder.examples.read()
    if not examples:
        raise LabError(
            f"{folder.examples.path}: expected kept traces, found none. "
            "Loosen --reject or sample more."
        )
    if config.train.cache == "sampled" and config.train.divergence != "forward-kl":
        raise LabError(
            "--train.cache sampled: expected --train.divergence forward-kl, found "
            f"{config.train.divergence}. Choose --train.cache topk or none."
        )
    todo = from_main(lambda: [arm for arm in arms if not folder.model(arm).exists()])
    if any(objective_of(arm, config.train).alpha for arm in todo):  # before any is trained
        check_tokenizers(config)
    held_out = hold_out(config, folder) if watch and todo else None
    for arm in todo:
        place = cache or folder.teacher_cache
        _train_arm(arm, examples, config, folder, place, watch, held_out)
    return bool(todo)


def objective_of(arm: str, settings: TrainSettings) -> Objective:
    """What an arm minimises: CE, and where its entry in `ARMS` says so the teacher's KL too."""
    alpha = settings.alpha if ARMS[arm].softened else 0.0
    return Objective(alpha, settings.temperature, settings.divergence, settings.beta)


def hyperparameters_of(config: Config, dtype: str) -> Hyperparameters:
    """How all arms are optimised; `dtype` is the backend's."""
    settings, runtime = config.train, config.runtime
    return Hyperparameters(
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        warmup=settings.warmup,
        weight_decay=settings.weight_decay,
        seed=settings.seed,
        micro_batch=runtime.micro_batch,
        dtype=dtype,
        save_every=runtime.save_every,
        steps=settings.steps,
    )


def _train_arm(
    arm: str,
    examples: Sequence[Example],
    config: Config,
    run: RunFolder,
    cache: Path,
    watch: bool,
    held_out: HeldOut | None,
) -> None:
    folder = run.student(arm)
    models, objective = config.models, objective_of(arm, config.train)
    backend = start(config, run.path)
    set_seed(config.train.seed)
    base = load_model("base", models, backend)
    require_known_head(base)
    tokenizer_only = load_tokenizer_only("teacher", models) if objective.alpha else None
    across = tokenizer_only is not None and reads_other_tokens(config, tokenizer_only, base)
    encoded = encode_for(config, examples, base, tokenizer_only, across)
    teacher = None
    if tokenizer_only:
        teacher = teacher_of(tokenizer_only, base, encoded, backend, config, cache)
    make_trainer: Callable[..., DistillationTrainer] = DistillationTrainer
    if across:
        assert tokenizer_only
        print(f"train {arm}: the teacher has another tokenizer; {in_words(encoded)}")
        hybrid = config.train.other_tokenizer == "hybrid"
        shared = shared_tokens(base, tokenizer_only) if hybrid else None
        make_trainer = partial(AcrossTokenizersTrainer, shared=shared)
    student = for_training(base, models.lora_rank)
    hyperparameters, title = hyperparameters_of(config, backend.dtype), f"train {arm}"
    questions = watched_questions(config, run, student) if watch else []
    trainer = make_trainer(
        student, encoded, objective, teacher, hyperparameters, folder, title,
        watching(questions, student, config, title, held_out),
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=from_main(lambda: last_checkpoint(folder)))
    from_main(lambda: write_watched(questions, trainer, config, run, arm))
    from_main(lambda: finish(student, trainer, run, arm))


def finish(student: LanguageModel, trainer: Trainer, run: RunFolder, arm: str) -> None:
    """Writes the log and the model, which has its name only once it is whole."""
    write_log(trainer, run.training_log(arm))
    partial = run.model(arm).with_suffix(".partial")
    save_student(student, partial)
    partial.rename(run.model(arm))
    remove_checkpoints(run.student(arm))
