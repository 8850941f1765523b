"""JSON and text files: read, or a LabError that says what was expected and found, what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill_lab.run.json_text import BadJson, parse, shown
from distill_lab.run.records import LabError


def read_json(path: Path, expected: str, advice: str = "Download or write it again") -> Any:
    """The file's value; for whatever is wrong with the file a LabError that says `expected`, and
    `advice` where its content is broken."""
    text = read_text(path, expected)
    if not text.strip():
        raise bad_file(path, expected, "an empty file", advice)
    try:
        return parse(text)
    except BadJson as error:
        raise bad_file(path, expected, str(error), advice) from None


def read_json_lines(path: Path, advice: str) -> list[Any]:
    """The value on each line, such as the steps of a log."""
    expected, values = "one JSON object a line", list[Any]()
    lines = (
        read_text(path, expected).removesuffix("\n").split("\n")
    )  # not at U+2028, which texts hold
    for n, line in enumerate(lines if lines != [""] else (), 1):
        try:
            values.append(parse(line))
        except BadJson as error:
            found = f"{shown(line)} on line {n} ({error})"
            raise bad_file(path, expected, found, advice) from None
    return values


def bad_file(path: Path, expected: str, found: str, advice: str) -> LabError:
    """The error: `bad.json: expected a SQuAD file, found an empty one. Download it again.`"""
    return LabError(f"{path}: expected {expected}, found {found}. {advice}.")


def read_text(path: Path, expected: str) -> str:
    """The file's text without a byte order mark; LabError where it cannot be read as UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise bad_file(path, expected, "no such file", "Check the path") from None
    except UnicodeDecodeError:
        found = "bytes that are no UTF-8 text"
        raise bad_file(path, expected, found, "Unpack or convert it") from None
    except OSError as error:  # a folder, no permission, ...
        found = f"what cannot be read ({error.strerror})"
        raise bad_file(path, expected, found, "Name a readable file") from None
