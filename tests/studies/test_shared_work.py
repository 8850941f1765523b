"""What the cells of a study share: its evaluation questions, and the reasons why cells fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill_lab.run.records import LabError
from distill_lab.studies.halves import Half
from distill_lab.studies.running.cell_configs import cells_of
from distill_lab.studies.running.parse_definition import definition_from
from distill_lab.studies.running.shared_work import Work, make_halves, reason_of
from distill_lab.tasks.squad.questions import load


def halves(out: Path, **values: Any) -> dict[str, Half]:
    definition = definition_from({"name": "s", "question": "", "seeds": 2, **values})
    return make_halves(definition, cells_of(definition), Work(out))


def test_a_half_has_all_its_questions_or_as_many_as_are_asked_for(tmp_path):
    both = halves(tmp_path)
    assert [len(half) for half in both.values()] == [1000, 1000]
    few = halves(tmp_path, settings={"data.n_eval": 7})["report"]
    assert len(few) == 7
    assert few.ids == halves(tmp_path, settings={"data.n_eval": 7}, seeds=4)["report"].ids
    assert list(halves(tmp_path, choose="")) == ["report"]


def test_no_question_is_asked_that_any_cell_trains_on(tmp_path, capsys):
    """Two seeds draw other questions from the set that is the half too: all are left out."""
    settings = {"data.train": "bundled-report"}
    axes = [{"data.n_train": [10, 30]}]
    half = halves(tmp_path, settings=settings, axes=axes)["report"]
    definition = definition_from({"name": "", "question": "", "seeds": 2, "axes": axes})
    from distill_lab.pipeline.data import draw

    questions = load("bundled-report", "train").questions
    drawn = {
        question.id
        for cell in cells_of(definition)
        if not cell.is_reference
        for question in draw(questions, cell.config.data.n_train, cell.config.data.seed)
    }
    assert {*half.ids} == {question.id for question in questions} - drawn
    assert f"{len(drawn)} left out that are trained on" in capsys.readouterr().out


def test_one_set_cannot_be_both_halves(tmp_path):
    with pytest.raises(LabError, match="found 1000 questions in both"):
        halves(tmp_path, choose="bundled-report")


def test_a_set_that_is_all_trained_on_is_a_mistake(tmp_path):
    settings = {"data.train": "bundled-report", "data.n_train": 0}
    with pytest.raises(LabError, match="expected questions that are not trained on"):
        halves(tmp_path, settings=settings)


def test_a_training_set_that_is_not_there_fails_its_cells_alone(tmp_path):
    axes = [{"data.train": ["bundled", "none.json"]}]
    definition = definition_from({"name": "", "question": "", "seeds": 1, "axes": axes})
    cells, work = cells_of(definition), Work(tmp_path)
    assert len(make_halves(definition, cells, work)) == 2
    failed = {str(cell) for cell in cells if cell.id in work.failed}
    assert failed == {f"{arm}, data.train none.json, seed 0" for arm in ("sft", "kd")}


def test_a_reason_is_one_line():
    assert reason_of(LabError("a\n b")) == "a b"
    assert reason_of(ValueError("a\nb")) == "ValueError: a"
