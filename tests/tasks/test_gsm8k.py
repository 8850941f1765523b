"""Word problems: which number an answer gives, and what is wrong with a file."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from data.one_step_sums import make
from distill_lab.run.records import LabError, Question
from distill_lab.run.settings import data_folder
from distill_lab.tasks.gsm8k import GSM8K, grade, load, number
from distill_lab.tasks.prompts import answer_text, parse

NUMBERS = {
    "42": "42",
    "42.": "42",
    "42.0": "42",
    "042": "42",
    ".5": "0.5",
    "$1,234": "1234",
    "1,234,567.50": "1234567.5",
    "1,23": "23",  # not: a comma anywhere in a number
    "7, 8": "8",
    "50%": "50",
    "-7": "-7",
    "-$7": "-7",
    "$-7": "-7",
    "−7": "-7",  # the sign of mathematics
    "10-4": "4",  # not: a minus that subtracts as a sign
    "10 - 4": "4",
    "(3)-4": "4",
    "3 + 4 = 7": "7",
    "She pays 12 dollars.": "12",
    "5km": "5",
    "twelve": None,
    "": None,
    "-": None,
    "$": None,
    "٣": None,  # a digit to Unicode alone
}


@pytest.mark.parametrize(("text", "value"), NUMBERS.items())
def test_the_number_of_an_answer(text, value):
    assert number(text) == (None if value is None else Decimal(value))


GRADES = [
    ("1000", "1,000", 100),
    ("$1,000.00", "1000", 100),
    ("1000.01", "1,000", 0),
    ("-3", "3", 0),
    ("no idea", "3", 0),
    ("", "3", 0),
    ("3" * 5000, "3", 0),  # thousands of digits, which int() would refuse
]


@pytest.mark.parametrize(("answer", "final", "score"), GRADES)
def test_an_answer_is_right_if_its_number_is(answer, final, score):
    assert grade(answer, Question("q", "", "", "How many?", (final,))) == {"accuracy": score}


def lines(path: Path, *entries: object) -> str:
    path.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))
    return str(path)


def problem(
    question: str = "How many?", answer: str = "1 + 1 = <<1+1=2>>2\n#### 2"
) -> dict[str, str]:
    return {"question": question, "answer": answer}


BAD = {
    "missing_key": [{"question": "How many?"}, {"question": 3, "answer": "#### 3"}, "text", None],
    "empty_question": [problem(" ")],
    "no_final_number": [problem(answer="2"), problem(answer="#### two"), problem(answer="2 ####")],
    "duplicate_question": [problem("How many are good?")],
}


@pytest.mark.parametrize(("kind", "entries"), BAD.items(), ids=BAD.keys())
def test_a_bad_problem_is_left_out_and_named_by_its_line(kind, entries, tmp_path):
    loaded = load(lines(tmp_path / "p.jsonl", problem("How many are good?"), *entries), "train")
    assert [question.question for question in loaded.questions] == ["How many are good?"]
    assert loaded.problems == {kind: [f"line {n}" for n in range(2, 2 + len(entries))]}
    assert loaded.total == 1 + len(entries)
    with pytest.raises(LabError, match=rf"--data\.strict.*{kind} {len(entries)} \(first: line 2"):
        load(str(tmp_path / "p.jsonl"), "train", strict=True)


def test_half_a_character_is_left_out(tmp_path):
    text = json.dumps(problem("\ud800 apples?")) + "\n" + json.dumps(problem()) + "\n"
    (tmp_path / "p.jsonl").write_text(text)
    assert load(str(tmp_path / "p.jsonl"), "train").problems == {"not_unicode": ["line 1"]}


def test_a_problem_has_the_same_id_in_every_file(tmp_path):
    """So that none is trained on and asked again, though GSM8K has no ids."""
    one = load(lines(tmp_path / "a.jsonl", problem("One?"), problem("Two?")), "train").questions
    other = load(lines(tmp_path / "b.jsonl", problem("Two? ")), "validation").questions
    assert [question.id for question in other] == [one[1].id]
    assert one[0].id != one[1].id


def test_only_a_line_end_ends_a_line(tmp_path):
    """GSM8K's own files hold other separators inside their texts."""
    loaded = load(lines(tmp_path / "p.jsonl", problem("A\u2028pie\u0085?")), "train")
    assert [question.question for question in loaded.questions] == ["A\u2028pie\u0085?"]


def test_what_is_no_such_file_is_one_clear_line(tmp_path):
    with pytest.raises(LabError, match=r"rajpurkar/squad: expected 'bundled' or a file of GSM8K's"):
        load("rajpurkar/squad", "train")
    (tmp_path / "squad.json").write_text('{\n "data": []}')
    with pytest.raises(LabError, match=r"one JSON object a line, found '\{' on line 1"):
        load(str(tmp_path / "squad.json"), "train")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(LabError, match="at least one usable question, found none among 0"):
        load(str(tmp_path / "empty.jsonl"), "train")


def test_every_worked_example_is_what_is_asked_for():
    assert len(GSM8K.shots) == 3
    for shot in GSM8K.shots:
        assert parse(shot.completion)
        assert answer_text(shot.completion).isdigit()


def test_the_bundled_sums_are_what_the_generator_makes_and_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "HERE", tmp_path)
    make.main()
    ids: list[set[str]] = []
    for split, name, n in (("train", "train", make.TRAIN), ("validation", "test", make.TEST)):
        text = (data_folder() / "one_step_sums" / f"{name}.jsonl").read_bytes()
        assert (tmp_path / f"{name}.jsonl").read_bytes() == text
        loaded = load("bundled", split, strict=True)  # type: ignore[arg-type]
        assert loaded.total == n
        assert all(1 <= int(question.answers[0]) <= 100 for question in loaded.questions)
        ids.append({question.id for question in loaded.questions})
    assert not ids[0] & ids[1]
