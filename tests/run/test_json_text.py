"""JSON's faults, each one error in words; values and lists of names cut to fit a line."""

from __future__ import annotations

import json
import sys

import pytest

from distill_lab.run.folder import RunFolder
from distill_lab.run.json_files import read_json, read_json_lines
from distill_lab.run.json_text import BadJson, is_unicode, listed, parse, shown
from distill_lab.run.records import LabError
from distill_lab.run.saved_settings import saved

DEEP = "[" * 100_000 + "]" * 100_000  # newer Pythons read 5,000
LONG = "1" * 5000
FAULTS = {
    "broken": ('{"a": \n1,}', r"breaks at line 2, column \d"),
    "deep lists": (DEEP, "nested too deep"),
    "deep objects": ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deep"),
    "a long number": (f'{{"data": {LONG}}}', "thousands of digits"),
    "a long negative number": (f"[-{LONG}]", "thousands of digits"),
}
HAS_A_LIMIT = pytest.mark.skipif(
    not hasattr(sys, "get_int_max_str_digits"), reason="this Python converts any number"
)


@HAS_A_LIMIT
@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_each_fault_is_one_error_in_words(text, message, tmp_path):
    with pytest.raises(BadJson, match=message):
        parse(text)
    path = tmp_path / "some.json"
    path.write_text(text)
    for read in (lambda: read_json(path, "a report"), lambda: read_json_lines(path, "Do so")):
        with pytest.raises(LabError) as caught:
            read()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


@HAS_A_LIMIT
@pytest.mark.parametrize("text", FAULTS.values(), ids=FAULTS.keys())
def test_a_runs_own_files_are_refused_by_name(text, tmp_path):
    from distill_lab.training.teacher_cache.files import read_meta

    for name, read in (
        ("config.json", saved),
        ("run.json", lambda out: RunFolder(out).read_notes()),
        ("meta.json", read_meta),
    ):
        (tmp_path / name).write_text(text[0])
        with pytest.raises(LabError, match=name):
            read(tmp_path)


def test_good_text_is_what_json_reads():
    for value in ({"a": [1, 2.5, None, "é\u2028"]}, [], "\U0001f600", 10**4000):
        assert parse(json.dumps(value)) == value


def test_lines_are_values_and_a_bad_one_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": NaN}\n')
    assert [row["step"] == 1 for row in read_json_lines(path, "Do so")] == [True, False]
    path.write_text('{"step": 1}\n{"step"\n')
    with pytest.raises(
        LabError, match=r"one JSON object a line.*'\{\"step\"' on line 2 .*\. Do so\."
    ):
        read_json_lines(path, "Do so")


def test_half_a_character_is_not_unicode():
    assert is_unicode("é 東京 \U0001f600")
    assert is_unicode(json.loads(r'"\ud83d\ude00"'))  # the two halves together
    assert not is_unicode(json.loads(r'"a\ud83d"'))
    assert not is_unicode(json.loads(r'"\ude00\ud83d"'))


def test_values_and_names_are_cut():
    assert shown("it") == "'it'"
    assert len(shown([10**3000] * 99)) == 60
    assert listed("abc") == "a, b, c"
    assert listed(map(str, range(25))) == "0, 1, 2, 3, 4, 5, 6, 7 and 17 more"
    assert len(listed(["k" * 5000])) == 40
