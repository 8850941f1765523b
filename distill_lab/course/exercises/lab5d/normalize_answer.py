"""The exercise normalize of Lab 5d: SQuAD's normalisation, as its official script does it."""

from __future__ import annotations

import random
import string

from distill_lab.course.exercises.comparing import Either
from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, expect, on_results
from distill_lab.course.exercises.result_types import TEXT
from distill_lab.tasks.squad.scores import normalize_answer


def a_word(rng: random.Random) -> str:
    """Six letters that nobody has seen, none of them an article."""
    return "z" + "".join(rng.choice("bdeilmorstuv") for _ in range(5))


def _case_and_spaces(function: Function, rng: random.Random) -> None:
    known = {"Lower case is wanted: SQuAD does not tell Paris from paris.": "Mount Kenya"}
    expect(function, ["Mount Kenya"], "mount kenya", known)
    known = {_SPACES: "mount   kenya", f"{_SPACES} The ends too.": "  mount   kenya "}
    expect(function, ["  Mount   Kenya "], "mount kenya", known)
    tab = "A tab and a line's end are white space too: text.split() knows all of it."
    expect(function, ["Mount \n Kenya\t"], "mount kenya", {tab: "mount \n kenya"})
    words = [a_word(rng).upper() for _ in range(3)]
    text = "".join(f"{rng.choice((' ', '  ', chr(10), chr(9)))}{word}" for word in words)
    expect(function, [text], " ".join(words).lower())


def _punctuation(function: Function, rng: random.Random) -> None:
    space = "Punctuation goes and leaves nothing in its place, not a space."
    inside = "Punctuation goes inside as well, not only at the ends."
    expect(function, ["1995."], "1995", {"Punctuation must go.": "1995."})
    known = {space: "5 199 metres", inside: Either(("5,199 (metres", "5,199 metres"))}
    expect(function, ["5,199 (metres)"], "5199 metres", known)
    one, two = a_word(rng), a_word(rng)
    marks = "".join(rng.sample(string.punctuation, len(string.punctuation)))
    known = {
        r"_ is in string.punctuation: it goes too. (\w takes it for a letter.)": f"{one}_{two}",
        space: f"{one} {two}",
        "All of string.punctuation goes, not a part of it.": "".join(
            c for c in f"{one}{marks}{two}" if c not in ".,!?;:'\"()-"
        ),
    }
    expect(function, [f"{one}{marks}{two}"], f"{one}{two}", known)
    only = "What string.punctuation does not hold stays: SQuAD's script knows no other marks."
    accents = "Letters with accents are letters: only what string.punctuation holds goes."
    expect(function, [f"“Zoë {one}”"], f"“zoë {one}”", {only: f"zoë {one}", accents: f"zo {one}"})


def _articles(function: Function, rng: random.Random) -> None:
    words = "Articles are whole words: the t-h-e of theatre is none."
    for article in ("the", "a", "an"):
        known = {f"{article} must go, as all three of a, an, the.": f"{article} harp"}
        expect(function, [f"{article} harp"], "harp", known)
    expect(function, ["theatre"], "theatre", {words: Either(("atre", "tre"))})
    expect(function, ["banana panther"], "banana panther", {words: normalize_answer("bnn pnr")})
    word = a_word(rng)
    known = {
        "Articles go wherever they stand, not only in front.": f"man on a {word}",
        "Spaces come last: an article that goes leaves two behind.": f"man on  {word}",
        "Nothing else goes: on is no article.": f"man {word}",
    }
    expect(function, [f"man on a {word}"], f"man on {word}", known)


def _order(function: Function, rng: random.Random) -> None:
    lower = "Lower the case before you look for articles: The is one as well."
    expect(function, ["The Hague"], "hague", {lower: "the hague"})
    points = "Punctuation goes before articles do: a.m. becomes the word am, which stays."
    expect(function, ["a.m."], "am", {points: "m"})
    name = a_word(rng)
    expect(function, [f"THE {name.title()}"], name, {lower: f"the {name}"})
    joined = "Punctuation goes before articles do: The-end becomes theend, one word."
    expect(function, [f"The-{name}"], f"the{name}", {joined: name})


def _without_marks(function: Function) -> Function:
    return lambda text: function("".join(c for c in text if c not in string.punctuation))


_LOWER, _MARKS = "lower case, single spaces", "punctuation goes"
_SPACES = "Spaces inside count too: any run of white space becomes one space."
NORMALIZE = Exercise(
    "lab5d",
    "normalize",
    normalize_answer,
    (
        Step(_LOWER, 1, _case_and_spaces),
        Step(_MARKS, 1, _punctuation),
        Step("articles go, as whole words", 1, _articles),
        Step("in this order: case, punctuation, articles, spaces", 1, _order),
    ),
    (
        "Four steps, each on the result of the one before: lower(), punctuation, articles, spaces.",
        r"Whole words: re.sub(r'\b(a|an|the)\b', ' ', text). Spaces: ' '.join(text.split()).",
        "Punctuation: ''.join(c for c in text if c not in string.punctuation).",
    ),
    TEXT,
    (
        Slip(_SPACES, _LOWER, on_results(lambda text: " ".join(text.split()))),
        Slip("Lower case is wanted: SQuAD does not tell Paris from paris.", _LOWER,
             on_results(str.lower)),
        Slip("A list of words came back: \" \".join(words) makes one text of it.", _LOWER,
             on_results(" ".join)),
        Slip("The other steps are judged on text without punctuation.", _MARKS, _without_marks),
    ),
    minutes=10,
    difficulty="easy",
)  # fmt: skip
