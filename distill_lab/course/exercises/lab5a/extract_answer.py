"""The exercise extract_answer of Lab 5a: a strict parser of completions."""

from __future__ import annotations

import random
from typing import Any

from distill_lab.course.exercises.comparing import Either
from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, expect, on_results
from distill_lab.course.exercises.result_types import TEXT_OR_NONE
from distill_lab.tasks.prompts import parse


def extract_answer(completion: str) -> str | None:
    """What stands in the answer's tags, or None where the completion is not well formed."""
    parsed = parse(completion)
    return parsed.answer if parsed else None


_SPACES = "Take the spaces off both ends of the answer."
_NONE = '"" is an answer, and there is none here: give None.'
_WORDS = ("Rome", "Halford Mackinder", "the River Aire", "nectar")


def _drawn(rng: random.Random) -> str:
    return f"{rng.choice(_WORDS)} {rng.randint(1000, 9999)}"


def _well_formed(function: Function, rng: random.Random) -> None:
    """Asked in steps that expect None, or a function that always gives None would pass them."""
    answer = _drawn(rng)
    expect(function, [f"<think>a</think><answer>{answer}</answer>"], answer, _missed(answer))


def _missed(answer: str) -> dict[str, Any]:
    return {
        "That is the reasoning, not the answer: what you took stands before the <answer> tag.": "a",
        "The tags came along: take what is between them.": f"<answer>{answer}</answer>",
        "The answer is given as it stands, capitals and all.": answer.lower(),
        "The thought came along: the answer stands between <answer> and </answer> alone.": (
            f"a{answer}"
        ),
    }


def _whole(function: Function, rng: random.Random) -> None:
    answer = _drawn(rng)
    expect(function, ["<think>a</think><answer>Rome</answer>"], "Rome", _missed("Rome"))
    padded = f" {answer} "
    known: dict[str, Any] = {_SPACES: Either((padded, f"{answer} ", f" {answer}"))}
    known["White space may stand between the tags: \\s* there."] = None
    expect(function, [f"<think>a</think> <answer>{padded}</answer>"], answer, known)
    lines = f"<think>one\ntwo</think>\n<answer>{answer}</answer>\n"
    known = {"A thought may have several lines: . matches no line's end without re.DOTALL.": None}
    known["The thought may have several lines, the answer stands behind it."] = "two"
    expect(function, [lines], answer, known)


def _not_whole(function: Function, rng: random.Random) -> None:
    _well_formed(function, rng)
    answer = _drawn(rng)
    empty: dict[str, Any] = {
        _NONE: "",
        'The text "None" is a text: give None itself.': "None",
        "False is no None: give None.": False,
        "Where a tag is missing nothing can be split off or found: ask for it first.": IndexError,
        "Where a tag is missing index finds none and raises: ask for it first.": ValueError,
    }
    for text, missing in (
        (f"<think>a<answer>{answer}</answer>", "The think was never closed: there is no </think>."),
        (f"<answer>{answer}</answer>", "There is no think at all, and the format asks for one."),
        (f"<think>a</think><answer>{answer}", "The answer was never closed: it may be half one."),
        (f"<answer>{answer}</answer><think>a</think>", "The answer stands before the thought."),
    ):
        expect(function, [text], None, {**empty, missing: answer})
    expect(function, [answer], None, {**empty, "There are no tags at all here.": answer})


def _alone(function: Function, rng: random.Random) -> None:
    _well_formed(function, rng)
    first, second = _drawn(rng), f"{_drawn(rng)} {rng.randint(0, 9)}"
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
    _well_formed(function, rng)
    known = {
        'An empty answer is an answer: of SQuAD 2.0\'s questions some have none. Give "".': None
    }
    expect(function, ["<think>a</think><answer></answer>"], "", known)
    spaces = " " * rng.randint(1, 5)
    expect(function, [f"<think>a</think><answer>{spaces}</answer>"], "", known)


_WHOLE = "the answer of a well-formed completion"
_NOT_WHOLE = "tags that are missing or out of order give None"
EXTRACT_ANSWER = Exercise(
    "lab5a",
    "extract_answer",
    extract_answer,
    (
        Step(_WHOLE, 1, _whole),
        Step(_NOT_WHOLE, 1, _not_whole),
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
    TEXT_OR_NONE,
    (
        Slip(_SPACES, _WHOLE, on_results(str.strip)),
        Slip("The tags came along: take what is between them.", _WHOLE,
             on_results(lambda text: text.replace("<answer>", "").replace("</answer>", ""))),
        Slip(_NONE, _NOT_WHOLE, on_results(lambda text: text or None)),
        Slip("re.findall gives a list: take the text out of it, or give None.", _WHOLE,
             on_results(lambda texts: next(iter(texts), None))),
    ),
    minutes=15,
    difficulty="medium",
)  # fmt: skip
