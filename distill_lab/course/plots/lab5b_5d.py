"""Pictures of Labs 5b and 5d that are not in the report, in the style of `reporting.plots`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from distill_lab.reporting import paper
from distill_lab.reporting.plots import (
    COLOURS,
    INK,
    KEPT,
    REFUSED,
    REST,
    Plot,
    name_rows,
    new_figure,
    png_of,
)
from distill_lab.reporting.stats import bootstrap_interval
from distill_lab.run.records import Prediction, Question, Verdict


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
    alt = (
        f"With one sample a question {examples[0]:,} examples and {covered[0]:.0f} % of the "
        f"questions; with {ns[-1]} samples {examples[-1]:,} examples and {covered[-1]:.0f} %."
    )
    return Plot("yield-against-n", alt, png_of(figure))


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
    for y, (who, values) in enumerate(scores.items()):
        mean, (low, high) = fmean(values), bootstrap_interval(values)
        colour = COLOURS.get(who, REFUSED)
        ax.plot((low, high), (y, y), color=colour, linewidth=2.5, solid_capstyle="butt")
        ax.plot(mean, y, "o", color=colour, markersize=7, clip_on=False)
        ax.text(mean, y - 0.18, f"{mean:.1f}", ha="center", va="bottom", color=colour)
        phrases.append(f"{who} {mean:.1f} ({low:.1f} to {high:.1f})")
    name_rows(ax, list(scores), scale=True)
    ax.set(xlim=(-2, 102), xticks=(0, 25, 50, 75, 100), xlabel=what)
    ax.grid(axis="x", color=REST, linewidth=0.8)
    return Plot(
        "compared", f"{what}, mean and 95 % interval: {', '.join(phrases)}.", png_of(figure)
    )


def bootstrap_means(scores: Sequence[float], what: str, seed: int = 0) -> Plot:
    """The means of 1,000 resamples, and the two ends that leave 2.5 % of them outside each."""
    values, rng = np.asarray(scores, dtype=np.float64), np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(1000)]
    low, high = bootstrap_interval(scores, seed)
    figure, (ax,) = new_figure(2.6)
    unit = 100 / len(values)  # means of EM are multiples of it: each bar covers equally many
    wide = max(1, round((max(means) - min(means)) / 25 / unit))
    first, last = int(min(means) / unit) // wide, int(max(means) / unit) // wide
    edges = np.array([unit * (wide * n - 0.5) for n in range(first, last + 2)])
    counts, _ = np.histogram(means, bins=edges)
    centres = (edges[:-1] + edges[1:]) / 2
    colours = [KEPT if low <= centre <= high else REFUSED for centre in centres]
    ax.bar(centres, counts, width=0.9 * (edges[1] - edges[0]), color=colours)
    for end, side in ((low, "right"), (high, "left")):
        ax.axvline(end, color=INK, linewidth=1.2)
        where = {"transform": ax.get_xaxis_transform(), "va": "top", "ha": side, "color": INK}
        ax.text(end, 1.0, f" {end:.1f} ", **where)
    ax.set(xlabel=f"mean {what} of a resample", ylabel="resamples")
    alt = (
        f"Means of 1,000 resamples of {len(values)} scores, {what}: 95 % of them lie between "
        f"{low:.1f} and {high:.1f}, around the mean {values.mean():.1f}."
    )
    return Plot("bootstrap", alt, png_of(figure))


def size_of(model: str) -> float:
    """Billions of parameters, read from the name: 1.5 for R1-Distill-Qwen-1.5B."""
    match = re.search(r"([\d.]+)B$", model)
    assert match, model
    return float(match[1])


RETAINED = ("math500", "aime_pass1", "gpqa", "livecodebench")
_LINES = (COLOURS["base"], COLOURS["sft"], COLOURS["teacher"], COLOURS["kd"])


def retention_by_size(benchmarks: Sequence[str] = RETAINED) -> Plot:
    """Table 5 divided by table 4: how much of DeepSeek-R1's score each student keeps, against its
    size. A line joins the Qwen students; the Llamas are single points, as they have other bases."""
    figure, (ax,) = new_figure(3.9)
    titles = {benchmark.key: benchmark.title for benchmark in paper.BENCHMARKS}
    phrases: list[str] = []
    for key, colour in zip(benchmarks, _LINES, strict=False):
        families: dict[str, list[tuple[float, float]]] = {}
        for student in paper.STUDENTS:
            share = paper.retention(student.model, key)
            if share is not None:
                family = "Llama" if "Llama" in student.model else "Qwen"
                families.setdefault(family, []).append((size_of(student.model), 100 * share))
        _family_lines(ax, families, colour, titles[key])
        kept = ", ".join(f"{share:.0f} % at {size:g}B" for size, share in families["Qwen"])
        phrases.append(f"{titles[key]} {kept}")
    ticks = [1.5, 7, 14, 32, 70]  # 8, beside 7, has no room
    ax.set(xscale="log", xlim=(1.2, 90), ylim=(0, 105), ylabel="share of the teacher kept, percent")
    ax.set_xticks(ticks, [f"{tick:g}B" for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel("parameters of the student (filled: Qwen, open: Llama)")
    ax.legend(frameon=False, loc="lower right")
    ax.grid(axis="y", color=REST, linewidth=0.8)
    return Plot("retention", f"Kept by the Qwen students: {'; '.join(phrases)}.", png_of(figure))


def _family_lines(
    ax: Any, families: Mapping[str, Sequence[tuple[float, float]]], colour: str, title: str
) -> None:
    """One benchmark: a line for the Qwen students, and open points for the Llamas."""
    for family, points in families.items():
        sizes, shares = zip(*sorted(points), strict=True)
        if family == "Qwen":
            ax.plot(sizes, shares, color=colour, marker="o", linewidth=2, label=title)
        else:
            ax.plot(sizes, shares, "o", color=colour, markerfacecolor="white", markersize=6)
