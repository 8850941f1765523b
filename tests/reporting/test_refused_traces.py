"""Which refused traces a report prints: one of each reason, and of different questions."""

from __future__ import annotations

from distill_lab.reporting import page
from distill_lab.run.records import Question, Trace, Verdict


def shown(*rows: tuple[str, int, str]) -> list[tuple[str, str]]:
    """Question and reason of what is printed of these verdicts (question, sample, reason)."""
    verdicts = [Verdict(q, n, reason, {"em": 0.0}) for q, n, reason in rows]
    traces = [Trace(q, n, "text", 9, "stop", "t", "p") for q, n, _ in rows]
    questions = {q: Question(q, "", "", "", ()) for q, *_ in rows}
    reasons = list(dict.fromkeys(reason for *_, reason in rows if reason != "ok"))
    found = page.refused(traces, verdicts, reasons, questions)
    return [(each["question"].id, each["verdict"].reason) for each in found]


def test_each_reason_once_before_any_twice():
    rows = [*((f"q{n}", 0, "wrong_answer") for n in range(9)), ("r", 0, "truncated")]
    found = shown(*rows)
    assert [reason for _, reason in found] == ["wrong_answer", "truncated"] + 3 * ["wrong_answer"]


def test_no_question_twice_while_there_are_others():
    same = [("a", n, "wrong_answer") for n in range(4)]
    other = [("a", 4, "duplicate"), ("b", 0, "duplicate"), ("c", 0, "wrong_answer")]
    found = shown(*same, *other)
    assert [question for question, _ in found[:3]] == ["a", "b", "c"]
    assert len(found) == page.READ


def test_of_a_single_question_all_are_printed_each_once():
    found = shown(("a", 0, "wrong_answer"), ("a", 1, "ok"), ("a", 2, "wrong_answer"))
    assert found == [("a", "wrong_answer")] * 2
    assert shown(("a", 0, "ok")) == []
