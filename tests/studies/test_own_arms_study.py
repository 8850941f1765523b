"""A study whose students learn from their own samples, all from one start."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from distill_lab.models.loading import load_tokenizer_only
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError
from distill_lab.run.settings import data_folder
from distill_lab.studies import page, results
from distill_lab.studies.budget import parameters, read_budget
from distill_lab.studies.cells import read_cells
from distill_lab.studies.running.cell_configs import cells_of, start_of
from distill_lab.studies.running.definition_file import read_definition, toml_text
from distill_lab.studies.running.run_study import run_study
from distill_lab.tasks.prompts import encode, render
from distill_lab.tasks.squad.task import SQUAD

# a student that is right now and then: from one that never is, nobody learns by rewards
STUDENT = str(data_folder() / "tiny_models" / "teacher")
STUDY = """
question = "Which arm?"
seeds = 1
students = ["sft", "kd", "rft", "grpo", "on-policy"]
choose = ""
[settings]
"data.n_train" = 8
"data.n_eval" = 4
"generate.n_samples" = 2
"train.steps" = 2
"train.batch_size" = 4
"own.group" = 2
"models.student" = STUDENT
[start]
"data.n_train" = 6
"train.steps" = 3
[by_student.on-policy]
"own.share" = 0.5
[by_student.grpo]
"train.learning_rate" = 1e-4
[[findings]]
id = "grpo-start"
measure = "em"
plus = {student = "grpo"}
minus = {student = "start"}
""".replace("STUDENT", json.dumps(STUDENT))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("own")
    (place / "own.toml").write_text(STUDY, encoding="utf-8")
    definition = read_definition(place / "own.toml")
    assert run_study(definition, place / "out", keep_models=True) == {}
    return place / "out"


@pytest.fixture(scope="module")
def definition(folder):
    return read_definition(folder / "study.toml")


@pytest.mark.slow
def test_all_begin_as_the_start_but_the_references(folder, definition):
    first = start_of(definition)
    assert first is not None
    start = RunFolder(folder.absolute() / "work" / "students" / first.student_key).model("sft")
    assert start.exists()
    cells = cells_of(definition, str(start))
    began = {cell.student: cell.config.models.student for cell in cells}
    assert began.pop("base") == began.pop("teacher") == STUDENT
    assert set(began) == {"start", "sft", "kd", "rft", "grpo", "on-policy"}
    assert set(began.values()) == {str(start)}
    assert (first.config.data.n_train, first.config.train.steps) == (6, 3)
    rates = {cell.student: cell.config.train.learning_rate for cell in cells}
    assert (rates["grpo"], rates["rft"]) == (1e-4, 3e-3)


@pytest.mark.slow
def test_what_each_took_is_told_by_its_tokens(folder, definition):
    """By hand, from the files that the arms leave."""
    work = folder / "work" / "students"
    lines = {line.student: line for line in read_cells(folder / "cells.jsonl")}
    first = start_of(definition)
    assert first is not None
    config = first.config
    n_student, n_teacher = (parameters(who, config.models) for who in ("base", "teacher"))
    weights = load_file(Path(STUDENT) / "model.safetensors").values()
    assert n_student == n_teacher == sum(weight.numel() for weight in weights)
    start = read_budget(work / first.student_key)
    assert start.trained > start.teacher_wrote > 0 == start.student_wrote
    tokenizer = load_tokenizer_only("teacher", config.models).tokenizer
    cells = {cell.student: cell for cell in cells_of(definition, "-") if not cell.is_reference}
    mine = {
        arm: {name: took - start.values[name] for name, took in lines[arm].budget.items()}
        for arm in ("sft", "kd", "rft", "grpo", "on-policy")
    }
    for arm, took in mine.items():
        of_traces = arm in ("sft", "kd", "on-policy")
        assert (took["teacher_wrote"] > 0) == of_traces
        assert (took["student_wrote"] > 0) == (arm not in ("sft", "kd"))
        assert (took["teacher_read"] > 0) == of_traces
        assert took["flops"] == pytest.approx(
            2 * n_teacher * (took["teacher_wrote"] + took["teacher_read"])
            + 2 * n_student * (took["student_wrote"] + took["student_read"])
            + 6 * n_student * took["trained"]
        )
        assert took["seconds"] > 0
    sft, kd = mine["sft"], mine["kd"]
    assert (sft["trained"], sft["teacher_wrote"]) == (kd["trained"], kd["teacher_wrote"])
    (sampled,) = (folder / "work" / "examples").glob(cells["sft"].examples_key)
    run = RunFolder(sampled)
    texts = [render(SQUAD.user_text(q), tokenizer) for q in run.train_questions.read()]
    assert sft["teacher_wrote"] == sum(trace.n_tokens for trace in run.traces.read())
    assert sft["teacher_read"] == sum(len(encode(tokenizer, text)) for text in texts)
    assert kd["teacher_read"] > sft["teacher_read"]  # its cache reads the examples
    assert [lines[who].budget for who in ("base", "start", "teacher")] == [{}] * 3


@pytest.mark.slow
def test_it_can_be_run_again_and_nothing_is_made_twice(folder, definition):
    models = sorted((folder / "work" / "students").rglob("model.safetensors"))
    before = {path: path.stat().st_mtime_ns for path in models}
    cells = (folder / "cells.jsonl").read_bytes()
    assert len(models) == 6
    assert run_study(definition, folder, keep_models=True) == {}
    assert {path: path.stat().st_mtime_ns for path in models} == before
    assert (folder / "cells.jsonl").read_bytes() == cells
    assert results.check(folder) == []


@pytest.mark.slow
def test_its_page_has_budgets_the_start_and_the_papers_table(folder):
    text = (folder / "page.html").read_text(encoding="utf-8")
    for part in ("<td>6</td>", "of the start", "of grpo"):
        assert part in text
    assert "R1-Zero-Qwen-32B" in text
    assert (folder / "plots" / "budgets.png").exists()
    header = (folder / "study.csv").read_text().splitlines()[0]
    assert header.endswith(
        "teacher_wrote,teacher_read,student_wrote,student_read,trained,flops,seconds"
    )


@pytest.mark.slow
def test_a_study_without_own_samples_has_neither(folder, definition, tmp_path):
    study = results.read(folder)
    plain = replace(study, definition=replace(definition, students=("sft", "kd"), findings=()))
    assert "budgets" not in [picture.name for picture in page.draw(plain)]


@pytest.mark.slow
def test_a_definition_keeps_start_and_students_settings(definition, tmp_path):
    (tmp_path / "a.toml").write_text(toml_text(definition), encoding="utf-8")
    assert read_definition(tmp_path / "a.toml") == definition


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[by_student.grpo]", "[by_student.gpro]", "did you mean grpo"),
        ("[start]", "[by_student]\nrft = 3\n[start]", "by_student.rft: expected a table, found 3"),
        ('[start]\n"data.n_train" = 6\n"train.steps" = 3\n', "", "found 'start'"),
        ('"own.group" = 2', '"own.group" = 0', "own.group: expected 1 or more"),
        ('"own.share" = 0.5', '"own.lambda" = 0.5', "Unknown setting"),
        ('"on-policy"]', '"on-policy:unfiltered"]', "Unknown student"),
        ("[[findings]]", '[[axes]]\n"train.learning_rate" = [1e-4, 1e-3]\n[[findings]]', "in two"),
    ],
)
def test_what_cannot_be_run_is_said(tmp_path, old, new, said):
    assert old in STUDY
    (tmp_path / "bad.toml").write_text(STUDY.replace(old, new), encoding="utf-8")
    with pytest.raises(LabError, match=said):
        read_definition(tmp_path / "bad.toml")
