"""Lab 7: the types of result that its exercises ask for, beside those that all labs share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from distill_lab.course.exercises.result_types import NUMBER, TENSOR, ResultType, listed


def _tensor(value: Any) -> Tensor:
    tensor = TENSOR.plain(value).detach()
    if tensor.is_complex():
        raise TypeError
    return tensor


def _floats(value: Any) -> Tensor:
    return _tensor(value).float()


def _codes(value: Any) -> Tensor:
    """Whole numbers in any number format, as int32."""
    codes = _tensor(value)
    if not (codes == codes.double().round()).all():  # a half, or NaN
        raise ValueError
    return codes.int()


def _pair(value: Any) -> tuple[Tensor, Tensor]:
    """(scale, zero point). One number for all zero points is as good as one for each."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise TypeError
    scale, zero_point = _floats(value[0]), value[1]
    if isinstance(listed(zero_point), (int, float)):
        return scale, torch.full_like(scale, NUMBER.plain(zero_point))
    return scale, _floats(zero_point)


def _bytes(value: Any) -> Tensor:
    numbers = _codes(value).reshape(-1)
    if not ((numbers >= 0) & (numbers < 256)).all():
        raise ValueError
    return numbers.to(torch.uint8)


def _whole(value: Any) -> int:
    number = NUMBER.plain(value)
    if int(number) != number:
        raise ValueError
    return int(number)


def _traced(value: Any) -> Any:
    """What `traced.on_a_weight` gives; in a notebook, where nothing traces, the tensor itself."""
    if isinstance(value, Tensor):
        return value
    made, gradient, kept = value
    if not isinstance(made, Tensor) or not isinstance(kept, bool):
        raise TypeError
    return [made.detach(), gradient, kept]


FLOATS = ResultType("A tensor of numbers is asked for (or an array, or lists of them).", _floats)
CODES = ResultType("A tensor of whole numbers is asked for (or an array, or lists).", _codes)
PAIR = ResultType(
    "Two tensors are asked for, the scale and the zero point, each (G, 1), and nothing else.", _pair
)
BYTES = ResultType("Whole numbers from 0 to 255 are asked for, one for each byte.", _bytes)
WHOLE = ResultType("A whole number of bytes is asked for.", _whole)
TRACED = ResultType("A tensor is asked for, which hands a gradient back to the weight.", _traced)
