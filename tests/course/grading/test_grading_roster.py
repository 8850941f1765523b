"""Who is who: a roster's columns, and whose a file is by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill_lab.course.grading.handed_in import roster
from distill_lab.course.grading.handed_in.lms_names import sender
from distill_lab.run.records import LabError

OWN = "Name,ID,Email\nZo\u00eb van Doe,7,zoe@x.org\nAda Lovelace,8,ada@x.org\nAda Lee,9,ada@y.org\n"
CANVAS = 'Student,ID,SIS Login ID,Section\n"Doe, Zo\u00eb van",7,zvd,A\n"Lee, Ada",9,alee,A\n'
MOODLE = (
    "Identifier,Full name,ID number\nParticipant 70,Zo\u00eb van Doe,7\nParticipant 7,Ada Lee,9\n"
)


def read(tmp_path: Path, text: str | bytes) -> roster.Roster:
    file = tmp_path / "roster.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return roster.read_roster(file)


@pytest.mark.parametrize(
    ("text", "file", "who"),
    [
        (OWN, "Zo\u00eb van Doe.ipynb", "7"),
        (OWN, "zoe van doe.ipynb", "7"),
        (OWN, "van Doe, Zoe\u0308.ipynb", "7"),  # the accent as a character of its own
        (OWN, "Doe Zo\u00eb van.ipynb", "7"),
        (OWN, "vandoezoe_12345_678901_Lab5a.ipynb", "7"),
        (OWN, "Zo\u00eb van Doe_1234567_assignsubmission_file_", "7"),
        (OWN, "zoe@x.org.ipynb", "7"),
        (OWN, "zoe.ipynb", "7"),
        (OWN, "8.ipynb", "8"),
        (OWN, "x_9_678901_Lab5a.ipynb", "9"),
        (OWN, "ada.ipynb", None),  # two have it
        (OWN, "x_9_assignsubmission_file_a.ipynb", None),  # Moodle's number is not the school's
        (OWN, "Zo\u00eb.ipynb", "7"),  # as before the @ of the address
        (OWN, "Doe.ipynb", None),
        (CANVAS, "x_7_678901_Lab5a.ipynb", "7"),
        (CANVAS, "leeada_7_678901_Lab5a.ipynb", "7"),  # the number, which no two have
        (CANVAS, "leeada.ipynb", "9"),
        (CANVAS, "zvd.ipynb", "7"),
        (MOODLE, "x_7_assignsubmission_file_", "9"),
        (MOODLE, "x_70_assignsubmission_file_a.ipynb", "7"),
        (MOODLE, "Ada Lee.ipynb", "9"),
    ],
)
def test_whose_a_file_is(text, file, who, tmp_path):
    found = read(tmp_path, text).find(sender(file, not file.endswith(".ipynb")))
    assert (found and found.id) == who


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_columns_are_found_by_their_names(mark, end, bom, tmp_path):
    lines = [
        ["x", "E-Mail", "LAST NAME", "First Name", " Student ID "],
        ["1", "a@x", "Lee", "Ada", "9"],
    ]
    text = bom + end.join(mark.join(line) for line in [*lines, [""] * 5, []])
    [ada] = read(tmp_path, text).people
    assert (ada.name, ada.email, ada.id) == ("Ada Lee", "a@x", "9")
    assert ada.row["x"] == "1"


def test_whose_export_it_is(tmp_path):
    assert [read(tmp_path, text).lms for text in (OWN, CANVAS, MOODLE)] == ["", "canvas", "moodle"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a column named ID, Name or Email in the first line, found nothing"),
        ("a,b\n1,2\n", "found a, b"),
        ("ID,Name\n", "expected a line a student, found none"),
        ("ID,Name\n1,a\n1,b\n", "expected each ID once, found '1' again"),
        (b"ID,Name\n1,\xe9\n", "expected CSV in UTF-8, found other bytes"),
        ("ID\n" + "x" * 200_000, "expected CSV, found field larger"),
    ],
)
def test_what_is_no_roster_is_one_sentence(text, said, tmp_path):
    with pytest.raises(LabError, match="roster") as found:
        read(tmp_path, text)
    assert said in str(found.value)
