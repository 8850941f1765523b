"""The arms that learn from own samples, as a run has them: the same questions and judge."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import load_model, load_student
from distill_lab.pipeline import own_arms
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import Example, LabError, Question
from distill_lab.run.settings import (
    Config,
    ModelSettings,
    OwnSettings,
    RuntimeSettings,
    TrainSettings,
)
from distill_lab.sampling.jobs import Completion, Job
from distill_lab.tasks.prompts import BEGUN, encode, render
from distill_lab.tasks.squad.task import SQUAD

QUESTIONS = [
    Question(f"q{n}", "", f"Ann has {n} cats.", "How many cats has Ann?", (str(n),), None)
    for n in range(6)
]
RIGHT = "<think>Ann has 3 cats.</think><answer>3</answer>"


def settings(teacher: Path, student: Path, shots: int = 0, lora_rank: int = 0, **own) -> Config:
    return Config(
        models=ModelSettings(str(teacher), str(student), shots, lora_rank),
        train=TrainSettings(steps=2, batch_size=4, learning_rate=1e-2),
        own=OwnSettings(group=2, max_new_tokens=5, **own),
        runtime=RuntimeSettings(device="cpu", dtype="float32", threads=1),
    )


def run_in(out: Path, config: Config, arm: Any) -> bool:
    folder = RunFolder(out)
    folder.train_questions.write(QUESTIONS)
    folder.examples.write([Example("q3", 0, SQUAD.user_text(QUESTIONS[3]), RIGHT)])
    return own_arms.run(config, out, arm)


@pytest.mark.parametrize("arm", ["rft", pytest.param("grpo", marks=pytest.mark.slow)])
def test_where_no_sample_is_ever_right_it_is_said(tiny_model, tmp_path, arm):
    """A base that has never seen a thought; no model is left that would be taken for a trained
    one."""
    config = settings(tiny_model("llama"), tiny_model("qwen3"))
    with pytest.raises(LabError, match="Begin with a student that is right now and then"):
        run_in(tmp_path, config, arm)
    assert not RunFolder(tmp_path).model(arm).exists()


@pytest.mark.parametrize(
    ("arm", "more"),
    [
        pytest.param("rft", {}, marks=pytest.mark.slow),
        ("grpo", {"lora_rank": 4}),
        ("on-policy", {"shots": 1, "share": 0.5}),
        pytest.param("on-policy", {"targets": "sampled"}, marks=pytest.mark.slow),
    ],
)
def test_an_arm_leaves_a_model_and_its_log_and_is_not_trained_twice(
    tiny_model, tmp_path, arm, more, monkeypatch
):
    config = settings(tiny_model("llama"), tiny_model("qwen3"), **more)
    monkeypatch.setattr(own_arms, "reward", lambda text, *_: float(len(text) % 2))
    assert run_in(tmp_path, config, arm)
    folder = RunFolder(tmp_path)
    assert sorted(p.name for p in folder.student(arm).iterdir()) == ["log.jsonl", "model"]
    load_student(folder.model(arm), config.models, choose_backend(config.runtime))
    rows = folder.read_training_log(arm)
    assert [row["step"] for row in rows] == [1, 2]
    assert ("reward" in rows[0]) == (arm != "on-policy")
    assert all(row["scored"] > 0 for row in rows) == (arm == "on-policy")
    monkeypatch.setattr(own_arms, "load_model", None)
    assert not own_arms.run(config, tmp_path, arm)


@pytest.mark.parametrize("shots", [0, 2])
def test_the_teacher_reads_its_own_prompt_and_the_students_completion(tiny_model, tmp_path, shots):
    """With worked examples its prompt ends with an opened `<think>`; a student whose prompt does
    not writes that itself, and the teacher must not read it twice."""
    config = settings(tiny_model("llama"), tiny_model("qwen3"), shots, share=0.5)
    folder = RunFolder(tmp_path)
    folder.examples.write([Example("q3", 0, SQUAD.user_text(QUESTIONS[3]), RIGHT)])
    backend = choose_backend(config.runtime)
    teacher, student = (load_model(who, config.models, backend) for who in ("teacher", "base"))
    made = own_arms.prompts_of(config, QUESTIONS, student, teacher, folder)
    for question, prompt in zip(QUESTIONS, made, strict=True):
        text = render(SQUAD.user_text(question), teacher.tokenizer, shots, SQUAD)
        assert text.endswith(BEGUN) == bool(shots)
        assert prompt.teacher_ids == encode(teacher.tokenizer, text.removesuffix(BEGUN))
        assert len(prompt.written) == (question.id == "q3")
    (written,) = made[3].written
    assert (written.student_prompt, written.teacher_prompt) == (made[3].ids, made[3].teacher_ids)
    alone = replace(config, own=replace(config.own, share=1.0))
    assert not any(
        p.written for p in own_arms.prompts_of(alone, QUESTIONS, student, teacher, folder)
    )


@pytest.mark.parametrize(
    ("text", "finish", "worth"),
    [
        (RIGHT, "stop", 1.0),
        (RIGHT, "length", 0.0),
        (RIGHT.replace("<answer>3", "<answer>4"), "stop", 0.0),
        ("3", "stop", 0.0),
    ],
)
def test_a_reward_is_what_the_judge_would_keep(text, finish, worth):
    judge = own_arms.reward_of(Config(), QUESTIONS)
    assert judge(Job("q3", ""), Completion(text, 9, finish)) == worth


def test_a_prompt_that_leaves_no_room_is_named(tiny_model, tmp_path):
    config = settings(tiny_model("llama"), tiny_model("gpt2"))
    config = replace(config, own=replace(config.own, max_new_tokens=1000))
    with pytest.raises(LabError, match="room for 1000 new tokens in the 1024 positions"):
        run_in(tmp_path, config, "rft")


def test_a_teacher_with_another_tokenizer_is_refused(tiny_model, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_model("llama"), other)
    tokenizer = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = tokenizer["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(
        LabError, match=r"KL needs one vocabulary.*Take a teacher with the student's"
    ):
        run_in(tmp_path, settings(other, tiny_model("qwen3")), "on-policy")
