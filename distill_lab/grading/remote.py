"""A student's function as the checks see it: called in the kernel, its result brought back as JSON.

So the checks, and what they expect, stay out of the process that runs the student's code.
"""

from __future__ import annotations

import base64
import builtins
import json
from collections.abc import Callable
from typing import Any

from distill_lab.grading.values import decode, encode


class UnreadableResultError(Exception):
    """What came back is not what `inside.call` writes."""


def remote(
    name: str, ask: Callable[[str], str], called: set[str] | None = None
) -> Callable[..., Any]:
    """The function `name` of the kernel. `ask` evaluates an expression there and gives its repr; it
    raises what became of it otherwise (TimeoutError, say). `called` gets the names of the package's
    functions that it calls."""

    def function(*arguments: Any) -> Any:
        sent = json.dumps(encode(list(arguments)))
        module = "__import__('distill_lab.grading.inside', fromlist=['call'])"
        answer = _read(ask(f"{module}.call({name}, {sent!r})"))
        if "raised" in answer:
            raise _error(str(answer["raised"]), str(answer.get("said", "")))
        try:
            value = decode(answer["value"])
            if called is not None:
                called.update(str(one)[:80] for one in answer.get("called", ()))
            return _with_gradients(value, answer.get("gradients"), arguments)
        except Exception as error:
            raise UnreadableResultError(str(error)[:200]) from None

    function.__name__ = name
    return function


def _read(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(base64.b64decode(text.strip("'\""), validate=True))
    except Exception:
        raise UnreadableResultError(text[:200]) from None
    if not isinstance(answer, dict):
        raise UnreadableResultError(text[:200])
    return answer


def _error(kind: str, said: str) -> Exception:
    """An error of that name; where Python has none, or none that an exercise may raise, one like
    it."""
    known = getattr(builtins, kind, None)
    if isinstance(known, type) and issubclass(known, Exception):
        try:
            return known(said)
        except TypeError:  # UnicodeDecodeError wants five arguments
            pass
    return type(kind if kind.isidentifier() else "Exception", (Exception,), {})(said)


def _with_gradients(value: Any, gradients: Any, arguments: tuple[Any, ...]) -> Any:
    """`value` with the gradients that it had there: value + sum of g * (a - a), whose second part
    is 0 and has the gradient g."""
    for argument, plain in zip(arguments, gradients or [], strict=False):
        if plain is not None:
            gradient = decode(plain)
            if gradient.shape != argument.shape:
                raise ValueError(f"a gradient of shape {tuple(gradient.shape)}")
            nothing = (gradient * (argument - argument.detach())).sum()
            value = value + nothing.to(value.dtype)
    return value
