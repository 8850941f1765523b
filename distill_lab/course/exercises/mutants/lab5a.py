"""Wrong answers to the exercises of Lab 5a, each of which its check must catch and name."""

from __future__ import annotations

import math
import re
from math import comb

from torch import Tensor

from distill_lab.course.exercises.exercise import mutants_of
from distill_lab.course.exercises.lab5a import EXTRACT_ANSWER, PASS_AT_K, SOFTEN

WHOLE, MISSING, ALONE, EMPTY = (step.title for step in EXTRACT_ANSWER.steps)
ONE, ROWS, LARGE = (step.title for step in SOFTEN.steps)
FIRST, SEVERAL, CERTAIN = (step.title for step in PASS_AT_K.steps)

_TAGS = re.compile(r"</?(?:think|answer)>")
_FORM = r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*"


def _matched(form: str, completion: str, flags: re.RegexFlag = re.DOTALL) -> str | None:
    """The last group of a match that has none of the tags inside."""
    match = re.fullmatch(form, completion, flags)
    if match is None or any(_TAGS.search(group or "") for group in match.groups()):
        return None
    return match.groups()[-1].strip()


def greedy(completion: str) -> str | None:
    match = re.fullmatch(_FORM.replace("*?", "*"), completion, re.DOTALL)
    return match[2].strip() if match else None


def tags_and_all(completion: str) -> str | None:
    answer = _matched(_FORM, completion)
    return None if answer is None else f"<answer>{answer}</answer>"


def not_stripped(completion: str) -> str | None:
    match = re.fullmatch(_FORM, completion, re.DOTALL)
    return match[2] if match and _matched(_FORM, completion) is not None else None


def last_answer(completion: str) -> str | None:
    """Right but for two answers."""
    answers = re.findall(r"<answer>(.*?)</answer>", completion, re.DOTALL)
    return answers[-1].strip() if len(answers) > 1 else _matched(_FORM, completion)


def text_around(completion: str) -> str | None:
    match = re.search(r"<think>(.*?)</think>.*?<answer>(.*?)</answer>", completion, re.DOTALL)
    if match is None or len(re.findall("<answer>", completion)) > 1:
        return None
    return match[2].strip()


def _divided(e: Tensor) -> Tensor:
    return e / e.sum(-1, keepdim=True)


def fails_where_certain(n: int, c: int, k: int) -> float:
    """C(n - c, k) by factorials, of which a negative number has none."""
    f = math.factorial
    return 1 - f(n - c) * f(n - k) / (f(n - c - k) * f(n))


MUTANTS = (
    *mutants_of(
        "lab5a.extract_answer",
        ("greedy match over two answers", greedy, (ALONE,), "greedy"),
        ("unclosed think accepted",
         lambda text: _matched(_FORM.replace("</think>", "(?:</think>)?"), text),
         (MISSING,), "no </think>"),
        ("no think accepted",
         lambda text: _matched(r"\s*(?:<think>(.*?)</think>)?\s*<answer>(.*?)</answer>\s*", text),
         (MISSING,), "no think at all"),
        ("empty string for None", lambda text: _matched(_FORM, text) or "", (MISSING,),
         "give None"),
        ("None for an empty answer", lambda text: _matched(_FORM, text) or None, (EMPTY,),
         "is an answer"),
        ("text before the tag returned",
         lambda text: _TAGS.sub("", text.partition("<answer>")[0]).strip(),
         (WHOLE, MISSING, ALONE, EMPTY), "before the <answer> tag"),
        ("tags and all", tags_and_all, (WHOLE,), "between them"),
        ("spaces left", not_stripped, (WHOLE,), "spaces off"),
        ("one line alone", lambda text: _matched(_FORM, text, re.UNICODE), (WHOLE,), "re.DOTALL"),
        ("the last of two answers", last_answer, (ALONE,), "takes the last"),
        ("text around the tags accepted", text_around, (ALONE,), "around the tags"),
    ),
    *mutants_of(
        "lab5a.soften",
        ("multiplied by T", lambda z, t: (z * t).softmax(-1), (ONE,), "multiplied by T"),
        ("T after the softmax", lambda z, t: z.softmax(-1) / t, (ONE,), "after the softmax"),
        ("a softmax of a softmax", lambda z, t: (z.softmax(-1) / t).softmax(-1),
         (ONE, ROWS, LARGE), "a softmax again"),
        ("T not used", lambda z, t: z.softmax(-1), (ONE,), "T is not used"),
        ("log-probabilities", lambda z, t: (z / t).log_softmax(-1), (ONE,), "log-probabilities"),
        ("not divided by the sum", lambda z, t: (z / t).exp(), (ONE, LARGE), "the sum"),
        ("the wrong axis", lambda z, t: (z / t).softmax(0), (ROWS,), "wrong axis"),
        ("the second axis", lambda z, t: (z / t).softmax(1), (ONE,), "-1 is always the last"),
        ("one sum for all", lambda z, t: (z / t).flatten().softmax(0).view_as(z), (ROWS,),
         "All of it adds up"),
        ("overflow at 1,000", lambda z, t: _divided((z / t).exp()), (LARGE,),
         "too large for a float"),
        ("the largest of all taken off", lambda z, t: _divided(((z - z.max()) / t).exp()),
         (LARGE,), "own largest"),
    ),
    *mutants_of(
        "lab5a.pass_at_k",
        ("every trace put back", lambda n, c, k: 1 - (1 - c / n) ** k, (SEVERAL, CERTAIN),
         "puts every trace back"),
        ("c / n", lambda n, c, k: c / n, (SEVERAL, CERTAIN), "whatever k is"),
        ("1 - forgotten", lambda n, c, k: comb(n - c, k) / comb(n, k), (FIRST,), "1 - forgotten"),
        ("all k right", lambda n, c, k: comb(c, k) / comb(n, k), (SEVERAL, CERTAIN),
         "one is enough"),
        ("chances added up", lambda n, c, k: k * c / n, (SEVERAL, CERTAIN), "count twice"),
        ("percent", lambda n, c, k: 100 * (1 - comb(n - c, k) / comb(n, k)), (FIRST,),
         "not percent"),
        ("whole numbers", lambda n, c, k: 1 - comb(n - c, k) // comb(n, k),
         (FIRST, SEVERAL, CERTAIN), "drops the rest"),
        ("an error where certain", fails_where_certain, (CERTAIN,), "the chance is 1"),
        ("0 where certain",
         lambda n, c, k: 0.0 if n - c < k else 1 - comb(n - c, k) / comb(n, k),
         (CERTAIN,), "the chance is 1"),
    ),
)  # fmt: skip
