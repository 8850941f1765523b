"""Makes the bundled reviews: `python -m data.mini_sst2.make` writes train.jsonl and dev.jsonl, the same bytes always.

Dev has names, subjects, genres, topics, sentence patterns and pairs of negation and word that train never shows. Words that carry
the polarity are in both, as a model that was trained on nothing else cannot guess them. `review_stream` is also what the tiny model
is trained on (data/tiny_models/make_sst2.py).
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.mini_sst2 import words
from data.mini_sst2.invented import invented_split
from data.mini_sst2.sentences import TEMPLATES, Template
from data.mini_sst2.writer import NothingFits, Pair, Writer, held_out

HERE = Path(__file__).parent
SIZES = {"train": 5000, "dev": 1000}
SEEDS = {"train": 1, "dev": 2}
SHARES = {"plain": 0.3, "negation": 0.3, "contrast": 0.25, "irony": 0.15}


@dataclass(frozen=True, slots=True)
class Made:
    """A review with its label (1 positive, 0 negative) and kind; its pattern and its pairs are of one split alone."""

    text: str
    label: int
    kind: str
    pattern: tuple[str, ...]
    pairs: tuple[Pair, ...]


def _written(rng: random.Random, template: Template, dev: bool, label: int, split: words.Split) -> Made | None:
    """One sentence of a template; None where no word fits, or where its pattern is of the other split."""
    writer = Writer(rng, dev, label, split)
    try:
        text = writer.fill(template.text)
    except NothingFits:
        return None
    pattern = (template.text, *writer.forms)
    if (template.dev or held_out(*pattern)) != dev:
        return None
    return Made(text[0].upper() + text[1:], label, template.kind, pattern, tuple(writer.pairs))


def review_stream(seed: int, dev: bool = False, invented: float = 0.0) -> Iterator[Made]:
    """Endless reviews, by turns negative and positive; one text may come again. A share of them has `invented` names and subjects."""
    rng = random.Random(seed)
    for label in itertools.cycle((0, 1)):
        [kind] = rng.choices(list(SHARES), list(SHARES.values()))
        fitting = [t for t in TEMPLATES if t.kind == kind and t.label in (None, label) and (dev or not t.dev)]
        made = None
        while made is None:
            template = rng.choice(fitting)
            split = words.DEV if dev else words.TRAIN
            if invented and rng.random() < invented:
                split = invented_split(rng)
            tries = (_written(rng, template, dev, label, split) for _ in range(40))
            made = next(filter(None, tries), None)  # else the template has no pattern in this split
        yield made


def reviews(split: str) -> list[Made]:
    """The reviews of a split, each text once, as many of either label."""
    found: dict[str, Made] = {}
    missing = Counter({0: SIZES[split] // 2, 1: SIZES[split] // 2})
    stream = review_stream(SEEDS[split], dev=split == "dev")
    while missing.total():
        made = next(stream)
        if made.text not in found and missing[made.label]:
            found[made.text] = made
            missing[made.label] -= 1
    return list(found.values())


def files() -> dict[str, str]:
    """Name to text of the two files; a line has GLUE's two columns, and the kind of sentence."""
    rows = {
        split: [{"sentence": made.text, "label": made.label, "kind": made.kind} for made in reviews(split)]
        for split in SIZES
    }  # fmt: skip
    return {
        f"{split}.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made)
        for split, made in rows.items()
    }


if __name__ == "__main__":
    for name, text in files().items():
        (HERE / name).write_text(text, encoding="utf-8", newline="\n")
        print(f"{HERE / name}: {text.count(chr(10)):,} reviews")
