"""The five pictures of a report, each with a sentence from its data that says what it shows.

They are drawn 5.2 inches wide, to be read at a phone's width as they are. Colours follow Okabe and
Ito, which colour-blind readers tell apart, and every mark carries its name or number beside it.
matplotlib loads when something is drawn.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from distill_lab.reporting.stats import pass_at_k
from distill_lab.run.arms import ARMS, COLOURS
from distill_lab.run.records import Verdict
from distill_lab.tasks.task import score_label

REFUSED, KEPT, REST, INK = "#c44e00", "#0072b2", "#e4e4e4", "#222222"


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture and its alternative text. Without data `png` is None, and `alt` says why."""

    name: str
    alt: str
    png: bytes | None = None


def draw(
    report: Mapping[str, Any],
    verdicts: Sequence[Verdict],
    logs: Mapping[str, Sequence[Mapping[str, float]]],
) -> list[Plot]:
    """All pictures of a run; `logs` holds the logged steps of each student."""
    return [
        scores(report["scores"]),
        gap(report["gap_closed"]),
        funnel(report["rejection"]),
        yields(verdicts),
        curves(logs, report["config"]["train"]["temperature"]),
    ]


def new_figure(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """A figure without pyplot: a notebook's backend and its open figures stay as they are."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, height), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=10, colors=INK, length=3)
    return figure, axes


def png_of(figure: Any) -> bytes:
    """The figure as a PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()


def name_rows(ax: Any, names: Sequence[str], scale: bool = False) -> None:
    """One row a name, the first on top; the scale goes where every bar carries its number."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_visible(scale)
    ax.spines["bottom"].set_visible(scale)


def _share(part: int, whole: int) -> str:
    percent = 100 * part / whole
    return "<1 %" if 0 < percent < 0.5 else f"{percent:.0f} %"


def scores(of_models: Mapping[str, Mapping[str, Any] | None]) -> Plot:
    """Each score of the models that were evaluated, with its 95 % interval."""
    models = {model: values for model, values in of_models.items() if values}
    names = [name for name in models["base"] if f"{name}_ci95" in models["base"]]
    figure, axes = new_figure(0.6 + 0.55 * len(models), columns=len(names), sharey=True)
    described: list[str] = []
    for metric, ax in zip(names, axes, strict=True):
        ax.set_title(score_label(metric), fontsize=11, color=INK)
        ax.set(xlim=(-4, 104), xticks=(0, 25, 50, 75, 100))
        ax.grid(axis="x", color=REST, linewidth=0.8)
        name_rows(ax, list(models), scale=True)
        for y, (model, values) in enumerate(models.items()):
            value, (low, high) = values[metric], values[f"{metric}_ci95"]
            colour = COLOURS[model]
            ax.plot((low, high), (y, y), color=colour, linewidth=2.5, solid_capstyle="butt")
            ax.plot(value, y, "o", color=colour, markersize=7, clip_on=False)
            ax.text(value, y - 0.2, f"{value:.1f}", ha="center", va="bottom", color=colour)
            text = f"{score_label(metric)} of {model} {value:.1f} ({low:.1f} to {high:.1f})"
            described.append(text)
    return Plot("scores", ", ".join(described) + ".", png_of(figure))


def gap(closed: Mapping[str, Mapping[str, float | None] | None]) -> Plot:
    """How far each student came from base (0 %) to teacher (100 %)."""
    names = next((list(shares) for shares in closed.values() if shares), [])
    bars = [
        (f"{arm} {score_label(metric)}", COLOURS[arm], 100 * share)
        for metric in names
        for arm, shares in closed.items()
        if shares and (share := shares[metric]) is not None
    ]
    if not bars:
        return Plot("gap", "Nothing to draw: no student, or no gap between base and teacher.")
    figure, (ax,) = new_figure(0.75 + 0.42 * len(bars))
    low, high = min(0, *(bar[2] for bar in bars)), max(100, *(bar[2] for bar in bars))
    room = 0.16 * (high - low)  # for the labels at the bars' ends
    for y, (_, colour, share) in enumerate(bars):
        ax.barh(y, share, color=colour, height=0.6)
        at, side = ((4, 0), "left") if share >= 0 else ((-4, 0), "right")
        text = {"textcoords": "offset points", "va": "center", "ha": side, "color": INK}
        ax.annotate(f"{share:.0f} %".replace("-", "−"), (share, y), at, **text)
    for x, model in ((0, "base"), (100, "teacher")):
        ax.axvline(x, color=COLOURS[model], linewidth=1.5)
        top = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        ax.text(x, 1.02, model, color=COLOURS[model], **top)
    name_rows(ax, [bar[0] for bar in bars])
    ax.set_xlim(low - room * (low < 0), high + room)
    alt = ", ".join(f"{name} {share:.0f} %" for name, _, share in bars)
    return Plot("gap", f"Share of the gap between base and teacher closed: {alt}.", png_of(figure))


def funnel(rejection: Mapping[str, Any]) -> Plot:
    """Each rule cuts its part off; what is left is accepted; of that the policy makes examples."""
    traces, accepted, examples = (rejection[key] for key in ("traces", "accepted", "examples"))
    if not traces:
        return Plot("funnel", "Nothing to draw: there are no traces.")
    bars = [("traces", 0, traces, f"{traces:,}")]  # name, start, length, label
    left = traces
    for reason, count in rejection["reasons"].items():
        left -= count
        bars.append((reason, left, count, f"−{count:,} ({_share(count, traces)})"))
    for name, count in (("accepted", accepted), ("examples", examples)):
        bars.append((name, 0, count, f"{count:,} ({_share(count, traces)})"))
    figure, (ax,) = new_figure(0.4 + 0.32 * len(bars))
    for y, (name, start, length, label) in enumerate(bars):
        ax.barh(y, start, color=REST, height=0.62)
        colour = REFUSED if name in rejection["reasons"] else KEPT
        ax.barh(y, length, left=start, color=colour, height=0.62)
        ax.text(start + length + traces * 0.015, y, label, va="center", color=INK)
    name_rows(ax, [bar[0] for bar in bars])
    ax.set_xlim(0, traces * 1.3)  # room for the label of the longest bar
    refused = ", ".join(f"{count:,} {reason}" for reason, count in rejection["reasons"].items())
    alt = (
        f"Of {traces:,} traces {accepted:,} ({_share(accepted, traces)}) were accepted and "
        f"{examples:,} became examples. Refused, in the order of the rules: {refused or 'none'}."
    )
    return Plot("funnel", alt, png_of(figure))


def yields(verdicts: Sequence[Verdict]) -> Plot:
    """Accepted traces a question, and pass@k: how many samples it takes to get one right."""
    sampled = Counter(verdict.question_id for verdict in verdicts)
    if not sampled:
        return Plot("yield", "Nothing to draw: there are no verdicts.")
    accepted = Counter(verdict.question_id for verdict in verdicts if verdict.reason == "ok")
    right = Counter(verdict.question_id for verdict in verdicts if verdict.right)
    questions = Counter(accepted[question] for question in sampled)
    ks = list(range(1, min(sampled.values()) + 1))
    shares = [100 * fmean(pass_at_k(n, right[q], k) for q, n in sampled.items()) for k in ks]
    figure, (above, below) = new_figure(4.4, rows=2)
    counts = list(range(max(sampled.values()) + 1))
    bars = above.bar(counts, [questions[c] for c in counts], color=[REFUSED] + [KEPT] * counts[-1])
    above.bar_label(bars, [f"{questions[c]:,}" if questions[c] else "" for c in counts], padding=2)
    above.set(xlabel="accepted traces of a question", ylabel="questions")
    below.plot(ks, shares, color=KEPT, marker="o", clip_on=False, zorder=3)
    for k, share in {ks[0]: shares[0], ks[-1]: shares[-1]}.items():
        at = {"textcoords": "offset points", "ha": "center", "color": INK}
        below.annotate(f"{share:.0f} %", (k, share), (0, 8), **at)
    below.set(xlabel="k, traces a question", ylabel="pass@k, percent", ylim=(0, 115))
    room = 0.3 + 0.05 * len(ks)
    below.set(yticks=(0, 50, 100), xlim=(ks[0] - room, ks[-1] + room))
    for ax, numbers in ((above, counts), (below, ks)):
        ax.set_xticks(numbers[:: 1 + len(numbers) // 13])
    alt = (
        f"Questions with no accepted trace: {questions[0]:,} of {len(sampled):,}. "
        f"pass@k goes from {shares[0]:.0f} % at k = 1 to {shares[-1]:.0f} % at k = {ks[-1]}."
    )
    return Plot("yield", alt, png_of(figure))


def curves(logs: Mapping[str, Sequence[Mapping[str, float]]], temperature: float) -> Plot:
    """CE of the students, and the KL of those with softened targets: a panel each, since they are
    different quantities.
    """
    titles = {"ce": "cross-entropy (CE)", "kl": f"KL(teacher ‖ student), T = {temperature:g}"}
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for term in titles:
        for arm, rows in logs.items():
            points = [(row["step"], row[term]) for row in rows if term in row]
            if points and (term == "ce" or ARMS[arm].softened):  # else the KL is logged as 0
                panels.setdefault(term, {})[arm] = points
    if not panels:
        return Plot("curves", "Nothing to draw: the training logs are empty.")
    figure, axes = new_figure(0.4 + 2.0 * len(panels), rows=len(panels), sharex=True)
    described: list[str] = []
    for (term, lines), ax in zip(panels.items(), axes, strict=True):
        ax.set_title(titles[term], fontsize=11, loc="left", color=INK)
        for arm, points in lines.items():
            start, end = _curve(ax, arm, points)
            described.append(f"{term.upper()} of {arm} goes from {start:.2f} to {end:.2f}")
        ax.set_ylim(bottom=0)
        ax.legend(frameon=False, loc="upper right")
    axes[-1].set_xlabel("optimiser step")
    return Plot("curves", ", ".join(described) + " nats per completion token.", png_of(figure))


def _curve(ax: Any, arm: str, points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """One student's line, raw and as a running mean; returns that mean's first and last value."""
    steps, values = zip(*points, strict=True)
    half = len(values) // 40  # one step's loss is that of its own few examples, and jumps
    smooth = [fmean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]
    style = {"color": COLOURS[arm], "linestyle": ARMS[arm].line}  # not colour alone
    marker = "o" if len(values) == 1 else None
    ax.plot(steps, values, color=COLOURS[arm], linewidth=0.8, alpha=0.35)
    label = f"{arm} (ends at {smooth[-1]:.2f})"
    ax.plot(steps, smooth, linewidth=2, marker=marker, label=label, **style)
    return smooth[0], smooth[-1]


def cached_teacher(rows: Sequence[Mapping[str, Any]]) -> Plot:
    """How far the KL to a cached teacher is from the whole KL, for each k: a token at a time, and
    over tokens together, where the error of draws averages out and that of top-k stays.

    `rows` from `teacher_cache.measure`; draws are shown as a mean and a range over seeds.
    """
    if not rows:
        return Plot("cached-teacher", "Nothing to draw: nothing was measured.")
    titles = {"per_token": "of one token (mean)", "of_mean": "of the mean over tokens"}
    figure, axes = new_figure(4.8, rows=2, sharex=True, sharey=True)
    ks = sorted({row["k"] for row in rows})
    described: list[str] = []
    for (measure, title), ax in zip(titles.items(), axes, strict=True):
        for cache, colour, style in (("topk", REFUSED, "-"), ("sampled", KEPT, "--")):
            errors = [[r[measure] for r in rows if (r["kind"], r["k"]) == (cache, k)] for k in ks]
            means = [fmean(of_k) for of_k in errors]
            low, high = list(map(min, errors)), list(map(max, errors))
            ax.fill_between(ks, low, high, color=colour, alpha=0.15, linewidth=0)
            ax.plot(ks, means, style, color=colour, marker="o", linewidth=2, label=cache)
            described.append(
                f"{title}, {cache}: {means[0]:.2g} at k = {ks[0]}, {means[-1]:.2g} at {ks[-1]}"
            )
        ax.set_title(f"error {title}, nats", fontsize=11, loc="left", color=INK)
        ax.set(xscale="log", yscale="log")
        ax.set_xticks(ks, [str(k) for k in ks])
        ax.minorticks_off()
        ax.grid(axis="y", color=REST, linewidth=0.8)
        ax.legend(frameon=False)
    axes[-1].set_xlabel("k, tokens kept or drawn")
    alt = f"Error of the KL to a cached teacher, in nats: {'; '.join(described)}."
    return Plot("cached-teacher", alt, png_of(figure))
