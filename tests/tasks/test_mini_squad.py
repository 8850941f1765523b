"""The bundled set is what its generator makes, and what its README says."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest

from data.mini_squad.make import CHAINS, KINDS, files
from distill_lab.run.settings import data_folder
from distill_lab.tasks.squad.questions import load

SPLITS = ("train", "dev", "choose", "report")
# How sentences and questions start: all other words that begin with a capital are names.
STARTS = set("The Visitors People By In On What When Where Which Who".split())


def paragraphs(split: str) -> list[dict[str, Any]]:
    text = (data_folder() / "mini_squad" / f"{split}.json").read_text(encoding="utf-8")
    return [
        paragraph for article in json.loads(text)["data"] for paragraph in article["paragraphs"]
    ]


def words(split: str) -> set[str]:
    """All words of the passages and the questions."""
    texts = [p["context"] for p in paragraphs(split)]
    texts += [qa["question"] for p in paragraphs(split) for qa in p["qas"]]
    return set(re.findall(r"\w+", " ".join(texts)))


def chain_of(question: str) -> str | None:
    """The wording of the chain that a question follows."""
    patterns = {w: re.escape(w).replace(r"\{s\}", ".+") for _, _, w in CHAINS}
    return next((w for w, pattern in patterns.items() if re.fullmatch(pattern, question)), None)


def two_sentence(question: str) -> bool:
    return chain_of(question) is not None


def test_the_files_are_what_the_generator_makes_byte_for_byte():
    made = files()
    assert sorted(made) == ["choose.json", "dev.json", "report.json", "train.json"]
    for name, text in made.items():
        assert (data_folder() / "mini_squad" / name).read_bytes() == text.encode(), (
            f"run `make data` for {name}"
        )


@pytest.mark.parametrize("split", SPLITS[1:])
def test_no_name_that_is_asked_about_occurs_in_train(split):
    train, dev = words("train"), words(split)
    names = {word for word in dev if word[0].isupper()} - STARTS
    assert len(names) > 200
    assert names & train == set()


@pytest.mark.parametrize("split", SPLITS)
def test_each_answer_stands_at_its_offset_as_a_word_of_its_own(split):
    for paragraph in paragraphs(split):
        context = paragraph["context"]
        for qa in paragraph["qas"]:
            [answer] = qa["answers"]
            start, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
            assert context[start:end] == answer["text"]
            assert re.fullmatch(r"\W?", context[start - 1 : start] if start else "")
            assert re.match(r"\W", context[end:])
            assert answer["text"] not in qa["question"]


@pytest.mark.parametrize(
    ("split", "least"), list(zip(SPLITS, (1000, 200, 1000, 1000), strict=True))
)
def test_there_are_enough_questions_and_no_id_twice(split, least):
    ids = [qa["id"] for paragraph in paragraphs(split) for qa in paragraph["qas"]]
    assert len(ids) >= least
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("split", SPLITS)
def test_half_of_the_questions_need_two_sentences_and_follow_chains_of_one_kind(split):
    """So that the sentences of the one chain mislead whoever is asked for the other."""
    for paragraph in paragraphs(split):
        chains = {chain_of(qa["question"]) for qa in paragraph["qas"]} - {None}
        assert sum(two_sentence(qa["question"]) for qa in paragraph["qas"]) == 2
        assert len(chains) == 1
        for qa in paragraph["qas"]:
            assert qa["kind"] == ("two-fact" if two_sentence(qa["question"]) else "one-fact")
        assert len(paragraph["qas"]) == 4


def test_the_two_facts_of_a_chain_never_share_a_sentence():
    asked = [(p, qa) for p in paragraphs("dev") for qa in p["qas"] if two_sentence(qa["question"])]
    for paragraph, qa in asked:
        subject = max(re.findall(r"[A-Z]\w+", qa["question"]), key=paragraph["context"].find)
        evidence = [s for s in paragraph["context"].split(". ") if re.search(rf"\b{subject}\b", s)]
        assert evidence
        assert not any(re.search(rf"\b{qa['answers'][0]['text']}\b", s) for s in evidence)


@pytest.mark.parametrize("split", SPLITS)
def test_passages_are_four_to_six_readable_sentences(split):
    for paragraph in paragraphs(split):
        sentences = paragraph["context"].split(". ")
        assert 4 <= len(sentences) <= 6
        for sentence in sentences:
            assert sentence[0].isupper()
            assert not re.search(r"\ba [aeiou]|\b(\w+) \1\b|  ", sentence), sentence


@pytest.mark.parametrize("split", SPLITS)
def test_every_kind_of_fact_is_told_and_asked_in_every_wording(split):
    text = " ".join(p["context"] for p in paragraphs(split))
    asked = [qa["question"] for p in paragraphs(split) for qa in p["qas"]]
    for kind in KINDS.values():
        for wording in kind.tell:
            pattern = re.escape(wording).replace(r"\{s\}", "[^.]+").replace(r"\{a\}", r"\w+")
            assert re.search(pattern, text, re.IGNORECASE), wording
        for wording in kind.ask:
            pattern = re.escape(wording).replace(r"\{s\}", ".+")
            assert any(re.fullmatch(pattern, question) for question in asked), wording


@pytest.mark.parametrize("split", SPLITS)
def test_no_two_names_of_a_passage_begin_alike(split):
    for paragraph in paragraphs(split):
        names = sorted(set(re.findall(r"\b[A-Z]\w+", paragraph["context"])) - STARTS)
        assert all(not later.startswith(name) for name, later in pairwise(names))


def test_the_sets_of_a_study_are_named_and_share_no_passage_with_another():
    seen: set[str] = set()
    for split in SPLITS:
        contexts = {paragraph["context"] for paragraph in paragraphs(split)}
        assert not contexts & seen
        seen |= contexts
    for half in ("choose", "report"):
        loaded = load(f"bundled-{half}", "validation").questions
        asked = [qa["question"] for paragraph in paragraphs(half) for qa in paragraph["qas"]]
        assert [question.question for question in loaded] == asked
