"""Wrong answers to the exercises of Lab 5a, each of which its check must catch and name."""

from __future__ import annotations

import math
import re

from torch import Tensor

from distill_lab.course.exercises.exercise import Mutant

WHOLE, MISSING, ALONE, EMPTY = (
    "the answer of a well-formed completion",
    "tags that are missing or out of order give None",
    "two answers, or text around the tags, give None",
    "an empty answer is an answer",
)
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


def unclosed_think(completion: str) -> str | None:
    return _matched(_FORM.replace("</think>", "(?:</think>)?"), completion)


def no_think(completion: str) -> str | None:
    return _matched(r"\s*(?:<think>(.*?)</think>)?\s*<answer>(.*?)</answer>\s*", completion)


def empty_for_none(completion: str) -> str:
    return _matched(_FORM, completion) or ""


def none_for_empty(completion: str) -> str | None:
    return _matched(_FORM, completion) or None


def before_the_tag(completion: str) -> str:
    return _TAGS.sub("", completion.partition("<answer>")[0]).strip()


def tags_and_all(completion: str) -> str | None:
    answer = _matched(_FORM, completion)
    return None if answer is None else f"<answer>{answer}</answer>"


def not_stripped(completion: str) -> str | None:
    match = re.fullmatch(_FORM, completion, re.DOTALL)
    return match[2] if match and _matched(_FORM, completion) is not None else None


def one_line(completion: str) -> str | None:
    return _matched(_FORM, completion, re.UNICODE)


def last_answer(completion: str) -> str | None:
    """Right but for two answers."""
    found = re.findall(r"<answer>(.*?)</answer>", completion, re.DOTALL)
    return found[-1].strip() if len(found) > 1 else _matched(_FORM, completion)


def text_around(completion: str) -> str | None:
    match = re.search(r"<think>(.*?)</think>.*?<answer>(.*?)</answer>", completion, re.DOTALL)
    if match is None or len(re.findall("<answer>", completion)) > 1:
        return None
    return match[2].strip()


ONE, ROWS, LARGE = (
    "one row of logits, at T = 1, 2 and 0.5",
    "each row of several by itself",
    "logits of 1,000 and of -1,000",
)


def multiplied(logits: Tensor, temperature: float) -> Tensor:
    return (logits * temperature).softmax(-1)


def after_the_softmax(logits: Tensor, temperature: float) -> Tensor:
    return logits.softmax(-1) / temperature


def twice(logits: Tensor, temperature: float) -> Tensor:
    return (logits.softmax(-1) / temperature).softmax(-1)


def without_t(logits: Tensor, temperature: float) -> Tensor:
    return logits.softmax(-1)


def logs(logits: Tensor, temperature: float) -> Tensor:
    return (logits / temperature).log_softmax(-1)


def not_divided(logits: Tensor, temperature: float) -> Tensor:
    return (logits / temperature).exp()


def first_axis(logits: Tensor, temperature: float) -> Tensor:
    return (logits / temperature).softmax(0)


def second_axis(logits: Tensor, temperature: float) -> Tensor:
    return (logits / temperature).softmax(1)


def one_sum(logits: Tensor, temperature: float) -> Tensor:
    return (logits / temperature).flatten().softmax(0).view_as(logits)


def overflows(logits: Tensor, temperature: float) -> Tensor:
    e = (logits / temperature).exp()
    return e / e.sum(-1, keepdim=True)


def largest_of_all(logits: Tensor, temperature: float) -> Tensor:
    e = ((logits - logits.max()) / temperature).exp()
    return e / e.sum(-1, keepdim=True)


FIRST, SEVERAL, CERTAIN = (
    "k = 1 is the share of the right ones",
    "k = 2 and 3, as all draws counted one by one",
    "certain where fewer than k are wrong",
)


def put_back(n: int, c: int, k: int) -> float:
    return 1 - (1 - c / n) ** k


def share(n: int, c: int, k: int) -> float:
    return c / n


def all_wrong(n: int, c: int, k: int) -> float:
    return math.comb(n - c, k) / math.comb(n, k)


def all_right(n: int, c: int, k: int) -> float:
    return math.comb(c, k) / math.comb(n, k)


def added_up(n: int, c: int, k: int) -> float:
    return k * c / n


def in_percent(n: int, c: int, k: int) -> float:
    return 100 * (1 - math.comb(n - c, k) / math.comb(n, k))


def whole_numbers(n: int, c: int, k: int) -> float:
    return 1 - math.comb(n - c, k) // math.comb(n, k)


def fails_where_certain(n: int, c: int, k: int) -> float:
    """C(n - c, k) by factorials, of which a negative number has none."""
    f = math.factorial
    return 1 - f(n - c) * f(n - k) / (f(n - c - k) * f(n))


def zero_where_certain(n: int, c: int, k: int) -> float:
    return 0.0 if n - c < k else 1 - math.comb(n - c, k) / math.comb(n, k)


_EXTRACT, _SOFTEN, _PASS = "lab5a.extract_answer", "lab5a.soften", "lab5a.pass_at_k"
MUTANTS = (
    Mutant(_EXTRACT, "greedy match over two answers", greedy, (ALONE,), "greedy"),
    Mutant(_EXTRACT, "unclosed think accepted", unclosed_think, (MISSING,), "no </think>"),
    Mutant(_EXTRACT, "no think accepted", no_think, (MISSING,), "no think at all"),
    Mutant(_EXTRACT, "empty string for None", empty_for_none, (MISSING,), "give None"),
    Mutant(_EXTRACT, "None for an empty answer", none_for_empty, (EMPTY,), "is an answer"),
    Mutant(
        _EXTRACT,
        "text before the tag returned",
        before_the_tag,
        (WHOLE, MISSING, ALONE, EMPTY),
        "before the <answer> tag",
    ),
    Mutant(_EXTRACT, "tags and all", tags_and_all, (WHOLE,), "between them"),
    Mutant(_EXTRACT, "spaces left", not_stripped, (WHOLE,), "spaces off"),
    Mutant(_EXTRACT, "one line alone", one_line, (WHOLE,), "re.DOTALL"),
    Mutant(_EXTRACT, "the last of two answers", last_answer, (ALONE,), "takes the last"),
    Mutant(_EXTRACT, "text around the tags accepted", text_around, (ALONE,), "around the tags"),
    Mutant(_SOFTEN, "multiplied by T", multiplied, (ONE,), "multiplied by T"),
    Mutant(_SOFTEN, "T after the softmax", after_the_softmax, (ONE,), "after the softmax"),
    Mutant(_SOFTEN, "a softmax of a softmax", twice, (ONE, ROWS, LARGE), "a softmax again"),
    Mutant(_SOFTEN, "T not used", without_t, (ONE,), "T is not used"),
    Mutant(_SOFTEN, "log-probabilities", logs, (ONE,), "log-probabilities"),
    Mutant(_SOFTEN, "not divided by the sum", not_divided, (ONE, LARGE), "the sum"),
    Mutant(_SOFTEN, "the wrong axis", first_axis, (ROWS,), "wrong axis"),
    Mutant(_SOFTEN, "the second axis", second_axis, (ONE,), "-1 is always the last"),
    Mutant(_SOFTEN, "one sum for all", one_sum, (ROWS,), "All of it adds up"),
    Mutant(_SOFTEN, "overflow at 1,000", overflows, (LARGE,), "too large for a float"),
    Mutant(_SOFTEN, "the largest of all taken off", largest_of_all, (LARGE,), "own largest"),
    Mutant(_PASS, "every trace put back", put_back, (SEVERAL, CERTAIN), "puts every trace back"),
    Mutant(_PASS, "c / n", share, (SEVERAL, CERTAIN), "whatever k is"),
    Mutant(_PASS, "1 - forgotten", all_wrong, (FIRST,), "1 - forgotten"),
    Mutant(_PASS, "all k right", all_right, (SEVERAL, CERTAIN), "one is enough"),
    Mutant(_PASS, "chances added up", added_up, (SEVERAL, CERTAIN), "count twice"),
    Mutant(_PASS, "percent", in_percent, (FIRST,), "not percent"),
    Mutant(_PASS, "whole numbers", whole_numbers, (FIRST, SEVERAL, CERTAIN), "drops the rest"),
    Mutant(_PASS, "an error where certain", fails_where_certain, (CERTAIN,), "the chance is 1"),
    Mutant(_PASS, "0 where certain", zero_where_certain, (CERTAIN,), "the chance is 1"),
)
