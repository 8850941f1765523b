"""Who looks on while a student learns: questions that it answers at some steps, and answers of the
teacher's to others, on which its losses are told."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from transformers import Trainer

from distill_lab.losses.distillation import Objective
from distill_lab.models import unsloth_backend
from distill_lab.models.backend import Backend, start
from distill_lab.models.loading import LanguageModel, load_tokenizer_only, tokenizer_difference
from distill_lab.pipeline.learning.teachers import BOTH, checked_teacher, encode_for, teacher_of
from distill_lab.run.distributed import is_main, size
from distill_lab.run.folder import RecordFile, RunFolder
from distill_lab.run.records import Example, LabError, Prediction, Question, write_text
from distill_lab.run.saved_settings import CACHE, PREDICTIONS, fingerprint
from distill_lab.run.settings import Config
from distill_lab.sampling.decode import complete_all
from distill_lab.sampling.jobs import encoded, jobs_for, require_room
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.all_tasks import task_of
from distill_lab.tasks.prompts import answer_text
from distill_lab.training.teacher_cache.build import TeacherCache
from distill_lab.training.watch import HELD_OUT, WATCHED, HeldOut, Watch

WATCHED_QUESTIONS = 3
HELD_OUT_QUESTIONS = 16  # others, which the teacher answers


def watched_questions(config: Config, run: RunFolder, student: LanguageModel) -> list[Question]:
    """The first evaluation questions; none where there are none."""
    if unsloth_backend.loaded(student.lm):
        print("train: nobody is asked while it learns, as that was never tried with unsloth")
        return []
    if not run.eval_questions.path.exists():
        return []
    return run.eval_questions.read()[:WATCHED_QUESTIONS]


def watching(
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


def write_watched(
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


def hold_out(config: Config, run: RunFolder) -> HeldOut | None:
    """The teacher's answers to a few evaluation questions that no student is asked, and its targets
    there, made once. None where that would cost more than a moment, or cannot be compared."""
    backend, settings = start(config, run.path), config.train
    teacher, student = (load_tokenizer_only(who, config.models) for who in BOTH)
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
    targets = teacher_of(teacher, student, encoded, backend, config, folder / "targets")
    assert isinstance(targets, TeacherCache)
    objective = Objective(0.5, settings.temperature, settings.divergence, settings.beta)
    return HeldOut(encoded, targets, objective)


def _answers(config: Config, run: RunFolder, backend: Backend) -> list[Example]:
    """What the teacher answers greedily, where it comes to an end; [] where it has no room."""
    asked = run.eval_questions.read()[WATCHED_QUESTIONS:][:HELD_OUT_QUESTIONS]
    if not asked:
        return []
    teacher, task = checked_teacher(config, backend), task_of(config)
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
