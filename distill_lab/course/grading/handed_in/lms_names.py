"""Who handed a file in, from the name that a learning management system gave it.

Canvas  lastfirst_LATE_12345_678901_Lab5a-2.ipynb      the user, and the number of this upload
Moodle  First Last_1234567_assignsubmission_file_      the participant: a folder with the files, or
        First Last_1234567_assignsubmission_file_Lab5a.ipynb

All that one user uploaded has one key, so that a new upload takes the place of an old one.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from distill_lab.course.grading.cells.notebook_file import without_surrogates

MOST_OF_A_NAME = 160  # bytes: a file system has 255 for a name, endings and all

# Not a name that somebody made up, such as `hw_20241130_1015_ann`, or a class would be one student:
# a user without digits, a number that is no date, and one that counts all uploads of a school.
_CANVAS = re.compile(
    r"(?P<who>[^\d_][^\d]*?)(?:_LATE)?_(?P<id>(?!20\d\d(?:[01]\d[0-3]\d)?_)\d+)_(?P<upload>\d{4,})_.+"
)
_MOODLE = re.compile(r"(?P<who>.+?)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)(?:_.*)?")


@dataclass(frozen=True, slots=True)
class Sender:
    """`name`: the student's, as our files have it; `id` in the `lms` ("" where the file's name has
    none); `who`: the name alone; `upload`: a later one has a larger number."""

    name: str
    who: str
    lms: Literal["canvas", "moodle", ""] = ""
    id: str = ""
    upload: int = 0


def sender(entry: str, is_folder: bool = False) -> Sender:
    """Of a file or folder with this name."""
    entry = unicodedata.normalize("NFC", without_surrogates(entry))
    if found := _MOODLE.fullmatch(entry):
        return Sender(safe(f"{found['who']}_{found['id']}"), found["who"], "moodle", found["id"])
    if found := _CANVAS.fullmatch(entry):
        name = safe(f"{found['who']}_{found['id']}")
        return Sender(name, found["who"], "canvas", found["id"], int(found["upload"][:18]))
    who = entry if is_folder else PurePath(entry).stem
    return Sender(safe(who), who)


def feedback_name(entry: str) -> str:
    """The name in an archive by which the LMS knows whose page it is: who handed in a file, or
    Moodle's folder, of this name."""
    if re.search(r"_assignsubmission_(file|onlinetext)_?$", entry):
        return f"{entry}/feedback.html"
    return f"{PurePath(entry).stem}.html"


def copy_number(stem: str) -> int:
    """2 of `Lab5a-2` (Canvas numbers what has the same name again) and of `Lab5a (2)` (so do
    browsers)."""
    found = re.search(r"(?:-(\d{1,4})|\((\d{1,4})\))$", stem)
    return int(found[1] or found[2]) if found else 0


def safe(text: str) -> str:
    """A name that is safe as a file's: letters of any script, digits, and ` .@+-_`."""
    text = re.sub(r"[^\w .@+-]", "_", unicodedata.normalize("NFC", text)).strip(" .")
    return text.encode()[:MOST_OF_A_NAME].decode(errors="ignore").strip(" .") or "unnamed"
