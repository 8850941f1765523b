"""Words that nobody has read before, to take the place of names and subjects while the tiny model learns."""

from __future__ import annotations

import dataclasses
import random
import re

from data.mini_sst2.words import ADJECTIVES, DEV, NOUNS, STRONG, TRAIN, VERBS, Split

_ONSETS = "b bl br c ch cl cr d dr f fl fr g gr h j k l m n p pl pr r s sh sl sp st t th tr v w y".split()
_VOWELS = "a e i o u a e i o ai ea ee oo ou ow ar er or".split()
_CODAS = ["", "", *"n r s t l m nd nt ck ght ng sh st ll d".split()]
_ENDS = ["", "", "", *"er ing ion y ment le age et".split()]


# Never invented: dev's names, which nothing that learns may see, and words that say something of a film.
_TAKEN = set(re.findall(r"[a-z]+", str([dataclasses.astuple(DEV), ADJECTIVES, STRONG, NOUNS, VERBS]).lower()))


def word(rng: random.Random) -> str:
    """One or two syllables, such as `chotment`."""
    while True:
        syllables = (rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(rng.choice((1, 2))))
        made = "".join(syllables) + rng.choice(_ENDS)
        if made not in _TAKEN:
            return made


def _noun(rng: random.Random) -> str:
    return f"{word(rng)} {word(rng)}" if rng.random() < 0.25 else word(rng)


def invented_split(rng: random.Random) -> Split:
    """One name, title, genre and topic, and a subject in each group; at times one that train has."""
    return Split(
        people=[word(rng).capitalize()],
        title_adjectives=[word(rng).capitalize()],
        title_nouns=[word(rng).capitalize()],
        genres=[_noun(rng) if rng.random() < 0.5 else rng.choice(TRAIN.genres)],
        topics=[f"{rng.choice(('a', 'three', 'an old'))} {_noun(rng)}"],
        aspects={group: [f"{_noun(rng)}{rng.choice(('', '', 's*'))}"] for group in TRAIN.aspects},
    )
