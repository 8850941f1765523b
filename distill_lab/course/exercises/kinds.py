"""What kind of result an exercise asks for. Whatever holds the same data in another form (an array
for a list, a tuple, a dict's values, a number of NumPy's or torch's) is as good: it is taken, and
made the plain kind that the notebook goes on with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Kind:
    """`plain` gives a result in its plain form, and raises TypeError or ValueError where it holds
    something else; `asks` is the sentence that is said then."""

    asks: str
    plain: Callable[[Any], Any]


def listed(value: Any) -> Any:
    """Tensors, arrays and tuples as lists, what is in them too; a single number, truth value or
    text of NumPy's or torch's as Python's (`plain` sees to the rest). An array of objects stays:
    what is in it could be anything."""
    if hasattr(value, "tolist") and not getattr(getattr(value, "dtype", None), "hasobject", False):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [listed(item) for item in value]
    return value


def _one_of(kind: type | tuple[type, ...], value: Any) -> Any:
    value = listed(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError
    return value


def _number(value: Any) -> float:
    return float(_one_of((int, float), value))


def _whole_numbers(value: Any) -> list[int]:
    numbers = [_number(item) for item in _one_of(list, value)]
    if any(int(number) != number for number in numbers):
        raise ValueError
    return [int(number) for number in numbers]


def _pair(value: Any) -> tuple[float, float]:
    low, high = _one_of(list, value)
    return _number(low), _number(high)


def _tensor(value: Any) -> Any:
    import torch

    return value if isinstance(value, torch.Tensor) else torch.tensor(_one_of(list, value))


def _loss(value: Any) -> Any:
    """As it is: a loss carries its gradient."""
    _number(value)
    return value


def _or_none(plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else plain(value)


def records(kind: type, asks: str) -> Kind:
    """A list of records of that kind."""
    return Kind(asks, lambda value: [_one_of(kind, item) for item in _one_of(list, value)])


_ONE = "a list, a text or a tuple of one is no number. (x.item() or x[0] takes it out.)"
ANY = Kind("", lambda value: value)
TEXT = Kind("A text is asked for.", lambda value: str(_one_of(str, value)))
TEXT_OR_NONE = Kind("A text or None is asked for.", _or_none(TEXT.plain))
NUMBER = Kind(f"One number is asked for: {_ONE}", _number)
NUMBER_OR_NONE = Kind(f"One number or None is asked for: {_ONE}", _or_none(_number))
TRUTH = Kind(
    "True or False is asked for, no number and no list: a comparison such as a > b gives it.",
    lambda value: _one_of(bool, value),
)
WHOLE_NUMBERS = Kind("A list of whole numbers is asked for.", _whole_numbers)
PAIR = Kind("Two numbers are asked for, (low, high), and nothing else.", _pair)
TENSOR = Kind("A tensor of numbers is asked for (or an array, or lists of numbers).", _tensor)
LOSS = Kind(
    "A tensor with one number is asked for: sum over the vocabulary, then mean over the tokens.",
    _loss,
)
