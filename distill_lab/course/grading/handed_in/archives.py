"""Zip files, of a class or of a student: unpacked into an empty folder, whatever is in them."""

from __future__ import annotations

import errno
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from distill_lab.course.grading.cells.notebook_file import without_surrogates
from distill_lab.run.records import LabError

MOST_BYTES = 100_000_000  # of a submitted file that is read at all
_ENTRY = b"PK\x01\x02"  # each file of an archive has a line in its directory that begins so
_LONGEST = 255  # bytes of a file's name
_COMPRESSED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError)
_CLASH = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST)  # a file is a folder as well


@dataclass(frozen=True, slots=True)
class UnpackLimit:
    """What an archive may unpack to."""

    files: int
    bytes: int

    def __str__(self) -> str:
        return f"at most {self.files:,} files and {self.bytes / 1e6:,.0f} MB unpacked"


OF_A_CLASS = UnpackLimit(20_000, 4_000_000_000)
OF_A_STUDENT = UnpackLimit(2_000, 300_000_000)


def of_class(archive: Path, folder: Path) -> Path:
    """The folder with what is in an LMS's archive; LabError where it is none, or not to be trusted.
    A folder that was packed as a whole is the archive's only entry, and has its name."""
    _unpack(archive, folder, OF_A_CLASS, lambda name: True)
    seen = [one for one in folder.iterdir() if not one.name.startswith((".", "__"))]
    packed = [one for one in seen if one.is_dir() and one.name == archive.stem]
    return packed[0] if packed == seen and packed else folder


def of_student(archive: Path, folder: Path) -> list[str]:
    """Unpacks the notebooks in a student's archive; the names of the files in it that are none."""
    with archive.open("rb") as file:  # a directory of millions would fill the memory that reads it
        count = sum(chunk.count(_ENTRY) for chunk in iter(lambda: file.read(1 << 20), b""))
    if count > 2 * OF_A_STUDENT.files:
        raise _error(archive, str(OF_A_STUDENT), f"some {count:,} files", _FEWER)
    return _unpack(archive, folder, OF_A_STUDENT, lambda name: name.lower().endswith(".ipynb"))


def _unpack(
    archive: Path, folder: Path, most: UnpackLimit, wanted: Callable[[str], bool]
) -> list[str]:
    """The names of what was not wanted. Sizes are those that the archive's directory claims:
    `zipfile` reads no byte beyond them."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [one for one in opened.infolist() if not one.is_dir()]
            chosen = [one for one in entries if wanted(one.filename)]
            _check(archive, chosen, most)
            for one in chosen:
                _write(opened, one, folder.joinpath(*_safe_path(archive, one).parts))
            return [without_surrogates(_name(one)) for one in entries if not wanted(one.filename)]
    except _BROKEN:
        raise _error(archive, "a whole one", "a broken one") from None
    except OSError as error:
        if error.errno not in _CLASH:
            raise
        raise _error(archive, "files", "one that is a folder as well") from None


_AGAIN = "Make it, or download it, again."
_FEWER = "Take out what is no notebook."


def _error(archive: Path, expected: str, found: str, remedy: str = _AGAIN) -> LabError:
    where = f"The zip file {without_surrogates(archive.name)}"
    return LabError(f"{where}: expected {expected}, found {found}. {remedy}")


def _check(archive: Path, entries: Sequence[zipfile.ZipInfo], most: UnpackLimit) -> None:
    if any(one.flag_bits & 1 for one in entries):
        raise _error(archive, "one that can be read", "a password", "Pack it again without.")
    if any(one.compress_type not in _COMPRESSED for one in entries):
        raise _error(archive, "deflated files", "a rare kind of compression")
    size = sum(map(_on_disk, entries))
    if len(entries) > most.files or size > most.bytes:
        found = f"{len(entries):,} files and {size / 1e6:,.0f} MB"
        raise _error(archive, str(most), found, _FEWER)
    for one in entries:
        _safe_path(archive, one)


def _on_disk(entry: zipfile.ZipInfo) -> int:
    """Bytes. Of a file that is too large to be read nothing is written."""
    return entry.file_size if entry.file_size <= MOST_BYTES else 0


def _safe_path(archive: Path, entry: zipfile.ZipInfo) -> PurePosixPath:
    """The entry's path below the folder; LabError where it leads out of it or names no file."""
    path = PurePosixPath(_name(entry).replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts:
        name = without_surrogates(str(path))[:100]
        raise _error(archive, "files inside it", f"{name!r}, which leads out of it")
    if any(len(os.fsencode(part)) > _LONGEST for part in path.parts):
        raise _error(archive, f"names of at most {_LONGEST} bytes", "a longer one")
    return path


def _name(entry: zipfile.ZipInfo) -> str:
    """Some programs write UTF-8 and do not say so: `zipfile` takes it for the code page of DOS."""
    if not entry.flag_bits & 0x800:
        try:
            return entry.filename.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return entry.filename


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    """With the time that the archive has for it, which tells an old submission from a new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        if _on_disk(entry) == entry.file_size:
            with opened.open(entry) as source:
                shutil.copyfileobj(source, file)
        else:  # a hole, so that its student is told how large it is
            file.truncate(entry.file_size)
    made = time.mktime((*entry.date_time, 0, 0, -1))
    os.utime(path, (made, made))
