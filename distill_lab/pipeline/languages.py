"""The scripts and the languages of a text: what in it is foreign to a passage and its question.

A word of a script that is not theirs is found by the script alone; a sentence in another language
of a script that is theirs (Spanish beside English) by py3langid, a small identifier that works
offline. How often both err is counted by `python -m benchmarks.language_errors`: of 800 sentences
in four other languages one is missed, of 18,000 in English none is refused.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import Counter
from typing import Any

import regex

# Greek letters are mathematics far more often than they are Greek.
_NEUTRAL = {"LATIN", "GREEK", "MODIFIER"}
# Marks that are letters of Unicode's, named for what they are and not for their script.
_NAMED_OTHERWISE = {"KATAKANA-HIRAGANA": "KATAKANA", "IDEOGRAPHIC": "CJK"}
_JOINER = regex.compile(r"\p{Cf}|\u0640")  # the last stretches Arabic words
WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")


def script(letter: str) -> str:
    """The writing system of a letter by its Unicode name: LATIN, CJK, CYRILLIC, THAI ...
    Look-alikes of the Latin and Greek alphabets (mathematical italics, full-width forms) count as
    these, and so do letterlike symbols such as the aleph of sets.
    """
    if "\u2100" <= letter <= "\u214f":  # the letterlike symbols
        return "LATIN"
    plain = unicodedata.normalize("NFKC", letter)[0]
    name = unicodedata.name(plain, "UNKNOWN").split()[0]
    return _NAMED_OTHERWISE.get(name, name)


def folded(text: str) -> str:
    """The text as it is compared: one normal form, one case, without accents, vowel marks of Arabic
    and Hebrew, and joiners, which one writer sets and the next leaves out.
    """
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", _JOINER.sub("", letters))


def foreign_words(text: str, allowed: str = "") -> list[str]:
    """The stretches of letters in `text` that mix another writing system in, in order.

    Latin is always at home, since tags and instruction are written in it, and so is every script of
    a tenth or more of the letters of `allowed` (passage and question); the three of Japanese
    together. A word of any other script may be quoted if it stands in `allowed`. Digits,
    punctuation, mathematical symbols and accents belong to no script.
    """
    words = [word for word in WORD.findall(text) if not word.isascii()]
    if not words:
        return []
    home, quotable = _home_scripts(allowed), folded(allowed)
    foreign = [word for word in words if {script(c) for c in word if c.isalpha()} - home]
    return [word for word in foreign if folded(word) not in quotable]


def _home_scripts(allowed: str) -> set[str]:
    scripts = Counter(script(letter) for letter in allowed if letter.isalpha())
    often = {name for name, count in scripts.items() if 10 * count >= scripts.total()}
    kana = scripts["HIRAGANA"] + scripts["KATAKANA"]
    japanese = {"HIRAGANA", "KATAKANA", "CJK"} if 10 * kana >= scripts.total() > 0 else set[str]()
    return _NEUTRAL | often | japanese


# Without pidgins, dialects and small languages, which take short English or Spanish for their own.
_LANGUAGES = (
    "af ar az be bg bn bs ca cs cy da de el en es et eu fa fi fr ga gl he hi hr hu hy id is it ja "
    "ka kk ko la lt lv mk ml mr ms my ne nl nn no pa pl pt ro ru sk sl sq sr sv sw ta te th tl tr "
    "uk ur uz vi zh zxx"
).split()
# The instruction's language, and what py3langid calls formulas and the like.
_ALWAYS_HOME = {"en", "zxx"}
_SENTENCE = regex.compile(r"(?<=[.!?;:।])\s+|\n+|</?\w+>")
_LEAST = 6  # letters; of fewer no language can be told
_UNLIKELY = 0.01


def foreign_sentences(text: str, *allowed: str) -> list[str]:
    """The sentences of `text` in another language than each of `allowed` (passage, question); the
    whole text where only all of it together is enough to tell.

    English is always at home, since the instruction is written in it. A sentence is judged twice,
    whole and by its words that do not stand in `allowed`; at least two of them must be no names
    (begin with no capital). So names and quoted text are of no language.
    """
    known = _folded_words(allowed)

    def is_foreign(sentence: str) -> bool:
        new = [word for word in _words(sentence) if folded(word) not in known]
        telling = [word for word in new if not word[0].isupper()]
        if len(telling) < 2 or len("".join(telling)) < _LEAST:
            return False
        home = _ALWAYS_HOME.union(*map(_languages, allowed))
        return all(_likelihood(part, home) < _UNLIKELY for part in (sentence, " ".join(new)))

    sentences = [sentence.strip() for sentence in _SENTENCE.split(text)]
    return list(filter(is_foreign, sentences)) or list(filter(is_foreign, [" ".join(sentences)]))


@functools.lru_cache(maxsize=1024)  # a question's traces share it
def _folded_words(texts: tuple[str, ...]) -> set[str]:
    return {folded(word) for text in texts for word in WORD.findall(text)}


def _words(sentence: str) -> list[str]:
    """Without numbers and the single letters of formulas."""
    return [word for word in WORD.findall(sentence) if len(word) > 1 and not word.isnumeric()]


@functools.lru_cache(maxsize=1024)
def _languages(text: str) -> set[str]:
    """All with a fair chance: Croatian is hard to tell from Bosnian. A text of too few words has
    none.
    """
    return {language for language, chance in _identifier().rank(text) if chance > 0.2}


def _likelihood(text: str, languages: set[str]) -> float:
    return sum(chance for language, chance in _identifier().rank(text) if language in languages)


@functools.cache
def _identifier() -> Any:
    """Loaded when first asked, since it takes a second."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(_LANGUAGES)
    return identifier
