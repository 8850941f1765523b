"""Lab 5e's exercise reward: 1 for a completion that is right, well formed and ended, else 0."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, expect, on_results
from distill_lab.course.exercises.result_types import NUMBER, ResultType
from distill_lab.pipeline import rejection_rules
from distill_lab.run.records import Question
from distill_lab.tasks.prompts import answer_text
from distill_lab.tasks.squad.scores import em, f1

RULES = (
    rejection_rules.truncated,
    rejection_rules.malformed,
    rejection_rules.empty_answer,
    rejection_rules.wrong_answer,
)


def reward(completion: str, answers: Sequence[str], ended: bool) -> float:
    """The reward of training, with four of its rules."""
    question = Question("", "", "", "", tuple(answers))
    return rejection_rules.reward(completion, question, ended, rules=RULES)


Case = tuple[str, list[str], bool]  # the arguments of reward


def text_of(thought: str, answer: str) -> str:
    """A well-formed completion."""
    return f"<think>{thought}</think><answer>{answer}</answer>"


def _instead(case: Case) -> dict[str, Any]:
    """What is often written for the reward, and its result."""
    text, answers, ended = case
    said = answer_text(text)
    is_formed = rejection_rules.parse(text) is not None
    return {
        "It was cut, and `ended` says so: what was cut is worth nothing.": reward(
            text, answers, True
        ),
        "The answer is right, and the form is not: there is no reward for half of it.": (
            float(em(said, answers) == 100 and ended)
        ),
        "An answer that only contains the right one is not exactly it (EM): whoever lists all "
        "names would always be right.": float(any(a.lower() in said.lower() for a in answers)),
        "The whole text was searched. What counts is what stands between the answer's tags.": (
            float(any(answer.lower() in text.lower() for answer in answers) and ended)
        ),
        "The form alone is worth nothing: a student learns to write tags around anything.": (
            float(is_formed and ended)
        ),
        _PERCENT: 100 * reward(text, answers, ended),
        "F1 gives a part for a part. EM is asked for: 1 or 0.": f1(said, answers) / 100,
        "Answers are compared as SQuAD normalises them, not letter by letter: em(answer, answers).":
            float(said in answers),
        "Any of the answers will do, not the first one alone.": float(em(said, answers[:1]) == 100),
    }  # fmt: skip


def _rewarded(function: Function, *case: Any) -> None:
    expected = reward(*case)
    known = {name: value for name, value in _instead(case).items() if value != expected}
    expect(function, case, expected, known)


def _names(rng: random.Random) -> tuple[str, str]:
    """Two answers that nobody has seen: "Harp 57"."""
    first, second = rng.sample(("Lute", "Harp", "Drum", "Banjo", "Cello", "Horn"), 2)
    return f"{first} {rng.randint(10, 999)}", f"{second} {rng.randint(10, 999)}"


def _right(function: Function, rng: random.Random) -> None:
    _rewarded(function, text_of("She says so.", "Rome"), ["Rome"], True)
    _rewarded(function, text_of("She says so.", "Oslo"), ["Rome"], True)
    name, other = _names(rng)
    _rewarded(function, text_of(f"It is {name}.", other), [name], True)
    _rewarded(function, text_of("She says so.", f"The {name.lower()}."), [name], True)
    _rewarded(function, text_of("She says so.", name), [other, name], True)
    _rewarded(function, text_of(f"It is {name}.", f"{other} or {name}"), [name], True)


def _form(function: Function, rng: random.Random) -> None:
    name, other = _names(rng)
    for text in (
        "<answer>{0}</answer>",
        "<think>It is {0}.</think>{0}",
        "<think>It is {0}.</think><answer>{0}",
        "<think>So.</think><answer>{1}</answer><answer>{0}</answer>",
        "<think>So.</think><answer>{0}</answer> or {1}",
        "<think>So.</think><answer>{0}</answer>",
    ):
        _rewarded(function, text.format(name, other), [name], True)


def _cut(function: Function, rng: random.Random) -> None:
    name, other = _names(rng)
    for thought, ended in ((f"It is {name}.", True), (f"It is {name}.", False), (other, False)):
        _rewarded(function, text_of(thought, name), [name], ended)
    _rewarded(function, f"<think>So it is {name}, and", [name], False)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, bool) else NUMBER.plain(value)


_PERCENT = "A reward of 1.0 is asked for, not 100: em() counts in percent."
_RIGHT = "1 for a right answer, 0 for a wrong one"
REWARD = Exercise(
    "lab5e",
    "reward",
    reward,
    (
        Step(_RIGHT, 1, _right),
        Step("0 where the form is broken, whatever is answered", 1, _form),
        Step("0 for a completion that was cut, whatever stands in it", 1, _cut),
    ),
    (
        "Three questions, each of which may end it with 0.0: did it end, is it well formed, is its "
        "answer right?",
        "parse(completion) gives None where the form is broken; else its .answer is the text "
        "between the answer's tags.",
        "em(parsed.answer, answers) is 100 for a right answer and 0 for a wrong one; it takes all "
        "answers at once.",
    ),
    ResultType(NUMBER.asks, _number),
    (
        Slip(_PERCENT, _RIGHT, on_results(lambda value: value / 100)),
        Slip("A wrong completion is worth 0, not less: its advantage comes from the group's mean.",
             _RIGHT, on_results(lambda value: max(0.0, value))),
        Slip("1 and 0 are the wrong way round.", _RIGHT, on_results(lambda value: 1 - value)),
    ),
    minutes=10,
    difficulty="easy",
)  # fmt: skip
