"""The types of result that exercises ask for. The same data in another form (an array for a list,
a tuple, a dict's values, a number of NumPy's or torch's) is as good: it is accepted, and converted
to the plain type that the notebook goes on with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ResultType:
    """`plain` converts a result to its plain form, and raises TypeError or ValueError where the
    result holds something else; `asks` is the sentence that the student then reads."""

    asks: str
    plain: Callable[[Any], Any]


def listed(value: Any) -> Any:
    """Tensors, arrays and tuples as nested lists; a single number, truth value or text of NumPy or
    torch as Python's own (`plain` does the rest). An array of objects stays as it is: it could hold
    anything."""
    if hasattr(value, "tolist") and not getattr(getattr(value, "dtype", None), "hasobject", False):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [listed(item) for item in value]
    return value


def _instance(types: type | tuple[type, ...], value: Any) -> Any:
    value = listed(value)
    if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
        raise TypeError
    return value


def _number(value: Any) -> float:
    return float(_instance((int, float), value))


def _whole_numbers(value: Any) -> list[int]:
    numbers = [_number(item) for item in _instance(list, value)]
    if any(int(number) != number for number in numbers):
        raise ValueError
    return [int(number) for number in numbers]


def _pair(value: Any) -> tuple[float, float]:
    low, high = _instance(list, value)
    return _number(low), _number(high)


def _tensor(value: Any) -> Any:
    import torch

    return value if isinstance(value, torch.Tensor) else torch.tensor(_instance(list, value))


def _loss(value: Any) -> Any:
    """Unchanged: a loss carries its gradient."""
    _number(value)
    return value


def _or_none(plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else plain(value)


def records(record: type, asks: str) -> ResultType:
    """A list of records of that class."""
    return ResultType(
        asks, lambda value: [_instance(record, item) for item in _instance(list, value)]
    )


_ONE = "a list, a text or a tuple of one is no number. (x.item() or x[0] takes it out.)"
ANY = ResultType("", lambda value: value)
TEXT = ResultType("A text is asked for.", lambda value: str(_instance(str, value)))
TEXT_OR_NONE = ResultType("A text or None is asked for.", _or_none(TEXT.plain))
NUMBER = ResultType(f"One number is asked for: {_ONE}", _number)
NUMBER_OR_NONE = ResultType(f"One number or None is asked for: {_ONE}", _or_none(_number))
TRUTH = ResultType(
    "True or False is asked for, no number and no list: a comparison such as a > b gives it.",
    lambda value: _instance(bool, value),
)
WHOLE_NUMBERS = ResultType("A list of whole numbers is asked for.", _whole_numbers)
PAIR = ResultType("Two numbers are asked for, (low, high), and nothing else.", _pair)
TENSOR = ResultType("A tensor of numbers is asked for (or an array, or lists of numbers).", _tensor)
LOSS = ResultType(
    "A tensor with one number is asked for: sum over the vocabulary, then mean over the tokens.",
    _loss,
)
