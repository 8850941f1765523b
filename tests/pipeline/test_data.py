"""The data stage: what is drawn, what is left out and counted, and that no question is in both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill_lab.pipeline import data
from distill_lab.run.records import LabError, Question, read_records
from distill_lab.run.settings import Config, DataSettings

CONTEXT = "Orgar was born in Helhaven."


def entry(name, start=18):
    answers = [{"text": "Helhaven", "answer_start": start}]
    return {"id": name, "question": "Where?", "answers": answers}


def squad_file(folder: Path, *entries) -> str:
    path = folder / "d.json"
    content = {"data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": entries}]}]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


MANY = [Question(str(n), "", "c", "q", ("a",)) for n in range(100)]


def test_draw_is_seeded_keeps_the_order_and_repeats_nothing():
    drawn = data.draw(MANY, 20, seed=3)
    numbers = [int(question.id) for question in drawn]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 20
    assert drawn == data.draw(MANY, 20, seed=3)
    assert drawn != data.draw(MANY, 20, seed=4)
    assert drawn != MANY[:20]  # not: the head of the file
    assert data.draw(MANY, 0, seed=3) == data.draw(MANY, 1000, seed=3) == MANY


def prepare(out: Path, **settings):
    data.run(Config(data=DataSettings(**settings)), out)
    train = read_records(out / "questions.train.jsonl", Question)
    return train, read_records(out / "questions.eval.jsonl", Question)


def test_prepare_writes_both_sets_and_says_what_is_missing(tmp_path, capsys):
    file = squad_file(tmp_path, entry("a"), entry("b", start=0), entry("a"))
    train, evaluation = prepare(tmp_path, train=file, n_train=5, n_eval=7)
    assert ([q.id for q in train], len(evaluation)) == (["a"], 7)
    line = capsys.readouterr().out.splitlines()[0]
    assert "1 questions, of 1 good ones (5 were asked for: all are used)" in line
    assert "2 left out: wrong_offset 1, duplicate_id 1" in line


def test_no_evaluation_question_is_trained_on(tmp_path, capsys):
    file = squad_file(tmp_path, *(entry(f"q{n}") for n in range(30)))
    train, evaluation = prepare(tmp_path, train=file, eval=file, n_train=10, n_eval=0)
    assert (len(train), len(evaluation)) == (10, 20)
    assert not {q.id for q in train} & {q.id for q in evaluation}
    assert "10 left out that are trained on" in capsys.readouterr().out


def test_another_evaluation_set_does_not_change_what_is_trained_on(tmp_path):
    """Else traces that are there already would belong to questions that are not."""
    file = squad_file(tmp_path, *(entry(f"q{n}") for n in range(30)))
    few, _ = prepare(tmp_path / "few", train=file, eval=file, n_train=10, n_eval=3)
    many, _ = prepare(tmp_path / "many", train=file, eval=file, n_train=10, n_eval=15)
    assert few == many


def test_nothing_left_to_ask_is_an_error_and_writes_nothing(tmp_path):
    file = squad_file(tmp_path, entry("a"))
    with pytest.raises(LabError, match="not trained on"):
        prepare(tmp_path / "run", train=file, eval=file, n_train=0)
    assert not (tmp_path / "run").exists()
