"""The report in words: its findings, the texts to read, the paper beside ours, the templates."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import Any

from distill_lab.reporting import paper, templates
from distill_lab.reporting.plots import Plot
from distill_lab.run.claim import flag
from distill_lab.run.records import Prediction, Question, Trace, Verdict, judged
from distill_lab.run.settings import ARMS

ABOUT = {
    "base": "the student before any training",
    "sft": "fine-tuned on the kept traces, as in the paper",
    "kd": "the same, with softened targets added (Hinton et al. 2015)",
    "teacher": "the model that wrote the traces",
}
# Of each picture its title, and how to read it.
PICTURES = {
    "scores": (
        "Four models on the same questions",
        "Dots: the mean over the questions, 0 to 100. Lines: bootstrap 95 % intervals.",
    ),
    "gap": (
        "How much of the gap was closed",
        "Base is 0 %, the teacher 100 %. Below 0 a student got worse than base; above 100 it "
        "passed its teacher.",
    ),
    "funnel": (
        "What rejection refused and kept",
        "Each rule, in order, cuts its part (orange) off the traces that are left. A trace counts "
        "once, at the first rule that refuses it; shares are of all traces.",
    ),
    "yield": (
        "What sampling buys",
        "Above: questions by how many of their traces were accepted. Below: the chance that at "
        "least one of k traces has the right answer (EM).",
    ),
    "curves": (
        "CE and KL, step by step",
        "Nats per completion token, KL without its factor T². Thin: each logged step; thick: "
        "running mean.",
    ),
}
READ = 5  # refused traces, and evaluation questions, that the page prints in full


@dataclass(frozen=True, slots=True)
class Difference:
    """EM points of one model above another on the same questions, with the 95 % interval."""

    em: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{signed(self.em)} EM (95 % interval {signed(self.low)} to {signed(self.high)})"


def percent(value: float | None) -> str:
    """A share (0 to 1) as whole percent; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.0f} %".replace("-", "−")


def score(found: Mapping[str, Any] | None, metric: str) -> str:
    """`74.2 (68.8–79.6)`: a score from 0 to 100 and its 95 % interval."""
    if found is None:
        return "not run"
    low, high = found[f"{metric}_ci95"]
    return f"{found[metric]:.1f} ({low:.1f}–{high:.1f})"


def findings(report: Mapping[str, Any], differences: Mapping[str, Difference]) -> list[str]:
    """The result in plain sentences, the most important first: how much of the gap each student
    closed, that it did not help, or that the difference may be chance.

    `differences` decides that, not the intervals of the table: two of those may overlap though one
    model is clearly better on the same questions.
    """
    scores, closed = report["scores"], report["gap_closed"]
    arms = [arm for arm in ARMS if scores[arm]]
    base, teacher = scores["base"]["em"], scores["teacher"]["em"]
    if not arms:
        found = report["rejection"]
        kept = f"{found['accepted']:,} of {found['traces']:,} traces were accepted"
        return [f"No student was trained: {kept}.", f"EM: base {base:.1f}, teacher {teacher:.1f}."]
    if teacher <= base:
        students = ", ".join(f"{arm} {scores[arm]['em']:.1f}" for arm in arms)
        gap = f"There is no gap to close: EM of the teacher {teacher:.1f}, of base {base:.1f}."
        return [gap, f"EM of the students: {students}."]
    lines = [_outcome(a, scores, closed[a]["em"], differences[f"{a} − base"]) for a in arms]
    return [*lines, _better(differences["kd − sft"])] if len(arms) == 2 else lines


def _outcome(arm: str, scores: Mapping[str, Any], closed: float, gain: Difference) -> str:
    """What the training did for one student, where there was a gap to close."""
    base, student, teacher = (scores[who]["em"] for who in ("base", arm, "teacher"))
    values = f"{arm}, EM {base:.1f} → {student:.1f}, teacher {teacher:.1f}"
    what = "Distillation" if arm == "sft" else "Distillation with softened targets"
    if gain.em <= 0:
        surely = "made the student worse" if gain.sure else "did not help"
        return f"{what} {surely} ({values})."
    if not gain.sure:
        return f"{what} gained {gain}: that may be chance ({values})."
    if closed > 1:
        return f"{what} took the student past its teacher ({values})."
    return f"{what} closed {percent(closed)} of the gap between base and teacher ({values})."


def _better(kd_over_sft: Difference) -> str:
    if not kd_over_sft.sure:
        return f"kd minus sft is {kd_over_sft}: this run does not show which of the two is better."
    first, second = ("kd", "sft") if kd_over_sft.em > 0 else ("sft", "kd")
    return f"{first} is better than {second}: kd minus sft is {kd_over_sft}."


def notes(report: Mapping[str, Any]) -> list[str]:
    """What a reader should know before trusting the table."""
    found: list[str] = []
    scores = {who: values for who, values in report["scores"].items() if values}
    flat = [who for who, values in scores.items() if values["em_ci95"][0] == values["em_ci95"][1]]
    if flat:
        found.append(
            f"The interval of {', '.join(flat)} has no width because every answer scored the same; "
            "that is the bootstrap's limit, not certainty."
        )
    teacher = scores["teacher"]["em"]
    if any(scores[arm]["em"] > teacher for arm in ARMS if arm in scores):
        found.append(
            "A student can pass its teacher: it learnt from the traces that were kept, while the "
            "teacher is scored on one greedy answer a question, whatever became of it."
        )
    if (n := report["data"]["eval"]) < 100:
        found.append(
            f"Only {n} evaluation questions: one answer is worth {100 / n:.1f} points of EM."
        )
    return found


def refused(
    traces: Sequence[Trace],
    verdicts: Sequence[Verdict],
    reasons: Sequence[str],
    questions: Mapping[str, Question],
) -> list[dict[str, Any]]:
    """Refused traces to read: one of each reason first, in the order of the rules, then more."""
    texts = {(t.question_id, t.sample): t for t, _ in judged(traces, verdicts)}
    queues = [[v for v in verdicts if v.reason == reason] for reason in reasons]
    turns = (v for v in chain.from_iterable(zip_longest(*queues)) if v)
    return [
        {
            "verdict": v,
            "trace": texts[v.question_id, v.sample],
            "question": questions[v.question_id],
        }
        for v in islice(turns, READ)
    ]


def answers(
    questions: Mapping[str, Question], predictions: Mapping[str, Sequence[Prediction]]
) -> list[dict[str, Any]]:
    """One question for each pattern of right and wrong over the models, commonest first."""
    by_model = {who: {p.question_id: p for p in found} for who, found in predictions.items()}
    patterns: dict[tuple[bool, ...], list[str]] = defaultdict(list)
    for question in questions:
        patterns[tuple(found[question].em == 100 for found in by_model.values())].append(question)
    common = sorted(patterns.values(), key=len, reverse=True)[:READ]
    return [
        {
            "question": questions[same[0]],
            "same": len(same),
            "answers": {who: found[same[0]] for who, found in by_model.items()},
        }
        for same in common
    ]


def comparisons(report: Mapping[str, Any]) -> Iterator[tuple[paper.Comparison, str]]:
    """Each line of `paper.COMPARISONS` with what this run shows."""
    scores, closed = report["scores"], report["gap_closed"]
    teacher = scores["teacher"]["em"]
    source = report["data"]["source"]
    values = {
        "n": f"{report['data']['eval']:,}",
        "source": source if isinstance(source, str) else source["eval"],
        "examples": f"{report['rejection']['examples']:,}",
        "student": report["models"]["base"],
        "teacher_em": f"{teacher:.1f}",
    }
    for arm in ARMS:
        em = scores[arm]["em"] if scores[arm] else None
        values[f"{arm}_em"] = "not run" if em is None else f"{em:.1f}"
        values[f"{arm}_kept"] = percent(None if em is None or not teacher else em / teacher)
        values[f"{arm}_closed"] = percent(closed[arm]["em"] if closed[arm] else None)
    for line in paper.COMPARISONS:
        yield line, line.ours.format(**values)


def signed(value: float) -> str:
    """`+4.2`, `−1.2`."""
    return f"{value:+.1f}".replace("-", "−")


def duration(seconds: float) -> str:
    """`1 min 32 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def render(
    name: str,
    report: Mapping[str, Any],
    pictures: Sequence[Plot],
    differences: Mapping[str, Difference],
    **parts: Any,
) -> str:
    """Fills `report.html.jinja` or `report.md.jinja`; in HTML all that models wrote is escaped."""
    environment = templates.environment(html=name.endswith(".html"))
    environment.filters.update(
        percent=percent, signed=signed, duration=duration, flag=flag, score=score
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    template = environment.get_template(f"{name}.jinja")
    return template.render(
        report=report,
        pictures=pictures,
        paper=paper,
        about=ABOUT,
        about_pictures=PICTURES,
        findings=findings(report, differences),
        differences=differences,
        notes=notes(report),
        comparisons=list(comparisons(report)),
        **parts,
    )
