"""What the cells of a study share: its evaluation questions, and the reasons why cells fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from other_tokenizers import byte_level, save_model

from distill_lab.run.records import LabError
from distill_lab.run.settings import Config, ModelSettings, RuntimeSettings
from distill_lab.sampling import decode
from distill_lab.studies.halves import Half
from distill_lab.studies.running.cell_configs import cells_of
from distill_lab.studies.running.parse_definition import definition_from
from distill_lab.studies.running.shared_work import (
    hold_out,
    make_halves,
    make_shared,
    questions_of,
)
from distill_lab.studies.running.work_folder import Work, reason_of
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


def test_a_study_that_has_grown_samples_what_is_missing(tmp_path, monkeypatch):
    sampled: list[tuple[str, int]] = []
    complete = decode.complete

    def counting(model, jobs, sampling, ids=None):
        sampled.extend((job.question_id, n) for job in jobs for n in range(sampling.n))
        return complete(model, jobs, sampling, ids)

    monkeypatch.setattr(decode, "complete", counting)
    for sizes in ([8], [8, 12]):
        axes = [{"data.n_train": sizes}]
        settings = {"generate.n_samples": 2}
        definition = definition_from(
            {"name": "", "question": "", "seeds": 1, "students": ["sft"], "axes": axes}
            | {"settings": settings}
        )
        cells = [cell for cell in cells_of(definition) if not cell.is_reference]
        make_shared(cells, Work(tmp_path), 1)
    wanted = {
        (question.id, n) for cell in cells for question in questions_of(cell.config) for n in (0, 1)
    }
    assert sorted(sampled) == sorted(wanted)


def test_a_seed_changes_questions_samples_and_order_and_no_evaluation_question(tmp_path):
    settings = {"train.steps": 7}
    values = {"name": "", "question": "", "settings": settings, "axes": [{"data.n_train": [8]}]}
    one, more = (definition_from({**values, "seeds": n}) for n in (1, 3))
    sft = [cell for cell in cells_of(more) if cell.student == "sft"]
    assert [cell.config.train.seed for cell in sft] == [0, 1, 2]  # from which the order follows
    assert len({tuple(questions_of(cell.config)) for cell in sft}) == 3
    assert len({cell.traces_key for cell in sft}) == 3
    assert {cell.config.train.steps for cell in sft} == {7}
    halves_of = [make_halves(each, cells_of(each), Work(tmp_path)) for each in (one, more)]
    assert halves_of[0] == halves_of[1]


def test_where_alpha_and_temperature_vary_a_seed_has_one_sft(tmp_path):
    axes = [{"train.alpha": [0.0, 0.5]}, {"train.temperature": [1.0, 2.0]}]
    definition = definition_from({"name": "", "question": "", "seeds": 2, "axes": axes})
    cells = [cell for cell in cells_of(definition) if not cell.is_reference]
    keys = {name: {c.student_key for c in cells if c.student == name} for name in ("sft", "kd")}
    assert len(keys["sft"]) == 2
    assert len(keys["kd"]) == 2 + 2 * 2  # with alpha 0 it is sft
    assert keys["sft"] < keys["kd"]


def test_a_reason_is_one_line():
    assert reason_of(LabError("a\n b")) == "a b"
    assert reason_of(ValueError("a\nb")) == "ValueError: a"


def test_kl_and_nll_to_a_teacher_with_another_tokenizer_are_refused(tmp_path):
    """It would read the students' token ids as its own."""
    teacher = save_model(tmp_path / "teacher", byte_level())
    config = Config(models=ModelSettings(str(teacher)), runtime=RuntimeSettings(device="cpu"))
    half = halves(tmp_path, settings={"data.n_eval": 2})["report"]
    with pytest.raises(LabError, match="Leave the measures kl and nll out"):
        hold_out(config, half, tmp_path / "held", tmp_path)
    assert not (tmp_path / "held").exists()
