"""Bytes of tokens and their alignment, over random texts and three kinds of tokenizers."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from other_tokenizers import byte_level, sentencepiece, wordpiece
from tokenizers import normalizers

from distill_lab.run.records import LabError
from distill_lab.training.byte_spans import align, byte_spans, their_tokens

MAKERS = {
    "byte-level": byte_level,
    "byte-level, smaller": cache(lambda: byte_level(300, "<|stop|>")),
    "sentencepiece": sentencepiece,
}
# SentencePiece cannot tell its mark from a space
TEXT = st.text(max_size=40).filter(lambda text: "▁" not in text)
ANY = st.sampled_from(sorted(MAKERS))


@cache
def made(name: str) -> Any:
    return MAKERS[name]()


def ids_of(name: str, text: str) -> list[int]:
    return made(name)(text, add_special_tokens=False).input_ids


@given(TEXT, ANY)
@example("  two spaces first", "sentencepiece")
@example("é", "byte-level")
@settings(deadline=None, max_examples=200)
def test_the_spans_of_a_text_cover_every_byte_once(text, name):
    spans = byte_spans(made(name), ids_of(name, text))
    assert [start for start, _ in spans[:1]] in ([], [0])
    assert all(one[1] == other[0] for one, other in pairwise(spans))
    assert (spans[-1][1] if spans else 0) == len(text.encode())


def test_a_span_is_the_bytes_that_its_token_decodes_to():
    text = "Ann lives in Zürich, 12 of <b>them</b>"
    for name in MAKERS:
        ids = ids_of(name, text)
        for i, (start, end) in zip(ids, byte_spans(made(name), ids), strict=True):
            decoded = made(name).decode([i])
            if "�" not in decoded:  # a piece of a character
                assert text.encode()[start:end].decode().strip() == decoded.strip()


def test_a_character_may_be_split_and_special_tokens_have_no_bytes():
    tokenizer = made("byte-level")
    ids = [tokenizer.bos_token_id, *ids_of("byte-level", "漢"), tokenizer.eos_token_id]
    assert byte_spans(tokenizer, ids) == [(0, 0), (0, 1), (1, 2), (2, 3), (3, 3)]


@given(TEXT, ANY, ANY, st.booleans(), st.booleans())
@settings(deadline=None, max_examples=200)
def test_every_token_is_in_one_group_and_both_sides_of_it_span_the_same_bytes(
    text, one, other, begun, ended
):
    """Whether or not one of them begins or ends with a special token."""
    tokenizer = made(one)
    ids = [tokenizer.bos_token_id] * begun + ids_of(one, text) + [tokenizer.eos_token_id] * ended
    a, b = byte_spans(tokenizer, ids), byte_spans(made(other), ids_of(other, text))
    groups = align(a, b)
    assert [i for group, _ in groups for i in group] == [*range(len(a))]
    assert [j for _, group in groups for j in group] == [*range(len(b))]
    for i, j in groups:
        if i and j:
            assert (a[i[0]][0], a[i[-1]][1]) == (b[j[0]][0], b[j[-1]][1])
            inner = {a[k][1] for k in i[:-1]} & {b[k][1] for k in j[:-1]}
            assert not inner  # as short as can be
        else:
            assert all(a[k][0] == a[k][1] for k in i)
            assert all(b[k][0] == b[k][1] for k in j)


TABLE = [  # the ends of tokens of both, and the groups
    ([2, 4], [2, 4], [(1, 1), (1, 1)]),
    ([4], [1, 2, 4], [(1, 3)]),
    ([1, 3, 4], [2, 3, 4], [(2, 2), (1, 1)]),
    ([0, 4], [4], [(1, 0), (1, 1)]),  # a beginning-of-text token
    ([0, 4], [0, 4, 4], [(1, 1), (1, 1), (0, 1)]),  # and an end token
    ([0, 0, 4, 4], [0, 4, 4], [(2, 1), (1, 1), (1, 1)]),
    ([2], [2, 3, 5, 5], [(1, 1), (0, 3)]),  # the one was cut
    ([3], [2, 5, 5], [(1, 3)]),  # within a token of the other
    ([], [], []),
]


@pytest.mark.parametrize(("a", "b", "groups"), TABLE)
def test_groups_by_hand(a, b, groups):
    one, other = ([*pairwise([0, *ends])] for ends in (a, b))
    assert [(len(i), len(j)) for i, j in align(one, other)] == groups


# --- a completion in the teacher's tokens ---------------------------------------------------------


def theirs(text: str, cut: int | None = None) -> Any:
    """Of the larger tokenizer's ids beside the smaller's, which is the teacher."""
    student, teacher = made("byte-level"), made("byte-level, smaller")
    ids = [*ids_of("byte-level", text), student.eos_token_id][:cut]
    return student, teacher, ids, their_tokens(text, ids, student, teacher)


def test_pairs_are_tokens_that_begin_at_the_same_byte():
    student, teacher, ids, made_of = theirs("Ann lives.")
    assert student.convert_ids_to_tokens(ids) == ["An", "n", "Ġlives", ".", "<|end|>"]
    assert teacher.convert_ids_to_tokens(made_of.ids) == [
        "An", "n", "Ġlive", "s", ".", "<|stop|>",
    ]  # fmt: skip
    assert made_of.pairs == [
        (0, 0, True), (1, 1, True), (2, 2, False), (3, 4, True), (4, 5, True),
    ]  # fmt: skip


def test_of_a_cut_completion_the_teacher_reads_no_more_than_is_compared():
    _, _, _, made_of = theirs("Ann lives.", cut=3)
    assert made_of.pairs == [(0, 0, True), (1, 1, True), (2, 2, False)]
    assert len(made_of.ids) == 3


def test_nothing_is_compared_after_the_texts_differ():
    """Qwen's tokenizer composes an e and its accent, others do not."""
    teacher, student, text = byte_level(300), made("byte-level"), "so e\u0301 so"
    teacher.backend_tokenizer.normalizer = normalizers.NFC()
    assert teacher.decode(teacher(text).input_ids) == "so \u00e9 so"
    ids = [*ids_of("byte-level", text), student.eos_token_id]
    pairs, spans = their_tokens(text, ids, student, teacher).pairs, byte_spans(student, ids)
    assert [spans[i] for i, _, _ in pairs] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert [alike for _, _, alike in pairs] == [True, True, True, False]


def test_a_tokenizer_that_does_not_spell_the_text_is_refused():
    with pytest.raises(LabError, match="expected one whose tokens spell a text to the byte"):
        byte_spans(wordpiece(), [3, 4])
