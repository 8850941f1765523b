"""The words of mini_sst2. What carries the polarity is in both splits; names, subjects, genres and topics are of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Split:
    """What only one of the two splits has."""

    people: Sequence[str]
    title_adjectives: Sequence[str]
    title_nouns: Sequence[str]
    genres: Sequence[str]
    topics: Sequence[str]
    aspects: Mapping[str, Sequence[str]]  # by group; with a star where plural


TRAIN = Split(
    people=(
        "Abbott Barlow Becker Bishop Calder Carver Castell Conrad Cooper Dalton Dawson Decker Doyle Ellery Fenton Fischer Foster "
        "Garland Gibbs Graves Hadley Harding Hobbs Holt Hooper Ingram Jensen Keller Kendall Lambert Lennox Mallory Marsh Mercer "
        "Morton Nolte Norwood Osborne Parrish Pryor Quill Ramsey Reiner Rowan Sandoval Sawyer Sinclair Tanner Thorne Tucker Vance "
        "Voss Wagner Walton Webber Wendell Whitlock Yardley"
    ).split(),
    title_adjectives="Silver Blue Second Hidden Paper Northern Sleeping Crooked Wooden Distant Seventh Empty".split(),
    title_nouns="Harbour Garden Letter Bridge River Train Lantern Island Clock Window Orchard Mirror Staircase Ferry".split(),
    genres=["comedy", "thriller", "drama", "romance", "western", "musical", "crime story", "horror film"],
    topics=["two sisters", "a stolen painting", "a small town", "a bank robbery", "a retired clown", "a country doctor",
            "a family dinner", "a missing child", "an old soldier", "a travelling circus"],
    aspects={
        "story": ["plot", "story", "script", "ending", "first half", "mystery"],
        "people": ["cast", "acting", "lead", "heroine", "performances*", "villain"],
        "craft": ["camera work", "music", "editing", "direction", "sets*", "special effects*"],
        "humour": ["humour", "jokes*", "dialogue", "banter"],
    },
)  # fmt: skip

DEV = Split(
    people=(
        "Alden Bergman Brandt Chandler Crane Durham Everett Fairley Gardner Hale Iverson Jarvis Kessler Langley Merrick Novak "
        "Oakes Prescott Ridley Sutton Tilden Upton Vaughn Winslow York"
    ).split(),
    title_adjectives="Golden Third Borrowed Glass Southern Wandering Painted Narrow".split(),
    title_nouns="Valley Kitchen Lighthouse Piano Station Meadow Tunnel Compass Market".split(),
    genres=["love story", "ghost story", "road movie", "war film", "spy film", "family film"],
    topics=["three brothers", "a forgotten song", "a mountain village", "a lost dog", "a stubborn baker", "a school trip",
            "an unpaid bill", "a night nurse"],
    aspects={
        "story": ["storyline", "final act", "premise", "opening"],
        "people": ["ensemble", "hero", "child actors*", "supporting cast"],
        "craft": ["costumes*", "soundtrack", "lighting", "photography"],
        "humour": ["gags*", "satire", "one-liners*", "comic timing"],
    },
)  # fmt: skip

Words = Mapping[bool, Mapping[str, Sequence[str]]]  # by polarity (True is good), then by group

# Said of whatever it is; the denial of such a word would leave open what is meant.
STRONG: Mapping[bool, Sequence[str]] = {
    True: "wonderful superb terrific excellent brilliant splendid marvellous first-rate".split(),
    False: "dreadful awful terrible atrocious hopeless disappointing second-rate".split(),
}

# These turn into their opposite when they are denied.
ADJECTIVES: Words = {
    True: {
        "any": "memorable impressive inspired delightful".split(),
        "film": "gripping moving touching charming clever funny original engaging thoughtful stylish witty entertaining".split(),
        "story": "gripping moving touching clever original absorbing believable thoughtful".split(),
        "people": "charming convincing likeable engaging".split(),
        "craft": "elegant stylish inventive graceful".split(),
        "chore": "gripping entertaining moving touching engaging funny stylish".split(),
        "humour": "funny witty sharp fresh clever".split(),
    },
    False: {
        "any": "dull lifeless tiresome bland weak forgettable".split(),
        "film": "predictable muddled shallow silly contrived tedious clumsy pretentious boring pointless sloppy long-winded".split(),
        "story": "predictable muddled shallow silly contrived tedious confusing far-fetched".split(),
        "people": "wooden annoying irritating stiff".split(),
        "craft": "ugly sloppy clumsy distracting".split(),
        "humour": "stale crude forced tasteless lame".split(),
    },
}

# Third person and plural; with a star those that can be denied with `never` and `does not` alone, with two never.
VERBS: Words = {
    True: {
        "film": ["works", "comes to life", "holds together*", "pays off*", "casts a spell*", "convinces", "delights"],
        "story": ["works", "holds together*", "pays off*", "convinces", "comes to life"],
        "people": ["shines", "sparkles", "convinces", "delights"],
        "craft": ["dazzles", "impresses", "delights"],
        "humour": ["works", "sparkles", "hits the mark", "delights"],
    },
    False: {
        "film": ["drags", "falls apart*", "goes nowhere**", "fizzles out**", "wears thin*", "loses its way", "disappoints"],
        "story": ["drags", "falls apart*", "goes nowhere**", "fizzles out**", "disappoints"],
        "people": ["disappoints", "grates"],
        "craft": ["disappoints", "grates", "distracts", "misses the mark"],
        "humour": ["falls flat", "grates", "wears thin*", "misses the mark", "disappoints"],
    },
}

NOUNS: Words = {
    True: {
        "film": "charm wit warmth heart energy imagination suspense tenderness style".split(),
        "story": "charm wit warmth heart energy imagination suspense".split(),
        "people": "charm warmth energy wit".split(),
        "craft": "imagination style".split(),
        "humour": "wit charm energy imagination".split(),
        "taste": "charm wit warmth suspense tenderness imagination".split(),
    },
    False: {
        "film": ["clichés", "padding", "plot holes", "sentimentality", "empty talk", "false notes", "cheap tricks"],
        "story": ["clichés", "padding", "plot holes", "sentimentality", "empty talk", "false notes"],
        "people": [], "craft": [], "humour": ["clichés", "cheap tricks"],
        "taste": ["clichés", "padding", "sentimentality", "empty talk", "cheap tricks"],
    },
}  # fmt: skip

# What may stand before a denied word of either polarity, and what only before one of them.
NOT_ADJECTIVE = {
    None: ["never", "far from", "anything but", "not at all", "hardly", "not in the least", "by no means", "not for a moment"],
    True: ["not", "not very", "not particularly", "nowhere near"],
    False: ["not"],
}
NOT_VERB = {None: ["never", "does not", "rarely", "hardly ever", "seldom"], True: ["fails to"], False: []}
NO_NOUN = {
    None: ["has no", "is without", "has hardly any", "shows not a trace of"],
    True: ["lacks", "is short on", "has very little"],
    False: ["is free of", "steers clear of", "avoids"],
}
PLENTY = {True: ["is full of", "has plenty of", "is rich in"], False: ["is full of", "is stuffed with", "is weighed down by"]}
INTENSIFIERS = ["", "", "", "really ", "truly "]
COMPARATIVES = {"funny": "funnier", "witty": "wittier", "clever": "cleverer", "dull": "duller", "bland": "blander", "weak": "weaker",
                "silly": "sillier", "clumsy": "clumsier", "sloppy": "sloppier"}  # fmt: skip

# What a viewer says of the film; where it denies something, with the negation and what it denies.
VIEWER: Mapping[bool, Sequence[tuple[str, str, str]]] = {
    True: [
        ("I loved {film}", "", ""), ("I enjoyed every minute of {film}", "", ""), ("I would gladly see {film} again", "", ""),
        ("I left the cinema happy", "", ""), ("{film} is well worth your time", "", ""), ("I can recommend {film}", "", ""),
        ("I was sorry when {film} ended", "", ""),
        ("I did not look at my watch once", "did not", "look at my watch"), ("I never wanted {film} to end", "never", "wanted it to end"),
        ("I did not regret a minute of {film}", "did not", "regret"), ("I was never bored", "never", "bored"),
        ("{film} does not waste your time", "does not", "waste your time"),
        ("I never thought of leaving", "never", "thought of leaving"),
    ],
    False: [
        ("I hated {film}", "", ""), ("I regretted every minute of {film}", "", ""), ("I nearly walked out", "", ""),
        ("I wanted my money back", "", ""), ("I kept looking at my watch", "", ""), ("{film} is a waste of time", "", ""),
        ("I was glad when {film} ended", "", ""), ("I left the cinema angry", "", ""),
        ("I did not enjoy {film}", "did not", "enjoy"), ("I would not see {film} again", "would not", "see again"),
        ("{film} is not worth your time", "not", "worth your time"), ("I could not wait for {film} to end", "could not", "wait"),
        ("I cannot recommend {film}", "cannot", "recommend"), ("I did not laugh once", "did not", "laugh"),
    ],
}  # fmt: skip

# Irony: what makes little of praise, and of blame; and what leaves them as they are.
JOKES_ON_PRAISE = ["need help falling asleep", "like watching paint dry", "have two hours to throw away",
                   "think that laughing is bad for you", "enjoy waiting for the bus", "have never seen another film"]  # fmt: skip
PRAISE_MEANT = ["like {genres}", "want to laugh", "need cheering up", "have an evening to spare", "have a heart"]
JOKES_ON_BLAME = ["hate laughing", "cannot bear to be happy", "are allergic to {good_noun}", "have no use for {good_noun}", "enjoy being bored"]
BLAME_MEANT = ["hate {bad_noun}", "value your time", "want to laugh", "are allergic to {bad_noun}", "like {genres}"]
BEST_JOKES = ["that it ends", "the closing credits", "the popcorn", "that it is short", "the poster"]
BEST_MEANT = ["{subject}", "how {good_adj} it is", "its {good_noun}"]
WORST_JOKES = ["that it ends", "that it is over so soon", "that there is no more of it", "the long queue for tickets"]
WORST_MEANT = ["{subject}", "how {bad_adj} it is", "that it is so long"]
CHORES = ["a tax form", "the weather report", "a phone book", "a visit to the dentist", "the washing-up", "a parking ticket"]
DISTRACTIONS = ["the popcorn", "the trailer", "the walk home", "the man asleep beside me", "my shopping list"]
