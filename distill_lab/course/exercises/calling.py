"""A student's function is called, and what it raises becomes what the student reads."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from distill_lab.course.exercises.comparing import brief, error_text, hint_for_error
from distill_lab.course.exercises.exercise import Function, WrongError, WrongTypeError, difference


def result_of(function: Function, arguments: Sequence[Any], call: str, expected: str) -> Any:
    """What the function gives of copies of the arguments, which it may change. WrongError, under
    the text `call`, where it raises or gives another type; `expected` says what is asked for."""
    try:
        return function(*copy.deepcopy(list(arguments)))
    except NotImplementedError:
        raise
    except WrongTypeError as other:
        raise difference(call, brief(other.yours), expected, other.says) from None
    except Exception as error:
        raised = f"{call}\nraised    {error_text(error)}\nexpected: {expected}"
        raise WrongError(raised + _hint(error)) from None


def _hint(error: Exception) -> str:
    if "leaf Variable" in str(error):
        return "\nA parameter may be changed in place only within torch.no_grad()."
    return hint_for_error(error)
