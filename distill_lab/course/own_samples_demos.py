"""What Lab 5e's cells do with real models: a student that has seen a few traces, and a few steps of
GRPO with the reader's own functions.

What is heavy is imported where it is used: a grader's kernel runs the imports of each notebook.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distill_lab.course.lab import Lab
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import Example, Question, by_id

if TYPE_CHECKING:
    from distill_lab.models.loading import LanguageModel
    from distill_lab.sampling.jobs import Completion, Job

WARM_UP = {"steps": 100, "learning_rate": 2e-3}
STEP = {"batch_size": 64, "learning_rate": 3e-4}  # completions of an optimiser step

Advantages = Callable[[Tensor], Tensor]
PolicyLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Reward = Callable[[str, Sequence[str], bool], float]


def warmed_up(lab: Lab) -> LanguageModel:
    """The student with which all arms begin: fine-tuned on the run's kept traces for a few steps,
    until some of its own samples are right. It is kept in the run's folder, and trained once."""
    from distill_lab.models.backend import start
    from distill_lab.models.loading import load_model
    from distill_lab.pipeline import train

    run = RunFolder(lab.out / "start")
    config = dataclasses.replace(lab.config, train=dataclasses.replace(lab.config.train, **WARM_UP))
    if not run.examples.path.exists():
        run.examples.write(lab.examples)
    train.run(config, run.path, ("sft",))
    return load_model("sft", config.models, start(config, run.path), run.path)


def own_samples(
    lab: Lab, model: LanguageModel, questions: Sequence[Question], n: int, seed: int = 0
) -> list[list[Completion]]:
    """n samples of each question, in the questions' order, drawn as the arms draw them."""
    from distill_lab.pipeline import own_arms
    from distill_lab.sampling.decode import complete_all
    from distill_lab.sampling.jobs import jobs_for
    from distill_lab.tasks.all_tasks import task_of

    sampling = dataclasses.replace(own_arms.drawing_of(lab.config).sampling, n=n, seed=seed)
    jobs = jobs_for(questions, model.tokenizer, 0, task_of(lab.config))
    rows = lab.config.runtime.sample_batch
    batches = complete_all(model, jobs, sampling, rows, set(), "sample")
    made = {job.question_id: samples for batch in batches for job, samples in batch}
    return [made[question.id] for question in questions]


def blamed_tokens(
    lab: Lab, model: LanguageModel, question: Question, sample: Completion
) -> tuple[list[str], Tensor, Tensor]:
    """The tokens (N) of a model's sample, its logits there and the teacher's, both (N, V)."""
    from distill_lab.pipeline.learning.teachers import encode_for
    from distill_lab.tasks.all_tasks import task_of
    from distill_lab.training.teacher_cache.forward import completion_logits

    teacher = lab.model("teacher")
    prompt = task_of(lab.config).user_text(question)
    example = Example(question.id, 0, prompt, sample.text)
    encoded = encode_for(lab.config, [example], model, teacher)
    of_model, of_teacher, ids = completion_logits(model, teacher, encoded)
    return [str(model.tokenizer.decode([i])) for i in ids.tolist()], of_model, of_teacher


def fitted_bump(teacher: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> list[float]:
    """The student nearest by `loss(student, teacher)`, in logits (1, V), among those that have one
    bump: q of token v falls as exp(-(v - m)² / 2s²). Both numbers are fitted by Adam."""
    places = torch.arange(teacher.shape[-1], dtype=torch.float32)  # (V)
    middle, log_width = (torch.tensor(x, requires_grad=True) for x in (len(places) / 3, 0.0))
    optimizer = torch.optim.Adam([middle, log_width], lr=0.05)

    def student() -> Tensor:
        return -((places - middle) ** 2 / (2 * (2 * log_width).exp()))[None]  # (1, V)

    for _ in range(400):
        optimizer.zero_grad()
        loss(student(), teacher).backward()
        optimizer.step()
    return student().softmax(-1)[0].tolist()


def grpo_with(
    reward: Reward,
    group_advantages: Advantages,
    policy_loss: PolicyLoss,
    lab: Lab,
    model: LanguageModel,
    steps: int,
) -> list[dict[str, float]]:
    """So many optimiser steps of GRPO on the run's questions with these three functions, which
    change the model in place; one row a step: reward, share of dead groups, length in tokens."""
    from distill_lab.course.your_trainer import YourTrainer
    from distill_lab.losses.distillation import Objective
    from distill_lab.models.backend import start
    from distill_lab.models.loading import for_training
    from distill_lab.pipeline import own_arms, train

    config = dataclasses.replace(
        lab.config, train=dataclasses.replace(lab.config.train, steps=steps, **STEP)
    )
    questions = lab.questions
    backend = start(config, lab.out)
    with tempfile.TemporaryDirectory() as folder:
        trainer = YourTrainer(
            for_training(model, config.models.lora_rank),
            own_arms.prompts_of(config, questions, model, None, RunFolder(lab.out)),
            own_arms.drawing_of(config),
            Objective(),
            None,
            dataclasses.replace(train.hyperparameters_of(config, backend.dtype), save_every=0),
            Path(folder),
            "train grpo",
            _judge(reward, questions),
            kind="dapo",
            scale="group",
        )
        trainer.group_advantages, trainer.policy_loss = group_advantages, policy_loss
        trainer.train()
    return [row for row in trainer.state.log_history if "reward" in row]


def _judge(reward: Reward, questions: Sequence[Question]) -> Callable[[Job, Completion], float]:
    known = by_id(questions)

    def judge(job: Job, completion: Completion) -> float:
        answers = list(known[job.question_id].answers)
        return float(reward(completion.text, answers, completion.finish == "stop"))

    return judge
