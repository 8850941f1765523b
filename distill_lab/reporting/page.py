"""The report in words: its findings, the texts to read, the paper beside ours, the templates."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, cycle, islice
from typing import Any

from distill_lab.reporting import paper, templates
from distill_lab.reporting.figures import Plot, signed
from distill_lab.run.arms import ABOUT, ARMS, COLOURS
from distill_lab.run.records import Prediction, Question, Trace, Verdict, judged
from distill_lab.run.saved_settings import flag
from distill_lab.tasks.all_tasks import task_named
from distill_lab.tasks.task import Task, score_label

# Of each picture its title, and how to read it.
PICTURES = {
    "scores": (
        "Four models on the same questions",
        "Dots: the mean over the questions, 0 to 100. Lines: bootstrap 95 % intervals.",
    ),
    "gap": (
        "How much of the gap was closed",
        "Base is 0 %, the teacher 100 %. Below 0 a student got worse than base; above 100 it "
        "passed its teacher. Thin lines: bootstrap 95 % intervals, in which the same questions are "
        "drawn for base, student and teacher.",
    ),
    "difference": (
        "One student minus the other",
        "On the same questions, with the bootstrap 95 % interval of the difference. Where it "
        "crosses the line at zero, this run does not show which of the two is better.",
    ),
    "funnel": (
        "What rejection refused and kept",
        "Each rule, in order, cuts its part (orange) off the traces that are left. A trace counts "
        "once, at the first rule that refuses it; shares are of all traces.",
    ),
    "yield": (
        "What sampling buys",
        "Above: questions by how many of their traces were accepted. Below: the chance that at "
        "least one of k traces has the right answer.",
    ),
    "curves": (
        "CE and KL, step by step",
        "Nats per completion token, KL without its factor T². Thin: each logged step; thick: "
        "running mean; diamonds: on answers of the teacher's from which nobody learns.",
    ),
}
READ = 5  # refused traces, and evaluation questions, that the page prints in full


@dataclass(frozen=True, slots=True)
class Difference:
    """Points of one model above another on the same questions, with the 95 % interval, in the score
    that decides."""

    points: float
    low: float
    high: float
    score: str  # its name in print

    @property
    def sure(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        interval = f"{signed(self.low)} to {signed(self.high)}"
        return f"{signed(self.points)} {self.score} (95 % interval {interval})"


def percent(value: float | None) -> str:
    """A share (0 to 1) as whole percent; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.0f} %".replace("-", "−")


def score(of_model: Mapping[str, Any] | None, metric: str) -> str:
    """`74.2 (68.8–79.6)`: a score from 0 to 100 and its 95 % interval."""
    if of_model is None:
        return "not run"
    low, high = of_model[f"{metric}_ci95"]
    return f"{of_model[metric]:.1f} ({low:.1f}–{high:.1f})"


def task_of(report: Mapping[str, Any]) -> Task:
    """The task of a run, from its report; those of before there were tasks are SQuAD's."""
    return task_named(report["config"]["data"].get("task", "squad"))


def _deciding(report: Mapping[str, Any]) -> tuple[str, str]:
    """The score that decides: its name in report.json and in print."""
    name = task_of(report).score_names[0]
    return name, score_label(name)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def findings(report: Mapping[str, Any], differences: Mapping[str, Difference]) -> list[str]:
    """The result in plain sentences, the most important first: how much of the gap each student
    closed, that it did not help, or that the difference may be chance.

    `differences` decides that, not the intervals of the table: two of those may overlap though one
    model is clearly better on the same questions.
    """
    closed, (name, label) = report["gap_closed"], _deciding(report)
    value = {who: scores[name] for who, scores in report["scores"].items() if scores}
    arms = [arm for arm in ARMS if arm in value]
    base, teacher = value["base"], value["teacher"]
    if not arms:
        counts = report["rejection"]
        kept = f"{counts['accepted']:,} of {counts['traces']:,} traces were accepted"
        both = _sentence(f"{label}: base {base:.1f}, teacher {teacher:.1f}.")
        return [f"No student was trained: {kept}.", both]
    if teacher <= base:
        students = ", ".join(f"{arm} {value[arm]:.1f}" for arm in arms)
        gap = f"There is no gap to close: {label} of the teacher {teacher:.1f}, of base {base:.1f}."
        return [gap, _sentence(f"{label} of the students: {students}.")]
    lines = [_outcome(a, value, closed[a][name], differences[f"{a} − base"]) for a in arms]
    pairs = combinations(arms, 2)
    return lines + [_better(*pair, differences[" − ".join(reversed(pair))]) for pair in pairs]


def _outcome(arm: str, value: Mapping[str, float], closed: float, gain: Difference) -> str:
    """What the training did for one student, where there was a gap to close."""
    base, student, teacher = (value[who] for who in ("base", arm, "teacher"))
    values = f"{arm}, {gain.score} {base:.1f} → {student:.1f}, teacher {teacher:.1f}"
    what = ARMS[arm].method
    if gain.points <= 0:
        surely = "made the student worse" if gain.sure else "did not help"
        return f"{what} {surely} ({values})."
    if not gain.sure:
        return f"{what} gained {gain}: that may be chance ({values})."
    if closed > 1:
        return f"{what} took the student past its teacher ({values})."
    return f"{what} closed {percent(closed)} of the gap between base and teacher ({values})."


def _better(one: str, other: str, gain: Difference) -> str:
    """Which of two arms is better, from what the other one is above the first."""
    minus = f"{other} minus {one} is {gain}"
    if not gain.sure:
        return f"{minus}: this run does not show which of the two is better."
    best, worst = (other, one) if gain.points > 0 else (one, other)
    return f"{best} is better than {worst}: {minus}."


def notes(report: Mapping[str, Any]) -> list[str]:
    """What a reader should know before trusting the table."""
    sentences: list[str] = []
    name, label = _deciding(report)
    scores = {who: values for who, values in report["scores"].items() if values}
    intervals = {who: values[f"{name}_ci95"] for who, values in scores.items()}
    flat = [who for who, (low, high) in intervals.items() if low == high]
    if flat:
        sentences.append(
            f"The interval of {', '.join(flat)} has no width because every answer scored the same; "
            "that is the bootstrap's limit, not certainty."
        )
    teacher = scores["teacher"][name]
    if any(scores[arm][name] > teacher for arm in ARMS if arm in scores):
        sentences.append(
            "A student can pass its teacher: it learnt from the traces that were kept, while the "
            "teacher is scored on one greedy answer a question, whatever became of it."
        )
    if (n := report["data"]["eval"]) < 100:
        sentences.append(
            f"Only {n} evaluation questions: one answer is worth {100 / n:.1f} points of {label}."
        )
    return sentences


def refused(
    traces: Sequence[Trace],
    verdicts: Sequence[Verdict],
    reasons: Sequence[str],
    questions: Mapping[str, Question],
) -> list[dict[str, Any]]:
    """Refused traces to read: one of each reason first, in the order of the rules, then more; of
    different questions, as long as there are any."""
    texts = {(t.question_id, t.sample): t for t, _ in judged(traces, verdicts)}
    queues = [[v for v in verdicts if v.reason == reason] for reason in reasons]
    return [
        {
            "verdict": v,
            "trace": texts[v.question_id, v.sample],
            "question": questions[v.question_id],
        }
        for v in _in_turn(queues)
    ]


def _in_turn(queues: Sequence[list[Verdict]]) -> list[Verdict]:
    """READ of the verdicts, a queue after the other, each time one of a question that is not shown
    yet, if the queue has one."""
    chosen: list[Verdict] = []
    for queue in islice(cycle(queues), READ * len(queues)):
        shown = {verdict.question_id for verdict in chosen}
        new = next((v for v in queue if v.question_id not in shown), queue[0] if queue else None)
        if new and len(chosen) < READ:
            queue.remove(new)
            chosen.append(new)
    return chosen


def answers(
    questions: Mapping[str, Question], predictions: Mapping[str, Sequence[Prediction]]
) -> list[dict[str, Any]]:
    """One question for each pattern of right and wrong over the models, commonest first."""
    by_model = {who: {p.question_id: p for p in made} for who, made in predictions.items()}
    patterns: dict[tuple[bool, ...], list[str]] = defaultdict(list)
    for question in questions:
        patterns[tuple(made[question].right for made in by_model.values())].append(question)
    common = sorted(patterns.values(), key=len, reverse=True)[:READ]
    return [
        {
            "question": questions[same[0]],
            "same": len(same),
            "answers": {who: made[same[0]] for who, made in by_model.items()},
        }
        for same in common
    ]


def _prediction(row: Mapping[str, Any]) -> Prediction:
    return Prediction(**{key: value for key, value in row.items() if key != "step"})


def watched(
    questions: Mapping[str, Question], said: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """What the students said of a few questions as they learnt: a question each, with the steps
    and, by arm, one `Prediction` a step."""
    shown: list[dict[str, Any]] = []
    ids = dict.fromkeys(row["question_id"] for rows in said.values() for row in rows)
    for id in (id for id in ids if id in questions):
        by_arm = {
            arm: {row["step"]: _prediction(row) for row in rows if row["question_id"] == id}
            for arm, rows in said.items()
        }
        steps = sorted({step for made in by_arm.values() for step in made})
        shown.append({"question": questions[id], "steps": steps, "answers": by_arm})
    return shown


def comparisons(report: Mapping[str, Any]) -> Iterator[tuple[paper.Comparison, str]]:
    """Each line of `paper.COMPARISONS` with what this run shows."""
    scores, closed = report["scores"], report["gap_closed"]
    name, label = _deciding(report)
    teacher = scores["teacher"][name]
    source = report["data"]["source"]
    values = {
        "score": label,
        "subject": task_of(report).subject,
        "n": f"{report['data']['eval']:,}",
        "source": source if isinstance(source, str) else source["eval"],
        "examples": f"{report['rejection']['examples']:,}",
        "student": report["models"]["base"],
        "teacher": f"{teacher:.1f}",
    }
    for arm in ARMS:
        mean = scores[arm][name] if scores[arm] else None
        values[arm] = "not run" if mean is None else f"{mean:.1f}"
        values[f"{arm}_kept"] = percent(None if mean is None or not teacher else mean / teacher)
        values[f"{arm}_closed"] = percent(closed[arm][name] if closed[arm] else None)
    for line in paper.COMPARISONS:
        yield replace(line, why=line.why.format(**values)), _sentence(line.ours.format(**values))


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
        percent=percent, signed=signed, duration=duration, flag=flag, score=score, label=score_label
    )
    task = task_of(report)
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    template = environment.get_template(f"{name}.jinja")
    return template.render(
        report=report,
        pictures=pictures,
        paper=paper,
        task=task,
        label=" and ".join(map(score_label, task.score_names)),
        deciding=_deciding(report),
        about=ABOUT,
        arms=ARMS,
        colours=COLOURS,
        about_pictures=PICTURES,
        findings=findings(report, differences),
        differences=differences,
        notes=notes(report),
        comparisons=list(comparisons(report)),
        **parts,
    )
