"""Fills the slots of one sentence of mini_sst2."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data.mini_sst2 import words

Pair = tuple[str, str]  # a negation, and the word that it denies
_SLOT = re.compile(r"\{([^}]*)\}")
_BASE = {"is": "are", "has": "have", "does": "do", "goes": "go", "misses": "miss", "impresses": "impress"}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a clause is about; `group` says which words suit it."""

    text: str
    group: str
    plural: bool = False


class NothingFits(Exception):
    """No word is left for a slot: the sentence is begun anew."""


def held_out(*parts: str) -> bool:
    """Whether a combination is dev's: a fixed quarter of all, whose parts also occur in train, in other combinations."""
    return zlib.crc32("|".join(parts).encode()) % 4 == 0


class Writer:
    """The names and subjects of one sentence, and what of it is noted: its forms, its pairs, its polarity words."""

    def __init__(self, rng: random.Random, dev: bool, label: int, split: words.Split) -> None:
        self.rng, self.dev, self.good, self.split = rng, dev, bool(label), split
        self.person, self.genre = rng.choice(self.split.people), rng.choice(self.split.genres)
        self.title = f"The {rng.choice(self.split.title_adjectives)} {rng.choice(self.split.title_nouns)}"
        self.subject, self.other = (self._subject(group) for group in rng.sample(sorted(self.split.aspects), 2))
        self.forms: list[str] = []
        self.pairs: list[Pair] = []
        self.used: set[str] = set()  # none comes twice

    def _subject(self, group: str) -> Subject:
        text = self.rng.choice(self.split.aspects[group])
        return Subject(f"the {text.rstrip('*')}", group, text.endswith("*"))

    def fill(self, text: str) -> str:
        """The text with all of its slots filled, also those that stand in what fills one."""
        while match := _SLOT.search(text):
            text = text[: match.start()] + self._slot(match[1]) + text[match.end() :]
        return text

    def _slot(self, name: str) -> str:
        """What fills a slot such as `~adj|nothing`."""
        name, _, negation = name.partition("|")
        opposite = name.startswith("~")
        return SLOTS[name.removeprefix("~")](self, self.good != opposite, negation)

    def form(self, choices: Sequence[str]) -> str:
        """One of several ways to say something, which become part of the sentence's pattern."""
        self.forms.append(self.rng.choice(choices))
        return self.forms[-1]

    def word(self, choices: Sequence[str], negation: str = "") -> str:
        """A word that the sentence does not have yet; after a negation one whose pair is of this split."""
        free = [w for w in choices if w not in self.used and (not negation or held_out(negation, w) == self.dev)]
        if not free:
            raise NothingFits
        chosen = self.rng.choice(free)
        self.used.add(chosen)
        if negation:
            self.pairs.append((negation, chosen))
        return chosen

    def adjective(self, group: str, good: bool, negation: str = "", mild: bool = False) -> str:
        """One that suits the group. Strong ones are neither denied nor compared."""
        choices = [*words.ADJECTIVES[good]["any"], *words.ADJECTIVES[good].get(group, ())]
        return self.word(choices if negation or mild else [*choices, *words.STRONG[good]], negation)

    # noun phrases

    def film(self) -> str:
        match self.form(["title", "genre", "title"]):
            case "genre":
                return f"this {self.genre}"
            case _:
                return self.title

    def short(self, good: bool, negation: str = "", noun: str = "") -> str:
        """`a dull thriller`."""
        return f"{_with_article(self.adjective('film', good, negation))} {noun or self.genre}"

    def long(self, good: bool, negation: str = "") -> str:
        """`a dull, silly thriller about two sisters`."""
        adjectives = self.adjective("film", good, negation)
        if not negation and self.rng.random() < 0.3:
            adjectives += f", {self.adjective('film', good)}"
        tails = {"none": "", "topic": f" about {self.rng.choice(self.split.topics)}", "lead": f" with {self.person} in the lead"}
        return f"{_with_article(adjectives)} {self.genre}{tails[self.form(list(tails))]}"

    def aspect_phrase(self, good: bool) -> str:
        """`the superb cast`, `its stale jokes`."""
        noun = self.subject.text.removeprefix("the ")
        return f"{self.form(['the', 'its'])} {self.adjective(self.subject.group, good)} {noun}"

    # clauses

    def clause(self, subject: Subject, good: bool, denied: bool | None = None) -> str:
        """A clause that praises or blames; `denied` says whether it does so by denying the opposite."""
        denied = self.rng.random() < 0.3 if denied is None else denied
        self.forms.append("denied" if denied else "plain")
        kind = self.form(["adjective", "adjective", "verb", "noun"])
        said = self._denied(kind, subject.group, not good) if denied else self._said(kind, subject.group, good)
        return f"{subject.text} {_plural(said) if subject.plural else said}"

    def _said(self, kind: str, group: str, good: bool) -> str:
        if kind == "adjective":
            return f"is {self.rng.choice(words.INTENSIFIERS)}{self.adjective(group, good)}"
        if kind == "verb":
            return self.word(words.VERBS[good][group]).rstrip("*")
        return f"{self.rng.choice(words.PLENTY[good])} {self.word(words.NOUNS[good][group])}"

    def _denied(self, kind: str, group: str, good: bool) -> str:
        """What denies a word that is `good` or not."""
        table = {"adjective": words.NOT_ADJECTIVE, "verb": words.NOT_VERB, "noun": words.NO_NOUN}[kind]
        negation = self.rng.choice(table[None] + table[good])
        if kind == "adjective":
            return f"is {negation} {self.adjective(group, good, negation)}"
        if kind == "noun":
            return f"{negation} {self.word(words.NOUNS[good][group], negation)}"
        stars = 1 if negation in ("never", "does not") else 0
        verb = self.word([v.rstrip("*") for v in words.VERBS[good][group] if v.count("*") <= stars], negation)
        return f"{negation} {_base(verb) if negation in ('does not', 'fails to') else verb}"

    def viewer(self, good: bool, denied: bool | None) -> str:
        """What somebody who saw the film says."""
        fitting = [
            said for said in words.VIEWER[good]
            if denied in (None, bool(said[1])) and (not said[1] or held_out(*said[1:]) == self.dev)
        ]  # fmt: skip
        if not fitting:
            raise NothingFits
        text, negation, word = self.rng.choice(fitting)
        self.forms.append("viewer denied" if negation else "viewer")
        self.pairs += [(negation, word)] if negation else []
        return text.format(film=self.form(["it", "the film"]))

    def of_film(self, good: bool, denied: bool | None = None) -> str:
        """A clause on the whole film, or what a viewer says of it."""
        if self.rng.random() < 0.25:
            return self.viewer(good, denied)
        names = {"it": "it", "film": "the film", "genre": f"this {self.genre}", "title": self.title}
        return self.clause(Subject(names[self.form(list(names))], "film"), good, denied)

    def alone(self, good: bool, denied: bool) -> str:
        """A clause that is a sentence: on the whole film, or on a part of it."""
        if self.rng.random() < 0.4:
            return self.clause(Subject(self.film(), "film"), good, denied)
        joint = {"nowhere": "", "film": f" {'of' if self.subject.group == 'story' else 'in'} {self.title}"}
        text = self.subject.text + joint[self.form(list(joint))]
        return self.clause(Subject(text, self.subject.group, self.subject.plural), good, denied)


def _with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _base(verb: str) -> str:
    """`works` to `work`; of a phrase its first word."""
    first, space, rest = verb.partition(" ")
    return _BASE.get(first, first.removesuffix("s")) + space + rest


def _plural(said: str) -> str:
    """What is said of one thing, said of several: `never disappoints` to `never disappoint`."""
    adverb = re.match(r"(never|rarely|seldom|hardly ever) ", said)
    start = adverb.end() if adverb else 0
    return said[:start] + _base(said[start:])


def _plural_noun(noun: str) -> str:
    return f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"


def _comparative(word: str) -> str:
    return words.COMPARATIVES.get(word, f"more {word}")


# What fills each slot: of the writer, the polarity wanted, and the negation before it.
SLOTS: dict[str, Callable[[Writer, bool, str], str]] = {
    "person": lambda w, good, negation: w.person,
    "title": lambda w, good, negation: w.title,
    "genre": lambda w, good, negation: w.genre,
    "genres": lambda w, good, negation: _plural_noun(w.genre),
    "film": lambda w, good, negation: w.film(),
    "subject": lambda w, good, negation: w.subject.text,
    "other_subject": lambda w, good, negation: w.other.text,
    "adj": lambda w, good, negation: w.adjective("film", good, negation),
    "mild": lambda w, good, negation: w.adjective("film", good, mild=True),
    "more": lambda w, good, negation: _comparative(w.adjective("film", good, mild=True)),
    "chore_adj": lambda w, good, negation: w.adjective("chore", good),
    "any_adj": lambda w, good, negation: w.adjective("any", good, negation),
    "subject_adj": lambda w, good, negation: w.adjective(w.subject.group, good, negation),
    "strong": lambda w, good, negation: _with_article(w.word(words.STRONG[good])),
    "noun": lambda w, good, negation: w.word(words.NOUNS[good]["film"], negation),
    "taste": lambda w, good, negation: w.word(words.NOUNS[good]["taste"]),
    "np": lambda w, good, negation: w.long(good, negation),
    "short": lambda w, good, negation: w.short(good, negation),
    "one": lambda w, good, negation: w.short(good, noun="one"),
    "this_np": lambda w, good, negation: f"this {w.adjective('film', good)} {w.genre}",
    "aspect_np": lambda w, good, negation: w.aspect_phrase(good),
    "aspect": lambda w, good, negation: w.clause(w.subject, good),
    "plain": lambda w, good, negation: w.alone(good, denied=False),
    "denied": lambda w, good, negation: w.alone(good, denied=True),
    "plain_film": lambda w, good, negation: w.of_film(good, denied=False),
    "denied_film": lambda w, good, negation: w.of_film(good, denied=True),
    "plain_aspect": lambda w, good, negation: w.clause(w.subject, good, denied=False),
    "denied_aspect": lambda w, good, negation: w.clause(w.subject, good, denied=True),
    "viewer": lambda w, good, negation: w.viewer(good, denied=False),
    "viewer_denied": lambda w, good, negation: w.viewer(good, denied=True),
    "whole": lambda w, good, negation: w.of_film(good),
    "whole_it": lambda w, good, negation: w.clause(Subject("it", "film"), good),
    "joke": lambda w, good, negation: w.form(words.JOKES_ON_BLAME if good else words.JOKES_ON_PRAISE),
    "meant": lambda w, good, negation: w.form(words.PRAISE_MEANT if good else words.BLAME_MEANT),
    "best_joke": lambda w, good, negation: w.form(words.BEST_JOKES),
    "best_meant": lambda w, good, negation: w.form(words.BEST_MEANT),
    "worst_joke": lambda w, good, negation: w.form(words.WORST_JOKES),
    "worst_meant": lambda w, good, negation: w.form(words.WORST_MEANT),
    "chore": lambda w, good, negation: w.form(words.CHORES),
    "good_noun": lambda w, good, negation: w.word(words.NOUNS[True]["taste"]),
    "bad_noun": lambda w, good, negation: w.word(words.NOUNS[False]["taste"]),
    "good_adj": lambda w, good, negation: w.adjective("film", True, mild=True),
    "bad_adj": lambda w, good, negation: w.adjective("film", False, mild=True),
    "distraction": lambda w, good, negation: w.form(words.DISTRACTIONS),
}
