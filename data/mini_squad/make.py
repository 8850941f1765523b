"""Makes the bundled SQuAD-format set: `python -m data.mini_squad.make` writes train.json and dev.json, the same bytes always.

A passage is a handful of facts about invented people, towns and rivers. Two questions in four need two sentences, and each
passage has two such chains of one kind, so that the sentences of the one are distractors for the other. No name or place of
dev is ever shown in train. `fact_stream` is also what the tiny models are trained on (data/tiny_models/make.py).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TRAIN_PASSAGES, DEV_PASSAGES, STUDY_PASSAGES, QUESTIONS_PER_PASSAGE = 300, 100, 250, 4

_STARTS: Sequence[str] = (
    "Al An Ar Bel Ber Bor Bran Cal Cor Dal Dar Del Dor Ed El Fal Fen Gar Gel Gil Had Hal Hel Ing Is Jar Jor Kal Ker Kol Lan "
    "Lar Lin Lor Mal Mar Mel Mil Nar Nel Nor Ol Or Os Pel Per Quin Ral Ren Ros Sal Sar Sel Sol Tal Tar Tol Ul Val Vel Ver Vin "
    "Wal Wen Wil Yar Yor Zan Zel"
).split()
_PERSON_ENDS: Sequence[str] = "a an bert da den dra fred gar gus ia in ka la lia lin lo man mund na nard nia nor o ric rin ro sa sen ta tha ton us vin wen win".split()
_TOWN_ENDS: Sequence[str] = "borough bridge burg bury by cester combe dale den field ford gate ham haven holm hurst ley mere mouth port stad stead stow ton wick worth".split()
_RIVER_ENDS: Sequence[str] = "ane anna ava aya ema enna esk ia ina isk ola ona ora ossa una uva".split()

JOBS = "baker carpenter doctor farmer fisherman gardener glassblower judge lawyer librarian mason miller nurse painter pilot poet potter printer sailor shepherd smith surgeon tailor teacher weaver".split()
GOODS = "apples bells boats bread candles carpets cheese cider clocks glass gloves honey hats knives lace leather maps paper pottery roses salt silk soap wine wool".split()
INSTRUMENTS = "accordion banjo cello clarinet drums fiddle flute guitar harp horn lute oboe organ piano trumpet tuba viola violin".split()
BUILDINGS = "bridge castle chapel harbour library lighthouse market mill museum school theatre tower".split()


@dataclass(frozen=True, slots=True)
class Kind:
    """One relation: how it is told, and how it is asked for."""

    name: str
    subject: str
    answer: str
    tell: tuple[str, ...]
    ask: tuple[str, ...]


KINDS = {
    kind.name: kind
    for kind in (
        Kind("born", "person", "town",
             ("{s} was born in {a}", "the birthplace of {s} is {a}", "{s} came into the world in {a}", "{a} is where {s} was born"),
             ("Where was {s} born?", "In which town was {s} born?", "What is the birthplace of {s}?")),
        Kind("home", "person", "town",
             ("{s} lives in {a}", "the home of {s} is in {a}", "{s} has a house in {a}", "{a} is where {s} lives"),
             ("Where does {s} live?", "In which town does {s} live?", "Where is the home of {s}?")),
        Kind("job", "person", "job",
             ("{s} works as a {a}", "{s} is a {a} by trade", "{s} earns a living as a {a}", "{s} found work as a {a}"),
             ("What is the job of {s}?", "What does {s} do for a living?", "What does {s} work as?")),
        Kind("plays", "person", "instrument",
             ("{s} plays the {a}", "{s} likes to play the {a}", "the {a} is what {s} plays", "{s} has played the {a} for years"),
             ("Which instrument does {s} play?", "What does {s} play?", "What instrument has {s} played?")),
        Kind("taught", "person", "person",
             ("{s} was taught by {a}", "the teacher of {s} was {a}", "{a} taught {s}", "{s} learnt everything from {a}"),
             ("Who taught {s}?", "Who was the teacher of {s}?", "By whom was {s} taught?")),
        Kind("founded", "town", "year",
             ("{s} was founded in {a}", "the town of {s} dates from {a}", "people founded {s} in {a}", "{s} has stood since {a}"),
             ("When was {s} founded?", "In what year was {s} founded?", "Which year does {s} date from?")),
        Kind("river", "town", "river",
             ("{s} lies on the river {a}", "the river {a} flows through {s}", "the river {a} runs past {s}", "{s} was built along the river {a}"),
             ("Which river flows through {s}?", "On which river does {s} lie?", "What river runs past {s}?")),
        Kind("known", "town", "goods",
             ("{s} is known for its {a}", "visitors come to {s} for its {a}", "people travel to {s} to buy {a}", "{s} is proud of its {a}"),
             ("What is {s} known for?", "What is {s} famous for?", "What do visitors come to {s} for?")),
        Kind("mayor", "town", "person",
             ("the mayor of {s} is {a}", "{a} is the mayor of {s}", "{s} has chosen {a} as its mayor", "{a} was elected mayor of {s}"),
             ("Who is the mayor of {s}?", "Who was elected mayor of {s}?", "What is the name of the mayor of {s}?")),
        Kind("built", "building", "person",
             ("{s} was built by {a}", "{a} built {s}", "{s} is the work of {a}", "{a} was the builder of {s}"),
             ("Who built {s}?", "By whom was {s} built?", "Who was the builder of {s}?")),
    )
}

# Two-sentence questions: the first fact's answer is the second fact's subject.
Chain = tuple[str, str, str]
CHAINS: tuple[Chain, ...] = (
    ("born", "founded", "When was the town where {s} was born founded?"),
    ("born", "river", "Which river flows through the town where {s} was born?"),
    ("home", "river", "Which river flows through the town where {s} lives?"),
    ("home", "known", "What is the town where {s} lives known for?"),
    ("home", "mayor", "Who is the mayor of the town where {s} lives?"),
    ("taught", "born", "Where was the teacher of {s} born?"),
    ("taught", "plays", "Which instrument does the teacher of {s} play?"),
    ("mayor", "job", "What is the job of the mayor of {s}?"),
    ("mayor", "plays", "Which instrument does the mayor of {s} play?"),
    ("built", "home", "Where does the builder of {s} live?"),
    ("built", "job", "What is the job of the builder of {s}?"),
)


# What the tiny teacher is asked most while it learns: of each first relation one second. The others are rare there, so that
# it half follows them and half falls back on what it knows better.
_OFTEN = {("born", "founded"), ("home", "known"), ("taught", "born"), ("mayor", "plays"), ("built", "job")}
TAUGHT = tuple(chain for chain in CHAINS if chain[:2] in _OFTEN)


@dataclass(frozen=True, slots=True)
class Fact:
    kind: str
    subject: str
    answer: str

    def told(self, wording: int = 0) -> str:
        """The fact as a clause without capital or full stop; wording 0 is the plain one."""
        return KINDS[self.kind].tell[wording].format(s=self.subject, a=self.answer)


@dataclass(frozen=True, slots=True)
class Item:
    """A passage's question with the facts that answer it, in order: one, or two for a two-sentence question."""

    question: str
    answer: str
    evidence: tuple[Fact, ...]

    @property
    def kind(self) -> str:
        return "one-fact" if len(self.evidence) == 1 else "two-fact"


@dataclass(frozen=True, slots=True)
class Passage:
    context: str
    facts: tuple[Fact, ...]
    items: tuple[Item, ...]


def _held_out(start: str, end: str) -> bool:
    """Whether a name is dev's: a fixed fifth of all combinations; both syllables also occur in train's names."""
    return (_STARTS.index(start) * 7 + sum(map(ord, end))) % 5 == 0


class Names:
    """Names for one passage, no two of which begin alike."""

    def __init__(self, rng: random.Random, held_out: bool) -> None:
        self.rng, self.held_out = rng, held_out
        self.starts = rng.sample(_STARTS, len(_STARTS))
        self.centuries = rng.sample(range(11, 20), 9)
        self.words = {"job": rng.sample(JOBS, len(JOBS)), "goods": rng.sample(GOODS, len(GOODS)),
                      "instrument": rng.sample(INSTRUMENTS, len(INSTRUMENTS))}  # fmt: skip
        self.buildings = rng.sample(BUILDINGS, len(BUILDINGS))

    def _name(self, ends: Sequence[str]) -> str:
        start = self.starts.pop()
        return start + self.rng.choice([e for e in ends if _held_out(start, e) == self.held_out])

    def new(self, sort: str) -> str:
        match sort:
            case "person":
                return self._name(_PERSON_ENDS)
            case "town":
                return self._name(_TOWN_ENDS)
            case "river":
                return self._name(_RIVER_ENDS)
            case "year":
                return f"{self.centuries.pop()}{self.rng.randrange(100):02d}"
            case "building":
                return f"the {self.buildings.pop()} in {self._name(_TOWN_ENDS)}"
            case _:
                return self.words[sort].pop()


def _two_hop(rng: random.Random, names: Names, chain: Chain) -> tuple[list[Fact], Item]:
    first, second, wording = chain
    subject = names.new(KINDS[first].subject)
    middle = names.new(KINDS[first].answer)
    facts = (Fact(first, subject, middle), Fact(second, middle, names.new(KINDS[second].answer)))
    return list(facts), Item(wording.format(s=subject), facts[1].answer, facts)


def _one_hop(rng: random.Random, fact: Fact) -> Item:
    return Item(rng.choice(KINDS[fact.kind].ask).format(s=fact.subject), fact.answer, (fact,))


def _sentence(clause: str) -> str:
    return clause[0].upper() + clause[1:] + "."


def make_passage(rng: random.Random, held_out: bool, sentences: int = 5, chains: Sequence[Chain] = CHAINS) -> Passage:
    """One passage of `sentences` facts (at least 4): two of `chains` of one kind, and facts beside them; a question on each
    chain and two on single facts."""
    names, chain = Names(rng, held_out), rng.choice(chains)
    facts, first = _two_hop(rng, names, chain)
    rivals, second = _two_hop(rng, names, chain)
    facts += rivals
    while len(facts) < sentences:
        facts.append(_beside(rng, names, facts))
    rng.shuffle(facts)
    context = " ".join(_sentence(f.told(rng.randrange(4))) for f in facts)
    asked = rng.sample(facts, QUESTIONS_PER_PASSAGE - 2)
    items = [first, second, *(_one_hop(rng, f) for f in asked)]
    rng.shuffle(items)
    return Passage(context, tuple(facts), tuple(items))


def _beside(rng: random.Random, names: Names, facts: Sequence[Fact]) -> Fact:
    """One more fact, as often as not on somebody or something that the passage names already."""
    kind = KINDS[rng.choice(facts).kind] if rng.random() < 0.3 else rng.choice(list(KINDS.values()))
    told = {f.subject for f in facts if f.kind == kind.name}
    known = sorted({f.subject for f in facts if KINDS[f.kind].subject == kind.subject} - told)
    subject = rng.choice(known) if known and rng.random() < 0.5 else names.new(kind.subject)
    return Fact(kind.name, subject, names.new(kind.answer))


def fact_stream(seed: int, sentences: tuple[int, ...] = (4, 5, 6), rare: float = 1.0) -> Iterator[Passage]:
    """Endless training passages, never with a name of dev; a share `rare` of them may have any chain, the others a taught one."""
    rng = random.Random(seed)
    while True:
        chains = CHAINS if rng.random() < rare else TAUGHT
        yield make_passage(rng, False, rng.choice(sentences), chains)


def _offset(answer: str, context: str) -> int:
    match = re.search(rf"\b{answer}\b", context)
    assert match, (answer, context)
    return match.start()


def squad_json(split: str, seed: int, passages: int, held_out: bool) -> str:
    """The set as SQuAD 1.1 JSON text."""
    rng = random.Random(seed)
    paragraphs = []
    for p in range(passages):
        passage = make_passage(rng, held_out, sentences=rng.choice((4, 5, 6)))
        qas = [
            {"id": f"{split}-{p:04d}-{q}", "question": item.question, "kind": item.kind,
             "answers": [{"text": item.answer, "answer_start": _offset(item.answer, passage.context)}]}
            for q, item in enumerate(passage.items)
        ]  # fmt: skip
        paragraphs.append({"context": passage.context, "qas": qas})
    return json.dumps({"version": "1.1", "data": [{"title": f"mini_squad {split}", "paragraphs": paragraphs}]}, indent=1) + "\n"


def files() -> dict[str, str]:
    """Name to text of the files. On choose.json a study chooses settings, on report.json it reports."""
    return {
        "train.json": squad_json("train", 1, TRAIN_PASSAGES, held_out=False),
        "dev.json": squad_json("dev", 2, DEV_PASSAGES, held_out=True),
        "choose.json": squad_json("choose", 3, STUDY_PASSAGES, held_out=True),
        "report.json": squad_json("report", 4, STUDY_PASSAGES, held_out=True),
    }


if __name__ == "__main__":
    for name, text in files().items():
        (HERE / name).write_text(text, encoding="utf-8")
        print(f"{HERE / name}: {text.count('question'):,} questions")
