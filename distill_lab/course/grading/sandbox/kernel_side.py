"""The part that runs in the student's kernel: it calls their function with what the grader sent.

Nothing here is trusted by the grader. Whoever replaces it can send other results, which helps only
if they are right.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from distill_lab.course.grading.sandbox.values import decode, encode

MOST = 4_000_000  # characters of an answer; the largest honest one has some thousand


def call(function: Callable[..., Any], sent: str) -> str:
    """`function` of the arguments that were sent: its value and gradients, or what it raised, as
    JSON in base64."""
    arguments = decode(json.loads(sent))
    try:
        value = function(*arguments)  # an object of the student's may compute as it is read
        text = json.dumps({"value": encode(value), "gradients": _gradients(value, arguments)})
    except RecursionError:
        text = _raised("RecursionError", "maximum recursion depth exceeded")
    except BaseException as error:  # SystemExit too: it is the function's own
        text = _raised(type(error).__name__, _said(error))
    text = text if len(text) <= MOST else _raised("ValueError", "the result is too large")
    return base64.b64encode(text.encode()).decode()


def _raised(kind: str, said: str) -> str:
    return json.dumps({"raised": kind, "said": said})


def _said(error: BaseException) -> str:
    try:
        return str(error)[:2000]
    except Exception:
        return "…"


def _gradients(value: Any, arguments: Sequence[Any]) -> list[Any] | None:
    """Of each argument that carries a gradient, the gradient of `value` (its sum); else None."""
    torch = sys.modules.get("torch")  # not loaded: then no value is a tensor
    if not (torch and isinstance(value, torch.Tensor) and value.requires_grad):
        return None
    leaves = [a if getattr(a, "requires_grad", False) else None for a in arguments]
    wanted = [leaf for leaf in leaves if leaf is not None]
    if not wanted:
        return None
    found = iter(torch.autograd.grad(value.sum(), wanted, allow_unused=True))
    return [None if leaf is None else encode(next(found)) for leaf in leaves]
