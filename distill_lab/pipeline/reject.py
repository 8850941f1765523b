"""Rejection sampling (paper, section 2.3.3): each trace gets one verdict, the right ones are kept.

What is refused, and why, stands in `rejection_rules`; here the rules are asked, the examples
chosen, and the funnel printed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_lab.pipeline.rejection_rules import RULES, Attempt, reason_of, single_spaced
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import (
    Example,
    LabError,
    Question,
    Trace,
    Verdict,
    by_id,
    by_question,
    judged,
)
from distill_lab.run.settings import Config, RejectSettings
from distill_lab.tasks.all_tasks import task_of
from distill_lab.tasks.prompts import answer_text
from distill_lab.tasks.squad.task import SQUAD
from distill_lab.tasks.task import Task


def verdict_on(
    traces: Sequence[Trace],
    questions: Mapping[str, Question],
    settings: RejectSettings,
    task: Task = SQUAD,
) -> list[Verdict]:
    """One verdict a trace, in their order: `ok`, or the name of the first rule that refused it.

    The task's scores are given for every trace, refused or not. Raises LabError for a trace of an
    unknown question.
    """
    accepted: dict[str, set[str]] = {}
    verdicts: list[Verdict] = []
    for trace in traces:
        question, answer = _question(trace, questions), answer_text(trace.completion)
        kept = accepted.setdefault(trace.question_id, set())
        scores = task.grade(answer, question)
        attempt = Attempt(trace, question, settings, scores, kept)
        reason = reason_of(attempt)
        if reason == "ok":
            kept.add(single_spaced(trace.completion))
        verdicts.append(Verdict(trace.question_id, trace.sample, reason, scores))
    return verdicts


def _question(trace: Trace, questions: Mapping[str, Question]) -> Question:
    if trace.question_id not in questions:
        raise LabError(
            f"traces.jsonl, question {trace.question_id}: expected one of questions.train.jsonl, "
            "found none of that id. The two are of different runs: choose another --out."
        )
    return questions[trace.question_id]


def choose_examples(
    traces: Sequence[Trace], verdicts: Sequence[Verdict], settings: RejectSettings
) -> list[Trace]:
    """The right traces that become examples, question by question.

    `all` of a question's, the `first`, the one with the fewest tokens (`shortest`, the first of
    equals), or the first k (`at-most-k`).
    """
    groups = by_question(t for t, verdict in judged(traces, verdicts) if verdict.reason == "ok")
    return [trace for group in groups.values() for trace in _choose(group, settings)]


def _choose(group: list[Trace], settings: RejectSettings) -> list[Trace]:
    """The chosen ones of one question's right traces."""
    if settings.keep == "shortest":
        return [min(group, key=lambda trace: trace.n_tokens)]
    limits = {"all": len(group), "first": 1, "at-most-k": settings.k}
    return group[: limits[settings.keep]]


def summary(verdicts: Sequence[Verdict], n_examples: int) -> dict[str, Any]:
    """Counts of traces: `traces`, `accepted`, `examples`, and `reasons`, those that were refused in
    the order of the rules; reasons of verdicts made elsewhere come last."""
    counts = Counter(verdict.reason for verdict in verdicts)
    reasons = {reason: counts[reason] for reason in all_reasons(verdicts) if counts[reason]}
    accepted = counts["ok"]
    return {
        "traces": len(verdicts), "accepted": accepted, "examples": n_examples, "reasons": reasons,
    }  # fmt: skip


def all_reasons(verdicts: Sequence[Verdict]) -> list[str]:
    """All reasons to refuse, in the order of the rules; then those of verdicts made elsewhere."""
    rules = [rule.__name__ for rule in RULES]
    return rules + sorted({verdict.reason for verdict in verdicts} - {"ok", *rules})


def run(config: Config, out: Path) -> None:
    """The `reject` stage: reads traces and questions, writes verdicts.jsonl and examples.jsonl,
    prints the funnel of reasons.

    Raises LabError if no trace was kept; the verdicts are there to look at even then.
    """
    folder, task = RunFolder(out), task_of(config)
    traces = folder.traces.read()
    questions = by_id(folder.train_questions.read())
    order = {name: n for n, name in enumerate(questions)}
    # Traces stand in the order in which batches ended: "first" and "earlier" must not mean that.
    traces.sort(key=lambda trace: (order.get(trace.question_id, -1), trace.sample))
    verdicts = verdict_on(traces, questions, config.reject, task)
    folder.verdicts.write(verdicts)
    kept = choose_examples(traces, verdicts, config.reject)
    _print_funnel(verdicts, kept, config.reject)
    if not kept:
        folder.examples.path.unlink(missing_ok=True)  # of an earlier run with other settings
        raise _nothing_kept(verdicts, folder, task)
    texts = {name: task.user_text(question) for name, question in questions.items()}
    folder.examples.write(
        Example(t.question_id, t.sample, texts[t.question_id], t.completion) for t in kept
    )


def _print_funnel(
    verdicts: Sequence[Verdict], kept: Sequence[Trace], settings: RejectSettings
) -> None:
    """Reasons in the order of the rules, with how many are left after each."""
    counts, left = Counter(verdict.reason for verdict in verdicts), len(verdicts)
    print(f"{'traces':15} {left:6}")
    for reason in (rule.__name__ for rule in RULES):
        if counts[reason]:
            left -= counts[reason]
            print(f"{reason:15} {-counts[reason]:6}   {left:6} left")
    n_questions = len({trace.question_id for trace in kept})
    print(f"{'examples':15} {len(kept):6}   of {n_questions} questions (keep: {settings.keep})")


_ADVICE = {
    "truncated": "raise --generate.max-new-tokens",
    "malformed": "show the teacher worked examples with --models.teacher-shots 3",
    "wrong_answer": "raise --generate.n-samples or take a better teacher",
    "long_paragraph": "raise --reject.max-paragraph",
}


def _nothing_kept(verdicts: Sequence[Verdict], folder: RunFolder, task: Task) -> LabError:
    if not verdicts:
        return LabError(
            f"{folder.traces.path}: expected traces, found none. Run `distill-lab generate`."
        )
    common = Counter(verdict.reason for verdict in verdicts).most_common(3)
    advice = next(
        (_ADVICE[reason] for reason, _ in common if reason in _ADVICE), "choose another teacher"
    )
    if advice == _ADVICE["wrong_answer"] and "f1" in task.score_names:
        advice = f"lower --reject.min-f1, {advice}"
    reasons = ", ".join(f"{reason} {count}" for reason, count in common)
    return LabError(
        f"{folder.verdicts.path}: expected at least one trace to keep, found {len(verdicts)} "
        f"refused ({reasons}). To get more, {advice}."
    )
