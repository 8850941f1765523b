"""The command over a class, from what the LMS gives to what it takes in again. No kernel is needed:
marks are there already, or a file is none that can be graded."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from laid_files import lay

from distill_lab.cli import main
from distill_lab.course import exercises
from distill_lab.course.exercises.exercise import judge
from distill_lab.course.grading import graded_lab
from distill_lab.course.grading.cells.notebook_file import without_surrogates
from distill_lab.course.grading.handed_in.collect import find_submissions
from distill_lab.course.grading.handed_in.collected import Collected, PassedOver
from distill_lab.course.grading.marks import by_hand, output_folder, tables
from distill_lab.course.grading.marks.marks import Mark, Result, StepMark, to_json
from distill_lab.course.grading.pages import overview
from distill_lab.course.grading.run_submission.mark_sheet import MarkSheet
from distill_lab.course.grading.run_submission.stopping import stoppable
from distill_lab.run.records import LabError

LABS = Path(__file__).parent.parent.parent.parent / "lab_notebooks"
LAB = graded_lab.find_lab("lab5a", LABS)
MARKS = (
    Mark("lab5a.extract_answer", "right", 4, 4),
    Mark("lab5a.soften", "partly right", 2, 3),
    Mark("lab5a.pass_at_k", "wrong", 0, 3),
)


def graded(folder: Path, out: Path) -> None:
    """Writes marks of all that is found, as if it had been graded, for `command` to go on with."""
    for one in find_submissions(folder, out.parent / "unpacked", LAB).submissions:
        output_folder.write_student(
            out,
            Result(one.student, "lab5a", without_surrogates(one.path.name), one.digest(), 1, MARKS),
        )


def command(source: Path, out: Path, *more: str, lab: str = "lab5a") -> int:
    arguments = ["grade", lab, str(source), "--out", str(out), "--labs", str(LABS), *more]
    with pytest.raises(SystemExit) as ended:
        main.main(arguments)
    return int(ended.value.code or 0)


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,Lab 5a Teacher (4711),Lab 5b (4712)
    Points Possible,,,,,10,12
"Doe, Jane",12345,S1,jdoe,A,,
"Lovelace, Ada",777,S2,ada,A,3,
"Student, Test",999,,x,A,,
"""
MOODLE = """\
\ufeffIdentifier,Full name,Email address,Status,Grade,Maximum Grade,Feedback comments
Participant 1234567,Jane van Doe,jane@x.org,Submitted,-,10.00,
Participant 1234568,Ada Lovelace,ada@x.org,No submission,-,10.00,
"""
OWN = """\
Matriculation;Surname;First name;ID;E-Mail
9;Doe;Jane;j17;jane@x.org
8;Lovelace;Ada;a18;ada@x.org
"""


def test_a_class_of_canvas_goes_back_to_canvas(tmp_path, capsys):
    folder, out = tmp_path / "class", tmp_path / "out"
    old, new = "doejane_LATE_12345_678901_Lab5a.ipynb", "doejane_LATE_12345_678950_Lab5a-1.ipynb"
    lay(folder, old, new, "fooben_888_678902_Lab5a.ipynb", "=notes.txt")
    roster = tmp_path / "grades.csv"
    roster.write_text(CANVAS, "utf-8")
    graded(folder, out)
    assert command(folder, out, "--roster", str(roster)) == 0
    said = capsys.readouterr().out
    assert "2 of 2 are graded already." in said
    assert "Passed over, as they are no submissions: =notes.txt." in said
    assert "Of several files the newest counts: doejane_12345." in said
    assert "On the roster, and nothing handed in: Lovelace, Ada." in said
    assert "Handed in, and not on the roster: fooben_888." in said

    jane, ben, ada, notes = rows(out / "grades.csv")
    assert (jane["student"], jane["points"], jane["id"]) == ("doejane_12345", "6", "12345")
    assert (jane["file"], jane["set_aside"]) == (new, old)
    assert (ben["student"], ben["id"]) == ("fooben_888", "888")
    assert (ada["student"], ada["points"], ada["of"]) == ("Lovelace, Ada", "0", "10")
    assert (ada["lab5a.soften"], ada["id"]) == ("0", "777")
    assert ada["failure"] == "Nothing was handed in."
    assert (notes["student"], notes["points"], notes["file"]) == ("", "", "'=notes.txt")
    assert "found another file" in notes["failure"]

    page = (out / "class.html").read_text("utf-8")
    for text in ("=notes.txt", "found another file", "Lovelace, Ada", "fooben_888"):
        assert text in page
    for place in ("passed-over", "absent", "strangers"):
        assert f'<section id="{place}">' in page
        assert f'href="#{place}"' in page

    with zipfile.ZipFile(out / "feedback.zip") as feedback:
        html = new.replace("ipynb", "html")
        assert feedback.namelist() == [html, "fooben_888_678902_Lab5a.html"]
        assert feedback.read(html) == (out / "students" / "doejane_12345.html").read_bytes()

    text = (out / "grades_for_canvas.csv").read_text("utf-8")
    assert text.splitlines() == [
        "Student,ID,SIS User ID,SIS Login ID,Section,Lab 5a Teacher (4711)",
        '"Doe, Jane",12345,S1,jdoe,A,6',
        "fooben,888,,,,6",
        '"Lovelace, Ada",777,S2,ada,A,',  # no grade: an upload leaves what stands there
    ]
    assert not (out / "grades_for_moodle.csv").exists()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert command(folder, out, "--roster", str(roster)) == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_class_of_moodle_goes_back_to_moodle(tmp_path):
    folder, out = tmp_path / "class", tmp_path / "out"
    name = "Jane van Doe_1234567_assignsubmission_file_"
    lay(folder, f"{name}/Lab5a.ipynb", "Al_99_assignsubmission_file_Lab5a.ipynb")
    roster = tmp_path / "worksheet.csv"
    roster.write_text(MOODLE, "utf-8")
    archive = tmp_path / "submissions.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in folder.rglob("*.ipynb"):
            packed.write(file, file.relative_to(folder))
    graded(folder, out)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(temporary))
        assert command(archive, out, "--roster", str(roster)) == 0
    assert list(temporary.iterdir()) == []
    with zipfile.ZipFile(out / "feedback.zip") as feedback:
        assert feedback.namelist() == [
            "Al_99_assignsubmission_file_Lab5a.html", f"{name}/feedback.html"
        ]  # fmt: skip
    assert (out / "grades_for_moodle.csv").read_text("utf-8").splitlines() == [
        "Identifier,Full name,Email address,Status,Grade,Maximum Grade,Feedback comments",
        "Participant 99,Al,,,6,10,",
        "Participant 1234567,Jane van Doe,jane@x.org,Submitted,6,10,",
        "Participant 1234568,Ada Lovelace,ada@x.org,No submission,,10.00,",
    ]
    assert not (out / "grades_for_canvas.csv").exists()
    assert [row["id"] for row in rows(out / "grades.csv")][1:] == [
        "Participant 1234567", "Participant 1234568"
    ]  # fmt: skip


def test_a_roster_of_ones_own_gives_ids_and_no_lms_its_files(tmp_path):
    folder, out = lay(tmp_path / "class", "Jane Doe.ipynb", "A18/x.ipynb"), tmp_path / "out"
    roster = tmp_path / "roster.csv"
    roster.write_text(OWN, "utf-8")
    lay(out, "feedback.zip")  # of an earlier class
    graded(folder, out)
    assert command(folder, out, "--roster", str(roster)) == 0
    assert {row["student"]: row["id"] for row in rows(out / "grades.csv")} == {
        "Jane Doe": "j17", "A18": "a18"
    }  # fmt: skip
    assert not {path.name for path in out.iterdir()} & {
        "feedback.zip", "grades_for_canvas.csv", "grades_for_moodle.csv"
    }  # fmt: skip


@pytest.mark.parametrize(("lms", "head"), [
    ("doejane_12345_678901_a.ipynb", "Student,ID,SIS User ID,SIS Login ID,Section,"
                                     "Lab5a_Teacher_Generation"),
    ("Jane Doe_1234567_assignsubmission_file_/a.ipynb",
     "Identifier,Full name,Email address,ID number,Grade,Maximum Grade"),
])  # fmt: skip
def test_a_roster_of_ones_own_serves_an_lms_too(lms, head, tmp_path):
    folder, out = lay(tmp_path / "class", lms), tmp_path / "out"
    roster = tmp_path / "roster.csv"
    roster.write_text(OWN, "utf-8")
    graded(folder, out)
    assert command(folder, out, "--roster", str(roster)) == 0
    [file] = out.glob("grades_for_*.csv")
    jane = "Jane Doe,12345,j17,,,6" if "canvas" in file.name else (
        "Participant 1234567,Jane Doe,jane@x.org,j17,6,10")  # fmt: skip
    assert file.read_text("utf-8").splitlines()[:2] == [head, jane]


def test_half_a_character_in_a_name_stops_no_lms(tmp_path):
    folder, out = tmp_path / "class", tmp_path / "out"
    lay(folder, os.fsdecode(b"doe\xff_12345_678901_Lab5a\xff.ipynb"), os.fsdecode(b"n\xff.txt"))
    graded(folder, out)
    assert command(folder, out) == 0
    with zipfile.ZipFile(out / "feedback.zip") as feedback:
        assert feedback.namelist() == ["doe?_12345_678901_Lab5a?.html"]
    assert rows(out / "grades_for_canvas.csv")[0]["Student"] == "doe?"


# -- withdrawn


def test_who_has_withdrawn_leaves_no_page_and_may_come_back(tmp_path, capsys):
    folder, out = lay(tmp_path / "class", "ann.ipynb", "bob.v2.ipynb"), tmp_path / "out"
    graded(folder, out)
    assert command(folder, out) == 0
    capsys.readouterr()
    (folder / "bob.v2.ipynb").rename(tmp_path / "bob.v2.ipynb")
    assert command(folder, out) == 0
    assert f"moved to {out / 'withdrawn'}: bob.v2." in capsys.readouterr().out
    assert "bob" not in (out / "class.html").read_text("utf-8")
    assert [row["student"] for row in rows(out / "grades.csv")] == ["ann"]
    assert sorted(path.name for path in (out / "students").iterdir()) == [
        "ann.html", "ann.json", "ann.xml"
    ]  # fmt: skip
    assert len(list((out / "withdrawn").iterdir())) == 3
    (tmp_path / "bob.v2.ipynb").rename(folder / "bob.v2.ipynb")
    assert command(folder, out) == 0
    assert "2 of 2 are graded already." in capsys.readouterr().out
    assert list((out / "withdrawn").iterdir()) == []


# -- a lab that was not meant


def test_a_class_of_another_lab_is_one_sentence(tmp_path, capsys):
    data = (LABS / "solutions" / "Lab5b_Rejection_Sampling.ipynb").read_bytes()
    folder = lay(tmp_path / "class", "ann.ipynb", "bob.ipynb", data=data)
    lay(folder, "empty.ipynb/x.txt")
    assert command(folder, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "found those of Lab5b_Rejection_Sampling alone" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_one_notebook_of_another_lab_is_its_students_mistake(tmp_path):
    data = (LABS / "solutions" / "Lab5b_Rejection_Sampling.ipynb").read_bytes()
    folder = lay(tmp_path / "class", "ann.ipynb", data=data)
    (folder / "bob.ipynb").symlink_to("nothing")
    assert command(folder, tmp_path / "out") == 0
    ann, _ = rows(tmp_path / "out" / "grades.csv")
    assert (ann["student"], ann["points"]) == ("ann", "0")
    assert "found one of another lab, Lab5b_Rejection_Sampling" in ann["failure"]


# -- points by hand


def by_instructor(tmp_path: Path, change: dict[str, object], step: dict[str, object]) -> Path:
    steps = (StepMark("rows", 2, True), StepMark("large", 1, False, "wrong"))
    mark = Mark("lab5a.soften", "partly right", 2, 3, steps)
    whole = json.loads(to_json(Result("ann", "lab5a", "a.ipynb", "1", 1, (mark,))))
    whole["marks"][0] |= change
    whole["marks"][0]["steps"][1] |= step
    file = tmp_path / "ann.json"
    file.write_text(json.dumps(whole), "utf-8")
    return file


@pytest.mark.parametrize(
    ("change", "step", "said"),
    [
        ({"state": "rihgt"}, {}, "expected the state 'right' or 'partly right'"),
        ({"state": "rihgt"}, {}, "found 'rihgt'"),
        ({"state": None}, {}, "found None"),
        ({"points": 4}, {}, "expected points from 0 to 3, found 4"),
        ({"points": -1}, {}, "expected points from 0 to 3, found -1"),
        ({"points": "2"}, {}, "expected points from 0 to 3, found '2'"),
        ({"points": 2.5}, {}, "expected points from 0 to 3, found 2.5"),
        ({"points": 3}, {}, "with 3 of 3 points the state 'right'; found 'partly right'"),
        ({"points": 0}, {}, "with 0 of 3 points the state 'wrong' or 'error'"),
        ({"points": 3, "state": "right"}, {}, "the steps that are right, 2, found 3"),
        ({}, {"right": True}, "the steps that are right, 3, found 2"),
        ({"stat": "right"}, {}, "expected the marks as grading writes them, found TypeError"),
    ],
)
def test_a_slip_of_the_instructors_is_one_line_that_names_file_and_exercise(
    change, step, said, tmp_path
):
    file = by_instructor(tmp_path, change, step)
    with pytest.raises(LabError) as found:
        by_hand.read_marks(file)
    assert str(found.value).startswith(f"{file}: ")
    assert said in str(found.value)


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({}, {}),
        ({"points": 3, "state": "right"}, {"right": True}),
        ({"points": 0, "state": "void"}, {}),
        ({"points": 1, "state": "partly right", "steps": []}, {}),
        ({"state": "missing"}, {}),
    ],
)
def test_points_by_hand_that_agree_are_taken(change, step, tmp_path):
    if "steps" in change:
        steps = (Mark("lab5a.soften", "partly right", 1, 3),)
        file = tmp_path / "ann.json"
        file.write_text(to_json(Result("ann", "lab5a", "a", "1", 1, steps)), "utf-8")
    else:
        file = by_instructor(tmp_path, change, step)
    assert by_hand.read_marks(file).student == "ann"


@pytest.mark.parametrize("part", ["lab5a", "lab5b", "lab5d"])
def test_what_grading_itself_writes_agrees_always(part, tmp_path):
    """Else a class could not be finished."""
    known = importlib.import_module(f"distill_lab.course.exercises.mutants.{part}").MUTANTS
    lab = graded_lab.find_lab(part, LABS)
    for n, mutant in enumerate(known):
        exercise = exercises.find(mutant.exercise)
        record = MarkSheet(tmp_path / "record.json", Result("a", part, "a", "", 1, lab.unmarked))
        if n % 3 == 1:
            record.missing.add(exercise.name)
        if n % 3 == 2:
            record.void(exercise.name, "Why.")
        record.mark(exercise, judge(exercise, mutant.function))
        (tmp_path / "a.json").write_text(to_json(record.result), "utf-8")
        assert by_hand.read_marks(tmp_path / "a.json") == record.result


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"marks": 1}', "\xff"])
def test_a_file_that_was_spoilt_is_one_line_before_anything_is_graded(text, tmp_path, capsys):
    folder, out = lay(tmp_path / "class", "ann.ipynb"), tmp_path / "out"
    lay(out, "students/ann.json", data=text.encode("latin-1"))
    assert command(folder, out) == 2
    said = capsys.readouterr().err
    assert "ann.json: expected" in said
    assert said.count("\n") == 1


# -- the end of a command


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_as_an_exception_does(number, status, capsys, request):
    before = signal.signal(number, signal.SIG_DFL)  # these tests may run under nohup
    request.addfinalizer(lambda: signal.signal(number, before))

    def stopped():
        with stoppable():
            os.kill(os.getpid(), number)
            signal.pause()

    with pytest.raises(SystemExit) as ended:
        stopped()
    assert ended.value.code == status
    assert "Stopped. The same command goes on from here." in capsys.readouterr().err
    assert signal.getsignal(number) == signal.SIG_DFL


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_class_is_graded_whole_though_nobody_reads_what_is_said(tmp_path):
    folder, out = lay(tmp_path / "class", "ann.ipynb"), tmp_path / "out"
    graded(folder, out)
    reader, writer = os.pipe()
    os.close(reader)
    arguments = ["grade", "lab5a", str(folder), "--out", str(out), "--labs", str(LABS)]
    done = subprocess.run(
        [sys.executable, "-m", "distill_lab", *arguments],
        cwd=LABS.parent, stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.returncode in (0, 141)  # where Python does not buffer, nothing waits at the end
    assert done.stderr == ""
    assert (out / "class.html").exists()


# -- the pages


def test_what_was_passed_over_is_in_page_and_table_whatever_it_is_called():
    evil = "</table><script>x\u202e\ud83d"
    collected = Collected((), (PassedOver(evil.replace("\ud83d", "?"), evil),))
    results = [Result("ann", "lab5a", "a", "1", 1, MARKS)]
    page = overview.page(results, collected)
    page.encode("utf-8")
    assert "<script>" not in page
    [_, passed] = csv.DictReader(io.StringIO(tables.to_csv(results, collected), newline=""))
    assert passed["file"].startswith("</table>")
