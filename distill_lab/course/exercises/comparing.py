"""Compares results with what is expected, shows them, and names the mistake that is known to give
a result or an error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from distill_lab.course.exercises.result_types import listed


def alike(a: Any, b: Any, within: float = 1e-6) -> bool:
    """Whether two results are equal: tensors and arrays as nested lists, numbers within a relative
    or absolute tolerance, NaN equal to NaN; True is not 1, and a list may stand for a tuple."""
    a, b = (x.tolist() if hasattr(x, "tolist") else x for x in (a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(alike(a[key], b[key], within) for key in b)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(lambda x, y: alike(x, y, within), a, b))
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return (math.isnan(a) and math.isnan(b)) or math.isclose(
            a, b, rel_tol=within, abs_tol=within
        )
    return type(a) is type(b) and a == b


def brief(value: Any, longest: int = 160) -> str:
    """A value's repr for messages: numbers rounded, tensors and arrays as lists, long ones cut."""
    text = repr(_rounded(value))
    return text if len(text) <= longest else text[: longest - 2] + " …"


def _rounded(value: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, (list, tuple)):
        return type(value)(map(_rounded, value)) if type(value) in (list, tuple) else value
    return value


def error_text(error: Exception) -> str:
    """An error's class and text. Further lines are indented, so that none of them can be
    taken for one of the check's: `expected: …` and the mistake's name below it."""
    try:
        lines = str(error).splitlines()
    except Exception:  # the student's own
        lines = ["…"]
    return f"{type(error).__name__}: " + "\n  ".join(lines)


class Either(tuple[Any, ...]):
    """Several results of one mistake."""


def known_mistake(yours: Any, known: Mapping[str, Any] | None, within: float) -> str:
    """The known mistake that gives this result, as a line; "" where there is none. For a mistake
    that raises, `known` has an error's class, or one with a part of its text:
    `TypeError("return_types")`."""
    for name, results in (known or {}).items():
        if any(
            _is_known(yours, result, within)
            for result in (results if isinstance(results, Either) else (results,))
        ):
            return f"\n{name}"
    return ""


def _is_known(yours: Any, result: Any, within: float) -> bool:
    if isinstance(yours, Exception):
        error_class = result if isinstance(result, type) else type(result)
        is_same = type(yours).__name__ == error_class.__name__
        return is_same and (result is error_class or str(result) in str(yours))
    return not isinstance(result, (type, Exception)) and alike(yours, result, within)


def hint_for_rounding(yours: Any, expected: Any) -> str:
    """A line for floats that are at most 2 % off; "" for others."""
    if _are_floats(expected) and alike(yours, expected, 0.02):
        return "\nNearly: was it rounded, or estimated by chance? All digits are asked for."
    return ""


def _are_floats(value: Any) -> bool:
    value = listed(value)
    return any(map(_are_floats, value)) if isinstance(value, list) else isinstance(value, float)


_ERRORS: tuple[tuple[type[Exception], str, str], ...] = (
    (UnboundLocalError, "", "On this path that variable has no value yet: give it one before."),
    (NameError, "", "Python does not know that name: import it in this cell, or mind its letters."),
    (TypeError, "positional argument", "It is called with the arguments of its first line as it "
     "was, in that order: write that line so again."),
    (TypeError, "NoneType", "Something is None here: ask for that before you use it."),
    (AttributeError, "NoneType", "Something is None here (a search that finds nothing gives None): "
     "ask for that before you use it."),
    (RecursionError, "", "It calls itself without an end."),
    (ModuleNotFoundError, "", "There is no such module here: the exercise needs none."),
)  # fmt: skip


def hint_for_error(error: Exception) -> str:
    """A line for an error that may happen in any exercise; "" for others."""
    for error_class, text, hint in _ERRORS:
        if type(error) is error_class and text in str(error):
            return f"\n{hint}"
    return ""
