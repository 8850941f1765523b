"""The rules of rejection sampling: each may refuse a trace, and its name is the reason then.

`RULES` are asked in order. Mixed languages, long paragraphs, code blocks and wrong answers are the
paper's own (section 2.3.3); the others keep text out that would teach a student to break the
format, to ramble or to say one thing twice.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from distill_lab.config import RejectSettings
from distill_lab.prompts import answer_text, parse, user_text
from distill_lab.records import Question, Trace


@dataclass(frozen=True, slots=True)
class Attempt:
    """One trace with all that a rule may look at. Scores are 0 to 100.

    `accepted` holds the question's accepted completions so far, as `single_spaced`.
    """

    trace: Trace
    question: Question
    settings: RejectSettings
    em: float
    f1: float
    accepted: AbstractSet[str]


def truncated(attempt: Attempt) -> bool:
    """Ran out of tokens before it ended."""
    return attempt.trace.finish == "length"


def malformed(attempt: Attempt) -> bool:
    """Is not exactly one think and one answer, both closed, with nothing around them."""
    return parse(attempt.trace.completion) is None


def empty_answer(attempt: Attempt) -> bool:
    """Answers nothing, though there is an answer (to an unanswerable question there is none)."""
    return bool(attempt.question.answers) and not answer_text(attempt.trace.completion)


def mixed_language(attempt: Attempt) -> bool:
    """Has words of another script: the paper's own "mixed languages". One stray word is enough."""
    allowed = user_text(attempt.question.context, attempt.question.question)
    return bool(foreign_words(attempt.trace.completion, allowed))


def long_paragraph(attempt: Attempt) -> bool:
    """Has too many words between two blank lines: the paper's own "long paragraphs"."""
    paragraphs = re.split(r"\n\s*\n", attempt.trace.completion)
    return max(len(text.split()) for text in paragraphs) > attempt.settings.max_paragraph


def code_block(attempt: Attempt) -> bool:
    """Has a fenced block of code: the paper's own "code blocks"."""
    return bool(re.search(r"```|^\s*~~~", attempt.trace.completion, re.MULTILINE))


def repetition(attempt: Attempt) -> bool:
    """Is caught in a loop: one phrase three times or more in a row, 12 words or more together."""
    return longest_loop(attempt.trace.completion) >= 12


def wrong_answer(attempt: Attempt) -> bool:
    """Is no exact match, nor reaches a `min_f1` below 100: the paper too keeps only right answers.

    At 100 the F1 does not count, for it does not see the order of the words.
    """
    lenient = attempt.settings.min_f1 < 100 and attempt.f1 >= attempt.settings.min_f1
    return attempt.em < 100 and not lenient


def duplicate(attempt: Attempt) -> bool:
    """Says, but for spaces, what an accepted trace of the same question has said already."""
    return single_spaced(attempt.trace.completion) in attempt.accepted


RULES = (
    truncated,
    malformed,
    empty_answer,
    mixed_language,
    long_paragraph,
    code_block,
    repetition,
    wrong_answer,
    duplicate,
)

# Greek letters are mathematics far more often than they are Greek.
_NEUTRAL = {"LATIN", "GREEK", "MODIFIER"}
_WORD = re.compile(r"[^\W_]+")


def script(letter: str) -> str:
    """The writing system of a letter by its Unicode name: LATIN, CJK, CYRILLIC, THAI ...
    Look-alikes of the Latin and Greek alphabets (mathematical italics, full-width forms) count as
    these, and so do letterlike symbols such as the aleph of sets.
    """
    if "\u2100" <= letter <= "\u214f":  # the letterlike symbols
        return "LATIN"
    plain = unicodedata.normalize("NFKC", letter)[0]
    return unicodedata.name(plain, "UNKNOWN").split()[0]


def foreign_words(text: str, allowed: str = "") -> list[str]:
    """The stretches of letters in `text` that mix another writing system in, in order.

    Latin is always at home, since tags and instruction are written in it, and so is every script of
    a tenth or more of the letters of `allowed` (passage and question). A word of any other script
    may be quoted if it stands in `allowed`. Digits, punctuation, mathematical symbols and accents
    belong to no script.
    """
    scripts = Counter(script(letter) for letter in allowed if letter.isalpha())
    home = _NEUTRAL | {name for name, count in scripts.items() if 10 * count >= scripts.total()}
    words = [word for word in _WORD.findall(text) if not word.isascii() and word not in allowed]
    return [word for word in words if any(c.isalpha() and script(c) not in home for c in word)]


def longest_loop(text: str, max_period: int = 100) -> int:
    """Words in the longest stretch that says one phrase (of at most `max_period` words) three times
    or more in a row.

    Numbers are words too: without them every longer sum would be a loop of its signs. At most
    len(words) * max_period comparisons.
    """
    words = _WORD.findall(text.lower())
    longest = 0
    for period in range(1, min(max_period, len(words) // 3) + 1):
        run = 0  # words in a row that come again one period later
        for word, later in zip(words, words[period:], strict=False):
            run = run + 1 if word == later else 0
            if run >= 2 * period:
                longest = max(longest, run + period)
    return longest


def single_spaced(text: str) -> str:
    """The text with each run of white space as one space: how completions are compared."""
    return " ".join(text.split())
