"""Lab 6: the types of result that its exercises ask for, beside those that all labs share."""

from __future__ import annotations

from typing import Any

import torch

from distill_lab.course.exercises.result_types import NUMBER, ResultType, listed


def _mask(value: Any) -> torch.Tensor:
    """True and False, or 1 and 0 in any number format, as a tensor of truth values."""
    mask = value.detach() if isinstance(value, torch.Tensor) else torch.tensor(listed(value))
    if mask.dtype != torch.bool and not ((mask == 0) | (mask == 1)).all():
        raise ValueError
    return mask.bool()


def _numbers(value: Any) -> list[float]:
    """A list, tuple, tensor or array of numbers, or a list of such, as floats."""
    numbers = listed(value)
    if not isinstance(numbers, list):
        raise TypeError
    return [NUMBER.plain(number) for number in numbers]


def _three(value: Any) -> tuple[float, ...]:
    numbers = tuple(_numbers(value))
    if len(numbers) != 3:
        raise ValueError
    return numbers


MASK = ResultType(
    "A mask is asked for: True where a weight is kept, False where it is cut (or 1 and 0), in the "
    "shape of the weights.",
    _mask,
)
NUMBERS = ResultType("A list of numbers is asked for.", _numbers)
THREE = ResultType("Three numbers are asked for, and nothing else.", _three)
