"""Pictures of Labs 5b and 5d that are not in the report, in the style of `reporting.plots`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from distill_lab.reporting import paper
from distill_lab.reporting.figures import (
    INK,
    KEPT,
    REFUSED,
    REST,
    Plot,
    headline,
    name_rows,
    new_figure,
    png_of,
)
from distill_lab.reporting.stats import bootstrap_interval
from distill_lab.run.arms import COLOURS
from distill_lab.run.records import Prediction, Question, Trace, Verdict
from distill_lab.tasks.prompts import parse
from distill_lab.tasks.squad.scores import normalize_answer


def yield_against_n(verdicts: Sequence[Verdict]) -> Plot:
    """How many examples there are, and for how many questions, if only the first N samples count.

    A verdict does not depend on N, because a duplicate repeats an earlier sample.
    """
    if not verdicts:
        return Plot("yield-against-n", "Nothing to draw: there are no verdicts.")
    ns = range(1, 2 + max(verdict.sample for verdict in verdicts))
    right = [verdict for verdict in verdicts if verdict.reason == "ok"]
    n_questions = len({verdict.question_id for verdict in verdicts})
    examples = [sum(verdict.sample < n for verdict in right) for n in ns]
    covered = [
        100 * len({verdict.question_id for verdict in right if verdict.sample < n}) / n_questions
        for n in ns
    ]
    figure, (above, below) = new_figure(4.4, rows=2, sharex=True)
    above.plot(ns, [examples[0] * n for n in ns], ":", color=INK, linewidth=1.5)
    text = {"textcoords": "offset points", "color": INK, "va": "center"}
    above.annotate("N times the first", (ns[-1], examples[0] * ns[-1]), (-8, 0), ha="right", **text)
    for ax, values, form in ((above, examples, "{:,}"), (below, covered, "{:.0f} %")):
        ax.plot(ns, values, color=KEPT, marker="o", linewidth=2, clip_on=False)
        for n, value in zip(ns, values, strict=True):
            ax.annotate(form.format(value), (n, value), (0, -13), ha="center", **text)
    above.set(ylabel="examples", ylim=(0, None))
    below.set(ylabel="questions, percent", ylim=(0, 108), yticks=(0, 50, 100))
    below.set(xlabel="N, samples a question", xticks=list(ns))
    times = f"{examples[-1] / examples[0]:.1f} times the examples, " if examples[0] else ""
    more = f"{covered[-1]:.0f} % of the questions, not {covered[0]:.0f} %"
    headline(figure, f"{ns[-1]} samples in place of one: {times}{more}")
    alt = (
        f"With one sample a question {examples[0]:,} examples and {covered[0]:.0f} % of the "
        f"questions; with {ns[-1]} samples {examples[-1]:,} examples and {covered[-1]:.0f} %."
    )
    return Plot("yield-against-n", alt, png_of(figure))


def kept_by_votes(judged: Sequence[tuple[Trace, Verdict]]) -> Callable[[Any, float], str]:
    """For `slider`: a rule without a reference, which keeps a trace if at least so many samples of
    its question give the same answer, as SQuAD compares answers. Draws how many right and wrong
    traces it keeps, and how many it refuses."""
    given = [(trace.question_id, _normalised(trace), verdict.right) for trace, verdict in judged]
    votes: Counter[tuple[str, str | None]] = Counter(
        (question, answer) for question, answer, _ in given if answer is not None
    )

    def draw(ax: Any, least: float) -> str:
        kept = [votes[question, answer] >= least for question, answer, _ in given]
        groups = list(zip(kept, (right for *_, right in given), strict=True))
        for y, is_kept in enumerate((True, False)):
            right, wrong = (groups.count((is_kept, is_right)) for is_right in (True, False))
            ax.barh(y, right, color=KEPT, height=0.6)
            ax.barh(y, wrong, left=right, color=REFUSED, height=0.6)
            ax.text(right + wrong, y, f" {right:,} + {wrong:,}", va="center", color=INK, fontsize=9)
        name_rows(ax, ("kept", "refused"))
        ax.set_xlim(0, 1.45 * len(groups))  # room for the numbers
        n_kept, n_wrong = sum(kept), groups.count((True, False))
        share = f", of which {100 * n_wrong / n_kept:.0f} % are wrong" if n_kept else ""
        return f"keeps {n_kept:,} of {len(groups):,} traces{share}"

    return draw


def _normalised(trace: Trace) -> str | None:
    parsed = parse(trace.completion)
    return normalize_answer(parsed.answer) if parsed else None


def in_order(
    questions: Sequence[Question], predictions: Sequence[Prediction], score: str
) -> list[float]:
    """One model's scores (0 to 100) in the order of the questions. So two models can be compared
    question by question, and an interval is the same as the report's."""
    prediction_on = {prediction.question_id: prediction for prediction in predictions}
    return [prediction_on[question.id].scores[score] for question in questions]


def compared(scores: Mapping[str, Sequence[float]], what: str) -> Plot:
    """The mean scores of several models on the same questions, each with its 95 % interval."""
    figure, (ax,) = new_figure(0.9 + 0.5 * len(scores))
    phrases: list[str] = []
    means: dict[str, float] = {}
    for y, (who, values) in enumerate(scores.items()):
        mean, (low, high) = fmean(values), bootstrap_interval(values)
        colour = COLOURS.get(who, REFUSED)
        ax.plot((low, high), (y, y), color=colour, linewidth=2.5, solid_capstyle="butt")
        ax.plot(mean, y, "o", color=colour, markersize=7, clip_on=False)
        ax.text(mean, y - 0.18, f"{mean:.1f}", ha="center", va="bottom", color=colour)
        phrases.append(f"{who} {mean:.1f} ({low:.1f} to {high:.1f})")
        means[who] = mean
    name_rows(ax, list(scores), scale=True)
    ax.set(xlim=(-2, 102), xticks=(0, 25, 50, 75, 100), xlabel=what)
    ax.grid(axis="x", color=REST, linewidth=0.8)
    best, worst = (choose(means, key=means.__getitem__) for choose in (max, min))
    headline(figure, f"Highest: {best}, {means[best]:.1f}; lowest: {worst}, {means[worst]:.1f}")
    return Plot(
        "compared", f"{what}, mean and 95 % interval: {', '.join(phrases)}.", png_of(figure)
    )


def bootstrap_means(scores: Sequence[float], what: str, seed: int = 0) -> Plot:
    """The means of 1,000 resamples, and the two ends that leave 2.5 % of them outside each."""
    values, rng = np.asarray(scores, dtype=np.float64), np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(1000)]
    low, high = bootstrap_interval(scores, seed)
    figure, (ax,) = new_figure(2.6)
    edges = _edges(low, high, means, 100 / len(values))
    counts, _ = np.histogram(means, bins=edges)
    centres = (edges[:-1] + edges[1:]) / 2
    colours = [KEPT if low <= centre <= high else REFUSED for centre in centres]
    ax.bar(edges[:-1], counts, align="edge", width=0.9 * np.diff(edges), color=colours)
    ends = (edges[int((centres < low).sum())], edges[int((centres <= high).sum())])
    for line, end, side in ((ends[0], low, "right"), (ends[1], high, "left")):
        ax.axvline(line, color=INK, linewidth=1.2)
        where = {"transform": ax.get_xaxis_transform(), "va": "top", "ha": side, "color": INK}
        ax.text(line, 1.0, f" {end:.1f} ", **where)
    ax.set(xlabel=f"mean {what} of a resample", ylabel="resamples")
    headline(figure, f"95 % of the means lie between {low:.1f} and {high:.1f}")
    alt = (
        f"Means of 1,000 resamples of {len(values)} scores, {what}: 95 % of them lie between "
        f"{low:.1f} and {high:.1f}, around the mean {values.mean():.1f}."
    )
    return Plot("bootstrap", alt, png_of(figure))


def _edges(low: float, high: float, means: Sequence[float], unit: float) -> np.ndarray:
    """The bars' edges: a bar begins where the interval does, and one ends where it ends.

    Means of EM are multiples of `unit`, and each bar should cover equally many of them: so a bar
    has a number of units that divides those between the ends, near a twentieth. Where there is
    none, or the ends lie between multiples, bars are a twentieth wide.
    """
    first, n_units = low - unit / 2, round((high - low) / unit) + 1
    divisors = [n for n in range(1, n_units + 1) if n_units % n == 0 and 10 <= n_units / n <= 40]
    n_bars = n_units // min(divisors, key=lambda n: abs(n_units / n - 20)) if divisors else 20
    n_bars = n_bars if high > low else 1
    width = (high + unit / 2 - first) / n_bars
    below = max(0, math.ceil((first - min(means)) / width))
    above = max(0, math.ceil((max(means) - first) / width) - n_bars)
    return first + width * np.arange(-below, n_bars + above + 1)


def size_of(model: str) -> float:
    """Billions of parameters, read from the name: 1.5 for R1-Distill-Qwen-1.5B."""
    match = re.search(r"([\d.]+)B$", model)
    assert match, model
    return float(match[1])


RETAINED = ("math500", "aime_pass1", "gpqa", "livecodebench")


def retention_by_size(benchmarks: Sequence[str] = RETAINED) -> Plot:
    """Table 5 divided by table 4: how much of DeepSeek-R1's score each student keeps, against its
    size, a panel for each benchmark. A line joins the Qwen students; the Llamas are single points,
    as they have other bases."""
    rows = (len(benchmarks) + 1) // 2
    figure, axes = new_figure(0.4 + 1.9 * rows, rows=rows, columns=2, sharex=True, sharey=True)
    titles = {benchmark.key: benchmark.title for benchmark in paper.BENCHMARKS}
    phrases: list[str] = []
    ends: dict[str, tuple[float, float]] = {}
    for key, ax in zip(benchmarks, axes, strict=False):
        families: dict[str, list[tuple[float, float]]] = {}
        for student in paper.STUDENTS:
            share = paper.retention(student.model, key)
            if share is not None:
                family = "Llama" if "Llama" in student.model else "Qwen"
                families.setdefault(family, []).append((size_of(student.model), 100 * share))
        _family_lines(ax, families)
        ax.set_title(titles[key], fontsize=11, loc="left", color=INK)
        qwen = sorted(families["Qwen"])
        ends[titles[key]] = (qwen[0][1], qwen[-1][1])
        kept = ", ".join(f"{share:.0f} % at {size:g}B" for size, share in families["Qwen"])
        phrases.append(f"{titles[key]} {kept}")
    ticks = [1.5, 7, 14, 32, 70]  # 8, beside 7, has no room
    for ax in axes:
        ax.set(xscale="log", xlim=(1.2, 90), ylim=(0, 108), yticks=(0, 50, 100))
        ax.set_xticks(ticks, [f"{tick:g}B" for tick in ticks])
        ax.minorticks_off()
        ax.grid(axis="y", color=REST, linewidth=0.8)
        ax.set_visible(ax in axes[: len(benchmarks)])
    figure.supxlabel("parameters of the student (filled: Qwen, open: Llama)", fontsize=10)
    figure.supylabel("share of the teacher kept, percent", fontsize=10)
    most, least = (choose(ends, key=lambda title: ends[title][0]) for choose in (max, min))
    kept = [f"{ends[title][0]:.0f} % of {title}" for title in (most, least)]
    headline(figure, f"The smallest Qwen keeps {' and '.join(kept)}")
    return Plot("retention", f"Kept by the Qwen students: {'; '.join(phrases)}.", png_of(figure))


def _family_lines(ax: Any, families: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """One benchmark: a line for the Qwen students, and open points for the Llamas."""
    for family, points in families.items():
        sizes, shares = zip(*sorted(points), strict=True)
        if family == "Qwen":
            ax.plot(sizes, shares, color=KEPT, marker="o", linewidth=2)
        else:
            ax.plot(sizes, shares, "o", color=KEPT, markerfacecolor="white", markersize=6)
