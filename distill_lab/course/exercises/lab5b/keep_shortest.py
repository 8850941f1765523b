"""The exercise keep_shortest of Lab 5b: of each question's right traces the shortest."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, expect, on_results
from distill_lab.course.exercises.result_types import records
from distill_lab.pipeline.reject import choose_examples
from distill_lab.run.records import Trace, Verdict
from distill_lab.run.settings import RejectSettings

Rows = Sequence[tuple[Trace, Verdict]]


def keep_shortest(traces: Sequence[Trace], verdicts: Sequence[Verdict]) -> list[Trace]:
    """`reject.choose_examples` with the policy `shortest`."""
    return choose_examples(traces, verdicts, RejectSettings(keep="shortest"))


def _judged(
    question: str, sample: int, n_tokens: int, right: bool, words: int = 3, twice: bool = False
) -> tuple[Trace, Verdict]:
    """A trace and its verdict; `words` is how long its text is, whatever its tokens. One that says
    the same `twice` is a duplicate, and refused though its EM is 100."""
    text = f"<think>{' '.join(['so'] * words)}</think> <answer>lute</answer>"
    trace = Trace(question, sample, text, n_tokens, "stop", "teacher", "prompt")
    score = 100.0 * (right or twice)
    reason = "duplicate" if twice else "ok" if right else "wrong_answer"
    return trace, Verdict(question, sample, reason, {"em": score, "f1": score})


def _drawn(rng: random.Random, questions: int = 3, samples: int = 4) -> list[tuple[Trace, Verdict]]:
    """Of each question's traces two or more are right and one or more is not; no two have as many
    tokens, and the fewer tokens the fewer words."""
    lengths = iter(rng.sample(range(10, 300), questions * samples))
    rows = []
    for q in range(questions):
        right = rng.sample(range(samples), rng.randint(2, samples - 1))
        for sample, n in zip(range(samples), lengths, strict=False):
            rows.append(_judged(f"q{q}", sample, n, sample in right, words=n))
    return rows


def _misplaced(rows: Rows, rng: random.Random) -> tuple[list[Verdict], Rows]:
    """The verdicts in another order, in which a trace that is to be kept stands beside the verdict
    of a refused one; and the rows as they would be judged by place."""
    order = rng.sample([verdict for _, verdict in rows], len(rows))
    kept = [_name(trace) for trace, _ in rows].index(_fewest(_right(rows))[0])
    refused = next(n for n, verdict in enumerate(order) if verdict.reason != "ok")
    order[kept], order[refused] = order[refused], order[kept]
    by_place = [
        (trace, replace(verdict, question_id=trace.question_id, sample=trace.sample))
        for (trace, _), verdict in zip(rows, order, strict=True)
    ]
    return order, by_place


def _name(row: Trace | Verdict) -> str:
    return f"{row.question_id}/{row.sample}"


def _by_name(function: Function) -> Function:
    """The same function, its traces as `question/sample` in order: short to show, and free of the
    order in which the questions come."""
    return lambda traces, verdicts: sorted(map(_name, function(traces, verdicts)))


def _keeps(function: Function, rows: Rows, mistakes: dict[str, Callable[[Rows], Any]]) -> None:
    """The function on these rows; a mistake is named where its own choice came back."""
    traces, verdicts = [trace for trace, _ in rows], [verdict for _, verdict in rows]
    reason = {_name(verdict): verdict.reason for verdict in verdicts}
    shown = ", ".join(f"{_name(t)} {t.n_tokens} {reason[_name(t)]}" for t in traces)
    known = {says: sorted(choose(rows)) for says, choose in mistakes.items()}
    call = f"traces (question/sample tokens verdict): {shown}"
    expected = _by_name(keep_shortest)(traces, verdicts)
    expect(_by_name(function), [traces, verdicts], expected, known, call)


def _smallest(rows: Rows, key: Callable[[Trace], int], last: bool = False) -> list[str]:
    """Of each question's rows the one with the smallest key; of equals the first, or the last."""
    best: dict[str, Trace] = {}
    for trace, _ in reversed(rows) if last else rows:
        old = best.get(trace.question_id)
        if old is None or key(trace) < key(old):
            best[trace.question_id] = trace
    return [_name(trace) for trace in best.values()]


def _fewest(rows: Rows) -> list[str]:
    return _smallest(rows, lambda trace: trace.n_tokens)


def _right(rows: Rows) -> Rows:
    return [row for row in rows if row[1].reason == "ok"]


def _only_right(function: Function, rng: random.Random) -> None:
    def right_of(rows: Rows) -> list[str]:
        right = {_name(trace) for trace, _ in _right(rows)}
        return [name for name in _fewest(rows) if name in right]

    refused = "A refused trace was kept"
    of_all = {f"{refused}: the shortest right one is asked for, not of all.": _fewest}
    _keeps(function, [_judged("q0", 3, 20, False), _judged("q1", 0, 30, True)], of_all)
    mistakes = {
        f"{refused}, as another of its question is right: a verdict is one sample's.": _fewest,
        "Drop the refused ones first, then look for the shortest of them.": right_of,
    }
    _keeps(function, [_judged("q0", 0, 20, False), _judged("q0", 1, 40, True)], mistakes)
    few, many = rng.randint(10, 400), rng.randint(401, 900)
    _keeps(function, [_judged("q5", 0, few, False), _judged("q5", 1, many, True)], mistakes)
    em = "A duplicate has EM 100 too, and is refused: ask the verdict for its reason, `ok`."
    two = [_judged("q6", 0, few, False, twice=True), _judged("q6", 1, many, True)]
    _keeps(function, two, {em: lambda rows: _fewest([row for row in rows if row[1].em == 100])})


def _tokens(function: Function, rng: random.Random) -> None:
    first, last = (
        f"The {which} right one was kept, however long it is." for which in ("first", "last")
    )
    mistakes = {
        "Characters were counted: `n_tokens` is what the student must learn to write.": (
            lambda rows: _smallest(rows, lambda trace: len(trace.completion))
        ),
        _LONGEST: lambda rows: _smallest(rows, lambda trace: -trace.n_tokens),
        first: lambda rows: _smallest(rows, lambda trace: 0),
        last: lambda rows: _smallest(rows, lambda trace: 0, last=True),
        "All right ones were kept: one a question is asked for.": (
            lambda rows: [_name(trace) for trace, _ in rows]
        ),
    }
    five = [(40, 4), (20, 9), (50, 2), (60, 7), (30, 5)]
    _keeps(function, [_judged("q0", s, n, True, w) for s, (n, w) in enumerate(five)], mistakes)
    few, many = rng.randint(5, 400), rng.randint(401, 900)
    _keeps(function, [_judged("q0", 0, few, True, 30), _judged("q0", 1, many, True, 2)], mistakes)


def _each_question(function: Function, rng: random.Random) -> None:
    """One a question, and verdicts by question and sample: the two files differ in their order."""
    one_each = "One trace a question is asked for, not one of all."
    mistakes = {
        one_each: lambda rows: _fewest(_right(rows))[:1],
        f"{one_each} Not the last.": lambda rows: _fewest(_right(rows))[-1:],
    }
    _keeps(function, [_judged("q0", 0, 20, True), _judged("q1", 0, 30, True)], mistakes)
    by_sample = "A verdict belongs to a question and a sample: sample 0 of q1 is not that of q0."
    rows = [_judged("q0", 0, 20, True), _judged("q0", 1, 30, False)]
    rows += [_judged("q1", 0, 20, False), _judged("q1", 1, 30, True)]
    _keeps(function, rows, {by_sample: lambda _: ["q0/0", "q1/0"]})
    rows = _drawn(rng)
    verdicts, by_place = _misplaced(rows, rng)
    says = "Verdicts stand in another order than traces: find each by question and sample."
    mistakes = {says: lambda _: _fewest(_right(by_place))}
    _keeps(function, [(t, v) for (t, _), v in zip(rows, verdicts, strict=True)], mistakes)


def _equals(function: Function, rng: random.Random) -> None:
    says = "Of equally short ones the first is asked for."
    mistakes = {says: lambda rows: _smallest(rows, lambda t: t.n_tokens, last=True)}
    n = rng.randint(10, 900)
    _keeps(function, [_judged("q0", s, n, True) for s in range(rng.randint(2, 4))], mistakes)
    longer = [_judged("q0", 0, n + 5, True, words=9), *(_judged("q0", s, n, True) for s in (1, 2))]
    _keeps(function, longer, mistakes)


def _turned(function: Function) -> Function:
    """The function on traces whose tokens are turned round: its longest are the shortest."""

    def turned(traces: list[Trace], verdicts: list[Verdict]) -> list[Trace]:
        own = {_name(trace): trace for trace in traces}
        longest = function([replace(t, n_tokens=1000 - t.n_tokens) for t in traces], verdicts)
        return [own[_name(trace)] for trace in longest]

    return turned


_RIGHT, _FEWEST = "only right traces are kept", "the one with the fewest tokens"
_LONGEST = "The longest was kept: fewer tokens are asked for."
_TRACES = (
    "A list of traces is asked for: of `Trace`s themselves, not their names, texts or verdicts."
)
KEEP_SHORTEST = Exercise(
    "lab5b",
    "keep_shortest",
    keep_shortest,
    (
        Step(_RIGHT, 1, _only_right),
        Step(_FEWEST, 1, _tokens),
        Step("one for each question, by its own verdicts", 1, _each_question),
        Step("of equals the first", 1, _equals),
    ),
    (
        'First the right ones: {(v.question_id, v.sample) for v in verdicts if v.reason == "ok"}.',
        "Then a dict from question to its best trace so far; a later one takes its place only if "
        "it has fewer tokens.",
        "`if best is None or trace.n_tokens < best.n_tokens`: with < the first of equals stays.",
    ),
    records(Trace, _TRACES),
    (
        Slip("A dict is no list: list(best.values()) is one of its traces.", _RIGHT,
             on_results(lambda best: best.values())),
        Slip("These are pairs: the traces alone are asked for.", _RIGHT,
             on_results(lambda pairs: [trace for _, trace in pairs])),
        Slip("These are lists in a list: the traces alone are asked for.", _RIGHT,
             on_results(lambda groups: [trace for group in groups for trace in group])),
        Slip(_LONGEST, _FEWEST, _turned),
    ),
    minutes=15,
    difficulty="medium",
)  # fmt: skip
