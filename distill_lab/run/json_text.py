"""JSON text, parsed so that each of its faults is a `BadJson` that says what was found."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


class BadJson(ValueError):
    """What is wrong with a JSON text, worded to follow "found"."""


def parse(text: str) -> Any:
    """The text's value. Raises BadJson, also where `json` raises something else."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        fault = f"JSON that breaks at line {error.lineno}, column {error.colno} ({error.msg})"
    except RecursionError:
        fault = "JSON that is nested too deep"
    except ValueError:  # Python converts at most 4,300 digits
        fault = "JSON with a whole number of thousands of digits"
    raise BadJson(fault)


def is_unicode(text: str) -> bool:
    r"""Whether it can be written as UTF-8: JSON's `\ud800` alone, half a character, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(value: Any, most: int = 60) -> str:
    """The value as Python writes it, cut so that an error stays one line."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 2] + " …"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or the error's type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def listed(values: Iterable[str], most: int = 8) -> str:
    """`a, b, c and 17 more`."""
    names = [name if len(name) <= 40 else name[:38] + " …" for name in values]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
