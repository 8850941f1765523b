"""Stage 4: the student learns from the kept traces, twice on the same examples.

Arm `sft` has alpha 0: what the paper did (section 2.4). Arm `kd` adds the temperature-softened KL
(Hinton et al. 2015), from a cache of the teacher's targets, so that it is run once and then gone. A
transformers Trainer does the work; the loss is ours.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformers import Trainer, set_seed

from distill_lab.losses.distillation import Objective
from distill_lab.models import unsloth_backend
from distill_lab.models.backend import Backend, start
from distill_lab.models.loading import (
    LanguageModel,
    TokenizerOnly,
    for_training,
    load_model,
    load_tokenizer_only,
    require_known_head,
    require_shared_tokenizer,
    save_student,
    tokenizer_difference,
)
from distill_lab.run.arms import ARMS
from distill_lab.run.distributed import from_main, is_main, size
from distill_lab.run.folder import RecordFile, RunFolder
from distill_lab.run.records import Example, LabError, Prediction, Question, write_text
from distill_lab.run.saved_settings import CACHE, PREDICTIONS, fingerprint
from distill_lab.run.settings import Config, TrainSettings
from distill_lab.sampling.decode import complete_all
from distill_lab.sampling.jobs import encoded, jobs_for, require_room
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.all_tasks import task_of
from distill_lab.tasks.prompts import answer_text
from distill_lab.training.across_tokenizers import (
    AcrossTokenizersTrainer,
    in_words,
    shared_tokens,
)
from distill_lab.training.batches import Encoded, encode_examples
from distill_lab.training.checkpoints import last_checkpoint, remove_checkpoints, write_log
from distill_lab.training.teacher_cache.build import RowFormat, TeacherCache, fill
from distill_lab.training.trainer import DistillationTrainer, Hyperparameters
from distill_lab.training.watch import HELD_OUT, WATCHED, HeldOut, Watch

WATCHED_QUESTIONS = 3
HELD_OUT_QUESTIONS = 16  # others, which the teacher answers


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
        reads_other_tokens(config, *(load_tokenizer_only(w, config.models) for w in _BOTH))
    held_out = _held_out(config, folder) if watch and todo else None
    for arm in todo:
        place = cache or folder.teacher_cache
        _train_arm(arm, examples, config, folder, place, watch, held_out)
    return bool(todo)


_BOTH = "teacher", "base"
_ADVICE = (
    "Name a method, --train.other-tokenizer uld or hybrid (with --train.cache none), or train on "
    "text alone: --train.alpha 0."
)


def reads_other_tokens(
    config: Config, teacher: LanguageModel | TokenizerOnly, student: LanguageModel | TokenizerOnly
) -> bool:
    """Whether the teacher has another tokenizer than the student. LabError where it has, and the
    settings name no method for that, or a cache, which has no use for it."""
    method, cache = config.train.other_tokenizer, config.train.cache
    if method == "refuse":
        require_shared_tokenizer(teacher, student, _ADVICE)
        return False
    other = tokenizer_difference(teacher, student) != ""
    if other and method == "uld" and config.train.alpha == 1:
        raise LabError(
            "--train.other-tokenizer uld: expected --train.alpha below 1, found 1. Sorted "
            "probabilities do not say which token has them: only the text does. Take 0.5."
        )
    if other and cache != "none":
        raise LabError(
            f"--train.other-tokenizer {method}: expected --train.cache none, as the probabilities "
            f"of all tokens are compared, found {cache}. Add it."
        )
    return other


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


def encode_for(
    config: Config,
    examples: Sequence[Example],
    student: LanguageModel | TokenizerOnly,
    teacher: LanguageModel | TokenizerOnly | None,
    across: bool = False,
) -> list[Encoded]:
    """The examples in the prompts of the run's task: the student's, and the teacher's if any;
    `across`: in its own tokens."""
    return encode_examples(
        examples,
        student.tokenizer,
        config.train.max_length,
        teacher.tokenizer if teacher else None,
        config.models.teacher_shots,
        task_of(config),
        across,
    )


def fill_teacher_cache(config: Config, out: Path, examples: Sequence[Example], cache: Path) -> None:
    """Makes the cache of the teacher's targets for these examples, or what is missing of it, so
    that trainings which share it only read. `out` is where the backend is noted."""
    backend = start(config, out)
    teacher, student = (load_tokenizer_only(who, config.models) for who in _BOTH)
    require_shared_tokenizer(teacher, student, _ADVICE)
    encoded = encode_for(config, examples, student, teacher)
    _teacher(teacher, student, encoded, backend, config, cache)


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
        teacher = _teacher(tokenizer_only, base, encoded, backend, config, cache)
    make_trainer: Callable[..., DistillationTrainer] = DistillationTrainer
    if across:
        assert tokenizer_only
        print(f"train {arm}: the teacher has another tokenizer; {in_words(encoded)}")
        hybrid = config.train.other_tokenizer == "hybrid"
        shared = shared_tokens(base, tokenizer_only) if hybrid else None
        make_trainer = partial(AcrossTokenizersTrainer, shared=shared)
    student = for_training(base, models.lora_rank)
    hyperparameters, title = hyperparameters_of(config, backend.dtype), f"train {arm}"
    questions = _watched_questions(config, run, student) if watch else []
    trainer = make_trainer(
        student, encoded, objective, teacher, hyperparameters, folder, title,
        _watching(questions, student, config, title, held_out),
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=from_main(lambda: last_checkpoint(folder)))
    from_main(lambda: _write_watched(questions, trainer, config, run, arm))
    from_main(lambda: finish(student, trainer, run, arm))


def _watched_questions(config: Config, run: RunFolder, student: LanguageModel) -> list[Question]:
    """The first evaluation questions; none where there are none."""
    if unsloth_backend.loaded(student.lm):
        print("train: nobody is asked while it learns, as that was never tried with unsloth")
        return []
    if not run.eval_questions.path.exists():
        return []
    return run.eval_questions.read()[:WATCHED_QUESTIONS]


def _watching(
    questions: Sequence[Question],
    student: LanguageModel,
    config: Config,
    title: str,
    held_out: HeldOut | None,
) -> list[Watch]:
    """In the first process alone, which writes the log."""
    if not questions or not is_main():
        return []
    jobs, most = jobs_for(questions, student.tokenizer, task=task_of(config)), config.evaluate
    ids = encoded(jobs, student.tokenizer)
    try:
        require_room(student.positions, student.name, jobs, ids, most.max_new_tokens)
    except LabError as error:
        print(f"{title}: nobody is asked while it learns. {error}")
        return []
    return [Watch(student, jobs, most.max_new_tokens, title, held_out)]


def _write_watched(
    questions: Sequence[Question], trainer: Trainer, config: Config, run: RunFolder, arm: str
) -> None:
    """What was said of each question at each step, graded; and the losses on what is held out."""
    grade, rows = task_of(config).grade, []
    history: list[dict[str, Any]] = trainer.state.log_history
    for said in (row for row in history if WATCHED in row):
        for question in (q for q in questions if q.id in said[WATCHED]):
            text = said[WATCHED][question.id]
            answer = answer_text(text)
            prediction = Prediction(question.id, 0, text, answer, grade(answer, question))
            rows.append({"step": said["step"], **dataclasses.asdict(prediction)})
    losses = [{"step": row["step"], **row[HELD_OUT]} for row in history if HELD_OUT in row]
    for path, lines in ((run.watched(arm), rows), (run.held_out_losses(arm), losses)):
        if lines:
            write_text(path, "".join(json.dumps(line) + "\n" for line in lines))


def _held_out(config: Config, run: RunFolder) -> HeldOut | None:
    """The teacher's answers to a few evaluation questions that no student is asked, and its targets
    there, made once. None where that would cost more than a moment, or cannot be compared."""
    backend, settings = start(config, run.path), config.train
    teacher, student = (load_tokenizer_only(who, config.models) for who in _BOTH)
    unlike = size() > 1 or backend.name == "unsloth" or tokenizer_difference(teacher, student)
    if unlike or not run.eval_questions.path.exists():
        return None
    cached = "topk" if settings.cache == "none" else settings.cache
    config = dataclasses.replace(config, train=dataclasses.replace(settings, cache=cached))
    folder = run.held_out / fingerprint(config, (*PREDICTIONS, *CACHE))
    answers = RecordFile(folder / "answers.jsonl", Example, "train")
    if not answers.path.exists():
        answers.write(_answers(config, run, backend))
    if not (examples := answers.read()):
        return None
    encoded = encode_for(config, examples, student, teacher)
    targets = _teacher(teacher, student, encoded, backend, config, folder / "targets")
    assert isinstance(targets, TeacherCache)
    objective = dataclasses.replace(objective_of("kd", settings), alpha=0.5)
    return HeldOut(encoded, targets, objective)


def _answers(config: Config, run: RunFolder, backend: Backend) -> list[Example]:
    """What the teacher answers greedily, where it comes to an end; [] where it has no room."""
    asked = run.eval_questions.read()[WATCHED_QUESTIONS:][:HELD_OUT_QUESTIONS]
    teacher, task = _checked_teacher(config, backend), task_of(config)
    jobs = jobs_for(asked, teacher.tokenizer, config.models.teacher_shots, task)
    sampling = Sampling(max_new_tokens=config.evaluate.max_new_tokens)
    try:
        rows = config.runtime.sample_batch
        batches = list(complete_all(teacher, jobs, sampling, rows, set(), "held-out answers"))
    except LabError as error:
        print(f"train: nothing is held out. {error}")
        return []
    said = {job.question_id: made for batch in batches for job, (made,) in batch}
    return [
        Example(question.id, 0, task.user_text(question), said[question.id].text)
        for question in asked
        if said[question.id].finish == "stop"
    ]


def _teacher(
    tokenizer_only: TokenizerOnly,
    base: LanguageModel | TokenizerOnly,
    encoded: Sequence[Encoded],
    backend: Backend,
    config: Config,
    folder: Path,
) -> LanguageModel | TeacherCache:
    """The teacher itself, or the cache of its targets, filled where examples are missing."""
    settings, name = config.train, tokenizer_only.name
    if settings.cache == "none":
        return _checked_teacher(config, backend)
    shared = min(tokenizer_only.vocab_size, base.vocab_size)
    row_format = RowFormat(settings.cache, settings.cache_k, (settings.temperature,), shared)

    def is_incomplete() -> bool:
        begun = (folder / "meta.json").exists()
        return not begun or TeacherCache(folder, row_format, name).missing(encoded) > 0

    if from_main(is_incomplete):
        teacher = _checked_teacher(config, backend)
        fill(folder, teacher, encoded, row_format, config.runtime.micro_batch)
    return TeacherCache(folder, row_format, name)


def _checked_teacher(config: Config, backend: Backend) -> LanguageModel:
    teacher = load_model("teacher", config.models, backend)
    require_known_head(teacher)
    return teacher


def finish(student: LanguageModel, trainer: Trainer, run: RunFolder, arm: str) -> None:
    """Writes the log and the model, which has its name only once it is whole."""
    write_log(trainer, run.training_log(arm))
    partial = run.model(arm).with_suffix(".partial")
    save_student(student, partial)
    partial.rename(run.model(arm))
    remove_checkpoints(run.student(arm))
