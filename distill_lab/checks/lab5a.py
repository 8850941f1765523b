"""Lab 5a, teacher generation: the three exercises and how they are judged."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from distill_lab import loss
from distill_lab.checks.exercise import Exercise, Function, Step, expect
from distill_lab.prompts import parse
from distill_lab.stats import pass_at_k

# -- extract_answer


def extract_answer(completion: str) -> str | None:
    """What stands in the answer's tags, or None where the completion is not well formed."""
    parsed = parse(completion)
    return parsed.answer if parsed else None


_WORDS = ("Rome", "in 1899", "Halford Mackinder", "the River Aire", "5,199 metres", "nectar")


def _whole(function: Function, rng: random.Random) -> None:
    answer = rng.choice(_WORDS)
    known = {
        "That is the reasoning, not the answer: what you took stands before the <answer> tag.": "a",
        "The tags came along: take what is between them.": "<answer>Rome</answer>",
    }
    expect(function, ["<think>a</think><answer>Rome</answer>"], "Rome", known)
    padded = f" {answer} "
    known = {"Take the spaces off both ends of the answer.": padded}
    expect(function, [f"<think>a</think> <answer>{padded}</answer>"], answer, known)
    lines = f"<think>one\ntwo</think>\n<answer>{answer}</answer>\n"
    known = {"A thought may have several lines: . matches no line's end without re.DOTALL.": None}
    expect(function, [lines], answer, known)


def _not_whole(function: Function, rng: random.Random) -> None:
    answer = rng.choice(_WORDS)
    empty = {'"" is an answer, and there is none here: give None.': ""}
    for text, missing in (
        (f"<think>a<answer>{answer}</answer>", "The think was never closed: there is no </think>."),
        (f"<answer>{answer}</answer>", "There is no think at all, and the format asks for one."),
        (f"<think>a</think><answer>{answer}", "The answer was never closed: it may be half one."),
        (f"<answer>{answer}</answer><think>a</think>", "The answer stands before the thought."),
    ):
        expect(function, [text], None, {**empty, missing: answer})
    expect(function, [answer], None, {**empty, "There are no tags at all here.": answer})


def _alone(function: Function, rng: random.Random) -> None:
    first, second = rng.sample(_WORDS, 2)
    empty = {'"" is an answer, and a completion with two has none to take: give None.': ""}
    known = {
        "Your match is greedy: it runs from the first <answer> to the last </answer>.": (
            f"{first}</answer><answer>{second}"
        ),
        "Of two answers it takes the first; a completion that gives two has not decided.": first,
        "Of two answers it takes the last; a completion that gives two has not decided.": second,
    }
    two = f"<think>a</think><answer>{first}</answer><answer>{second}</answer>"
    expect(function, [two], None, {**empty, **known})
    around = {"Text stands around the tags, and the format leaves no room for any.": first}
    one = f"<think>a</think><answer>{first}</answer>"
    for text in (f"Sure! {one}", f"{one} I hope that helps.", one.replace("><", ">so<")):
        expect(function, [text], None, around)


def _empty(function: Function, rng: random.Random) -> None:
    known = {
        'An empty answer is an answer: of SQuAD 2.0\'s questions some have none. Give "".': None
    }
    expect(function, ["<think>a</think><answer></answer>"], "", known)
    spaces = " " * rng.randint(1, 5)
    expect(function, [f"<think>a</think><answer>{spaces}</answer>"], "", known)


EXTRACT_ANSWER = Exercise(
    "lab5a",
    "extract_answer",
    extract_answer,
    (
        Step("the answer of a well-formed completion", 1, _whole),
        Step("tags that are missing or out of order give None", 1, _not_whole),
        Step("two answers, or text around the tags, give None", 1, _alone),
        Step("an empty answer is an answer", 1, _empty),
    ),
    (
        "A regular expression that must fit the whole text says it all: re.fullmatch.",
        "`.*?` takes as little as it can, `.*` as much; re.DOTALL lets both cross lines. White "
        "space between the tags is allowed: \\s*.",
        "fullmatch may still stretch over a second <answer>: look whether one of the four tags is "
        "inside what was matched.",
    ),
)

# -- soften


def soften(logits: Tensor, temperature: float) -> Tensor:
    """softmax(logits / temperature) over the last axis, as probabilities."""
    return loss.soften(logits, temperature).exp()


def _softened(function: Function, logits: Tensor, t: float, known: Mapping[str, Any]) -> None:
    """Within 1e-5: float32, whichever way it is summed."""
    expect(function, [logits, t], soften(logits, t), known, within=1e-5)


def _mistakes(logits: Tensor, t: float) -> dict[str, Any]:
    """What is often written instead, and its result."""
    plain, no_t = logits.softmax(-1), "T is not used: this is the softmax at T = 1."
    after = "T came after the softmax"
    return {
        "They were multiplied by T: dividing makes them flatter.": (logits * t).softmax(-1),
        f"{after}: these no longer add up to 1.": plain / t,
        f"{after}, and then a softmax again: one of logits / T is enough.": (plain / t).softmax(-1),
        **({} if t == 1 else {no_t: plain}),
        "These are log-probabilities: their exp is asked for.": loss.soften(logits, t),
        "They do not add up to 1: divide by the sum.": (logits / t).exp(),
        "Counted from the front there may be no such axis: -1 is always the last.": IndexError,
    }


def _one_row(function: Function, rng: random.Random) -> None:
    logits = torch.tensor([0.0, math.log(4)])  # 1 : 4, and 1 : 2 at T = 2
    for t in (1.0, 2.0, 0.5):
        _softened(function, logits, t, _mistakes(logits, t))
    drawn, t = torch.tensor([rng.gauss(0, 2) for _ in range(5)]), rng.choice((1.5, 3.0, 4.0))
    _softened(function, drawn, t, _mistakes(drawn, t))


def _by_row(function: Function, rng: random.Random) -> None:
    drawn = torch.tensor([[rng.gauss(0, 2) for _ in range(3)] for _ in range(2)])
    for logits, t in ((torch.tensor([[0.0, 2.0], [0.0, -2.0]]), 2.0), (drawn, 1.0)):
        z = logits / t
        known = {
            "The wrong axis: the columns add up to 1, and each row should.": z.softmax(0),
            "All of it adds up to 1, and each row should.": z.flatten().softmax(0).view_as(z),
        }
        _softened(function, logits, t, known)


def _large(function: Function, rng: random.Random) -> None:
    shift, nan = 100.0 * rng.randint(1, 9), math.nan
    high = torch.tensor([[1000.0, 1002.0]]) + shift
    largest = "exp(1000) is too large for a float: take the row's largest logit off first."
    _softened(function, high, 2.0, {largest: [[nan, nan]]})
    low = torch.tensor([[0.0, 0.0], [-1000.0 - shift, -1002.0 - shift]])
    own = "exp(-1000) is 0, and 0 / 0 is no number: take each row's own largest logit off."
    _softened(function, low, 2.0, {own: [[0.5, 0.5], [nan, nan]]})


SOFTEN = Exercise(
    "lab5a",
    "soften",
    soften,
    (
        Step("one row of logits, at T = 1, 2 and 0.5", 1, _one_row),
        Step("each row of several by itself", 1, _by_row),
        Step("logits of 1,000 and of -1,000", 1, _large),
    ),
    (
        "First the logits are divided by T, then comes a softmax over the last axis (dim=-1).",
        "exp(z) / sum(exp(z)) does not change if the same number is taken off every z: take the "
        "largest, and nothing overflows.",
        "keepdim=True keeps the last axis, so that each row is divided by its own sum: "
        "e / e.sum(-1, keepdim=True).",
    ),
)

# -- pass_at_k


def _counted(n: int, c: int, k: int) -> float:
    """The share of all draws of k out of n with one of the c right ones: the definition itself."""
    draws = list(combinations(range(n), k))
    return sum(min(draw) < c for draw in draws) / len(draws)


def _instead(n: int, c: int, k: int) -> dict[str, float]:
    return {
        "That puts every trace back before the next is drawn; k different ones of the n are drawn "
        "here.": 1 - (1 - c / n) ** k,
        "That is pass@1, whatever k is.": c / n,
        "That is the chance that all k are wrong: take it off 1.": (
            math.comb(n - c, k) / math.comb(n, k)
        ),
        "That is the chance that all k are right, and one is enough.": (
            math.comb(c, k) / math.comb(n, k)
        ),
        "Chances do not add up: two right ones in a draw would count twice.": k * c / n,
        "A chance from 0 to 1 is asked for, not percent.": 100 * _counted(n, c, k),
        "// divides whole numbers and drops the rest: / is meant.": float(
            1 - math.comb(n - c, k) // math.comb(n, k)
        ),
    }


def _first(function: Function, rng: random.Random) -> None:
    n = rng.randint(5, 9)
    for case in ((4, 1, 1), (n, rng.randint(2, n - 2), 1)):
        known = {name: wrong for name, wrong in _instead(*case).items() if "pass@1" not in name}
        expect(function, case, _counted(*case), known)


def _of_several(function: Function, rng: random.Random) -> None:
    expect(function, (5, 2, 2), _counted(5, 2, 2), _instead(5, 2, 2))
    expect(function, (4, 0, 2), 0.0)
    for _ in range(4):
        n, k = rng.randint(5, 9), rng.randint(2, 3)
        case = (n, rng.randint(1, n - k), k)
        expect(function, case, _counted(*case), _instead(*case))


def _certain(function: Function, rng: random.Random) -> None:
    n = rng.randint(4, 9)
    for case in ((3, 2, 2), (3, 3, 3), (n, n - 1, rng.randint(2, n))):
        known = {
            "With fewer than k wrong traces not all k can be wrong: the chance is 1, not 0.": 0.0,
            "Factorials end here: with fewer than k wrong traces the chance is 1.": ValueError,
        }
        expect(function, case, 1.0, {**known, **_instead(*case)})


PASS_AT_K = Exercise(
    "lab5a",
    "pass_at_k",
    pass_at_k,
    (
        Step("k = 1 is the share of the right ones", 1, _first),
        Step("k = 2 and 3, as all draws counted one by one", 1, _of_several),
        Step("certain where fewer than k are wrong", 1, _certain),
    ),
    (
        "Ask the other way round: how likely is it that all k are wrong?",
        "There are C(n, k) draws of k traces, and C(n - c, k) of them hold wrong ones alone.",
        "math.comb(n, k) counts draws, and is 0 where k is more than n.",
    ),
)

EXERCISES = (EXTRACT_ANSWER, SOFTEN, PASS_AT_K)
