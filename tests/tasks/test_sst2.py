"""Film reviews: what is wrong with a file, the prompt and its label words, and the scores."""

from __future__ import annotations

import json
import math
import random
from itertools import product
from pathlib import Path

import pytest
from transformers import AddedToken, AutoTokenizer

from distill_lab.run.records import LabError
from distill_lab.run.settings import data_folder
from distill_lab.tasks.sst2 import scores
from distill_lab.tasks.sst2.prompt import (
    LABEL_WORDS,
    answered_text,
    label_tokens,
    prompt_ids,
    user_text,
)
from distill_lab.tasks.sst2.reviews import Review, load_reviews

GOOD = "a fine film"


def tsv(path: Path, *rows: str, header: str = "sentence\tlabel") -> str:
    path.write_text("".join(f"{row}\n" for row in (header, *rows)), encoding="utf-8")
    return str(path)


def jsonl(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


BAD_ROWS = {
    "missing_column": ["a film", "a film\twith a tab\t1", ""],
    "bad_label": ["a film\t2", "a film\t-1", "a film\tpositive", "a film\t", "a film\t1.0"],
    "empty_sentence": ["\t1", "  \t0"],
    "duplicate_sentence": [f"{GOOD}\t1", f"{GOOD} \t1"],
    "contradicted_label": [f"{GOOD}\t0"],
}


@pytest.mark.parametrize(("kind", "rows"), BAD_ROWS.items(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_left_out_and_named_by_its_line(kind, rows, tmp_path):
    path = tsv(tmp_path / "train.tsv", f"{GOOD} \t1", *rows)
    loaded = load_reviews(path, "train")
    assert [(review.text, review.label) for review in loaded.reviews] == [(GOOD, 1)]
    assert loaded.problems == {kind: [f"line {n}" for n in range(3, 3 + len(rows))]}
    assert (loaded.total, loaded.n_bad) == (1 + len(rows), len(rows))
    with pytest.raises(LabError, match=rf"good reviews only.*{kind} {len(rows)} \(first: line 3"):
        load_reviews(path, "train", strict=True)


BAD_OBJECTS = {
    "missing_column": [{"sentence": "a film"}, {"sentence": 3, "label": 1}, "text", None, [1]],
    "bad_label": [{"sentence": "a film", "label": label} for label in (2, True, 1.0, [1], "yes")],
    "not_unicode": [{"sentence": "half \ud800", "label": 1}],
}


@pytest.mark.parametrize(("kind", "rows"), BAD_OBJECTS.items(), ids=BAD_OBJECTS.keys())
def test_a_bad_object_is_left_out_and_named_by_its_line(kind, rows, tmp_path):
    path = jsonl(tmp_path / "train.jsonl", {"sentence": GOOD, "label": 0}, *rows)
    loaded = load_reviews(path, "train")
    assert [(review.text, review.label) for review in loaded.reviews] == [(GOOD, 0)]
    assert loaded.problems == {kind: [f"line {n}" for n in range(2, 2 + len(rows))]}


WRONG_FILES = {
    "": "an empty file",
    "sentence,label\na film,1\n": r"columns \(sentence,label\) without sentence or label",
    "index\tsentence\n0\ta film\n": r"\(index, sentence\).*test\.tsv has no labels",
    '{"data": []}': "without sentence or label",
    "sentence\tlabel\n": "at least one usable review, found none among 0",
    "sentence\tlabel\n\t1\n": r"found none among 1 \(empty_sentence 1\)",
}


@pytest.mark.parametrize("content", WRONG_FILES)
def test_a_wrong_file_is_one_clear_line(content, tmp_path):
    (tmp_path / "dev.tsv").write_text(content, encoding="utf-8")
    with pytest.raises(LabError, match=WRONG_FILES[content]) as error:
        load_reviews(str(tmp_path / "dev.tsv"), "validation")
    assert "\n" not in str(error.value)


def test_what_is_no_text_or_not_there_is_one_clear_line(tmp_path):
    (tmp_path / "dev.tsv").write_bytes(b"PAR1\xff\xfe")
    with pytest.raises(LabError, match="found bytes that are no UTF-8 text"):
        load_reviews(str(tmp_path / "dev.tsv"), "validation")
    for name in ("none.tsv", "none.jsonl"):
        with pytest.raises(LabError, match="found no such file"):
            load_reviews(str(tmp_path / name), "validation")
    with pytest.raises(LabError, match="found what cannot be read"):
        load_reviews(str(tmp_path), "validation")
    (tmp_path / "dev.jsonl").write_text('{\n "data": []}', encoding="utf-8")
    with pytest.raises(LabError, match=r"one JSON object a line, found '\{' on line 1"):
        load_reviews(str(tmp_path / "dev.jsonl"), "validation")


def test_only_a_line_end_ends_a_row_and_quotes_and_further_columns_are_allowed(tmp_path):
    rows = ["\"a\u2028film\" of 'quotes'\t7\t1", "\x85another\t8\t0\r"]
    header = "\ufeffsentence\tid\tlabel"
    loaded = load_reviews(tsv(tmp_path / "d.tsv", *rows, header=header), "train", strict=True)
    texts = [review.text for review in loaded.reviews]
    assert texts == ["\"a\u2028film\" of 'quotes'", "another"]
    assert [review.label for review in loaded.reviews] == [1, 0]


def test_a_sentence_has_the_same_id_in_every_file(tmp_path):
    one = load_reviews(tsv(tmp_path / "a.tsv", f"{GOOD}\t1", "dull\t0"), "train").reviews
    other = load_reviews(jsonl(tmp_path / "b.jsonl", {"sentence": "dull ", "label": 0}), "train")
    assert [review.id for review in other.reviews] == [one[1].id]
    assert one[0].id != one[1].id


def test_an_unknown_hub_name_is_one_clear_line():
    with pytest.raises(LabError, match=r"no/such: expected .*\.tsv .* Check name and net") as error:
        load_reviews("no/such", "validation")
    assert "\n" not in str(error.value)


def test_a_hub_set_reads_as_a_file_does(tmp_path, monkeypatch):
    """A local parquet set goes through `datasets.load_dataset` just as a hub name does."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    from distill_lab.tasks.hub import hub_rows
    from distill_lab.tasks.sst2.reviews import from_hub

    rows = {"idx": [0, 1, 2], "sentence": ["fine ", "dull ", "?"], "label": [1, 0, -1]}
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "set" / "validation.parquet")
    loaded = from_hub("./set", "validation")
    assert [(review.text, review.label) for review in loaded.reviews] == [("fine", 1), ("dull", 0)]
    assert loaded.problems == {"bad_label": ["row 2"]}
    with pytest.raises(LabError, match=r"\./set: expected SST-2's columns, found none named text"):
        hub_rows("./set", "validation", "a file", "SST-2", {"label", "text"})


@pytest.mark.parametrize(
    ("name", "n", "problems"),
    [("train.6735", 6735, {"duplicate_sentence": 3}), ("dev.436", 436, {})],
)
def test_real_files_load_whole(shared_data, name, n, problems):
    loaded = load_reviews(str(shared_data / "sst2" / f"{name}.tsv"), "train")
    assert {kind: len(places) for kind, places in loaded.problems.items()} == problems
    assert loaded.total == n
    share = sum(review.label for review in loaded.reviews) / len(loaded.reviews)
    assert 0.45 < share < 0.6


REVIEW = Review("r", "it never drags .", 1)


def test_the_prompt_ends_where_the_label_word_follows():
    assert user_text(REVIEW) == "Review: it never drags .\nSentiment:"
    assert answered_text(REVIEW) == "Review: it never drags .\nSentiment: positive"
    assert LABEL_WORDS == (" negative", " positive")


def test_label_words_of_several_tokens_are_refused_by_name():
    tokenizer = AutoTokenizer.from_pretrained(data_folder() / "tiny_models" / "teacher")
    with pytest.raises(LabError, match=r"' negative': expected one token .*, found \d \(.+\)\. T"):
        label_tokens(tokenizer)


def test_the_second_label_word_is_refused_by_its_own_name():
    tokenizer = AutoTokenizer.from_pretrained(data_folder() / "tiny_models" / "teacher")
    tokenizer.add_tokens([AddedToken(LABEL_WORDS[0], normalized=False)])
    with pytest.raises(LabError, match=r"^Label word ' positive': expected one token"):
        label_tokens(tokenizer)


def test_label_tokens_are_what_a_reader_of_the_whole_text_sees():
    tokenizer = AutoTokenizer.from_pretrained(data_folder() / "tiny_models" / "sst2")
    tokens = label_tokens(tokenizer)
    for label in (0, 1):
        review = Review("r", REVIEW.text, label)
        whole = tokenizer(answered_text(review)).input_ids
        assert whole == [*prompt_ids(review, tokenizer), tokens[label]]
    assert tokenizer.convert_ids_to_tokens(list(tokens)) == ["Ġnegative", "Ġpositive"]


def pairs_auc(logits: list[tuple[float, float]], labels: list[int]) -> float:
    """The definition: every pair of a positive and a negative, an equal one half."""
    margins = [positive - negative for negative, positive in logits]
    pairs = [
        (margins[i], margins[j])
        for i, j in product(range(len(labels)), repeat=2)
        if labels[i] == 1 and labels[j] == 0
    ]
    return 100 * sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("seed", range(20))
def test_auc_is_the_share_of_pairs_in_order(seed):
    rng = random.Random(seed)
    labels = [0, 1, *(rng.randrange(2) for _ in range(rng.randrange(30)))]
    logits = [(float(rng.randrange(4)), float(rng.randrange(4))) for _ in labels]  # with ties
    assert scores.auc(logits, labels) == pytest.approx(pairs_auc(logits, labels))
    shifted = [(negative, positive + 2.5) for negative, positive in logits]
    assert scores.auc(shifted, labels) == scores.auc(logits, labels)  # no threshold in it
    assert scores.auc([(0, 0)] * len(labels), labels) == 50


def test_auc_needs_both_labels():
    with pytest.raises(LabError, match=r"both labels, found 2 positive and 0 negative"):
        scores.auc([(0, 1), (1, 0)], [1, 1])


# logits, label, predicted positive, right, NLL
TABLE = [
    ((0.0, 2.0), 1, 100, 100, math.log(1 + math.exp(-2))),
    ((0.0, 2.0), 0, 100, 0, math.log(1 + math.exp(2))),
    ((5.0, 4.0), 0, 0, 100, math.log(1 + math.exp(-1))),
    ((1.0, 1.0), 1, 0, 0, math.log(2)),  # of equal logits: negative
    ((0.0, -1e4), 1, 0, 0, 1e4),  # no overflow
]


def test_scores_of_each_review_by_hand():
    logits, labels, positive, right, nll = map(list, zip(*TABLE, strict=True))
    assert scores.accuracy(logits, labels) == right
    assert scores.share_positive(logits) == positive
    assert scores.label_nll(logits, labels) == pytest.approx(nll)
    assert scores.agreement(logits, logits) == [100] * 5
    assert scores.agreement(logits, [(1, 2)] * 5) == [100, 100, 0, 0, 0]


def test_logits_and_labels_of_different_numbers_are_noticed():
    with pytest.raises(AssertionError, match="expected 2 rows of logits, found 1"):
        scores.accuracy([(0, 1)], [1, 0])
    with pytest.raises(AssertionError, match="one column a label"):
        scores.share_positive([(0, 1, 2)])
