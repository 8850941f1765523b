"""Which file of a class is whose: in files, folders and zips, as Canvas and Moodle name them."""

from __future__ import annotations

import io
import os
import re
import time
import zipfile
from pathlib import Path

import pytest
from laid_files import lay

from distill_lab.course.grading import course
from distill_lab.course.grading.handed_in import archives
from distill_lab.course.grading.handed_in.collect import find_submissions
from distill_lab.course.grading.handed_in.collected import Collected
from distill_lab.course.grading.marks import output_folder
from distill_lab.course.grading.session import grade_submission
from distill_lab.course.grading.session.limits import Limits
from distill_lab.run.records import LabError

LABS = Path(__file__).parent.parent.parent.parent / "lab_notebooks"
LAB = course.find_lab("lab5a", LABS)
NOTEBOOK = LAB.notebook


def collect(source: Path) -> Collected:
    return find_submissions(source, source.parent / f"{source.name}-unpacked", LAB)


def students(folder: Path) -> dict[str, str]:
    """Each student's name, and which file is theirs."""
    return {s.student: str(s.path.relative_to(folder)) for s in collect(folder).submissions}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["b.ipynb", "a.ipynb"], {"a": "a.ipynb", "b": "b.ipynb"}),
        (["ann/x.ipynb"], {"ann": "ann/x.ipynb"}),
        (["ann_12_file/sub/x.ipynb"], {"ann_12_file": "ann_12_file/sub/x.ipynb"}),
        (["ann/y.ipynb", "ann/lab5a.ipynb"], {"ann": "ann/lab5a.ipynb"}),
        (["ann/lab5a.ipynb", f"ann/{NOTEBOOK} (1).ipynb"], {"ann": f"ann/{NOTEBOOK} (1).ipynb"}),
        (["ann/a.ipynb", "ann/b.ipynb"], {"ann": "ann/b.ipynb"}),
        (["ann/.ipynb_checkpoints/lab5a.ipynb", "ann/x.ipynb"], {"ann": "ann/x.ipynb"}),
        ([".ipynb_checkpoints/a.ipynb", "__MACOSX/a.ipynb", "._b.ipynb"], {}),
        (["a.IPYNB", "readme.md", "b.py"], {"a": "a.IPYNB"}),
        (["Zoë Å.ipynb", "李.ipynb"], {"Zoë Å": "Zoë Å.ipynb", "李": "李.ipynb"}),
        (["ann/notes.txt"], {"ann": "ann"}),
    ],
)  # fmt: skip
def test_each_student_has_one_notebook(files, expected, tmp_path):
    lay(tmp_path, *files, "last.ipynb")
    assert students(tmp_path) == {**expected, "last": "last.ipynb"}


def test_what_is_no_notebook_is_named_and_not_passed_over_in_silence(tmp_path):
    lay(tmp_path, "ann.ipynb", "bob/x.ipynb", "bob/x.zip", "cy.zip", "d\x1b[31m.py", ".hidden")
    (tmp_path / "link").symlink_to(tmp_path / "bob")
    found = [(file.file, file.why.partition("found ")[2]) for file in collect(tmp_path).passed_over]
    assert found == [("d\x1b[31m.py", "another file."), ("link", "a link.")]


def test_other_notebooks_of_a_folder_are_named(tmp_path):
    lay(tmp_path, "ann/lab5a.ipynb", "ann/old/x.ipynb", "ann/y.ipynb")
    [found] = collect(tmp_path).submissions
    assert sorted(found.set_aside) == ["x.ipynb", "y.ipynb"]
    graded = grade_submission.unmarked_result(LAB, found, 1)
    assert "Handed in as well, and not graded" in graded.remarks[0].said
    assert "x.ipynb" in graded.remarks[0].said


@pytest.mark.parametrize(
    ("name", "safe"),
    [("a:b*c?", "a_b_c_"), ("a\nb", "a_b"), ("..a", "a"), ("=1+1", "_1+1"), ("-x", "-x"),
     ("<script>", "_script_"), ("a ", "a"), ("e\u0301", "é"), ("...x...", "x"), (b"a\xffb", "a_b")],
)  # fmt: skip
def test_a_name_is_made_safe(name, safe, tmp_path):
    folder = tmp_path / os.fsdecode(name)
    lay(folder, "lab5a.ipynb")
    if folder.name.startswith("."):
        folder = folder.rename(tmp_path / f"_{folder.name}")
        safe = f"_..{safe}" if name == "..a" else f"_...{safe}"
    [found] = collect(tmp_path).submissions
    assert found.student == safe


@pytest.mark.parametrize("letter", ["a", "é", "李", "\U00020000"])
def test_a_long_name_is_cut_to_what_a_file_system_takes(letter, tmp_path):
    most = 240 // len(letter.encode())
    lay(tmp_path / (letter * most), "x.ipynb")
    lay(tmp_path / (letter * (most - 1) + "b"), "x.ipynb")
    first, second = collect(tmp_path).submissions
    assert second.student == f"{first.student} (2)"
    for found in (first, second):
        output_folder.write_student(
            tmp_path / "out", grade_submission.unmarked_result(LAB, found, 1)
        )


def test_names_that_are_the_same_get_a_number(tmp_path):
    lay(
        tmp_path,
        "ann/x.ipynb",
        "ann.ipynb",
        "Ann.ipynb",
        "a:nn.ipynb",
        "a_nn.ipynb",
        "a?nn (2).ipynb",
    )
    found = [one.student for one in collect(tmp_path).submissions]
    assert len({name.casefold() for name in found}) == 6
    assert sorted(found) == ["Ann", "a_nn", "a_nn (2)", "a_nn _2_", "ann (2)", "ann (3)"]


def test_what_is_no_file_of_a_student_is_not_read(tmp_path, monkeypatch):
    secret = lay(tmp_path / "elsewhere", "secret.ipynb") / "secret.ipynb"
    folder = lay(tmp_path / "class", "ann/a.txt")
    (folder / "link.ipynb").symlink_to(secret)
    (folder / "dangling.ipynb").symlink_to(tmp_path / "nothing")
    (folder / "ben").mkdir()
    (folder / "ben" / "lab5a.ipynb").symlink_to(secret)
    (folder / "cal").mkdir()
    (folder / "cal" / "all").symlink_to(tmp_path / "elsewhere")
    (folder / "dan" / "x.ipynb").mkdir(parents=True)
    os.mkfifo(folder / "pipe.ipynb")
    lay(folder, "large.ipynb", data=b"x" * 1001)
    monkeypatch.setattr(archives, "MOST_BYTES", 1000)
    found = {one.student: one for one in collect(folder).submissions}
    starts = {
        "link": "Expected a file, found a link",
        "dangling": "Expected a file, found a link",
        "ben": "Expected a file, found a link",
        "cal": "Expected a notebook (.ipynb), found none",
        "dan": "Expected a file, found something else",
        "pipe": "Expected a file, found something else",
        "large": "Expected at most",
        "ann": "Expected a notebook (.ipynb), found a.txt. Hand in the notebook",
    }
    assert found.keys() == starts.keys()
    for name, start in starts.items():
        assert found[name].problem.startswith(start)
        assert found[name].digest() == ""
        graded = grade_submission.grade_submission(LAB, found[name], LABS, 1, Limits())
        assert (graded.result.failure, graded.log) == (found[name].problem, "")
        assert graded.result.points == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_rights_stops_no_class(tmp_path):
    (lay(tmp_path, "a.ipynb") / "a.ipynb").chmod(0)
    [found] = collect(tmp_path).submissions
    assert found.problem.startswith("Expected a file, found one that may not be read")


def test_a_folder_without_submissions_is_the_instructors_mistake(tmp_path):
    for folder in (tmp_path / "none", tmp_path, lay(tmp_path, "a.txt") / "a.txt"):
        with pytest.raises(LabError, match=r"found none\."):
            collect(folder)


# -- as an LMS names them


CANVAS = "doejane_12345_{}_{}.ipynb"
MOODLE = "Jane van Doe_1234567_assignsubmission_file_"


@pytest.mark.parametrize(
    ("files", "newest"),
    [
        ([CANVAS.format(678901, "Lab5a"), CANVAS.format(678950, "Lab5a-1")], 1),
        ([CANVAS.format(678950, "Lab5a-1"), CANVAS.format(678901, "Lab5a")], 0),
        ([CANVAS.format(99999, "Lab5a-9"), CANVAS.format(100000, "Lab5a-10")], 1),
        ([CANVAS.format(678901, "Lab5a-2"), CANVAS.format(678901, "Lab5a-1")], 0),
        ([CANVAS.format(678901, "Lab5a"), CANVAS.format(678950, "final")], 1),
        ([CANVAS.format(678901, "Lab5a"), "doejane_LATE_12345_678950_Lab5a-1.ipynb"], 1),
        ([f"{MOODLE}/Lab5a.ipynb", f"{MOODLE}/Lab5a-1.ipynb"], 1),
        ([f"{MOODLE}Lab5a (1).ipynb", f"{MOODLE}Lab5a.ipynb"], 0),
    ],
)
def test_uploads_of_one_student_are_one_submission_and_the_newest_counts(files, newest, tmp_path):
    folder = lay(tmp_path / "class", *files, "other_777_888888_a.ipynb", "zed.ipynb")
    first, *rest = sorted(
        collect(folder).submissions, key=lambda one: "doe" not in one.student.lower()
    )
    assert first.student in ("doejane_12345", "Jane van Doe_1234567")
    assert first.id in ("12345", "1234567")
    assert first.path == folder / files[newest]
    assert first.set_aside == (Path(files[1 - newest]).name,)
    assert [one.student for one in rest] == ["other_777", "zed"]


def test_of_two_files_of_the_same_name_and_number_the_later_one_counts(tmp_path):
    lay(tmp_path, f"{MOODLE}/b.ipynb", f"{MOODLE}/a.ipynb")
    os.utime(tmp_path / MOODLE / "b.ipynb", (0, 0))
    assert collect(tmp_path).submissions[0].path.name == "a.ipynb"


def test_a_notebook_of_the_lab_counts_before_a_newer_one_of_something_else(tmp_path):
    lay(tmp_path, CANVAS.format(678901, "Lab5a"), data=b'"def soften(a, b)"')
    lay(tmp_path, CANVAS.format(678950, "playground"))
    [found] = collect(tmp_path).submissions
    assert found.path.name == CANVAS.format(678901, "Lab5a")


@pytest.mark.parametrize(
    "names",
    [
        ["lab5a_2024_11_ann.ipynb", "lab5a_2024_11_bob.ipynb"],  # a date
        ["a_1_2_x.ipynb", "a_1_3_y.ipynb"],
        ["hw_20241130_101500_ann.ipynb", "hw_20241130_101733_bob.ipynb"],
        ["hw_2024_1130_ann.ipynb", "hw_2024_1130_bob.ipynb"],
        ["doejane_12345_678901_a.ipynb", "doejane_12346_678902_a.ipynb"],  # two of one name
        ["Ann_1_assignsubmission_file/a.ipynb", "Ann_2_assignsubmission_file/a.ipynb"],
        ["Ann Lee_1_assignsubmission_file_/a.ipynb", "Ann Lee_2_assignsubmission_file_/a.ipynb"],
    ],
)
def test_two_students_never_become_one(names, tmp_path):
    found = collect(lay(tmp_path / "class", *names)).submissions
    assert len({one.student for one in found}) == 2
    assert [one.set_aside for one in found] == [(), ()]


def test_a_student_who_handed_in_something_else_is_told_so(tmp_path):
    lay(tmp_path, "doejane_12345_678901_report.pdf", "Al_2_assignsubmission_onlinetext_/text.html")
    lay(tmp_path, "z.ipynb", CANVAS.replace("doejane_12345", "foe_99").format(5555, "Lab5a"))
    lay(tmp_path, "foe_99_5556_report.pdf")
    al, jane, foe, _ = collect(tmp_path).submissions
    assert (
        al.problem == "Expected a notebook (.ipynb), found text.html. Hand in the notebook itself."
    )
    assert "found doejane_12345_678901_report.pdf" in jane.problem
    assert (foe.problem, foe.set_aside) == ("", ("foe_99_5556_report.pdf",))


# -- zip files


def packed(path: Path, files: dict[str, bytes], **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for n, (name, data) in enumerate(files.items()):
            entry = zipfile.ZipInfo(name, (2024, 11, 1 + n, 12, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data, **more)
    return path


def test_the_zip_file_of_an_lms_is_read_as_it_is(tmp_path):
    inner = packed(tmp_path / "inner.zip", {"work/Lab5a.ipynb": b"{}", "data.csv": b"1"})
    archive = packed(
        tmp_path / "submissions.zip",
        {
            CANVAS.format(678901, "Lab5a"): b"{}",
            "foe_LATE_99_678902_work.zip": inner.read_bytes(),
            f"{MOODLE}/Lab5a.ipynb": b"{}",
            "__MACOSX/._x.ipynb": b"",
            "notes.txt": b"",
        },
    )
    collected = collect(archive)
    found = {one.student: one for one in collected.submissions}
    assert sorted(found) == ["Jane van Doe_1234567", "doejane_12345", "foe_99"]
    assert [one.file for one in collected.passed_over] == ["notes.txt"]
    assert found["foe_99"].path.name == "Lab5a.ipynb"
    assert {one.path.read_bytes() for one in found.values()} == {b"{}"}
    assert found["foe_99"].handed_in == "foe_LATE_99_678902_work.zip"
    made = time.localtime(found["doejane_12345"].path.stat().st_mtime)
    assert made[:5] == (2024, 11, 1, 12, 0)


def test_a_folder_that_was_packed_as_a_whole_is_looked_into(tmp_path):
    files = {"hw/ann.ipynb": b"{}", "hw/bob/x.ipynb": b"{}", "__MACOSX/hw/._ann.ipynb": b""}
    found = collect(packed(tmp_path / "hw.zip", files)).submissions
    assert [one.student for one in found] == ["ann", "bob"]
    [one] = collect(packed(tmp_path / "all.zip", {f"{MOODLE}/a.ipynb": b"{}"})).submissions
    assert one.student == "Jane van Doe_1234567"


@pytest.mark.parametrize(
    "place", ["ann.zip", "ann/work.ZIP", f"{MOODLE}/work.zip", "doejane_12345_678901_work.zip"]
)
def test_a_students_own_zip_file_is_opened(place, tmp_path):
    folder = tmp_path / "class"
    packed(folder / place, {"a/old.ipynb": b"1", "a/Lab5a.ipynb": b"2", "big.csv": b""})
    [found] = collect(folder).submissions
    assert (found.problem, found.path.read_bytes(), found.set_aside) == ("", b"2", ("old.ipynb",))


def test_a_zip_file_without_a_notebook_says_what_is_in_it(tmp_path):
    packed(tmp_path / "class" / "ann.zip", {"a.py": b"", "inner.zip": b""})
    [found] = collect(tmp_path / "class").submissions
    assert found.problem.startswith("Expected a notebook (.ipynb), found a.py, inner.zip.")


@pytest.mark.parametrize(
    "files",
    [
        [CANVAS.format(678901, "a"), "foe_99_678902_a.ipynb"],
        [f"{MOODLE}/a.ipynb", "Al_99_assignsubmission_file_/a.ipynb"],
    ],
)
def test_a_classs_zip_file_among_the_submissions_is_no_students(files, tmp_path):
    packed(tmp_path / "class" / "all.zip", dict.fromkeys(files, b"{}"))
    packed(tmp_path / "class" / "ann" / "one.zip", {files[0]: b"{}"})
    found, ann = collect(tmp_path / "class").submissions
    assert "found those of several students" in found.problem
    assert ann.problem == ""


def changed(archive: bytes, at: int, *what: int) -> bytes:
    """With other bytes in the directory's line of each file."""
    data = bytearray(archive)
    for line in re.finditer(b"PK\x01\x02", archive):
        data[line.start() + at : line.start() + at + len(what)] = bytes(what)
    return bytes(data)


def zipped(files: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", kind) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


PLAIN = zipped({"a.ipynb": b"{}" * 1000})
HOSTILE = {  # archives that are not to be unpacked, and what is said of each
    "leads out": (zipped({"../out.ipynb": b"{}"}), "'../out.ipynb', which leads out of it"),
    "absolute": (zipped({"/tmp/out.ipynb": b"{}"}), "'/tmp/out.ipynb', which leads out of it"),
    "backslash": (zipped({r"a\..\..\out.ipynb": b"{}"}), "which leads out of it"),
    "bomb": (
        changed(
            zipped({f"{n}.ipynb": b"{}" for n in range(4)}), 24, *(90_000_000).to_bytes(4, "little")
        ),
        "found 4 files and 360 MB",
    ),
    "many": (zipped({f"{n}.ipynb": b"" for n in range(2001)}), "at most 2,000 files and 300 MB"),
    "password": (changed(PLAIN, 8, 1), "expected one that can be read, found a password"),
    "claims less": (changed(PLAIN, 24, 10), "found a broken one"),
    "another sum": (changed(PLAIN, 16, 0), "found a broken one"),
    "another version": (changed(PLAIN, 6, 99), "found a broken one"),
    "cut": (PLAIN[:-30], "found a broken one"),
    "another format": (b"Rar!", "found a broken one"),
    "empty": (b"", "found a broken one"),
    "rare": (zipped({"a.ipynb": b"{}"}, zipfile.ZIP_BZIP2), "a rare kind of compression"),
    "clash": (zipped({"a.ipynb": b"{}", "a.ipynb/b.ipynb": b"{}"}), "that is a folder as well"),
    "long": (zipped({"a" * 300 + ".ipynb": b"{}"}), "names of at most 255 bytes"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_archive_that_is_not_to_be_trusted_is_one_sentence(kind, tmp_path):
    data, said = HOSTILE[kind]
    folder = lay(tmp_path / "class", "ann.zip", data=data)
    lay(folder, "bob.ipynb")
    there = set(tmp_path.rglob("*"))
    ann, bob = collect(folder).submissions
    assert ann.problem.startswith("The zip file ann.zip: expected ")
    assert said in ann.problem
    assert bob.problem == ""  # it is nobody else's harm
    new = [path for path in set(tmp_path.rglob("*")) - there if path.is_file()]
    assert all(path.is_relative_to(tmp_path / "class-unpacked") for path in new)
    assert sum(path.stat().st_size for path in new) <= 2000
    assert not Path("/tmp/out.ipynb").exists()
    if kind in ("leads out", "absolute", "backslash", "password", "rare", "cut", "empty", "clash"):
        with pytest.raises(LabError, match=r"The zip file ann\.zip"):  # the class's
            collect(folder / "ann.zip")


def test_a_directory_of_many_files_is_counted_before_it_is_read(tmp_path):
    data = zipped({f"{n}.csv": b"" for n in range(4001)})
    [found] = collect(lay(tmp_path / "class", "ann.zip", data=data)).submissions
    assert "found some 4,001 files" in found.problem


def test_an_older_submission_counts_where_the_newest_cannot_be_opened(tmp_path):
    lay(tmp_path / "class", CANVAS.format(678901, "Lab5a"))
    lay(tmp_path / "class", "doejane_12345_678999_work.zip", data=b"x")
    [found] = collect(tmp_path / "class").submissions
    assert (found.problem, found.set_aside) == ("", ("doejane_12345_678999_work.zip",))


def test_a_large_file_of_an_archive_takes_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 1_000_000)
    archive = packed(tmp_path / "all.zip", {"ann.ipynb": bytes(3_000_000), "bob.ipynb": b"{}"})
    ann, bob = collect(archive).submissions
    assert ann.problem.startswith("Expected at most 1 MB, found 3 MB")
    assert ann.path.stat().st_blocks * 512 < 1_000_000
    assert bob.problem == ""


def test_names_in_utf_8_that_do_not_say_so_are_read(tmp_path):
    data = zipped({"Zo\u00eb \u674e.ipynb": b"{}"})
    assert data[7] == 8  # the flag that says so, here and in the directory
    data = changed(data[:7] + b"\0" + data[8:], 9, 0)
    archive = lay(tmp_path, "all.zip", data=data) / "all.zip"
    assert [one.student for one in collect(archive).submissions] == ["Zo\u00eb \u674e"]


# -- another lab


def test_notebooks_of_another_lab_are_named_as_such(tmp_path):
    for lab in ("Lab5a_Teacher_Generation", "Lab5b_Rejection_Sampling"):
        data = (LABS / "solutions" / f"{lab}.ipynb").read_bytes()
        lay(tmp_path, f"{lab}.ipynb", data=data)
    lay(tmp_path, "other.ipynb")
    right, wrong, other = collect(tmp_path).submissions
    assert (right.problem, right.other_lab, other.problem) == ("", "", "")
    assert wrong.problem == (
        "Expected the notebook Lab5a_Teacher_Generation, found one of another lab, "
        "Lab5b_Rejection_Sampling. Hand in that of this lab."
    )
    graded = grade_submission.grade_submission(LAB, wrong, LABS, 1, Limits())
    assert (graded.result.failure, graded.log) == (wrong.problem, "")


def test_an_answer_that_names_another_lab_is_still_of_this_one(tmp_path):
    lay(tmp_path, "ann.ipynb", data=b'"def soften(logits): # as in lab5b.keep"')
    assert collect(tmp_path).submissions[0].problem == ""


@pytest.mark.parametrize(
    ("name", "meant"), [("5a", "lab5a"), ("lab 5b", "lab5b"), ("lab5", "lab5"), ("Lab5A", "")]
)
def test_a_lab_that_does_not_exist_is_one_sentence(name, meant):
    if not meant:
        assert course.find_lab(name, LABS).part == "lab5a"
        return
    with pytest.raises(LabError, match=f"found '{name}'. Did you mean {meant}"):
        course.find_lab(name, LABS)
