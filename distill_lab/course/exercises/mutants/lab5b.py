"""Wrong answers to the exercises of Lab 5b, each with the steps that it must lose."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from distill_lab.course.exercises.exercise import Mutant, mutants_of
from distill_lab.course.exercises.lab5b import MAJORITY_ANSWER, MIXED_LANGUAGE
from distill_lab.course.exercises.lab5b.keep_shortest import KEEP_SHORTEST
from distill_lab.run.records import Trace, Verdict
from distill_lab.tasks.squad.scores import normalize_answer

ENGLISH, ACCENTS, SCRIPTS, SHARE = (step.title for step in MIXED_LANGUAGE.steps)
MOST, NORMALISED, NO_VOTE, TIES = (step.title for step in MAJORITY_ANSWER.steps)
ONLY_RIGHT, TOKENS, EACH, EQUALS = (step.title for step in KEEP_SHORTEST.steps)


def _latin(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith("LATIN")


def figures_are_foreign(text: str, most: float = 0.1) -> bool:
    signs = [c for c in text if not c.isspace()]
    return sum(not _latin(c) for c in signs) > most * len(signs)


def only_ascii_is_latin(text: str, most: float = 0.1) -> bool:
    letters = [c for c in text if c.isalpha()]
    return sum(not c.isascii() for c in letters) > most * len(letters)


def only_chinese_is_seen(text: str, most: float = 0.1) -> bool:
    letters = [c for c in text if c.isalpha()]
    return sum("\u4e00" <= c <= "\u9fff" for c in letters) > most * len(letters)


def share_of_characters(text: str, most: float = 0.1) -> bool:
    return sum(c.isalpha() and not _latin(c) for c in text) > most * len(text)


def limit_is_mixed(text: str, most: float = 0.1) -> bool:
    letters = [c for c in text if c.isalpha()]
    return bool(letters) and sum(not _latin(c) for c in letters) >= most * len(letters)


def limit_is_fixed(text: str, most: float = 0.1) -> bool:
    letters = [c for c in text if c.isalpha()]
    return sum(not _latin(c) for c in letters) > 0.1 * len(letters)


def divides_by_zero(text: str, most: float = 0.1) -> bool:
    letters = [c for c in text if c.isalpha()]
    return sum(not _latin(c) for c in letters) / len(letters) > most


def counts_raw_strings(answers: Sequence[str | None]) -> str | None:
    votes = Counter(answer for answer in answers if answer is not None)
    return votes.most_common(1)[0][0] if votes else None


def gives_the_normalised(answers: Sequence[str | None]) -> str | None:
    votes = Counter(normalize_answer(answer) for answer in answers if answer is not None)
    return votes.most_common(1)[0][0] if votes else None


def _vote(votes: Sequence[str | None], said: Sequence[str | None], of: Callable) -> str | None:
    """The first of `said` that has the largest count, or what `of` (max or min) makes of ties."""
    counts = Counter(votes)
    best = max(counts.values(), default=0)
    places = [place for place, vote in enumerate(votes) if counts[vote] == best]
    return said[of(places)] if places else None


def none_votes(answers: Sequence[str | None]) -> str | None:
    return _vote([None if a is None else normalize_answer(a) for a in answers], answers, min)


def last_of_equals(answers: Sequence[str | None]) -> str | None:
    said = [answer for answer in answers if answer is not None]
    votes = [normalize_answer(answer) for answer in said]
    counts = Counter(votes)
    best = [vote for vote in counts if counts[vote] == max(counts.values())]
    return said[votes.index(best[-1])] if best else None


def fails_without_votes(answers: Sequence[str | None]) -> str | None:
    said = [answer for answer in answers if answer is not None]
    votes = [normalize_answer(answer) for answer in said]
    return said[votes.index(Counter(votes).most_common(1)[0][0])]


def first_of_all(answers: Sequence[str | None]) -> str | None:
    return next((answer for answer in answers if answer is not None), None)


def _shortest(traces: Sequence[Trace], key: Callable[[Trace], int]) -> list[Trace]:
    best: dict[str, Trace] = {}
    for trace in traces:
        old = best.get(trace.question_id)
        if old is None or key(trace) < key(old):
            best[trace.question_id] = trace
    return list(best.values())


def _right(traces: Sequence[Trace], verdicts: Sequence[Verdict]) -> list[Trace]:
    right = {(v.question_id, v.sample) for v in verdicts if v.reason == "ok"}
    return [trace for trace in traces if (trace.question_id, trace.sample) in right]


def shortest_of_all(traces: Sequence[Trace], verdicts: Sequence[Verdict]) -> list[Trace]:
    return _shortest(traces, lambda trace: trace.n_tokens)


def shortest_of_all_if_right(traces: Sequence[Trace], verdicts: Sequence[Verdict]) -> list[Trace]:
    return _right(_shortest(traces, lambda trace: trace.n_tokens), verdicts)


def counts_characters(traces: Sequence[Trace], verdicts: Sequence[Verdict]) -> list[Trace]:
    return _shortest(_right(traces, verdicts), lambda trace: len(trace.completion))


def one_of_all(traces: Sequence[Trace], verdicts: Sequence[Verdict]) -> list[Trace]:
    return sorted(_right(traces, verdicts), key=lambda trace: trace.n_tokens)[:1]


def another_questions_verdict(traces: Sequence[Trace], verdicts: Sequence[Verdict]) -> list[Trace]:
    right = {verdict.sample for verdict in verdicts if verdict.reason == "ok"}
    return _shortest([t for t in traces if t.sample in right], lambda trace: trace.n_tokens)


def verdicts_by_place(traces: Sequence[Trace], verdicts: Sequence[Verdict]) -> list[Trace]:
    right = [t for t, v in zip(traces, verdicts, strict=True) if v.reason == "ok"]
    return _shortest(right, lambda trace: trace.n_tokens)


def last_of_equally_short(traces: Sequence[Trace], verdicts: Sequence[Verdict]) -> list[Trace]:
    return _shortest(_right(traces, verdicts)[::-1], lambda trace: trace.n_tokens)


def longest(traces: Sequence[Trace], verdicts: Sequence[Verdict]) -> list[Trace]:
    return _shortest(_right(traces, verdicts), lambda trace: -trace.n_tokens)


MUTANTS: tuple[Mutant, ...] = (
    *mutants_of(
        "lab5b.mixed_language",
        (figures_are_foreign, (ENGLISH,), "punctuation are no letters"),
        (only_ascii_is_latin, (ACCENTS,), "not for ASCII"),
        (only_chinese_is_seen, (SCRIPTS, SHARE), "This is Cyrillic"),
        (share_of_characters, (SHARE,), "one of the letters"),
        (limit_is_mixed, (SHARE,), "exactly `most` is not"),
        (limit_is_fixed, (SHARE,), "the argument `most`"),
        (divides_by_zero, (ENGLISH,), "guard the division"),
    ),
    *mutants_of(
        "lab5b.majority_answer",
        (counts_raw_strings, (NORMALISED,), "not the raw text"),
        (gives_the_normalised, (NORMALISED,), "first spelt"),
        (none_votes, (NO_VOTE,), "it has no vote"),
        (last_of_equals, (TIES,), "seen first wins"),
        (fails_without_votes, (NO_VOTE,), "With no vote at all"),
        (first_of_all, (MOST, NORMALISED), "expected: '1995'"),
    ),
    *mutants_of(
        "lab5b.keep_shortest",
        (shortest_of_all, (ONLY_RIGHT, EACH), "not of all"),
        (shortest_of_all_if_right, (ONLY_RIGHT, EACH), "then look for the shortest"),
        (counts_characters, (TOKENS,), "Characters were counted"),
        (one_of_all, (EACH,), "One trace a question"),
        (another_questions_verdict, (EACH,), "sample 0 of q1"),
        (verdicts_by_place, (EACH,), "find each by question and sample"),
        (last_of_equally_short, (EQUALS,), "Of equally short ones"),
        (longest, (TOKENS,), "The longest was kept"),
    ),
)
