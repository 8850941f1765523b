"""What is checked in Lab 5d: SQuAD's normalisation and F1, the bootstrap interval, the gap closed.

The references are `squad_scores.normalize_answer`, `stats.bootstrap_interval`, `stats.gap_closed`,
and `f1` below, which is `squad_scores.f1` for one reference. The interval is in `lab5d_interval`.
"""

from __future__ import annotations

import random
from typing import Any

from distill_lab import squad_scores
from distill_lab.checks.exercise import Exercise, Function, Step, expect
from distill_lab.checks.lab5d_interval import BOOTSTRAP_INTERVAL
from distill_lab.squad_scores import normalize_answer
from distill_lab.stats import gap_closed


def f1(prediction: str, reference: str) -> float:
    """F1 over words (0 to 100) of one prediction and one reference; where the reference is empty
    (SQuAD 2.0: there is no answer) 100 if the prediction is empty too, else 0."""
    return squad_scores.f1(prediction, [reference] if normalize_answer(reference) else [])


def _case_and_spaces(function: Function, rng: random.Random) -> None:
    inner = "Spaces inside count too: any run of white space becomes one space."
    case = "Lower case is wanted: SQuAD does not tell Paris from paris."
    expect(function, ["Mount Kenya"], "mount kenya", {case: "Mount Kenya"})
    known = {inner: "mount   kenya", "Only the ends were stripped.": "mount \n kenya"}
    expect(function, ["  Mount   Kenya "], "mount kenya", known)
    words = rng.sample(("River", "LUTE", "Halstad", "harp", "Orgar"), 3)
    text = "".join(f"{rng.choice((' ', '  ', chr(10), chr(9)))}{word}" for word in words)
    expect(function, [text], " ".join(words).lower())


def _punctuation(function: Function, rng: random.Random) -> None:
    space = "Punctuation goes and leaves nothing in its place, not a space."
    expect(function, ["1995."], "1995", {"Punctuation must go.": "1995."})
    expect(function, ["5,199 (metres)"], "5199 metres", {space: "5 199 metres"})
    mark = rng.choice("!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~")
    known = {
        f"{mark} is in string.punctuation: it goes too.": f"lute{mark}harp",
        space: "lute harp",
    }
    expect(function, [f"lute{mark}harp"], "luteharp", known)


def _articles(function: Function, rng: random.Random) -> None:
    words = "Articles are whole words: the t-h-e of theatre is none."
    expect(function, ["the harp"], "harp", {"The articles a, an, the must go.": "the harp"})
    expect(function, ["theatre"], "theatre", {words: "atre"})
    expect(function, ["banana panther"], "banana panther", {words: normalize_answer("bnn pnr")})
    everywhere = "Articles go wherever they stand, not only in front."
    expect(function, ["man on a horse"], "man on horse", {everywhere: "man on a horse"})
    word = rng.choice(("antler", "thesis", "bathe", "oath", "anthem"))
    article = rng.choice(("a", "an", "the"))
    known = {"All three of a, an, the must go.": f"{article} {word}"}
    expect(function, [f"{article} {word}"], word, known)


def _order(function: Function, rng: random.Random) -> None:
    lower = "Lower the case before you look for articles: The is one as well."
    expect(function, ["The Hague"], "hague", {lower: "the hague"})
    points = "Punctuation goes before articles do: a.m. becomes the word am, which stays."
    expect(function, ["a.m."], "am", {points: "m"})
    name = rng.choice(("Nile", "Thames", "Rhine"))
    spaces = "Spaces come last: an article that goes leaves two behind."
    known = {lower: f"over the {name.lower()}", spaces: f"over  {name.lower()}"}
    expect(function, [f"over THE {name}"], f"over {name.lower()}", known)
    joined = "Punctuation goes before articles do: The-end becomes theend, one word."
    expect(function, [f"The-{name}"], f"the{name.lower()}", {joined: name.lower()})


NORMALIZE = Exercise(
    "lab5d",
    "normalize",
    normalize_answer,
    (
        Step("lower case, single spaces", 1, _case_and_spaces),
        Step("punctuation goes", 1, _punctuation),
        Step("articles go, as whole words", 1, _articles),
        Step("in this order: case, punctuation, articles, spaces", 1, _order),
    ),
    (
        "Four steps, each on the result of the one before: lower(), punctuation, articles, spaces.",
        r"Whole words: re.sub(r'\b(a|an|the)\b', ' ', text). Spaces: ' '.join(text.split()).",
        "Punctuation: ''.join(c for c in text if c not in string.punctuation).",
    ),
)


def _formula(function: Function, rng: random.Random) -> None:
    mean = "F1 is the harmonic mean of precision and recall, 2pr / (p + r), not their average."
    known: dict[str, Any] = {"F1 is 0 to 100 here, as SQuAD prints it.": 0.8, mean: 100 * 2.5 / 3}
    known |= {"That is the precision alone.": 100 * 2 / 3, "That is the recall alone.": 100.0}
    known["That is the exact match: F1 gives part of the points for part of the words."] = 0.0
    expect(function, ["river Orgar Nile", "river Nile"], 80.0, known)
    expect(function, ["lute", "lute"], 100.0, {"F1 is 0 to 100 here, as SQuAD prints it.": 1.0})
    words = rng.sample(("river", "lute", "harp", "town", "drum", "Orgar", "ant", "mayor"), 8)
    prediction, reference = " ".join(words[:5]), " ".join(words[rng.randint(1, 4) :])
    expect(function, [prediction, reference], f1(prediction, reference))


def _normalised(function: Function, rng: random.Random) -> None:
    raw = "Both texts are normalised first: case, punctuation and articles do not count."
    expect(function, ["The Nile.", "nile"], 100.0, {raw: 0.0})
    name = rng.choice(("Halstad", "Verlia", "Larric"))
    known = {raw: f"the {name}"}
    expect(function, [f"the {name.upper()}!", name], 100.0, known | {raw: 0.0})


def _repeated(function: Function, rng: random.Random) -> None:
    sets = "A word counts as often as it stands in both (Counter & Counter), not once (a set)."
    twice = "A word that is said twice is found only once where the reference has it once."
    expect(function, ["lute lute harp", "lute"], 50.0, {sets: 200 / 3, twice: 80.0})
    expect(function, ["ja ja nein", "ja ja"], 80.0, {sets: 200 / 3})
    word, other = rng.sample(("harp", "drum", "banjo", "cello"), 2)
    n = rng.randint(2, 5)
    texts = [" ".join([word] * n + [other]), " ".join([word] * (n - 1))]
    expect(function, texts, f1(*texts))


def _nothing(function: Function, rng: random.Random) -> None:
    divides = "No word in common gives 0: say so before precision and recall are divided by."
    zero: dict[str, Any] = {divides: ZeroDivisionError}
    expect(function, ["lute", "harp"], 0.0, zero)
    expect(function, ["", "harp"], 0.0, zero)
    both = "Nothing to answer and nothing answered (SQuAD 2.0) is right: 100."
    empty: dict[str, Any] = {both: 0.0, f"{both[:-1]}; guard the division.": ZeroDivisionError}
    expect(function, ["", ""], 100.0, empty)
    expect(function, [rng.choice(("the", "a", "An.")), ""], 100.0, empty)
    expect(function, ["lute", ""], 0.0, zero)


F1 = Exercise(
    "lab5d",
    "f1",
    f1,
    (
        Step("the harmonic mean of precision and recall, 0 to 100", 1, _formula),
        Step("both texts are normalised", 1, _normalised),
        Step("repeated words count as often as they stand in both", 1, _repeated),
        Step("nothing in common, nothing at all", 1, _nothing),
    ),
    (
        "Split both normalised texts into words; Counter(a) & Counter(b) keeps the smaller counts.",
        "shared = (Counter(found) & Counter(wanted)).total(); precision = shared / len(found), "
        "recall = shared / len(wanted).",
        "Before any division: if one of the lists is empty, 100.0 if both are, else 0.0; and if "
        "nothing is shared, 0.0.",
    ),
)


def _share(function: Function, rng: random.Random) -> None:
    points = (
        "These are percentage points; a share of the way is asked for: divide by teacher - base."
    )
    kept = "This is student / teacher, the share kept: what base knew already is no gain."
    left = "This is the share that is still to go."
    known = {points: 30.0, kept: 0.5, left: 0.6, "1 is all of the way, not 100.": 40.0}
    expect(function, [20.0, 50.0, 95.0], 0.4, known | {kept: 50 / 95})
    base, teacher = rng.uniform(5, 30), rng.uniform(60, 95)
    student = rng.uniform(base, teacher)
    known = {points: student - base, kept: student / teacher}
    expect(function, [base, student, teacher], gap_closed(base, student, teacher), known)


def _beyond(function: Function, rng: random.Random) -> None:
    cut = "A student may pass its teacher, or fall behind the base: cut nothing off."
    expect(function, [20.0, 80.0, 60.0], 1.5, {cut: 1.0})
    expect(function, [20.0, 10.0, 60.0], -0.25, {cut: 0.0})
    expect(function, [20.0, 20.0, 60.0], 0.0, {"0 is a share as well, not None.": None})
    above = 60 + rng.randint(1, 30)
    expect(function, [10.0, float(above), 60.0], (above - 10) / 50, {cut: 1.0})


def _no_way(function: Function, rng: random.Random) -> None:
    even = "The teacher is no better than base: there is no way to go, and no share of it. None."
    known: dict[str, Any] = {
        even: float("inf"),
        f"{even} Ask before you divide.": ZeroDivisionError,
    }
    known[f"{even[:-6]}; 0 would say that the student learnt nothing."] = 0.0
    level = float(rng.randint(20, 60))
    expect(function, [30.0, 40.0, 30.0], None, known)
    expect(function, [level, level, level], None, known)
    below = "A teacher below base turns the sign round: that too is None."
    expect(function, [50.0, 40.0, 30.0], None, {below: 0.5})
    expect(function, [14.3, 36.0, 12.4], None, {below: (36.0 - 14.3) / (12.4 - 14.3)})


GAP_CLOSED = Exercise(
    "lab5d",
    "gap_closed",
    gap_closed,
    (
        Step("the share of the way from base to teacher", 1, _share),
        Step("behind the base and beyond the teacher", 1, _beyond),
        Step("None where there is no way to go", 1, _no_way),
    ),
    (
        "Draw a line from base to teacher. How long is it, and how far along it is the student?",
        "(student - base) / (teacher - base), where teacher > base; else None.",
    ),
)

EXERCISES: tuple[Exercise, ...] = (NORMALIZE, F1, BOOTSTRAP_INTERVAL, GAP_CLOSED)
