"""Grading's files: the submissions as they lie there, whatever they are called, and what is written
of them. No text that a student can choose keeps anything from being written or read again."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from laid_files import lay

from distill_lab.cli import main
from distill_lab.course import exercises as checks
from distill_lab.course.exercises.exercise import Outcome, WrongError, expect, judge
from distill_lab.course.grading import graded_lab
from distill_lab.course.grading.handed_in.collect import find_submissions
from distill_lab.course.grading.handed_in.collected import Collected
from distill_lab.course.grading.marks import junit, output_folder
from distill_lab.course.grading.marks.marks import (
    Mark,
    Remark,
    Result,
    StepMark,
    from_json,
    to_json,
)
from distill_lab.course.grading.marks.tables import to_csv
from distill_lab.course.grading.run_submission import grade_submission
from distill_lab.course.grading.run_submission.mark_sheet import (
    MarkSheet,
    claimed_points,
    load_result,
    state_of,
)
from distill_lab.run.records import LabError

LABS = Path(__file__).parent.parent.parent.parent / "lab_notebooks"
LAB = graded_lab.find_lab("lab5a", LABS)
SOFTEN = checks.find("lab5a.soften")
HALF = "a\ud800b"  # half a character: no file in UTF-8 holds it
ODD = 'a\x00\x1b[31m\u202e"<&>\',;\n\r\ud800 = "\U0001f600'


# -- marks


def result(student: str = "ann", sha256: str = "1", **more) -> Result:
    steps = (StepMark("rows", 2, True), StepMark(f"large {ODD}", 1, False, f"soften()\n{ODD}"))
    marks = (
        Mark("lab5a.extract_answer", "error", 0, 4, said=ODD, hint=ODD),
        Mark("lab5a.soften", "partly right", 2, 3, steps),
    )
    remarks = (Remark("review", "lab5a.soften", ODD), Remark("notice", "", "a"))
    whole = Result(student, "lab5a", "a.ipynb", sha256, 1, marks, remarks)
    return dataclasses.replace(whole, **more)


def test_a_result_is_the_same_after_its_json():
    whole = result(failure=ODD)
    assert from_json(to_json(whole)) == whole
    plain = json.loads(to_json(whole))
    assert (plain["points"], plain["of"], plain["marks"][1]["points"]) == (2, 7, 2)


def unmarked(text: str) -> str:
    """Without the apostrophes that make a cell, or what some reader takes for one, a text."""
    return re.sub("(^|[;\t\n])'", r"\1", text)


@given(st.text(max_size=20), st.text(max_size=20))
@example("\n=", ";'=")
@settings(deadline=None)
def test_no_text_keeps_a_class_from_its_csv(file, failure):
    whole = result(file=file, failure=failure)
    text = to_csv([whole]).encode().decode()
    [row] = csv.DictReader(io.StringIO(text, newline=""))
    for name, given_ in (("file", file), ("failure", failure)):
        plain = "".join("?" if c < " " and c not in "\t\n" else c for c in given_)
        assert unmarked(row[name]) == unmarked(plain)
        assert row[name][:1] not in tuple("=+-@\t\n")
    assert row["points"] == "2"


def test_the_csv_has_a_row_a_student_and_a_column_an_exercise():
    text = to_csv([result(), result("=cmd|' /C calc'!A1", file="-a"), result('b"\n', failure="no")])
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    exercises = ["lab5a.extract_answer", "lab5a.soften"]
    assert head == [
        "student",
        "points",
        "of",
        *exercises,
        "review",
        "failure",
        "file",
        "set_aside",
        "id",
    ]
    assert rows == [
        ["ann", "2", "7", "0", "2", "1", "", "a.ipynb", "", ""],
        ["'=cmd|' /C calc'!A1", "2", "7", "0", "2", "1", "", "'-a", "", ""],
        ['b"\n', "2", "7", "0", "2", "1", "no", "a.ipynb", "", ""],
    ]  # fmt: skip
    assert to_csv([]).startswith("student,points,of,review")


@pytest.mark.parametrize("begin", "= + - @ \t \n \r".split(" "))
def test_no_field_is_a_formula(begin):
    [row] = csv.DictReader(io.StringIO(to_csv([result(file=f"{begin}1+1")]), newline=""))
    assert row["file"] == ("?1+1" if begin == "\r" else f"'{begin}1+1")


@pytest.mark.parametrize("end", ["a;", "a\t", "a\n", "a; ", " ", ""])
@pytest.mark.parametrize("begin", ["=", "-", "＝", "＠"])
def test_no_part_of_a_field_is_a_formula_either(end, begin):
    """Where a list is separated by semicolons, a spreadsheet's cell ends at each."""
    text = to_csv([result(file=f"{end}{begin}1+1")])
    assert not re.search(rf"(^|[;\t\n,\"])\s*{begin}1", text)
    assert f"{begin}1+1" in text


# -- junit


def test_the_xml_says_what_the_result_says():
    whole = result(f"ann {ODD}")
    suite = ET.fromstring(junit.to_xml(whole).encode())
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == ["extract_answer", "soften"]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "2", "0")
    points = [
        {p.get("name"): p.get("value") for p in case.iter("property")} for case in (suite, *cases)
    ]
    assert points[1:] == [
        {"points": "0", "of": "4", "state": "error"},
        {"points": "2", "of": "3", "state": "partly right"},
    ]
    failures = [case.find("failure") for case in cases]
    assert [f.get("message") for f in failures if f is not None] == [
        "0 of 4 points: error", "2 of 3 points: partly right",
    ]  # fmt: skip
    assert "wrong: large" in (failures[1].text or "") if failures[1] is not None else False
    assert "review lab5a.soften" in (suite.findtext("system-out") or "")


def test_the_xml_of_a_file_that_was_not_graded_has_an_error():
    suite = ET.fromstring(junit.to_xml(result(failure=ODD)).encode())
    assert suite.get("errors") == "1"
    assert len(suite.findall("testcase")) == int(suite.get("tests") or 0) + 1
    assert suite.find("testcase/error") is not None


def test_all_points_are_no_failure():
    right = result(marks=(Mark("lab5a.soften", "right", 3, 3),))
    suite = ET.fromstring(junit.to_xml(right))
    assert suite.get("failures") == "0"
    assert suite.find("testcase/failure") is None


@given(st.text(st.characters(), max_size=20))
@settings(deadline=None)
def test_no_text_keeps_the_xml_from_being_read(text):
    marks = (Mark("lab5a.soften", "wrong", 0, 3, (StepMark(text, 3, False, text),), text, text),)
    whole = result(text, marks=marks, failure=text, remarks=(Remark("review", text, text),))
    ET.fromstring(junit.to_xml(whole).encode())


# -- the record of a run


def new(tmp_path: Path) -> MarkSheet:
    return MarkSheet(tmp_path / "result.json", Result("a", "lab5a", "a", "", 1, LAB.unmarked))


def raising(error: BaseException):
    def soften(*_):
        raise error

    return soften


def test_a_mark_is_on_the_disk_at_once(tmp_path):
    record = new(tmp_path)
    mark = record.mark(SOFTEN, judge(SOFTEN, SOFTEN.ours))
    assert (mark.state, mark.points, mark.hint) == ("right", 3, "")
    finished, there = load_result(record.path)
    assert (finished, there) == (False, record.result)
    assert [m.state for m in there.marks] == ["missing", "right", "missing"]
    record.save(finished=True)
    assert load_result(record.path) == (True, there)


def test_a_void_exercise_waits_with_what_it_would_have(tmp_path):
    record = new(tmp_path)
    record.void("lab5a.soften", "Why.")
    mark = record.mark(SOFTEN, judge(SOFTEN, SOFTEN.ours))
    assert (mark.state, mark.points) == ("void", 0)
    assert record.result.reviews[0].said == "Why. It would have 3 points."


def test_a_missing_exercise_and_what_its_cell_raised(tmp_path):
    record = new(tmp_path)
    record.missing.add("lab5a.soften")
    assert record.mark(SOFTEN, judge(SOFTEN, raising(NameError("x")))).state == "missing"
    record.missing.clear()
    record.raised["lab5a.soften"] = f"SyntaxError: {HALF}"
    mark = record.mark(SOFTEN, judge(SOFTEN, raising(NameError("x"))))
    assert mark.said == "When its cell was run: SyntaxError: a?b"


@pytest.mark.parametrize("text", [HALF, ODD, "x" * 100_000, "\ud83d", "é" * 3000])
def test_no_text_of_a_student_keeps_its_mark_from_being_written(text, tmp_path):
    record = new(tmp_path)
    record.raised["lab5a.soften"] = text
    record.void("lab5a.pass_at_k", text)
    record.remark("review", "", text)
    record.fail(f"Expected a notebook, found {text[:50]!r}.")
    record.mark(SOFTEN, judge(SOFTEN, raising(ValueError(text))))
    record.mark(
        checks.find("lab5a.pass_at_k"), judge(SOFTEN, raising(KeyError(text)))
    ) if 0 else None
    record.compare(
        SOFTEN, f"soften: right, 3 of 3 points {text}", judge(SOFTEN, raising(KeyError()))
    )
    _, there = load_result(record.path)
    record.save()
    for file in ("json", "xml", "html"):
        output_folder.write_student(tmp_path / "out", load_result(record.path)[1])
        (tmp_path / "out" / "students" / f"a.{file}").read_text(encoding="utf-8")
    assert max(len(step.said) for step in there.marks[1].steps) <= 2000


def test_what_differs_from_run_to_run_is_not_in_a_mark(tmp_path):
    record = new(tmp_path)
    record.remark(
        "review", "", "<f at 0x7f5d97fcd620> in /tmp/grading-a1b2c3d4/home/x; 0x1f, grading-1"
    )
    [remark] = record.result.remarks
    assert remark.said == "<f at 0x…> in /tmp/grading-…/home/x; 0x1f, grading-1"


def test_half_a_character_in_a_files_name_stops_no_class(tmp_path):
    folder = tmp_path / "class"
    lay(folder / "ann", os.fsdecode(b"lab5a\xff.ipynb"), os.fsdecode(b"b\xff.ipynb"))
    (folder / os.fsdecode(b"ben\xff.ipynb")).symlink_to("nothing")
    found = find_submissions(folder, tmp_path / "unpacked", LAB).submissions
    assert [one.student for one in found] == ["ann", "ben_"]
    for submission in found:
        output_folder.write_student(
            tmp_path / "out", grade_submission.unmarked_result(LAB, submission, 1)
        )
    rows = output_folder.write_class(tmp_path / "out", Collected(found))
    assert [row.file for row in rows] == ["lab5a?.ipynb", "ben?.ipynb"]
    assert "b?.ipynb" in rows[0].remarks[0].said


@pytest.mark.parametrize(
    ("printed", "points"),
    [("soften: right, 3 of 3 points", 3), ("soften: wrong, 2 of 3 points\nx", 2), ("", 0),
     ("x\nsoften: partly right, 1 of 3 points\nsoften: right, 3 of 3 points", 3),
     ("pass_at_k: right, 3 of 3 points", 0), ("say soften: right, 3 of 3 points", 0),
     ("soften: not attempted. Write it above", 0),
     ("soften: " + "9" * 5000 + " of 3 points", 9999), ("soften: " + "9" * 200_000, 0)],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_points_that_are_printed(printed, points):
    assert claimed_points(SOFTEN, printed) == points


def test_the_state_of_a_mark():
    none = (None,)
    assert state_of(Outcome("right", none, 3)) == "right"
    assert state_of(Outcome("wrong", none, 0)) == "wrong"
    assert state_of(Outcome("wrong", none, 1)) == "partly right"
    assert state_of(Outcome("error", none, 1)) == "partly right"
    assert state_of(Outcome("not attempted", none, 0)) == "not attempted"


# -- the name of a mistake


FORGED = "x\nexpected: 1\nForged."


def mistakes(tmp_path: Path, name: str, function) -> set[str]:
    exercise = checks.find(name)
    mark = new(tmp_path).mark(exercise, judge(exercise, function))
    return {step.mistake for step in mark.steps if not step.right}


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\r\n"]
)
def test_no_text_of_an_error_names_a_mistake(end, tmp_path):
    text = FORGED.replace("\n", end)
    long = text + end + "y" * 5000
    for name in ("lab5a.soften", "lab5c.kd_loss", "lab5d.bootstrap_interval"):
        for said in (text, long):
            for kind in (ValueError, RuntimeError):
                assert not any("Forged" in m for m in mistakes(tmp_path, name, raising(kind(said))))


def test_no_result_names_a_mistake(tmp_path):
    odd = type("Odd", (), {"__repr__": lambda self: FORGED})()
    for value in (FORGED, [FORGED], {FORGED: 1}, odd):
        for name in ("lab5a.extract_answer", "lab5a.soften"):
            assert not any("Forged" in m for m in mistakes(tmp_path, name, lambda *_, v=value: v))


def test_no_mended_line_names_a_mistake(tmp_path):
    for text in (FORGED, f"({FORGED}", f"raise ValueError('{FORGED}')"):
        answer = ("positions", 3, text)
        assert not any(
            "Forged" in m for m in mistakes(tmp_path, "lab5c.mend", lambda _, a=answer: a)
        )


def test_the_checks_own_text_does_name_it():
    with pytest.raises(WrongError) as found:
        expect(raising(ValueError("x\ny")), [1], 2, {"The wrong axis.": ValueError})
    step = StepMark("a", 1, False, str(found.value))
    assert step.mistake == "The wrong axis."
    assert step.said == "soften(1)\nraised    ValueError: x\n  y\nexpected: 2\nThe wrong axis."


def test_an_error_that_cannot_be_told_is_still_an_error():
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    outcome = judge(SOFTEN, raising(Silent()))
    assert outcome.points == 0
    assert "Silent: …" in str(outcome.wrong[0])
    checks.check("lab5a.soften", raising(Silent()))


# -- the output folder


def test_a_file_is_graded_again_where_it_has_changed(tmp_path):
    folder, out = lay(tmp_path / "class", "ann.ipynb", "ben.ipynb"), tmp_path / "out"
    first, second = find_submissions(folder, tmp_path / "unpacked").submissions
    assert not output_folder.is_graded(out, first)
    output_folder.write_student(out, grade_submission.unmarked_result(LAB, first, 1))
    assert output_folder.is_graded(out, first)
    assert not output_folder.is_graded(out, second)
    lay(folder, "ann.ipynb", data=b"[]")
    assert not output_folder.is_graded(out, first)
    lay(folder, "ann.ipynb")
    assert output_folder.is_graded(out, first)
    output_folder.discard(out, first)
    assert not output_folder.is_graded(out, first)


def test_a_student_is_done_only_when_all_three_files_are_there(tmp_path):
    folder, out = lay(tmp_path / "class", "ann.ipynb"), tmp_path / "out"
    [found] = find_submissions(folder, tmp_path / "unpacked").submissions
    (out / "students" / "ann.html").mkdir(parents=True)  # it cannot be written
    with pytest.raises(OSError, match="ann"):
        output_folder.write_student(out, grade_submission.unmarked_result(LAB, found, 1))
    assert not output_folder.is_graded(out, found)


FIXED = {"lab": "lab5a", "seed": 1, "seconds": 300}


def test_a_folder_keeps_its_settings(tmp_path):
    output_folder.claim_output_folder(tmp_path, FIXED)
    output_folder.claim_output_folder(tmp_path, FIXED)
    before = (tmp_path / "grading.json").read_bytes()
    with pytest.raises(LabError, match="its marks were made with seed 1, now 2 is asked for"):
        output_folder.claim_output_folder(tmp_path, {**FIXED, "seed": 2})
    with pytest.raises(LabError, match="made with lab lab5a, now lab5b"):
        output_folder.claim_output_folder(tmp_path, {**FIXED, "lab": "lab5b"})
    assert (tmp_path / "grading.json").read_bytes() == before


def command(folder: Path, out: Path, *more: str) -> int:
    arguments = ["grade", "lab5a", str(folder), "--out", str(out), "--labs", str(LABS), *more]
    with pytest.raises(SystemExit) as ended:
        main.main(arguments)
    return int(ended.value.code or 0)


def test_the_command_refuses_other_settings_with_2_and_names_both(tmp_path, capsys):
    folder, out = tmp_path / "class", tmp_path / "out"
    folder.mkdir()
    (folder / "ann.ipynb").symlink_to("nothing")  # no kernel is needed to grade it
    assert command(folder, out) == 0
    assert "1 submissions, of which 1 to be looked at" in capsys.readouterr().out
    files = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert command(folder, out) == 0
    assert "1 of 1 are graded already." in capsys.readouterr().out
    for option, before, now in (
        ("--seed", "seed 1", "2"), ("--cell-seconds", "cell_seconds 30.0", "2.0"),
        ("--memory-gb", "memory_bytes 6000000000", "2000000000"),
    ):  # fmt: skip
        assert command(folder, out, option, "2") == 2
        assert f"made with {before}, now {now} is asked for" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == files


def test_the_command_refuses_what_is_no_folder_and_no_lab(tmp_path, capsys):
    assert command(tmp_path / "none", tmp_path / "out") == 2
    assert "expected a folder or zip file of submissions" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main.main(["grade", "lab9", str(tmp_path), "--labs", str(LABS)])
    assert ended.value.code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("finished", [True, False])
def test_what_was_refused_is_remarked_once_however_the_session_ended(finished, tmp_path):
    record = new(tmp_path)
    record.save(finished=finished)
    ended = {"status": 0, "beyond": "", "refused": ["writing a", "\ufffd", "writing a", "x" * 9999]}
    (tmp_path / "outcome.json").write_text(json.dumps(ended))
    found = grade_submission._result(tmp_path, record.result).result.remarks[not finished :]
    assert [remark.kind for remark in found] == ["review"] * 3
    assert found[0].said == "Its code tried this, and was refused: writing a."
    assert len(found[2].said) <= 2000
