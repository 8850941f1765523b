"""Lab 5b, rejection sampling: its three exercises. Here those on mixed languages and on the
majority vote; `keep_shortest` has a module of its own.

Each expected result is that of a reference: the package's own, or `mixed_language` below, which has
the exercise's signature.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Sequence
from statistics import StatisticsError
from typing import Any

from distill_lab.course.exercises.comparing import Either
from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, expect, on_results
from distill_lab.course.exercises.lab5b.keep_shortest import KEEP_SHORTEST
from distill_lab.course.exercises.result_types import TEXT_OR_NONE, TRUTH
from distill_lab.pipeline.languages import script
from distill_lab.reporting.stats import majority_answer


def mixed_language(text: str, most: float = 0.1) -> bool:
    """Whether more than the share `most` (0 to 1) of the letters are of another script than the
    Latin one. Digits, punctuation, spaces and symbols are no letters; text without letters is not
    mixed.

    `rejection_rules.mixed_language`, which the pipeline asks, is stricter: one foreign word is
    enough.
    """
    scripts = [script(letter) for letter in text if letter.isalpha()]
    foreign = sum(name != "LATIN" for name in scripts)
    return foreign > most * len(scripts)


_LATIN = ("river", "Larric", "clarinet", "think", "town", "where", "because", "built", "Orgar")
_MARKS = ("1899,", "(5,199)", "50 %", "...", "-", "3 + 4 = 7;", "?!", "€20")
_ACCENTS = ("Curaçao", "Łódź", "naïve", "São", "Müller", "Škoda", "Ørsted", "Đặng", "Žižek")
_FOREIGN = {
    "Chinese": ("因为", "老师", "首先", "所以"),
    "Cyrillic": ("река", "учитель", "потому"),
    "Arabic": ("نهر", "معلم"),
    "Thai": ("แม่", "ครู"),
    "Japanese": ("です", "カタカナ"),
    "Korean": ("선생님", "도시"),
}


def _text(rng: random.Random, *groups: Sequence[str]) -> str:
    """Four words of each group, shuffled."""
    words = [rng.choice(group) for group in groups for _ in range(4)]
    return " ".join(rng.sample(words, len(words)))


def _mixed(function: Function, rng: random.Random) -> None:
    """Asked in steps that expect False, or a function that always gives False would pass them."""
    expect(function, ["".join(rng.sample("因为老师首先所以河流城市大学", 6))], True)


def _letters(rng: random.Random, n: int) -> str:
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(n))


def _english(function: Function, rng: random.Random) -> None:
    known: dict[str, Any] = {
        "Digits, spaces and punctuation are no letters: leave them out of the count.": True,
        "A text may have no letters at all: guard the division.": ZeroDivisionError,
    }
    known['A line\'s end has no name: unicodedata.name(c, "") gives an empty one.'] = ValueError
    for text in ("In 1899.", "(5,199 m)", "one\ntwo", "1 + 1 = 2", "", _text(rng, _LATIN, _MARKS)):
        expect(function, [text], False, known)
    _mixed(function, rng)


def _accents(function: Function, rng: random.Random) -> None:
    known = {"Letters with accents are Latin too: ask for the script, not for ASCII.": True}
    name = f"{rng.choice(_ACCENTS)} {_letters(rng, 8)}"
    for text in ("Łódź", "Curaçao", *rng.sample(_ACCENTS, 3), name):
        expect(function, [text], False, known)
    _mixed(function, rng)


def _scripts(function: Function, rng: random.Random) -> None:
    for language, words in _FOREIGN.items():
        known = {f"This is {language}: every script but the Latin one counts, not only one.": False}
        expect(function, [words[0]], True, known)
        part = "Not all letters must be foreign: more than the share `most` of them is enough."
        expect(function, [_text(rng, words, _LATIN[:2])], True, {part: False})
    expect(function, [_letters(rng, 12)], False)


def _share(function: Function, rng: random.Random) -> None:
    """Of letters, not of characters; and more than the share, not the share itself."""
    foreign, n, latin = chr(rng.randint(0x430, 0x44F)), rng.randint(20, 60), _letters(rng, 9)
    of_letters = {"The share is one of the letters, not of all characters.": False}
    expect(function, ["7 x 10,000,000 = 七"], True, of_letters)
    expect(function, [f"ab {'1 ' * n}{foreign}"], True, of_letters)
    few = {"One foreign letter is not enough: more than a share of the letters is.": True}
    expect(function, [f"{latin * 4} {foreign}"], False, few)
    limit = {"More than `most` is mixed; exactly `most` is not.": True}
    expect(function, [f"{latin} {foreign}"], False, limit)
    argument = "The limit is the argument `most`, 0.1 only where none is given."
    expect(function, [f"{latin[:4]} {foreign * 4}", 0.5], False, {argument: True})
    expect(function, [f"{latin[0] * 49} {foreign}", 0.01], True, {argument: False})


_ENGLISH = "English with figures and punctuation is not mixed"
MIXED_LANGUAGE = Exercise(
    "lab5b",
    "mixed_language",
    mixed_language,
    (
        Step(_ENGLISH, 1, _english),
        Step("accents are at home", 1, _accents),
        Step("every other script is seen", 1, _scripts),
        Step("the share is one of the letters", 1, _share),
    ),
    (
        "Begin with the letters: [c for c in text if c.isalpha()]. What is left out by that?",
        'unicodedata.name("é") is "LATIN SMALL LETTER E WITH ACUTE"; what is the name of "因"?',
        "foreign = those letters whose name does not start with LATIN; then compare len(foreign) "
        "with most * len(letters). Written so, nothing is divided.",
    ),
    TRUTH,
    (
        Slip("True or False is asked for, not 0 or 1, nor a list of what was found.", _ENGLISH,
             on_results(bool)),
        Slip("That is the share itself: whether it is more than `most` is asked for.", _ENGLISH,
             lambda f: lambda text, most=0.1: f(text, most) > most),
        Slip("True and False are the wrong way round.", _ENGLISH,
             on_results(operator.not_)),
    ),
    minutes=15,
    difficulty="medium",
)  # fmt: skip


def _words(rng: random.Random, n: int = 3) -> list[str]:
    """Answers that nobody has seen: "lute 57"."""
    words = rng.sample(("lute", "harp", "drum", "banjo", "cello", "horn"), n)
    return [f"{word} {rng.randint(10, 999)}" for word in words]


def _most_votes(function: Function, rng: random.Random) -> None:
    lute, harp, drum = _words(rng)
    last = {"That is the answer with the fewest votes.": "1932", "Not the last one.": drum}
    expect(function, [["1932", "1995", "1995"]], "1995", last)
    expect(function, [[lute, harp, drum, harp]], harp, {"That is the first answer.": lute, **last})
    shuffled = rng.sample([lute] * 4 + [harp] * 3 + [drum] * 2, 9)
    expect(function, [shuffled], lute)


def _normalised(function: Function, rng: random.Random) -> None:
    raw = "These agree once they are normalised: count normalize_answer(answer), not the raw text."
    spelt = "Give the answer back as it was first spelt, not as it was counted."
    last = "Give the answer back as it was first spelt, not as it was spelt last."
    known = {raw: "Rome", spelt: "nile", last: "Nile!"}
    expect(function, [["Rome", "The Nile", "Rome", "the Nile", "Nile!"]], "The Nile", known)
    [name] = _words(rng, 1)
    answers = ["Rome", "Rome", f"the {name}", f"{name}.", name.upper()]
    known = {raw: "Rome", spelt: name, last: name.upper()}
    expect(function, [answers], f"the {name}", known)


def _no_vote(function: Function, rng: random.Random) -> None:
    word, n = _words(rng, 1)[0], rng.randint(3, 6)
    known: dict[str, Any] = {
        "None is a trace without an answer: it has no vote.": None,
        "Leave None out before you normalise: it is no text.": AttributeError,
    }
    expect(function, [[None, None, word]], word, known)
    expect(function, [[None] * n + [word] * 2], word, known)
    nothing = (
        'An empty answer is an answer, and has a vote: ask `is not None`, for "" is false too.'
    )
    expect(function, [["", word, ""]], "", {nothing: Either((word, None))})
    empty: dict[str, Any] = {"With no vote at all there is no winner: the answer is None.": ""}
    late = "With no vote at all give None, before you look for the largest."
    empty |= {late: Either((ValueError, StatisticsError))}
    empty["With no vote at all give None: there is no first of the votes."] = IndexError
    expect(function, [[None, None]], None, empty)
    expect(function, [[]], None, empty)


def _ties(function: Function, rng: random.Random) -> None:
    late = "Of equal counts the one that was seen first wins."
    expect(function, [["harp", "drum"]], "harp", {late: "drum"})
    expect(function, [["drum", "harp"]], "drum", {late: "harp"})
    for _ in range(4):
        first, second, third = _words(rng)
        answers = [first, second, third, third, second, first]
        known = {f"{late[:-1]} (this is {x}).": x for x in (second, third)}
        expect(function, [answers], first, known)


def _first_text(result: Any) -> Any:
    while isinstance(result, (list, tuple)) and result:
        result = result[0]
    return result


_MOST = "the most votes win"
MAJORITY_ANSWER = Exercise(
    "lab5b",
    "majority_answer",
    majority_answer,
    (
        Step(_MOST, 1, _most_votes),
        Step("answers are compared as SQuAD normalises them", 1, _normalised),
        Step("None has no vote", 1, _no_vote),
        Step("of equal counts the first seen wins", 1, _ties),
    ),
    (
        "Count normalize_answer(answer) in a Counter, and leave out the answers that are None.",
        "Remember for each normalised text how it was first spelt: "
        "spelt.setdefault(normalize_answer(answer), answer).",
        "Counter.most_common(1) gives of equal counts the one that was counted first.",
    ),
    TEXT_OR_NONE,
    (
        Slip("The answer came with its count, or in a list: take the text out of it.", _MOST,
             on_results(_first_text)),
    ),
    minutes=15,
    difficulty="medium",
)  # fmt: skip

EXERCISES: tuple[Exercise, ...] = (MIXED_LANGUAGE, MAJORITY_ANSWER, KEEP_SHORTEST)
