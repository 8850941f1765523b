"""Which passage a question belongs to, and the file of the halves."""

from __future__ import annotations

import pytest

from distill_lab.run.records import LabError, Question
from distill_lab.studies.halves import half_of, read_halves, write_halves


def question(id, title, context, kind=None):
    return Question(id, title, context, "?", ("a",), kind)


QUESTIONS = [
    question("a", "T", "one", "one-fact"),
    question("b", "T", "two", "two-fact"),
    question("c", "T", "one", "two-fact"),
    question("d", "", ""),  # a word problem: no passage
    question("e", "", ""),
    question("f", "U", "one"),  # the same words in another article
]


def test_questions_on_one_text_share_a_passage():
    half = half_of("choose", QUESTIONS)
    assert half.passages == (0, 1, 0, 2, 3, 4)
    assert half.n_passages == 5
    assert half.kind_names == ["one-fact", "two-fact"]
    assert half.of_kind("two-fact") == [False, True, True, False, False, False]
    assert half.of_kind(None) == [True] * 6


def test_halves_come_back_from_their_file_without_texts(tmp_path):
    half = half_of("report", QUESTIONS)
    write_halves(tmp_path / "halves.json", {"report": half})
    assert "one-fact" in (tmp_path / "halves.json").read_text()
    back = read_halves(tmp_path / "halves.json")["report"]
    assert (back.ids, back.kinds, back.passages) == (half.ids, half.kinds, half.passages)
    assert back.questions == ()


@pytest.mark.parametrize("text", ["[]", '{"report": {"ids": []}}', '{"report": 3}'])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "halves.json").write_text(text)
    with pytest.raises(LabError, match=r"halves\.json"):
        read_halves(tmp_path / "halves.json")
