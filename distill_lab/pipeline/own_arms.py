"""The arms that learn from the student's own samples, each from the same questions:

`rft` fine-tunes on those that the judge accepts, `grpo` weights all of them by how much better than
their group they are, `on-policy` learns the teacher's distribution at each of their tokens. The
judge is rejection sampling's: a reward is 1 for what it would keep, else 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from transformers import set_seed

from distill_lab.losses.distillation import Objective
from distill_lab.models.backend import start
from distill_lab.models.loading import (
    LanguageModel,
    for_training,
    load_model,
    require_known_head,
    require_shared_tokenizer,
)
from distill_lab.pipeline import train
from distill_lab.pipeline.learning.teachers import encode_for
from distill_lab.pipeline.rejection_rules import reward
from distill_lab.run.arms import OwnArm
from distill_lab.run.distributed import from_main
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import Question, by_id, by_question
from distill_lab.run.settings import Config
from distill_lab.sampling.jobs import Completion, Job, encoded, jobs_for, require_room
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.all_tasks import task_of
from distill_lab.tasks.prompts import BEGUN, encode, render
from distill_lab.training.batches import Encoded
from distill_lab.training.checkpoints import last_checkpoint
from distill_lab.training.grpo_settings import Reward, require_some_signal
from distill_lab.training.own_samples import Drawing, OwnSamplesTrainer, Prompt
from distill_lab.training.policy import PolicyTrainer, SampledTargetsTrainer

_ADVICE = (
    "Take a teacher with the student's tokenizer, or the arm kd, which has --train.other-tokenizer."
)


def run(config: Config, out: Path, arm: OwnArm) -> bool:
    """Writes students/<arm>/model and log.jsonl; needs questions.train.jsonl, and where `own.share`
    is below 1 examples.jsonl. False if they were there. LabError where no reward taught
    anything."""
    folder = RunFolder(out)
    if from_main(lambda: folder.model(arm).exists()):
        return False
    backend = start(config, out)
    set_seed(config.train.seed)
    base = load_model("base", config.models, backend)
    require_known_head(base)
    teacher = load_model("teacher", config.models, backend) if arm == "on-policy" else None
    if teacher:
        require_shared_tokenizer(teacher, base, _ADVICE)
        require_known_head(teacher)
    questions = folder.train_questions.read()
    prompts = prompts_of(config, questions, base, teacher, folder)
    student = for_training(base, config.models.lora_rank)
    trainer = _trainer(arm, config)(
        student,
        prompts,
        drawing_of(config),
        Objective(1.0, 1.0, config.own.divergence) if teacher else Objective(),
        teacher,
        train.hyperparameters_of(config, backend.dtype),
        folder.student(arm),
        f"train {arm}",
        None if teacher else reward_of(config, questions),
    )
    trainer.train(resume_from_checkpoint=from_main(lambda: last_checkpoint(folder.student(arm))))
    _require_signal(arm, trainer)
    from_main(lambda: train.finish(student, trainer, folder, arm))
    return True


def _require_signal(arm: OwnArm, trainer: OwnSamplesTrainer) -> None:
    """LabError where no reward taught anything: for `rft` that is, where none was given."""
    rows = [row for row in trainer.state.log_history if "reward" in row]
    if arm == "rft":
        rows = [{"dead": float(row["reward"] == 0)} for row in rows]
    require_some_signal(rows)


def _trainer(arm: OwnArm, config: Config) -> Callable[..., OwnSamplesTrainer]:
    own = config.own
    if arm == "grpo":
        return partial(PolicyTrainer, kind=own.loss, scale=own.scale)
    return (
        SampledTargetsTrainer
        if arm == "on-policy" and own.targets == "sampled"
        else OwnSamplesTrainer
    )


def drawing_of(config: Config) -> Drawing:
    """Samples from the student's own distribution, uncut: of what is drawn from a nucleus neither
    gradient would be right."""
    own, rows = config.own, config.runtime.sample_batch
    sampling = Sampling(own.group, own.temperature, 1.0, own.max_new_tokens, config.train.seed)
    return Drawing(sampling, rows, own.share)


def reward_of(config: Config, questions: Sequence[Question]) -> Reward:
    """The judge of rejection sampling as a reward: 1 for a completion that it keeps, else 0."""
    known, task = by_id(questions), task_of(config)

    def judge(job: Job, completion: Completion) -> float:
        question, ended = known[job.question_id], completion.finish == "stop"
        return reward(completion.text, question, ended, task, config.reject)

    return judge


def prompts_of(
    config: Config,
    questions: Sequence[Question],
    student: LanguageModel,
    teacher: LanguageModel | None,
    folder: RunFolder,
) -> list[Prompt]:
    """A prompt for each question, with the teacher's examples of it where some are to be learnt."""
    tokenizer, task = student.tokenizer, task_of(config)
    jobs = jobs_for(questions, tokenizer, 0, task)
    ids = encoded(jobs, tokenizer)
    require_room(student.positions, student.name, jobs, ids, config.own.max_new_tokens)
    examples = by_question(folder.examples.read() if teacher and config.own.share < 1 else [])

    def read_by_teacher(question: Question, job: Job) -> list[int]:
        """The teacher's own prompt; what of the completion is begun in it is the student's."""
        if teacher is None:
            return ids[job.prompt]
        text = render(
            task.user_text(question), teacher.tokenizer, config.models.teacher_shots, task
        )
        return encode(teacher.tokenizer, text.removesuffix(BEGUN) + job.begun)

    def written(question: Question) -> tuple[Encoded, ...]:
        of_question = examples.get(question.id)
        return tuple(encode_for(config, of_question, student, teacher)) if of_question else ()

    return [
        Prompt(job, ids[job.prompt], read_by_teacher(question, job), written(question))
        for question, job in zip(questions, jobs, strict=True)
    ]
