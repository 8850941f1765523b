"""A student that is watched learns the same, and is asked at the steps that are named."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import load_model, load_student
from distill_lab.pipeline import train
from distill_lab.pipeline.learning.watching import hold_out
from distill_lab.reporting import page
from distill_lab.run import saved_settings
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import (
    Example,
    Prediction,
    Question,
    by_id,
    read_records,
    write_records,
)
from distill_lab.run.settings import (
    Config,
    EvaluateSettings,
    ModelSettings,
    RuntimeSettings,
    TrainSettings,
)
from distill_lab.tasks.squad.questions import load as load_questions
from distill_lab.tasks.squad.task import user_text
from distill_lab.training import watch

PASSAGE = "Anna lives in Rome. Ben lives in Paris."
QUESTIONS = [
    Question(f"q{n}", "", PASSAGE, f"Where does {who} live?", (town,))
    for n, (who, town) in enumerate([("Anna", "Rome"), ("Ben", "Paris")] * 2)
]
EXAMPLES = [
    Example(
        q.id,
        0,
        user_text(q.context, q.question),
        f"<think>a</think><answer>{q.answers[0]}</answer>",
    )
    for q in QUESTIONS
]


def config_of(tiny_model: Any) -> Config:
    return Config(
        models=ModelSettings(str(tiny_model("llama")), str(tiny_model("qwen3"))),
        train=TrainSettings(epochs=2, batch_size=2, learning_rate=1e-2),
        evaluate=EvaluateSettings(max_new_tokens=6),
        runtime=RuntimeSettings(device="cpu", dtype="float32", threads=1, save_every=2),
    )


def begun(out: Path, config: Config) -> RunFolder:
    saved_settings.claim_run_folder(config, out)
    write_records(out / "examples.jsonl", EXAMPLES)
    write_records(out / "questions.eval.jsonl", QUESTIONS)
    return RunFolder(out)


def weights(run: RunFolder, config: Config) -> dict[str, Tensor]:
    backend = choose_backend(config.runtime)
    return load_student(run.model("sft"), config.models, backend).lm.state_dict()


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four steps in all: the middle one takes the place of step 20."""
    monkeypatch.setattr(watch, "AT", (0, 2))


def test_it_changes_neither_the_log_nor_the_weights(tiny_model, tmp_path, at):
    config = config_of(tiny_model)
    alone, watched = (begun(tmp_path / name, config) for name in ("alone", "watched"))
    train.run(config, alone.path, ("sft",))
    train.run(config, watched.path, ("sft",), watch=True)
    assert not alone.watched("sft").exists()
    assert alone.training_log("sft").read_bytes() == watched.training_log("sft").read_bytes()
    before, after = weights(alone, config), weights(watched, config)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_three_questions_are_asked_before_on_the_way_and_at_the_end(
    tiny_model, tmp_path, at, capsys
):
    config = config_of(tiny_model)
    run = begun(tmp_path / "r", config)
    train.run(config, run.path, ("sft",), watch=True)
    rows = run.read_watched("sft")
    asked = [(row["step"], row["question_id"]) for row in rows]
    assert asked == [(step, f"q{n}") for step in (0, 2, 4) for n in range(3)]
    texts = {step: [row["completion"] for row in rows if row["step"] == step] for step in (0, 4)}
    assert texts[0] != texts[4]
    assert all({"em", "f1"} == row["scores"].keys() for row in rows)
    assert "train sft, step 2: " in capsys.readouterr().out
    shown = page.watched(by_id(QUESTIONS), {"sft": rows})
    assert [item["question"].id for item in shown] == ["q0", "q1", "q2"]
    assert shown[1]["steps"] == [0, 2, 4]
    last = shown[1]["answers"]["sft"][4]
    assert isinstance(last, Prediction)
    assert (last.question_id, last.completion) == ("q1", texts[4][1])


def test_what_was_said_before_a_kill_is_kept(tiny_model, tmp_path, at):
    """A folder where the log wants to be stops it after the last step, before the model."""
    config = config_of(tiny_model)
    run = begun(tmp_path / "r", config)
    run.training_log("sft").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        train.run(config, run.path, ("sft",), watch=True)
    whole = run.watched("sft").read_text()
    run.training_log("sft").rmdir()
    run.watched("sft").unlink()
    state = run.student("sft") / "checkpoint-4" / "trainer_state.json"
    history = json.loads(state.read_text())["log_history"]
    assert [row["step"] for row in history if "watched" in row] == [
        0, 2, 4,
    ]  # fmt: skip
    train.run(config, run.path, ("sft",), watch=True)
    assert run.watched("sft").read_text() == whole


def test_losses_on_held_out_answers_are_those_of_the_whole_distribution(tmp_path):
    """By hand, from both models' logits at each token of the bundled teacher's answers: of the same
    questions none is asked. The cache has all tokens of so small a vocabulary."""
    config = Config(train=TrainSettings(cache_k=1024, temperature=2.0))
    config = dataclasses.replace(config, runtime=RuntimeSettings(device="cpu", dtype="float32"))
    run = RunFolder(tmp_path / "r")
    run.eval_questions.write(load_questions("bundled", "validation").questions[:9])
    held_out = hold_out(config, run)
    assert held_out is not None
    answered = {
        each.question_id for each in read_records(next(run.held_out.glob("*/*.jsonl")), Example)
    }
    assert answered <= {question.id for question in run.eval_questions.read()[3:]}
    assert len(answered) == len(held_out.examples) > 2
    teacher, base = (load_model(who, config.models, choose_backend(config.runtime))
                     for who in ("teacher", "base"))  # fmt: skip
    n, ce, kl = 0, 0.0, 0.0
    for each in held_out.examples:
        ids, told = torch.tensor([each.student_prompt + each.completion]), len(each.completion)
        with torch.no_grad():
            p, q = (m.lm(ids).logits[0, -told - 1 : -1].double() for m in (teacher, base))
        ce -= q.log_softmax(-1).gather(1, torch.tensor(each.completion)[:, None]).sum().item()
        p, q = (logits.div(2).log_softmax(-1) for logits in (p, q))
        kl += (p.exp() * (p - q)).sum().item()
        n += told
    assert held_out.losses(base) == pytest.approx({"ce": ce / n, "kl": kl / n}, rel=1e-3)


def test_both_students_are_held_against_the_same_answers(tmp_path, at):
    """sft's distance to the teacher is told, too, though it learns from text alone."""
    small = TrainSettings(steps=2, batch_size=2)
    config = Config(
        train=small, runtime=RuntimeSettings(device="cpu", dtype="float32", threads=1),
        evaluate=EvaluateSettings(max_new_tokens=96),
    )  # fmt: skip
    run = begun(tmp_path / "r", config)
    run.eval_questions.write(load_questions("bundled", "validation").questions[:9])
    train.run(config, run.path, watch=True)
    sft, kd = (run.read_held_out_losses(arm) for arm in ("sft", "kd"))
    assert [row["step"] for row in sft] == [row["step"] for row in kd] == [0, 2]
    assert sft[0] == kd[0]  # both begin as the base
    assert sft[1] != kd[1]
    assert all(row["kl"] > 0 and row["ce"] > 0 for row in (*sft, *kd))
    assert not any("held_out" in row for row in run.read_training_log("sft"))


def test_who_has_no_room_for_an_answer_learns_unwatched(tiny_model, tmp_path, at, capsys):
    config = config_of(tiny_model)
    config = dataclasses.replace(config, evaluate=EvaluateSettings(max_new_tokens=10**6))
    run = begun(tmp_path / "r", config)
    train.run(config, run.path, ("sft",), watch=True)
    assert "train sft: nobody is asked while it learns. Question q" in capsys.readouterr().out
    assert run.model("sft").exists()
    assert not run.watched("sft").exists()


def test_a_question_of_another_evaluation_set_is_not_shown():
    said = [
        {
            "step": 0,
            "question_id": "gone",
            "sample": 0,
            "completion": "",
            "answer": "",
            "scores": {"em": 0.0},
        }
    ]
    assert page.watched(by_id(QUESTIONS), {"sft": said}) == []
