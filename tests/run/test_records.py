"""Records come back as written; files are whole or not there; errors name file and line."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_lab.run.folder import RunFolder, require_file
from distill_lab.run.records import (
    Example,
    LabError,
    Prediction,
    Question,
    RecordLog,
    Trace,
    Verdict,
    by_question,
    from_line,
    judged,
    read_records,
    to_line,
    write_records,
    write_text,
)

RECORDS = (
    Question("q1", "Łódź", "Ünï\u2028code 東京 \U0001f600 “q”\n\ttab", "Où ?", ("東京", "Ünï")),
    Question("q2", "", "no answer", "Who?", ()),
    Question("q3", "", "two facts", "Who?", (), "two-fact"),
    Trace("q1", 3, "<think>a\r\nb</think>", 12, "length", "teacher", "0123abcd"),
    Verdict("q1", 0, "wrong_answer", {"em": 0.0, "f1": 66.66666666666667}),
    Example("q1", 0, "prompt\n", "<think>é</think><answer>x</answer>"),
    Prediction("q1", 0, "\\ \" ' \x00", "", {"accuracy": 100}),
)
TRACE = RECORDS[3]
VERDICT = {"question_id": "q1", "sample": 0, "reason": "ok", "scores": {"em": 100.0, "f1": 100.0}}
OLD = {"question_id": "q1", "sample": 0, "reason": "ok", "em": 100.0, "f1": 66.6}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_from_its_line(record):
    line = to_line(record)
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert from_line(line, type(record), "here") == record


@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(st.text(max_size=5), max_size=3))
def test_any_text_comes_back(text, answers):
    question = Question("q", text, text, text, tuple(answers))
    assert from_line(to_line(question), Question, "here") == question


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_file_of_records_comes_back(record, tmp_path):
    write_records(tmp_path / "new folder" / "some.jsonl", [record, record])
    assert read_records(tmp_path / "new folder" / "some.jsonl", type(record)) == [record, record]


BAD_LINES = {
    "not JSON": ("{'em': 1}", "one JSON object a line"),
    "empty line": ("", "one JSON object a line"),
    "half a line": ('{"question_id": "q1", "sam', "one JSON object a line"),
    "a list": ("[1, 2]", "found list"),
    "key missing": (json.dumps({"question_id": "q1", "sample": 0}), "expected a Verdict with"),
    "key too many": (json.dumps(VERDICT | {"more": 1}), "found question_id"),
    "text for a number": (json.dumps(OLD | {"em": "100"}), "Verdict.scores.em: expected float"),
    "no scores": (json.dumps(VERDICT | {"scores": {}}), "Verdict.scores: expected dict"),
    "a list of scores": (json.dumps(VERDICT | {"scores": [1]}), "Verdict.scores: expected dict"),
    "scores twice": (json.dumps(OLD | VERDICT), "found question_id"),
    "number for a text": (json.dumps(VERDICT | {"reason": 5}), "expected str, found 5"),
    "fraction for a whole number": (json.dumps(VERDICT | {"sample": 0.5}), "found 0.5"),
    "true for a whole number": (json.dumps(VERDICT | {"sample": True}), "expected int, found True"),
    "true for a score": (json.dumps(OLD | {"f1": True}), "expected float, found True"),
    "nothing": (json.dumps(OLD | {"f1": None}), "expected float, found None"),
    "nested deep": ("[" * 100_000, "nested too deep"),
    "a number of 5,000 digits": ("1" * 5000, "thousands of digits"),
    "half a character": (json.dumps(VERDICT | {"reason": "\ud800"}), "half a character"),
    "a long value": (json.dumps(OLD | {"em": "x" * 9000}), "expected float, found 'xxx"),
    "many keys": (json.dumps(dict.fromkeys(map(str, range(900)))), "and 892 more"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "message"), BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_named_with_file_and_line(line, message, tmp_path):
    path = tmp_path / "verdicts.jsonl"
    path.write_text(f"{json.dumps(VERDICT)}\n{line}\n")
    with pytest.raises(LabError, match="line 2") as caught:
        read_records(path, Verdict)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "verdicts.jsonl").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(LabError, match=r"verdicts\.jsonl"):
        read_records(tmp_path / "verdicts.jsonl", Verdict)


def test_a_question_without_a_kind_is_written_as_before_there_were_kinds():
    line = to_line(RECORDS[0])
    assert "kind" not in line
    assert from_line(line, Question, "here").kind is None
    with pytest.raises(LabError, match=r"Question\.kind: expected .*, found 3"):
        from_line(line.replace('"title"', '"kind": 3, "title"'), Question, "here")


def test_a_line_from_before_there_were_tasks_has_the_same_scores():
    verdict = from_line(json.dumps(OLD), Verdict, "here")
    assert verdict == Verdict("q1", 0, "ok", {"em": 100.0, "f1": 66.6})
    assert from_line(to_line(verdict), Verdict, "here") == verdict


def test_a_score_is_an_attribute_and_the_first_one_decides():
    verdict = Verdict("q1", 0, "ok", {"em": 0.0, "f1": 100.0})
    assert (verdict.em, verdict.f1, verdict.right) == (0.0, 100.0, False)
    assert Verdict("q1", 0, "ok", {"accuracy": 100.0}).right
    for name in ("accuracy", "reasons"):
        with pytest.raises(AttributeError, match=f"'Verdict' object has no attribute '{name}'"):
            getattr(verdict, name)


def test_a_graded_record_can_be_copied_pickled_and_put_in_a_set():
    """As notebooks of before did with one."""
    verdict = Verdict("q1", 0, "ok", {"em": 0.0, "f1": 100.0})
    assert copy.deepcopy(verdict) == pickle.loads(pickle.dumps(verdict)) == verdict
    assert {verdict, copy.copy(verdict)} == {verdict}
    assert replace(verdict, sample=1).scores == verdict.scores


def test_values_outside_a_list_of_choices_or_texts_are_refused():
    with pytest.raises(LabError, match=r"Trace\.finish.*'eos'"):
        from_line(to_line(TRACE).replace('"length"', '"eos"'), Trace, "here")
    with pytest.raises(LabError, match=r"Question\.answers"):
        from_line(to_line(RECORDS[0]).replace('["東京", "Ünï"]', '["東京", 5]'), Question, "here")
    with pytest.raises(LabError, match=r"Question\.answers"):
        from_line(to_line(RECORDS[0]).replace('["東京", "Ünï"]', '"東京"'), Question, "here")


def test_half_a_character_in_an_answer_is_refused_too():
    with pytest.raises(LabError, match=r"here: .*half a character"):
        from_line(to_line(RECORDS[0]).replace('"Ünï"]', '"\\udc00"]'), Question, "here")


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, "{", "[]", "\xff"])
def test_notes_that_are_none_are_one_clear_line(text, tmp_path):
    (tmp_path / "run.json").write_text(text, encoding="latin-1")
    with pytest.raises(LabError, match=r"run\.json: expected what a run notes"):
        RunFolder(tmp_path).read_notes()


def test_need_says_which_stage_makes_the_file(tmp_path):
    with pytest.raises(LabError, match=r"traces\.jsonl.*distill-lab generate"):
        require_file(tmp_path / "traces.jsonl", "generate")
    write_text(tmp_path / "traces.jsonl", "")
    assert require_file(tmp_path / "traces.jsonl", "generate") == tmp_path / "traces.jsonl"


def test_records_that_fail_midway_leave_the_old_file(tmp_path):
    def two_then_an_error() -> Iterator[Verdict]:
        yield Verdict(**VERDICT)
        raise ZeroDivisionError

    path = tmp_path / "verdicts.jsonl"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_records(path, two_then_an_error())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_midway_leaves_the_old_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "report.md"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "x" * 100_000 + "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


FILL = """
import pathlib, resource, sys
from distill_lab.run.records import RecordLog, Trace, write_text
folder = pathlib.Path(sys.argv[1])
# a larger file fails as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    if sys.argv[2] == "whole":
        write_text(folder / "file", "x" * 200_000)
    else:
        with RecordLog(folder / "file", Trace) as log:
            for n in range(1000):
                log.append([Trace("q", n, "x" * 1000, 1, "stop", "t", "p")])
                print(n + 1, flush=True)
except OSError as error:
    sys.exit(f"OSError {error.errno}")
"""


def fill(folder: Path, how: str) -> subprocess.CompletedProcess[str]:
    """Writes more than the disk is said to hold, in a process of its own."""
    pytest.importorskip("resource")
    command = [sys.executable, "-c", FILL, str(folder), how]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_full_disk_leaves_the_old_file_whole(tmp_path):
    (tmp_path / "file").write_text("old")
    assert "OSError" in fill(tmp_path, "whole").stderr
    assert (tmp_path / "file").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_device_is_an_os_error_and_leaves_nothing(tmp_path):
    path = tmp_path / "report.md"
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    path.with_name(f".{path.name}.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="space"):
        write_text(path, "x" * 100_000)
    assert list(tmp_path.iterdir()) == []


def test_a_log_goes_on_after_a_full_disk(tmp_path):
    done = fill(tmp_path, "log")
    assert "OSError" in done.stderr
    written = int(done.stdout.split()[-1])
    with RecordLog(tmp_path / "file", Trace) as log:
        assert [trace.sample for trace in log.records] == list(range(written))
        log.append([TRACE])
    assert read_records(tmp_path / "file", Trace)[-1] == TRACE


@pytest.mark.parametrize("kept", [1, 20, -4, -1], ids=lambda kept: f"cut at {kept}")
def test_a_torn_last_line_is_dropped_and_the_log_goes_on(kept, tmp_path):
    path = tmp_path / "traces.jsonl"
    torn = to_line(Trace("q9", 1, "東京" * 9, 5, "stop", "é", "p")).encode()[:-2][:kept]
    path.write_bytes(to_line(TRACE).encode() + torn)
    with RecordLog(path, Trace) as log:
        assert log.records == [TRACE]
        log.append([Trace("q2", 0, "b", 1, "stop", "t", "p")])
    assert [trace.question_id for trace in read_records(path, Trace)] == ["q1", "q2"]


def test_a_hand_made_last_record_without_a_newline_is_kept(tmp_path):
    path = tmp_path / "traces.jsonl"
    path.write_text((to_line(TRACE) * 2).removesuffix("\n"), encoding="utf-8")
    with RecordLog(path, Trace) as log:
        log.append([TRACE])
    assert read_records(path, Trace) == [TRACE] * 3


def test_a_log_with_only_a_torn_line_starts_anew(tmp_path):
    (tmp_path / "traces.jsonl").write_text('{"question_id"')
    with RecordLog(tmp_path / "traces.jsonl", Trace) as log:
        assert log.records == []


def test_a_log_that_fails_before_its_first_record_leaves_no_file(tmp_path):
    """An empty one looks like the result of a stage that made nothing."""
    path = tmp_path / "traces.jsonl"
    with pytest.raises(LabError), RecordLog(path, Trace):
        raise LabError("no such model")
    assert not path.exists()
    with RecordLog(path, Trace) as log:
        log.append([TRACE])
    with pytest.raises(LabError), RecordLog(path, Trace):
        raise LabError("no such model")
    assert read_records(path, Trace) == [TRACE]


def test_what_is_appended_is_on_its_way_to_the_disk_at_once(tmp_path):
    path = tmp_path / "deep" / "traces.jsonl"
    with RecordLog(path, Trace) as log:
        log.append([TRACE, TRACE])
        assert read_records(path, Trace) == [TRACE, TRACE] == log.records


def test_a_log_refuses_a_bad_line_in_the_middle(tmp_path):
    path = tmp_path / "traces.jsonl"
    path.write_text("oops\n" + to_line(TRACE))
    with pytest.raises(LabError, match="line 1"):
        RecordLog(path, Trace)
    assert path.read_text() == "oops\n" + to_line(TRACE)


# -- joined by key

TRACES = [Trace(name, n, f"{name}{n}", 9, "stop", "t", "p") for name in "ba" for n in (1, 0)]


def verdict_of(trace: Trace) -> Verdict:
    return Verdict(trace.question_id, trace.sample, f"of {trace.completion}", {"em": 0.0})


@given(st.permutations(TRACES))
def test_a_verdict_is_its_own_traces_in_whatever_order_they_stand(order):
    pairs = judged(TRACES, map(verdict_of, order))
    assert [trace for trace, _ in pairs] == TRACES
    assert all(verdict == verdict_of(trace) for trace, verdict in pairs)


@pytest.mark.parametrize(
    ("traces", "verdicts", "message"),
    [
        (TRACES, TRACES[1:], r"one verdict for each trace, found 1 .* \(question b, sample 1\)"),
        (TRACES[1:], TRACES, r"one verdict for each trace, found 1 .* \(question b, sample 1\)"),
        (TRACES, [*TRACES, TRACES[2]], r"found two of question a, sample 1"),
    ],
)
def test_a_trace_and_a_verdict_that_lack_each_other_are_named(traces, verdicts, message):
    with pytest.raises(LabError, match=message):
        judged(traces, map(verdict_of, verdicts))


def test_records_of_a_question_keep_their_order():
    groups = by_question(TRACES)
    assert list(groups) == ["b", "a"]
    assert [trace.sample for trace in groups["a"]] == [1, 0]
