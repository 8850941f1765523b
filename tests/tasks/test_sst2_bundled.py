"""The bundled reviews are what their generator makes, and what their README says."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from itertools import islice
from typing import Any

import pytest

from data.mini_sst2 import words
from data.mini_sst2.make import SHARES, Made, files, review_stream, reviews
from data.mini_sst2.sentences import TEMPLATES
from data.mini_sst2.writer import SLOTS, held_out
from distill_lab.run.settings import data_folder
from distill_lab.tasks.sst2.reviews import load_reviews

SPLITS = ("train", "dev")


@cache
def made(split: str) -> list[Made]:
    return reviews(split)


def rows(split: str) -> list[dict[str, Any]]:
    text = (data_folder() / "mini_sst2" / f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def text_of(split: str) -> str:
    return "\n".join(row["sentence"] for row in rows(split)).lower()


def test_the_files_are_what_the_generator_makes_byte_for_byte():
    found = files()
    assert sorted(found) == ["dev.jsonl", "train.jsonl"]
    for name, text in found.items():
        assert (data_folder() / "mini_sst2" / name).read_bytes() == text.encode(), (
            f"run `python -m data.mini_sst2.make` for {name}"
        )


@pytest.mark.parametrize(("split", "n"), [("train", 5000), ("validation", 1000)])
def test_they_load_whole_and_are_balanced(split, n):
    loaded = load_reviews("bundled", split, strict=True)
    assert loaded.problems == {}
    assert Counter(review.label for review in loaded.reviews) == {0: n // 2, 1: n // 2}
    assert {review.kind for review in loaded.reviews} == set(SHARES)


def test_no_review_is_in_both():
    ids = [
        {r.id for r in load_reviews("bundled", split).reviews} for split in ("train", "validation")
    ]
    assert not ids[0] & ids[1]


@pytest.mark.parametrize("kind", SHARES)
def test_a_kind_has_its_share_and_either_label(kind):
    for split in SPLITS:
        labels = Counter(row["label"] for row in rows(split) if row["kind"] == kind)
        total = len(rows(split))
        assert abs(labels.total() / total - SHARES[kind]) < 0.05
        assert 0.4 < labels[1] / labels.total() < 0.6


def test_names_subjects_genres_and_topics_of_dev_are_not_in_train():
    """Read off the text, whatever the generator meant to do."""
    train, dev = text_of("train"), text_of("dev")
    held = [*words.DEV.people, *words.DEV.title_nouns, *words.DEV.genres, *words.DEV.topics]
    held += [aspect.rstrip("*") for group in words.DEV.aspects.values() for aspect in group]
    assert sum(name.lower() in dev for name in held) > 0.9 * len(held)
    for name in held:
        assert not re.search(rf"\b{re.escape(name.lower())}\b", train), name


def test_patterns_and_pairs_of_dev_are_not_in_train():
    train, dev = made("train"), made("dev")
    assert not {review.pattern for review in train} & {review.pattern for review in dev}
    pairs = [{pair for review in split for pair in review.pairs} for split in (train, dev)]
    assert not pairs[0] & pairs[1]
    assert len(pairs[1]) > 100
    seen = {word for _, word in pairs[0]}, {negation for negation, _ in pairs[0]}
    told_apart = [pair for pair in pairs[1] if pair[0] in words.NOT_ADJECTIVE[None]]
    assert all(word in seen[0] and negation in seen[1] for negation, word in told_apart)


def test_no_denied_adjective_of_dev_is_denied_the_same_way_in_train():
    """Read off the text."""
    train = text_of("train")
    adjectives = {w for groups in words.ADJECTIVES.values() for ws in groups.values() for w in ws}
    found = 0
    for negation in words.NOT_ADJECTIVE[None]:
        denied = set(re.findall(rf"\bis {negation} ([\w-]+)", text_of("dev"))) & adjectives
        found += len(denied)
        for word in denied:
            assert not re.search(rf"\bis {negation} {word}\b", train), (negation, word)
    assert found > 40


def test_words_that_carry_the_polarity_are_in_both():
    train, dev = text_of("train"), text_of("dev")
    groups = [group for by_group in words.ADJECTIVES.values() for group in by_group.values()]
    for word in {w for group in groups for w in group}:
        assert re.search(rf"\b{word}", train), word
    in_dev = {w for group in groups for w in group if re.search(rf"\b{w}", dev)}
    assert len(in_dev) > 0.9 * len({w for group in groups for w in group})


def test_every_slot_of_every_template_is_known():
    for template in TEMPLATES:
        for slot in re.findall(r"\{([^}]*)\}", template.text):
            assert slot.partition("|")[0].removeprefix("~") in SLOTS, template.text
    assert {template.kind for template in TEMPLATES} == set(SHARES)


def test_a_quarter_of_all_combinations_is_held_out():
    share = sum(held_out(f"a{n}", f"b{n * n}") for n in range(4000)) / 4000
    assert 0.22 < share < 0.28
    assert held_out("never", "dull") == held_out("never", "dull")


FRAMES = {
    r"There is nothing (\w+) about the [\w ]+\.": -1,
    r"The best thing about .+ is that it ends\.": 0,
    r"The worst thing about .+ is that it ends\.": 1,
    r"(?:Stay at home|Avoid .+), if you hate laughing\.": 1,
    r"Go and see .+, if you have never seen another film\.": 0,
    r"I expected an? (?:[\w-]+) .+ and got an? ([\w-]+) one\.": +1,
    r"Even (?:the|its) ([\w-]+) .+ cannot save this [\w-]+ .+\.": 0,
}


@pytest.mark.parametrize("frame", FRAMES)
def test_labels_by_hand(frame):
    """What a frame means, told here once more: 0 or 1, or how the word in it counts."""
    good = {w for ws in words.ADJECTIVES[True].values() for w in ws} | set(words.STRONG[True])
    found = 0
    for row in rows("train"):
        if match := re.fullmatch(frame, row["sentence"]):
            found += 1
            expected = FRAMES[frame]
            if match.groups() and expected:
                expected = (match[1] in good) == (expected == 1)
            assert row["label"] == expected, row["sentence"]
    assert found >= 2


def test_what_the_tiny_model_learns_from_has_no_name_pattern_or_pair_of_dev():
    stream = list(islice(review_stream(101, invented=0.5), 3000))
    text = "\n".join(review.text for review in stream)
    names = [*words.DEV.people, *words.DEV.title_nouns, *words.DEV.genres]
    assert not [name for name in names if re.search(rf"\b{name}\b", text, re.IGNORECASE)]
    assert not {review.pattern for review in stream} & {review.pattern for review in made("dev")}
    pairs = {pair for review in made("dev") for pair in review.pairs}
    assert not {pair for review in stream for pair in review.pairs} & pairs
    titles = re.findall(r"The [A-Z]\w+ ([A-Z]\w+)", text)
    known = sum(title in words.TRAIN.title_nouns for title in titles)
    assert 0.4 < known / len(titles) < 0.6
