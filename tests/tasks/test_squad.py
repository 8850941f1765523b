"""SQuAD: official scores, what is wrong with a question or a file, the draw, and the metric."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distill_lab.pipeline import data as data_stage
from distill_lab.run.records import LabError, Question, read_records
from distill_lab.run.settings import Config, DataSettings
from distill_lab.tasks.squad import questions
from distill_lab.tasks.squad.questions import em, f1, normalize_answer

CONTEXT = "Orgar was born in Helhaven. Mira lives in Vinford."


def dataset(*entries, version="1.1", context=CONTEXT):
    return {
        "version": version,
        "data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(entries)}]}],
    }


def entry(name="q", text: Any = "Helhaven", start: Any = 18, question="Where?", **more):
    answers = [{"text": text, "answer_start": start}]
    return {"id": name, "question": question, "answers": answers} | more


def without(key, values):
    return {name: value for name, value in values.items() if name != key}


def write(path: Path, value) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


NORMAL = {
    "The Theatre, in a Park!": "theatre in park",  # not: articles cut out of words
    "a.m.": "am",  # not: articles before punctuation
    "The-end": "theend",  # not: punctuation as a space
    "A  B\t\nAN c": "b c",  # not: inner spaces kept, or case after articles
    "the the": "",
    "Dvořák’s “An”": "dvořák’s “ ”",  # only ASCII punctuation goes
    "_x_ 1,000": "x 1000",
    "": "",
}


@pytest.mark.parametrize("text", NORMAL)
def test_normalize_answer(text):
    assert normalize_answer(text) == NORMAL[text]


# prediction, references, EM, F1: all by hand
SCORES = [
    ("The Helhaven.", ("helhaven",), 100, 100),
    ("Helhaven", ("Vinford", "Helhaven"), 100, 100),  # not: the first reference only
    ("in Helhaven", ("Helhaven",), 0, 200 / 3),  # P 1/2, R 1
    ("b b c", ("b b d d",), 0, 100 * 4 / 7),  # P 2/3, R 2/4; with sets it would be 50
    ("b c", ("c b",), 0, 100),  # a bag has no order
    ("x", ("y",), 0, 0),  # not: a division by zero
    ("", ("y",), 0, 0),
    ("the", ("a",), 100, 0),  # 1.1 as it is: equal, and yet no word in common
    ("", (), 100, 100),  # unanswerable, and so answered
    ("A.", (), 100, 100),
    ("x", (), 0, 0),
]


@pytest.mark.parametrize(("prediction", "answers", "exact", "overlap"), SCORES)
def test_em_and_f1(prediction, answers, exact, overlap):
    assert em(prediction, answers) == exact
    assert f1(prediction, answers) == pytest.approx(overlap, abs=1e-12)


def test_score_of_1_1_counts_a_question_without_prediction_as_0():
    data = dataset(entry("a"), entry("b"), entry("c"))
    found = questions.score(data, {"a": "Helhaven", "b": "in Helhaven", "unknown": "x"})
    assert found == {"exact_match": pytest.approx(100 / 3), "f1": pytest.approx(500 / 9)}


def test_score_of_2_0():
    nothing = {"id": "n", "question": "Why?", "answers": [], "is_impossible": True}
    article = entry("e", text="the")  # of a 2.0 reference that normalises to nothing, nothing stays
    both = entry("d")
    both["answers"].append({"text": "a", "answer_start": 2})
    data = dataset(entry("a"), both, article, nothing, version="v2.0")
    found = questions.score(data, {"a": "in Helhaven", "d": "an", "e": "", "n": "no"})
    expected = {
        "exact_match": 25,  # only e: 1.1 would take `an` for `a` in d
        "exact": 25,
        "f1": 100 * (2 / 3 + 0 + 1 + 0) / 4,  # e is 1 here, 0 in 1.1
        "total": 4,
        "HasAns_exact": 100 / 3,
        "HasAns_f1": 100 * (2 / 3 + 1) / 3,
        "HasAns_total": 3,
        "NoAns_exact": 0,
        "NoAns_f1": 0,
        "NoAns_total": 1,
    }
    assert found == pytest.approx(expected, abs=1e-12)
    assert list(found) == list(expected)
    del data["version"]  # told by `is_impossible` then
    assert questions.score(data, {}).keys() == found.keys()


def test_score_agrees_with_the_official_script(shared_data):
    folder = shared_data / "squad"
    official = json.loads((folder / "predictions" / "official_scores.json").read_text())
    for name, expected in official.items():
        found = questions.score_files(
            folder / "dev-v1.1.half.json", folder / "predictions" / f"{name}.json"
        )
        assert found == pytest.approx(expected, abs=1e-9, rel=0)


def test_2_0_agrees_with_another_implementation_of_the_official_script(shared_data):
    metrics = pytest.importorskip("transformers.data.metrics.squad_metrics")
    processors = pytest.importorskip("transformers.data.processors.squad")
    path = shared_data / "squad" / "dev-v2.0.piece.json"
    examples = processors.SquadV2Processor().get_dev_examples(path.parent, filename=path.name)
    predictions = {}
    for n, example in enumerate(examples):  # right ones, wrong ones, none, and halves
        texts = [answer["text"] for answer in example.answers] or [""]
        predictions[example.qas_id] = ("", texts[-1], texts[0][: len(texts[0]) // 2], "the")[n % 4]
    expected = dict(metrics.squad_evaluate(examples, predictions))
    found = questions.score(json.loads(path.read_text(encoding="utf-8")), predictions)
    for key in ("exact", "f1", "total", "HasAns_exact", "HasAns_f1", "NoAns_exact", "NoAns_f1"):
        assert found[key] == pytest.approx(expected[key], abs=1e-9), key


IMPOSSIBLE = {"id": "q", "question": "Why?", "answers": [], "is_impossible": True}
# entry -> kinds of problem
QUESTIONS = [
    (entry(), []),
    (entry(offset_is_guess=True), []),  # keys of others do no harm
    (IMPOSSIBLE, []),
    (IMPOSSIBLE | {"is_impossible": False}, ["no_answers"]),
    (without("is_impossible", IMPOSSIBLE), ["no_answers"]),
    (entry(start=17), ["wrong_offset"]),
    (entry(start=-32), ["wrong_offset"]),  # a slice from the end would read it
    (entry(text="Narmouth"), ["wrong_offset", "answer_not_in_context"]),
    (entry(text="helhaven"), ["wrong_offset", "answer_not_in_context"]),  # case counts
    (entry(text=" "), ["empty_answer"]),
    (entry(question="\n"), ["empty_question"]),
    (entry(start="18"), ["missing_key"]),
    (entry(start=True), ["missing_key"]),
    (entry(text=None), ["missing_key"]),
    (entry(answers="Helhaven"), ["missing_key"]),
    (entry(answers=["Helhaven"]), ["missing_key"]),
    (without("answers", entry()), ["missing_key"]),
    (without("question", entry()), ["missing_key"]),
    (entry(answers=[], is_impossible=True), []),
    (entry(is_impossible=True), ["impossible_with_answers"]),
    (entry(is_impossible=True, start=0), ["impossible_with_answers", "wrong_offset"]),
    (entry(question="Where\ud800?"), ["not_unicode"]),
    (entry("q\ud800"), ["not_unicode"]),
    (entry(text="\ud800"), ["not_unicode", "wrong_offset", "answer_not_in_context"]),
]


@pytest.mark.parametrize(("question", "kinds"), QUESTIONS)
def test_what_is_wrong_with_a_question(question, kinds):
    loaded = questions.check(dataset(question))
    assert list(loaded.problems) == kinds
    assert loaded.total == 1
    assert len(loaded.questions) == (not kinds)


def test_what_is_kept_can_be_written(tmp_path, capsys):
    """Half a character in a title or a passage too; the questions beside it are kept."""
    halves = dataset(entry("a"), context=CONTEXT + "\udfff"), dataset(entry("b"))
    halves[1]["data"][0]["title"] = "t\ud83d"
    data = {"data": [part["data"][0] for part in (*halves, dataset(entry("c", "Vinford", 42)))]}
    path = write(tmp_path / "d.json", data)
    found = {"questions": 3, "kept": 1, "problems": {"not_unicode": ["a", "b"]}}
    assert questions.check_file(path) == found
    data_stage.run(Config(data=DataSettings(train=str(path))), tmp_path)
    train = read_records(tmp_path / "questions.train.jsonl", Question)
    assert [question.id for question in train] == ["c"]
    assert "2 left out: not_unicode 2" in capsys.readouterr().out


def test_what_has_no_id_is_named_by_its_place():
    data = dataset(entry("a"), without("id", entry()), "text")
    data["data"] += [{"title": "no paragraphs"}, {"paragraphs": [{"qas": [entry("no context")]}]}]
    found = questions.check(data)
    assert found.problems == {
        "missing_key": [
            "data[0].paragraphs[0].qas[1]",
            "data[0].paragraphs[0].qas[2]",
            "data[1].paragraphs.qas",
            "no context",
        ]
    }
    assert [question.id for question in found.questions] == ["a"]


def test_of_two_with_one_id_the_first_counts_even_if_it_is_bad():
    found = questions.check(dataset(entry("a"), entry("a"), entry("b", start=0), entry("b")))
    assert found.problems == {"duplicate_id": ["a", "b"], "wrong_offset": ["b"]}
    assert [question.id for question in found.questions] == ["a"]


def test_all_references_are_kept_as_they_stand():
    question = entry("a")
    question["answers"] += [{"text": "in Helhaven", "answer_start": 15}, question["answers"][0]]
    found = questions.check(dataset(question)).questions
    assert found == (
        Question("a", "t", CONTEXT, "Where?", ("Helhaven", "in Helhaven", "Helhaven")),
    )


def test_strict_names_counts_and_ids(tmp_path):
    bad = entry("bad", start=3)
    bad["answers"] *= 2  # counted twice, named once
    path = write(tmp_path / "d.json", dataset(entry("good"), bad))
    assert len(questions.load(str(path), "train").questions) == 1
    with pytest.raises(LabError, match=r"found 1 bad of 2: wrong_offset 2 \(first: bad\)"):
        questions.load(str(path), "train", strict=True)


# content -> what the error says
BAD_FILES = {
    "": "an empty file",
    " \n": "an empty file",
    '{"data": [\n{"title"': "breaks at line 2",
    "[]": "found a list",
    '{"questions": []}': r'no list "data" among the keys \(questions\)',
    '{"data": {}}': 'no list "data"',
    json.dumps({f"question{n}": n for n in range(900)}): r"question7 and 892 more\)\. Convert",
    '{"data": ' + "[" * 100_000: "nested too deep",
    f'{{"data": [], "version": {"1" * 5000}}}': "thousands of digits",
    '{"data": []}': "none among 0",
    '{"data": [{"title": "x"}]}': r"none among 1 \(missing_key 1\)",
    json.dumps(dataset(entry(answers=[]))): r"none among 1 \(no_answers 1\)",
}


@pytest.mark.parametrize("content", BAD_FILES)
def test_bad_files_are_one_clear_line(tmp_path, content):
    path = write(tmp_path / "bad.json", content)
    with pytest.raises(LabError, match=BAD_FILES[content]) as error:
        questions.load(str(path), "train")
    assert str(path) in str(error.value)
    assert "expected" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_a_folder_and_bytes(tmp_path):
    with pytest.raises(LabError, match="no such file"):
        questions.load(str(tmp_path / "missing.json"), "train")
    with pytest.raises(LabError, match="cannot be read"):
        questions.load(str(tmp_path), "train")
    path = tmp_path / "packed.json"
    path.write_bytes(b"\x1f\x8b\x08\xff")
    with pytest.raises(LabError, match="no UTF-8"):
        questions.load(str(path), "train")


def test_an_unknown_hub_name_is_one_clear_line():
    with pytest.raises(LabError, match=r"no/such-set: expected .* Check name and network") as error:
        questions.load("no/such-set", "validation")
    assert "\n" not in str(error.value)


def test_a_hub_set_reads_as_a_file_does(tmp_path, monkeypatch):
    """A local parquet set goes through `datasets.load_dataset` just as a hub name does."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    answers = [{"text": ["Helhaven"], "answer_start": [18]}, {"text": [], "answer_start": []}]
    rows = {"id": ["a", "b"], "title": ["t", "t"], "context": [CONTEXT] * 2}
    rows |= {"question": ["Where?", "Why?"], "answers": answers}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "set" / "validation.parquet")
    from distill_lab.tasks.squad.files import from_hub

    found = questions.check(from_hub("./set", "validation"))
    assert found.problems == {}
    assert [question.answers for question in found.questions] == [("Helhaven",), ()]


def test_the_real_malformed_file(shared_data):
    found = questions.check_file(shared_data / "squad" / "malformed.json")
    assert len(found["problems"]["wrong_offset"]) == 21
    assert len(found["problems"]["duplicate_id"]) == 5
    n_bad = len(set(found["problems"]["wrong_offset"])) + 5
    assert (found["questions"], found["kept"]) == (396, 396 - n_bad)
    assert set(found["problems"]["answer_not_in_context"]) < set(found["problems"]["wrong_offset"])


@pytest.mark.parametrize(
    ("name", "n"),
    [("train-v1.1.subset", 7789), ("dev-v1.1.half", 612), ("dev-v2.0.piece", 626)],
)
def test_real_files_load_whole(shared_data, name, n):
    loaded = questions.load(str(shared_data / "squad" / f"{name}.json"), "train", strict=True)
    assert len(loaded.questions) == loaded.total == n


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_bundled_set_loads_whole(split):
    loaded = questions.load("bundled", split, strict=True)
    assert loaded.problems == {}
    assert len(loaded.questions) == loaded.total >= 200


BAD_PREDICTIONS = {
    "": "empty file",
    "{": "breaks at line 1",
    "[1]": "found a list",
    '{"a": null}': "found None for a",
    '{"a": ["x"]}': r"found \['x'\] for a",
    '{"a": ' + "[" * 100_000: "nested too deep",
    f'{{"a": {"1" * 5000}}}': "thousands of digits",
    json.dumps({"a": [1] * 9000}): r"found \[1, 1, [1, ]{1,60} … for a",
}


@pytest.mark.parametrize("content", BAD_PREDICTIONS)
def test_bad_predictions_are_one_clear_line(tmp_path, content):
    data = write(tmp_path / "d.json", dataset(entry("a")))
    with pytest.raises(LabError, match=BAD_PREDICTIONS[content]):
        questions.score_files(data, write(tmp_path / "p.json", content))


@pytest.mark.parametrize(
    "content",
    [{"data": []}, {"data": [3]}, dataset({"id": "a"}), dataset(entry(text=3)), dataset("qas")],
)
def test_scoring_against_a_wrong_schema_is_one_clear_line(tmp_path, content):
    data = write(tmp_path / "d.json", content)
    with pytest.raises(LabError, match=r"The data: expected"):
        questions.score_files(data, write(tmp_path / "p.json", {}))


def test_scoring_a_1_1_question_without_answers(tmp_path):
    with pytest.raises(LabError, match="Question a: expected an answer"):
        questions.score(dataset(entry("a", answers=[])), {})


def test_half_a_character_is_scored_as_the_official_script_does(tmp_path):
    data = write(tmp_path / "d.json", dataset(entry("a")))
    found = questions.score_files(data, write(tmp_path / "p.json", {"a": "Helhaven \ud800"}))
    assert found == {"exact_match": 0, "f1": pytest.approx(200 / 3)}


def test_score_files_counts_what_has_no_prediction_on_stderr(tmp_path, capsys):
    data = write(tmp_path / "d.json", dataset(entry("a"), entry("b")))
    found = questions.score_files(data, write(tmp_path / "p.json", {"a": "Helhaven"}))
    assert found == {"exact_match": 50, "f1": 50}
    printed = capsys.readouterr()
    assert printed.out == ""  # the command line prints JSON there
    assert "1 questions have no prediction" in printed.err


METRIC = """
import evaluate
from distill_lab.tasks.squad.questions import metric_path
metric = evaluate.load(str(metric_path()))
answers = {"text": ["Vinford", "Helhaven"], "answer_start": [0, 0]}
none = {"text": [], "answer_start": []}
predictions = [{"id": "a", "prediction_text": "in Helhaven"}, {"id": "b", "prediction_text": ""}]
for second in (answers, none):
    references = [{"id": "a", "answers": answers}, {"id": "b", "answers": second}]
    found = metric.compute(predictions=predictions, references=references)
    print(sorted(found), round(found["exact_match"], 6), round(found["f1"], 6))
"""


def test_the_metric_loads_with_no_network(tmp_path):
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", METRIC],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(questions.__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    version_1, version_2 = done.stdout.splitlines()
    assert version_1 == "['exact_match', 'f1'] 0.0 33.333333"
    assert version_2.endswith("50.0 83.333333")
    assert "NoAns_exact" in version_2
