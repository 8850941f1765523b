"""What crosses between the grader and a student's kernel: JSON, and nothing that could run.

`encode` knows numbers, texts, lists, tuples, dicts, sets, tensors, arrays and the records of this
package. Anything else arrives as a `Foreign`, which equals nothing: an object with an `__eq__` of
its own, say, could call itself right.
"""

from __future__ import annotations

import base64
import dataclasses
import math
import sys
from dataclasses import dataclass
from typing import Any

from distill_lab.course.exercises.plain import plain
from distill_lab.run import records

RECORDS = {
    kind.__name__: kind
    for kind in (
        records.Question,
        records.Trace,
        records.Verdict,
        records.Example,
        records.Prediction,
    )
}
MOST_ROWS = 100_000  # that hold nothing: of what holds numbers, they are counted
_GROUPS = {"tuple": tuple, "set": set, "frozenset": frozenset}
_DTYPES = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split()


@dataclass(frozen=True, slots=True, eq=False)
class Foreign:
    """A result of another type: only its name crossed."""

    kind: str

    def __repr__(self) -> str:
        return f"<{self.kind}>"


def encode(value: Any) -> Any:
    """A value in JSON's types, of which only what is plain crosses."""
    return _encoded(plain(value))


def _encoded(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [_encoded(item) for item in value]
    if type(value) in _GROUPS.values():
        return {type(value).__name__: [_encoded(item) for item in value]}
    if type(value) is dict:
        return {"dict": [[_encoded(key), _encoded(item)] for key, item in value.items()]}
    if type(value) in RECORDS.values():
        fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return {type(value).__name__: [encode(field) for field in fields]}
    crossed = _numbers(value) or _texts(value)
    return {"foreign": type(value).__name__} if crossed is None else crossed


def _numbers(value: Any) -> dict[str, Any] | None:
    """A tensor, or what NumPy has: its type, shape and bytes. Where neither is loaded, it is none
    of theirs: loading torch takes longer than most exercises."""
    np, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if torch and isinstance(value, torch.Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        if dtype not in _DTYPES or value.layout != torch.strided:
            return None
        flat = value.detach().cpu().contiguous().reshape(-1)
        shape, data = list(value.shape), flat.view(torch.uint8).numpy().tobytes()
        return {"tensor": [dtype, shape, base64.b64encode(data).decode(), value.requires_grad]}
    if np and isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"array": [value.dtype.str, list(value.shape), data]}
    return None


def _texts(value: Any) -> Any:
    """NumPy's texts (np.unique gives them) as Python's: the checks take one for the other."""
    import numpy as np

    is_text = isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "U"
    return encode(value.tolist()) if is_text else None


def decode(plain: Any) -> Any:
    """The value again. ValueError (or another of its kind) for what `encode` does not write."""
    if isinstance(plain, list):
        return [decode(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    [(kind, inner)] = plain.items()
    if kind in _GROUPS:
        return _GROUPS[kind](decode(item) for item in inner)
    if kind == "dict":
        return {decode(key): decode(item) for key, item in inner}
    if kind in RECORDS:
        return RECORDS[kind](*map(decode, inner))
    if kind == "tensor":
        return _tensor(*inner)
    if kind == "array":
        return _array(*inner)
    name = str(inner)[:60]
    return Foreign(name if name.isidentifier() else "object")


def _tensor(dtype: str, shape: list[int], data: str, requires_grad: bool) -> Any:
    import torch

    if dtype not in _DTYPES:
        raise ValueError(f"no tensor of dtype {dtype!r}")
    raw = bytearray(base64.b64decode(data, validate=True))
    kind = getattr(torch, dtype)
    flat = torch.frombuffer(raw, dtype=kind) if raw else torch.empty(0, dtype=kind)
    return flat.reshape(_shape(shape, flat.numel())).requires_grad_(requires_grad)


def _array(dtype: str, shape: list[int], data: str) -> Any:
    import numpy as np

    kind = np.dtype(dtype)
    if kind.kind not in "biuf":
        raise ValueError(f"no array of dtype {dtype!r}")
    raw = bytearray(base64.b64decode(data, validate=True))  # a function may change its argument
    flat = np.frombuffer(raw, kind) if raw else np.empty(0, kind)
    return flat.reshape(_shape(shape, flat.size))


def _shape(shape: list[int], size: int) -> list[int]:
    """The shape as it was given, if it has as many numbers as came."""
    if any(type(n) is not int or n < 0 for n in shape) or math.prod(shape) != size:
        raise ValueError(f"a shape of {shape} with {size} numbers")
    if not size and math.prod(n or 1 for n in shape) > MOST_ROWS:  # a billion, as lists
        raise ValueError(f"a shape of {shape}")
    return shape
