"""Wrong answers to the exercises of Lab 5b, each with the steps that it must lose."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from distill_lab.course.exercises.exercise import Function, Mutant, mutants_of
from distill_lab.course.exercises.lab5b import MAJORITY_ANSWER, MIXED_LANGUAGE
from distill_lab.course.exercises.lab5b.keep_shortest import KEEP_SHORTEST
from distill_lab.run.records import Trace, Verdict
from distill_lab.tasks.squad.scores import normalize_answer

ENGLISH, ACCENTS, SCRIPTS, SHARE = (step.title for step in MIXED_LANGUAGE.steps)
MOST, NORMALISED, NO_VOTE, TIES = (step.title for step in MAJORITY_ANSWER.steps)
ONLY_RIGHT, TOKENS, EACH, EQUALS = (step.title for step in KEEP_SHORTEST.steps)


def _latin(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith("LATIN")


def _letters(text: str) -> list[str]:
    return [c for c in text if c.isalpha()]


def _share(is_foreign: Callable[[str], bool]) -> Function:
    """Whether too many letters are foreign, by this rule."""

    def mixed_language(text: str, most: float = 0.1) -> bool:
        letters = _letters(text)
        return sum(map(is_foreign, letters)) > most * len(letters)

    return mixed_language


def _foreign(text: str) -> int:
    return sum(not _latin(c) for c in _letters(text))


def figures_are_foreign(text: str, most: float = 0.1) -> bool:
    signs = [c for c in text if not c.isspace()]
    return sum(not _latin(c) for c in signs) > most * len(signs)


def limit_is_mixed(text: str, most: float = 0.1) -> bool:
    n_letters = len(_letters(text))
    return bool(n_letters) and _foreign(text) >= most * n_letters


Answers = Sequence[str | None]


def _votes(answers: Answers) -> tuple[list[str], list[str]]:
    """The answers that count, as they were spelt and as they are normalised."""
    spelt = [answer for answer in answers if answer is not None]
    return spelt, [normalize_answer(answer) for answer in spelt]


def _most(votes: Sequence[str]) -> str | None:
    return Counter(votes).most_common(1)[0][0] if votes else None


def none_votes(answers: Answers) -> str | None:
    votes = [None if answer is None else normalize_answer(answer) for answer in answers]
    return answers[votes.index(Counter(votes).most_common(1)[0][0])] if votes else None


def last_of_equals(answers: Answers) -> str | None:
    spelt, votes = _votes(answers)
    counts = Counter(votes)
    best = [vote for vote in counts if counts[vote] == max(counts.values())]
    return spelt[votes.index(best[-1])] if best else None


def fails_without_votes(answers: Answers) -> str | None:
    spelt, votes = _votes(answers)
    return spelt[votes.index(Counter(votes).most_common(1)[0][0])]


Traces = Sequence[Trace]
Verdicts = Sequence[Verdict]


def n_tokens(trace: Trace) -> int:
    return trace.n_tokens


def _shortest(traces: Traces, key: Callable[[Trace], int] = n_tokens) -> list[Trace]:
    best: dict[str, Trace] = {}
    for trace in traces:
        old = best.get(trace.question_id)
        if old is None or key(trace) < key(old):
            best[trace.question_id] = trace
    return list(best.values())


def _right(traces: Traces, verdicts: Verdicts) -> list[Trace]:
    right = {(v.question_id, v.sample) for v in verdicts if v.reason == "ok"}
    return [trace for trace in traces if (trace.question_id, trace.sample) in right]


def another_questions_verdict(traces: Traces, verdicts: Verdicts) -> list[Trace]:
    right = {verdict.sample for verdict in verdicts if verdict.reason == "ok"}
    return _shortest([trace for trace in traces if trace.sample in right])


def verdicts_by_place(traces: Traces, verdicts: Verdicts) -> list[Trace]:
    pairs = zip(traces, verdicts, strict=True)
    return _shortest([trace for trace, verdict in pairs if verdict.reason == "ok"])


MUTANTS: tuple[Mutant, ...] = (
    *mutants_of(
        "lab5b.mixed_language",
        ("figures are foreign", figures_are_foreign, (ENGLISH,), "punctuation are no letters"),
        ("only ASCII is Latin", _share(lambda c: not c.isascii()), (ACCENTS,), "not for ASCII"),
        ("only Chinese is seen", _share(lambda c: "\u4e00" <= c <= "\u9fff"), (SCRIPTS, SHARE),
         "This is Cyrillic"),
        ("share of characters", lambda text, most=0.1: _foreign(text) > most * len(text), (SHARE,),
         "one of the letters"),
        ("limit is mixed", limit_is_mixed, (SHARE,), "exactly `most` is not"),
        ("limit is fixed", lambda text, most=0.1: _foreign(text) > 0.1 * len(_letters(text)),
         (SHARE,), "the argument `most`"),
        ("divides by zero", lambda text, most=0.1: _foreign(text) / len(_letters(text)) > most,
         (ENGLISH,), "guard the division"),
    ),
    *mutants_of(
        "lab5b.majority_answer",
        ("counts raw strings", lambda answers: _most(_votes(answers)[0]), (NORMALISED,),
         "not the raw text"),
        ("gives the normalised", lambda answers: _most(_votes(answers)[1]), (NORMALISED,),
         "first spelt"),
        ("None votes", none_votes, (NO_VOTE,), "it has no vote"),
        ("last of equals", last_of_equals, (TIES,), "seen first wins"),
        ("fails without votes", fails_without_votes, (NO_VOTE,), "With no vote at all"),
        ("first of all", lambda answers: next(iter(_votes(answers)[0]), None), (MOST, NORMALISED),
         "expected: '1995'"),
    ),
    *mutants_of(
        "lab5b.keep_shortest",
        ("shortest of all", lambda traces, verdicts: _shortest(traces), (ONLY_RIGHT, EACH),
         "not of all"),
        ("shortest of all if right", lambda *rows: _right(_shortest(rows[0]), rows[1]),
         (ONLY_RIGHT, EACH), "then look for the shortest"),
        ("counts characters",
         lambda *rows: _shortest(_right(*rows), lambda trace: len(trace.completion)),
         (TOKENS,), "Characters were counted"),
        ("one of all", lambda *rows: sorted(_right(*rows), key=n_tokens)[:1], (EACH,),
         "One trace a question"),
        ("another question's verdict", another_questions_verdict, (EACH,), "sample 0 of q1"),
        ("verdicts by place", verdicts_by_place, (EACH,), "find each by question and sample"),
        ("last of equally short", lambda *rows: _shortest(_right(*rows)[::-1]), (EQUALS,),
         "Of equally short ones"),
        ("longest", lambda *rows: _shortest(_right(*rows), lambda trace: -trace.n_tokens),
         (TOKENS,), "The longest was kept"),
    ),
)  # fmt: skip
