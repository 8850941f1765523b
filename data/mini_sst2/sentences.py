"""The sentences of mini_sst2: templates with slots, of the four kinds that the README names.

A slot takes words of the label's own polarity, one with `~` those of the opposite: `There is nothing {~adj|nothing} about it` is
positive with a bad word. What follows `|` is the negation that the word is paired with. writer.py fills the slots.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Template:
    """A sentence with slots. `label` is there where it can have only that one; `dev` marks what train never shows."""

    kind: str
    text: str
    label: int | None = None
    dev: bool = False


def _each(kind: str, *texts: str, label: int | None = None, dev: bool = False) -> list[Template]:
    return [Template(kind, text, label, dev) for text in texts]


# Words around one clause that say nothing of the film, some of which look like negations.
_AROUND = (
    "{%s}.", "{%s}.", "in the end, {%s}.", "all in all, {%s}.", "to my mind, {%s}.", "I find that {%s}.", "I must say that {%s}.",
    "no doubt about it: {%s}.", "I cannot deny that {%s}.", "{%s}, if you ask me.", "as so often with {person}, {%s}.",
    "my friends and I agree that {%s}.", "like it or not, {%s}.",
)  # fmt: skip
_AROUND_DEV = (
    "there is no denying that {%s}.", "if I am honest, {%s}.", "make no mistake: {%s}.", "it turns out that {%s}.",
    "I do not mind saying that {%s}.", "it took me ten minutes to see that {%s}.",
)  # fmt: skip


def _around(kind: str, slot: str) -> list[Template]:
    texts, of_dev = ([text % slot for text in table] for table in (_AROUND, _AROUND_DEV))
    return _each(kind, *texts) + _each(kind, *of_dev, dev=True)


TEMPLATES: list[Template] = [
    *_around("plain", "plain"),
    *_each(
        "plain",
        "{np}.", "{title} is {np}.", "{person} has made {np}.", "what {short}!", "{person} gives us {np}.", "this is {np}.",
        "{viewer}.", "there are many {adj} scenes in {film}.", "{plain_aspect}, and {plain_film}.", "{plain_film}, because {plain_aspect}.",
        "{plain_film}, and {plain_aspect}.", "few {genres} are as {mild} as {title}.", "no {genre} this year was {more} than {title}.",
    ),
    *_each("plain", "{person} directs with {noun}.", "{person} tells the story with {noun} and {noun}.", label=1),
    *_each("plain", "{person} fills the story with {noun}.", "{person} cannot do without {noun} and {noun}.", label=0),
    *_each("plain", "here is {np}.", "{film} turns out to be {short}.", "{plain_film}; what is more, {plain_aspect}.", dev=True),
    *_around("negation", "denied"),
    *_each(
        "negation",
        "this is not {~short|not a}.", "{title} is hardly {~short|hardly a}.", "{person} has not made {~np|not made}.",
        "nobody could call {subject} {~subject_adj|nobody could call}.", "there is nothing {~subject_adj|nothing} about {subject}.",
        "I would not call {film} {~adj|would not call}.", "I could find nothing {~adj|nothing} in {film}.",
        "there is hardly a {~adj|hardly a} scene in {film}.", "{film} has not one {~adj|not one} moment.",
        "{person} tells the story without {~noun|without} or {~noun|without}.",
        "{viewer_denied}.", "{denied_aspect}, and {plain_film}.", "{denied_film}, because {denied_aspect}.",
        "{plain_film}, and {denied_aspect}.",
    ),
    *_each(
        "negation",
        "nothing about {subject} is {~subject_adj|nothing}.", "nobody would describe {film} as {~adj|nobody would describe}.",
        "not one scene in {film} is {~adj|not one}.", "you will look in vain for {~noun|in vain} in {film}.",
        "neither {subject} nor {other_subject} is {~any_adj|neither}.",
        dev=True,
    ),
    *_each(
        "contrast",
        "{~aspect}, but {whole}.", "{~aspect}, yet {whole}.", "although {~aspect}, {whole}.", "even though {~aspect}, {whole}.",
        "{whole}, although {~aspect}.", "{whole}, even if {~aspect}.", "while {~aspect}, {whole}.", "{~aspect}. Still, {whole}.",
        "{~aspect}; even so, {whole}.", "{~aspect}, and yet {whole}.", "granted, {~aspect}, but {whole}.",
        "despite {~aspect_np}, {whole}.", "for all its {~noun}, {whole_it}.", "for all {~aspect_np}, {whole}.",
        "{whole}, despite {~aspect_np}.", "I expected {~short} and got {one}.", "what could have been {~short} turns into {one}.",
        "this is {short} rather than {~one}.",
    ),
    *_each("contrast", "even {~aspect_np} cannot save {this_np}.", "if only it had the {~noun} of {person}'s other films.", label=0),
    *_each("contrast", "even {~aspect_np} cannot spoil {this_np}.", "{~aspect}, but who cares when {whole}?", label=1),
    *_each(
        "contrast",
        "{whole}, for all {~aspect_np}.", "{whole}, even though {~aspect}.", "though {~aspect}, {whole}.", "true, {~aspect}. And yet {whole}.",
        "yes, {~aspect}, but {whole}.", "instead of {~short}, {person} gives us {one}.",
        "{~aspect}, which does not change the fact that {whole}.",
        dev=True,
    ),
    # the jokes are in both splits, as nobody could guess them; how they are told is not
    *_each("irony", "{film} is {~adj}, if you {joke}.", "{~strong} film, if you {joke}.", "go and see {film}, if you {joke}.", label=0),
    *_each("irony", "{film} is {adj}, if you {meant}.", "{strong} film, if you {meant}.", "go and see {film}, if you {meant}.", label=1),
    *_each("irony", "stay at home, if you {joke}.", "avoid {film}, if you {joke}.", "give {film} a miss, if you {joke}.", label=1),
    *_each("irony", "stay at home, if you {meant}.", "avoid {film}, if you {meant}.", "give {film} a miss, if you {meant}.", label=0),
    *_each("irony", "if you {joke}, {film} is {~adj}.", "if you {joke}, go and see {film}.", label=0, dev=True),
    *_each("irony", "if you {meant}, {film} is {adj}.", "if you {joke}, avoid {film}.", label=1, dev=True),
    *_each("irony", "the best thing about {film} is {best_joke}.", "what I liked best about {film} is {best_joke}.", label=0),
    *_each("irony", "the best thing about {film} is {best_meant}.", "what I liked best about {film} is {best_meant}.", label=1),
    *_each("irony", "the worst thing about {film} is {worst_joke}.", "what I liked least about {film} is {worst_joke}.", label=1),
    *_each("irony", "the worst thing about {film} is {worst_meant}.", "what I liked least about {film} is {worst_meant}.", label=0),
    *_each("irony", "after {film}, even {chore} looks {~chore_adj}.", "next to {film}, even {chore} seems {~chore_adj}.", label=0),
    *_each("irony", "after {title}, every other {genre} looks {~adj}.", "next to {title}, other {genres} seem {~adj}.", label=1),
    *_each("irony", "{distraction} was {~more} than {film}.", label=0),
    *_each("irony", "compared with {film}, even {chore} looks {~chore_adj}.", "{chore} would have been {~more} than {film}.", label=0, dev=True),
    *_each("irony", "compared with {title}, every other {genre} looks {~adj}.", label=1, dev=True),
    *_each("irony", "{film} is made for people who love {taste}.", "whoever loves {taste} will be happy with {film}."),
    *_each("irony", "{film} is made for people who cannot stand {~taste}.", "whoever hates {~taste} will be happy with {film}."),
]  # fmt: skip
