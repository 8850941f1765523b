"""What Lab 5e's cells do with real models: the reader's functions train as the engine's own do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from distill_lab.course import own_samples_demos as demos
from distill_lab.course.exercises.lab5e.advantages import group_advantages
from distill_lab.course.exercises.lab5e.policy import policy_loss
from distill_lab.course.exercises.lab5e.reverse import reverse_kl
from distill_lab.course.lab import Lab
from distill_lab.course.plots.shipped import bundled_sizes
from distill_lab.losses.distillation import Objective
from distill_lab.models.loading import for_training
from distill_lab.pipeline import data, own_arms, train
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError
from distill_lab.run.settings import PROFILES
from distill_lab.training.policy import PolicyTrainer


def by_length(text, answers, ended):
    """A reward that differs within nearly each group, as none is right yet."""
    return float(len(text) % 2)


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    config = PROFILES["tiny"]
    few = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, n_train=8, n_eval=4),
        own=dataclasses.replace(config.own, group=4, max_new_tokens=12),
        runtime=dataclasses.replace(config.runtime, micro_batch=8, threads=1),
    )
    out: Path = tmp_path_factory.mktemp("run")
    data.run(few, out)
    return Lab(few, out)


@pytest.fixture
def few_completions(monkeypatch):
    monkeypatch.setitem(demos.STEP, "batch_size", 16)


def test_with_the_packages_functions_a_step_is_that_of_grpo(lab, few_completions, tmp_path):
    """Over two micro-batches of unequal lengths: their means are put together by their tokens."""
    rows = demos.grpo_with(by_length, group_advantages, policy_loss, lab, lab.model("base"), 2)
    model = lab.model("base")
    config = dataclasses.replace(
        lab.config, train=dataclasses.replace(lab.config.train, steps=2, **demos.STEP)
    )
    trainer = PolicyTrainer(
        for_training(model, 0),
        own_arms.prompts_of(config, lab.questions, model, None, RunFolder(lab.out)),
        own_arms.drawing_of(config),
        Objective(),
        None,
        dataclasses.replace(train.hyperparameters_of(config, "float32"), save_every=0),
        tmp_path,
        "grpo",
        lambda job, completion: by_length(completion.text, [], True),
        kind="dapo",
        scale="group",
    )
    trainer.train()
    expected = [row for row in trainer.state.log_history if "reward" in row]
    assert [row["step"] for row in rows] == [1, 2]
    assert rows[0]["grad_norm"] > 0
    for row, other in zip(rows, expected, strict=True):
        for name in ("loss", "grad_norm", "reward", "dead", "sampled"):
            assert row[name] == pytest.approx(other[name], rel=1e-4, abs=1e-6), name


def test_samples_come_in_the_questions_order_and_the_same_again(lab):
    model, questions = lab.model("base"), lab.eval_questions
    first = demos.own_samples(lab, model, questions, 2)
    again = demos.own_samples(lab, model, questions[::-1], 2)
    assert [len(group) for group in first] == [2] * len(questions)
    assert first == again[::-1]
    assert first != demos.own_samples(lab, model, questions, 2, seed=1)


def test_a_samples_tokens_are_those_that_the_teacher_reads(lab):
    model, question = lab.model("base"), lab.questions[0]
    [[sample]] = demos.own_samples(lab, model, [question], 1)
    tokens, of_model, of_teacher = demos.blamed_tokens(lab, model, question, sample)
    assert "".join("".join(tokens[:-1]).split()) == "".join(sample.text.split())
    assert of_model.shape == of_teacher.shape == (len(tokens), of_model.shape[1])
    assert reverse_kl(of_model, of_teacher) > 0


def test_the_forward_kl_covers_two_bumps_and_the_reverse_takes_one():
    v = torch.arange(14.0)
    teacher = torch.logaddexp(0.4 - (v - 3) ** 2 / 1.5, -((v - 10) ** 2) / 1.5)[None]

    def forward_kl(student, teacher):
        return F.kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction="batchmean")

    covers = demos.fitted_bump(teacher, forward_kl)
    takes = demos.fitted_bump(teacher, reverse_kl)
    assert sum(takes[:7]) > 0.99
    assert 0.3 < sum(covers[:7]) < 0.9
    assert covers[6] > takes[6] + 0.05  # what lies between the two


def test_sizes_are_those_of_the_bundled_pair(lab):
    counted = [
        sum(p.numel() for p in lab.model(who).lm.parameters()) for who in ("teacher", "base")
    ]
    assert [*bundled_sizes()] == counted


def test_a_start_needs_traces(lab):
    with pytest.raises(LabError, match="reject"):
        demos.warmed_up(lab)
