"""A result as the checks see it, in the notebook and when it is graded: of a list, a text or a
number of the student's own kind, what Python's own holds, and nothing that it may do besides."""

from __future__ import annotations

import array
import collections
from decimal import Decimal
from fractions import Fraction
from typing import Any

_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))
_LISTED = (list, range, collections.deque, array.array, *_VIEWS)


def plain(value: Any) -> Any:
    """Numbers, texts, tuples, sets and dicts of other kinds as Python's own, other rows of values
    as lists, fractions as floats; tensors, arrays and all the rest as they are."""
    kind = type(value)  # not `isinstance`, which asks the value
    if issubclass(kind, bool) or hasattr(kind, "dtype"):
        return value
    for base, own in ((str, str.__str__), (int, int.__int__), (float, float.__float__)):
        if issubclass(kind, base):
            return own(value)
    if kind in (Fraction, Decimal):
        return float(value)
    for base in _LISTED:
        if issubclass(kind, base):
            return [plain(item) for item in base.__iter__(value)]
    for group in (tuple, set, frozenset):
        if issubclass(kind, group):
            return group(plain(item) for item in group.__iter__(value))
    if issubclass(kind, dict):
        return {plain(key): plain(item) for key, item in dict.items(value)}
    return value
