"""A student's function as the checks see it: called in the kernel, its result brought back as JSON.

So the checks, and what they expect, stay out of the process that runs the student's code.
"""

from __future__ import annotations

import base64
import builtins
import json
from collections.abc import Callable
from typing import Any

from distill_lab.course.grading.sandbox.values import decode, encode


class UnreadableResultError(Exception):
    """What came back is not what `kernel_side.call` writes."""


def remote(
    name: str, ask: Callable[[str], str], unreadable: Callable[[str], None] = lambda why: None
) -> Callable[..., Any]:
    """The function `name` of the kernel. `ask` evaluates an expression there and gives its repr; it
    raises what became of it otherwise (TimeoutError, say). `unreadable` is told why an answer is
    none that `kernel_side.call` writes, before that is raised."""

    def function(*arguments: Any) -> Any:
        sent = json.dumps(encode(list(arguments)))
        module = "__import__('distill_lab.course.grading.sandbox.kernel_side', fromlist=['call'])"
        said = ask(f"{module}.call({name}, {sent!r})")
        try:
            answer = _read(said)
            raised = _error(*_texts(answer)) if "raised" in answer else None
            value = None if raised else decode(answer["value"])
            value = _with_gradients(value, answer.get("gradients"), arguments)
        except Exception as error:
            why = str(error)[:200]
            unreadable(why)
            raise UnreadableResultError(why) from None
        if raised:
            raise raised
        return value

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


def _texts(answer: dict[str, Any]) -> tuple[str, str]:
    kind, said = answer["raised"], answer.get("said", "")
    if type(kind) is not str or type(said) is not str:
        raise UnreadableResultError("an error without a name or a text")
    return kind if kind.isidentifier() else "Exception", said


class _Said(str):
    """An error's text. `str` of a KeyError is the repr of its key, which the text has been through
    already."""

    def __repr__(self) -> str:
        return str(self)


def _error(kind: str, said: str) -> Exception:
    """An error of that name; where Python has none, or none that an exercise may raise, one like
    it."""
    known = getattr(builtins, kind, None)
    if isinstance(known, type) and issubclass(known, Exception):
        try:
            return known(_Said(said))
        except TypeError:  # UnicodeDecodeError wants five arguments
            pass
    return type(kind, (Exception,), {})(said)


def _with_gradients(value: Any, gradients: Any, arguments: tuple[Any, ...]) -> Any:
    """`value`, which hands the gradients that it had there to the arguments."""
    pairs = zip(arguments, gradients or [], strict=False)
    found = [(argument, decode(plain)) for argument, plain in pairs if plain is not None]
    for argument, gradient in found:
        if (gradient.shape, gradient.dtype) != (argument.shape, argument.dtype):
            raise ValueError(f"a gradient of shape {tuple(gradient.shape)}, {gradient.dtype}")
    return _carrying(value.detach(), found) if found else value


def _carrying(value: Any, found: list[tuple[Any, Any]]) -> Any:
    import torch

    class Carry(torch.autograd.Function):
        """Not `value + gradient * (argument - argument)`: where that is infinite, it is NaN."""

        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> Any:
            return value.clone()

        @staticmethod
        def backward(ctx: Any, *outer: Any) -> Any:
            # of the value's sum: each of its numbers has an equal part in it
            factor = outer[0].double().mean()
            return tuple((gradient * factor).to(gradient.dtype) for _, gradient in found)

    return Carry.apply(*(argument for argument, _ in found))
