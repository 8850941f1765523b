"""Computes the figures of a run that the prose names, from the run's records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from distill_lab.course.builder.prose import Figure
from distill_lab.course.plots.lab5b_5d import in_order
from distill_lab.pipeline import ablation, report
from distill_lab.reporting.stats import bootstrap_interval
from distill_lab.run.folder import RunFolder, require_file
from distill_lab.run.records import (
    Prediction,
    Question,
    by_question,
    judged,
)
from distill_lab.run.saved_settings import saved
from distill_lab.run.whole_run import RunRecords, read_run
from distill_lab.tasks.squad.task import SQUAD

SOURCE = (
    "a run of this profile, of tiny with Lab 5b's ablations: "
    "distill-lab notebooks figures --run DIR"
)


def compute(out: Path) -> tuple[str, dict[str, Figure]]:
    """The run's profile, and its figures by name; scores and shares are 0 to 100. This writes the
    run's report again. Raises LabError if a stage or an ablation has not run."""
    config = saved(require_file(RunFolder(out).config, "run").parent)
    assert config
    run, results = read_run(out), report.build(config, out)
    figures = dict(of_scores(results)) | dict(of_traces(run)) | dict(of_errors(run))
    if config.profile == "tiny" or (out / ablation.FOLDER).is_dir():
        figures |= dict(of_ablations(run, out / ablation.FOLDER))
    return config.profile, {
        name: round(value, 4) if isinstance(value, float) else value
        for name, value in figures.items()
    }


def of_scores(results: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    """From report.json: scores, also by kind of question, and shares. `lost` is how many points of
    the EM on all questions the sft student loses to its teacher on one kind."""
    yield "table", report.table(results).partition("\n\n")[0]
    yield "n", results["data"]["eval"]
    for who, scores in results["scores"].items():
        yield from _score(who, scores)
    for kind, models in results.get("scores_by_kind", {}).items():
        for who, scores in models.items():
            yield from _score(f"{who}.{kind}", scores)
        yield f"n.{kind}", models["teacher"]["n"]
        lost = models["teacher"]["em"] - models["sft"]["em"]
        yield f"lost.{kind}", lost * models["teacher"]["n"] / results["data"]["eval"]
    teacher = results["scores"]["teacher"]
    for arm, shares in results["gap_closed"].items():
        yield from ((f"{arm}.gap_{metric}", 100 * share) for metric, share in shares.items())
        yield f"{arm}.kept_em", 100 * results["scores"][arm]["em"] / teacher["em"]


def _score(who: str, scores: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    for metric in SQUAD.score_names:
        low, high = scores[f"{metric}_ci95"]
        yield f"{who}.{metric}", scores[metric]
        yield from ((f"{who}.{metric}_low", low), (f"{who}.{metric}_high", high))


def of_traces(run: RunRecords) -> Iterator[tuple[str, Figure]]:
    """What was sampled and refused; lengths and mistakes by kind of question, and a kind's share of
    questions and of examples; how many questions the first sample missed, and how many of these a
    later sample answered."""
    pairs = judged(run.traces, run.verdicts)
    yield "traces", len(pairs)
    yield "accepted", sum(verdict.reason == "ok" for _, verdict in pairs)
    yield "examples", len(run.examples)
    yield "refused_percent", 100 * fmean(verdict.reason != "ok" for _, verdict in pairs)
    yield "wrong_percent", 100 * fmean(not verdict.right for _, verdict in pairs)
    for name, right in (("right", True), ("wrong", False)):
        group = sorted(trace.n_tokens for trace, v in pairs if (v.right) == right)
        yield f"{name}.tokens", group[len(group) // 2]
    for kind in sorted({q.kind for q in run.train.values() if q.kind}):
        group = [(t, v) for t, v in pairs if run.train[t.question_id].kind == kind]
        yield f"{kind}.traces", len(group)
        yield f"{kind}.tokens", fmean(trace.n_tokens for trace, _ in group)
        yield f"{kind}.wrong_percent", 100 * fmean(not verdict.right for _, verdict in group)
    missed = [
        group
        for group in by_question(run.verdicts).values()
        if not min(group, key=lambda verdict: verdict.sample).right
    ]
    yield "questions", len(run.train)
    yield "answered", len(by_question(run.examples))
    kinds = [run.train[example.question_id].kind for example in run.examples]
    for kind in filter(None, dict.fromkeys(kinds)):
        yield f"{kind}.asked_percent", 100 * fmean(q.kind == kind for q in run.train.values())
        yield f"{kind}.kept_percent", 100 * fmean(each == kind for each in kinds)
    yield "first_missed", len(missed)
    yield "right_later", sum(any(v.right for v in group) for group in missed)


def of_errors(run: RunRecords) -> Iterator[tuple[str, Figure]]:
    """The sft student's wrong answers by kind of question: how many stop one step `early`, and how
    many are words that it `read` in the passage."""
    wrong = [(run.eval[p.question_id], p) for p in run.predictions["sft"] if not p.right]
    yield "errors", len(wrong)
    for kind in sorted({question.kind for question, _ in wrong if question.kind}):
        group = [pair for pair in wrong if pair[0].kind == kind]
        yield f"errors.{kind}", len(group)
        yield f"errors.{kind}.early", sum(stops_early(*pair) for pair in group)
        yield f"errors.{kind}.read", sum(bool(p.answer) and p.answer in q.context for q, p in group)


def stops_early(question: Question, prediction: Prediction) -> bool:
    """Whether a wrong answer is in the same sentence as the right one. If that sentence is the
    second of two facts, the answer is what the first fact led to."""
    answer, sentences = prediction.answer, question.context.split(". ")
    return bool(answer) and any(answer in s and question.answers[0] in s for s in sentences)


def of_ablations(run: RunRecords, folder: Path) -> Iterator[tuple[str, Figure]]:
    """EM of each student without the filter; how few the wrong traces are; and what two differences
    are, question by question: kept examples minus unfiltered ones, right only minus wrong only."""
    questions = list(run.eval.values())
    scores = {arm: in_order(questions, run.predictions[arm], "em") for arm in ("sft", "kd")}
    for kind in ablation.KINDS:
        predictions = RunFolder(folder / kind).predictions("sft")
        require_file(predictions.path, "notebooks build")
        scores[kind] = in_order(questions, predictions.read(), "em")
        yield f"{kind}.em", fmean(scores[kind])
    examples = RunFolder(folder / "wrong-only").examples.read()
    yield "few.traces", len({(example.question_id, example.sample) for example in examples})
    yield "few.questions", len(by_question(examples))
    for name, plus, minus in (
        ("kept_minus_unfiltered", "sft", "unfiltered"),
        ("right_minus_wrong", "right-only", "wrong-only"),
        ("kd_minus_sft", "kd", "sft"),
    ):
        pairs = zip(scores[plus], scores[minus], strict=True)
        points = [above - below for above, below in pairs]
        yield f"{name}.em", fmean(points)
        low, high = bootstrap_interval(points)
        yield from ((f"{name}.em_low", low), (f"{name}.em_high", high))
