"""The rules of rejection sampling: each may refuse a trace, and its name is the reason then.

`RULES` are asked in order. Mixed languages, long paragraphs, code blocks and wrong answers are the
paper's own (section 2.3.3); the others keep text out that would teach a student to break the
format, to ramble or to say one thing twice. The same rules are the reward of a student that learns
from its own samples.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import regex

from distill_lab.pipeline.languages import WORD, foreign_sentences, foreign_words
from distill_lab.run.records import LabError, Question, Trace
from distill_lab.run.settings import RejectSettings
from distill_lab.tasks.prompts import answer_text, parse
from distill_lab.tasks.squad.task import SQUAD
from distill_lab.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Attempt:
    """One trace with all that a rule may look at. The task's scores are 0 to 100, and the first of
    them decides what is right.

    `accepted` holds the question's accepted completions so far, as `single_spaced`.
    """

    trace: Trace
    question: Question
    settings: RejectSettings
    scores: Mapping[str, float]
    accepted: AbstractSet[str]


def truncated(attempt: Attempt) -> bool:
    """Ran out of tokens before it ended: its thought is not closed where only the text tells."""
    text = attempt.trace.completion
    return attempt.trace.finish == "length" or text.rfind("<think>") > text.rfind("</think>")


def malformed(attempt: Attempt) -> bool:
    """Is not exactly one think and one answer, both closed, with nothing around them."""
    return parse(attempt.trace.completion) is None


def empty_answer(attempt: Attempt) -> bool:
    """Answers nothing, though there is an answer (to an unanswerable question there is none)."""
    return bool(attempt.question.answers) and not answer_text(attempt.trace.completion)


def mixed_language(attempt: Attempt) -> bool:
    """Has words of another script, of which one is enough, or a sentence in another language: the
    paper's own "mixed languages".
    """
    text, question = attempt.trace.completion, attempt.question
    allowed = (question.context, question.question)
    return bool(foreign_words(text, "\n".join(allowed)) or foreign_sentences(text, *allowed))


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
    """Is not right by the task's first score, nor reaches a `min_f1` below 100: the paper too keeps
    only right answers.

    At 100 the F1 does not count, for it does not see the order of the words.
    """
    least = attempt.settings.min_f1
    right = next(iter(attempt.scores.values())) == 100
    return not right and not (least < 100 and attempt.scores["f1"] >= least)


def duplicate(attempt: Attempt) -> bool:
    """Says, but for spaces, what an accepted trace of the same question has said already."""
    return single_spaced(attempt.trace.completion) in attempt.accepted


Rule = Callable[[Attempt], bool]
RULES: tuple[Rule, ...] = (
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

_DEFAULTS = RejectSettings()


def reason_of(attempt: Attempt, rules: Sequence[Rule] = RULES) -> str:
    """`ok`, or the name of the first of the rules that refuses the attempt."""
    return next((rule.__name__ for rule in rules if rule(attempt)), "ok")


def reward(
    completion: str,
    question: Question,
    ended: bool,
    task: Task = SQUAD,
    settings: RejectSettings = _DEFAULTS,
    form: float = 0.0,
    rules: Sequence[Rule] = RULES,
) -> float:
    """1 for a completion that rejection sampling would keep, else 0: right and well formed, as the
    paper's accuracy and format rewards ask (section 2.2.2).

    `ended` says that it stopped by itself: one that was cut scores nothing, whatever it says.
    `form` is what it gets if `wrong_answer` is the first rule to refuse it: 0, or a power of two
    below 1, as with .2 and the like TRL does not see that all rewards of a group are equal;
    LabError for others. What a rule that is left out of `rules` would refuse, counts.
    """
    if form and not (0 < form < 1 and math.frexp(form)[0] == 0.5):
        raise LabError(
            f"Reward for the form alone: expected 0 or a power of two below 1, found {form:g}. "
            "Take 0.25, say."
        )
    if not ended:
        return 0.0
    trace = Trace(question.id, 0, completion, 0, "stop", "student", "")
    scores = task.grade(answer_text(completion), question)
    reason = reason_of(Attempt(trace, question, settings, scores, frozenset()), rules)
    return {"ok": 1.0, wrong_answer.__name__: form}.get(reason, 0.0)


_TAG = re.compile(r"</?[a-z]+>")
# Digits, LaTeX and signs, f(x), or an operator that stands alone.
_FORMULA = regex.compile(r"[\d\\$^_={}<>|+\p{Sm}]|\p{L}\(|^[-–*/·]$")


def longest_loop(text: str, max_period: int = 100) -> int:
    """Words in the longest stretch that says one phrase (of at most `max_period` words) three times
    or more in a row.

    Numbers are words too: without them every longer sum would be a loop of its signs. Yet three
    words of a formula count as one, since f(f(f(x))), coordinates and tables repeat themselves by
    right. At most len(words) * max_period comparisons.
    """
    words, until = _weighed_words(text.lower())
    longest = 0
    for period in range(1, min(max_period, len(words) // 3) + 1):
        run = 0  # words in a row that come again one period later
        for n, (word, later) in enumerate(zip(words, words[period:], strict=False), 1):
            run = run + 1 if word == later else 0
            if run >= 2 * period:
                longest = max(longest, until[n + period] - until[n - run])
    return longest // 3


def _weighed_words(text: str) -> tuple[list[str], list[int]]:
    """The words, and how much the first n of them weigh: 3 each, 1 in a formula."""
    chunks = _TAG.sub(" ", text).split()
    formula = [False, *(bool(_FORMULA.search(chunk)) for chunk in chunks), False]
    words: list[str] = []
    until = [0]
    for n, chunk in enumerate(chunks, 1):
        beside = len(chunk) == 1 and (formula[n - 1] or formula[n + 1])  # the x of "x + 1"
        for word in WORD.findall(chunk):
            words.append(word)
            until.append(until[-1] + (1 if formula[n] or beside else 3))
    return words, until


def single_spaced(text: str) -> str:
    """The text with each run of white space as one space: how completions are compared."""
    return " ".join(text.split())
