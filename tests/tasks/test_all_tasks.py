"""What holds for every task."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from distill_lab.run.arms import ARMS, ArmName
from distill_lab.run.records import LabError, Question
from distill_lab.run.settings import Config, DataSettings, RejectSettings
from distill_lab.tasks.all_tasks import TASKS, task_of
from distill_lab.tasks.prompts import parse
from distill_lab.tasks.task import score_label


def test_each_task_and_each_arm_can_be_named_on_the_command_line():
    hints = typing.get_type_hints(DataSettings)
    assert typing.get_args(hints["task"]) == tuple(TASKS)
    assert typing.get_args(ArmName) == tuple(ARMS)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_a_task_grades_with_the_scores_that_it_names_and_shows_what_it_asks_for(task):
    question = Question("q", "", "There are 7 of them.", "How many?", ("7",))
    for answer, decided in (("7", 100), ("8", 0), ("", 0)):
        scores = task.grade(answer, question)
        assert tuple(scores) == task.score_names
        assert scores[task.score_names[0]] == decided
    assert len(task.shots) == 3
    assert all(parse(shot.completion) for shot in task.shots)
    start = task.user_text(question).partition(":")[0] + ":"
    assert all(shot.text.startswith(start) for shot in task.shots)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_what_is_bundled_can_be_loaded(task):
    assert task.load("bundled", "train", True).questions
    assert task.load("bundled", "validation", True).questions


def test_a_score_that_the_task_does_not_have_cannot_be_asked_for():
    lenient = RejectSettings(min_f1=50)
    assert task_of(Config(reject=lenient)).name == "squad"
    sums = Config(data=DataSettings(task="gsm8k"))
    assert task_of(sums).name == "gsm8k"
    with pytest.raises(
        LabError, match=r"--reject\.min-f1 50: expected 100 with --data\.task gsm8k"
    ):
        task_of(dataclasses.replace(sums, reject=lenient))


def test_short_names_of_scores_are_abbreviations():
    assert [score_label(name) for name in ("em", "f1", "accuracy", "exact_match")] == [
        "EM", "F1", "accuracy", "exact match",
    ]  # fmt: skip
