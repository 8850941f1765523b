"""The pictures of a report, each with a sentence from its data that says what it shows, and a
headline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from types import MappingProxyType
from typing import Any

from distill_lab.reporting.figures import (
    INK,
    KEPT,
    REFUSED,
    REST,
    SOFT,
    Plot,
    headline,
    log_scale,
    name_lines,
    name_rows,
    new_figure,
    png_of,
    signed,
)
from distill_lab.reporting.stats import pass_at_k
from distill_lab.run.arms import ARMS, COLOURS
from distill_lab.run.records import Verdict
from distill_lab.tasks.task import score_label

Rows = Mapping[str, Sequence[Mapping[str, float]]]  # by arm, each with its `step`
Points = Mapping[str, Sequence[tuple[float, float]]]  # by arm, each a step and a value


def draw(
    report: Mapping[str, Any],
    verdicts: Sequence[Verdict],
    logs: Rows,
    held_out: Rows,
) -> list[Plot]:
    """All pictures of a run; `logs` holds the logged steps of each student, `held_out` its losses
    on what is held out."""
    return [
        scores(report["scores"]),
        gap(report["gap_closed"], report["gap_closed_ci95"]),
        difference(report["differences"]),
        funnel(report["rejection"]),
        yields(verdicts),
        curves(logs, report["config"]["train"]["temperature"], held_out),
    ]


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
    headline(figure, _who_is_best(models, names[0]))
    return Plot("scores", ", ".join(described) + ".", png_of(figure))


def _who_is_best(models: Mapping[str, Mapping[str, Any]], metric: str) -> str:
    """`EM: base 10.4, teacher 71.2; of the students kd is highest, 48.8`."""
    value = {model: values[metric] for model, values in models.items()}
    ends = f"{score_label(metric)}: base {value['base']:.1f}, teacher {value['teacher']:.1f}"
    students = [model for model in value if model in ARMS]
    if not students:
        return ends
    best = max(students, key=lambda model: value[model])
    of = "the student" if len(students) == 1 else "of the students"
    how = f"{of} {best} is highest," if len(students) > 1 else f"{of} {best}"
    return f"{ends}; {how} {value[best]:.1f}"


def gap(
    closed: Mapping[str, Mapping[str, float | None] | None],
    intervals: Mapping[str, Mapping[str, Sequence[float] | None] | None],
) -> Plot:
    """How far each student came from base (0 %) to teacher (100 %), a panel for each score; a line
    for the 95 % interval, where there is one."""
    rows: dict[str, list[tuple[str, float, Sequence[float] | None]]] = {}
    for arm, shares in closed.items():
        for metric, share in (shares or {}).items():
            if share is not None:
                ends = (intervals.get(arm) or {}).get(metric)
                percent = [100 * end for end in ends] if ends else None
                rows.setdefault(metric, []).append((arm, 100 * share, percent))
    if not rows:
        return Plot("gap", "Nothing to draw: no student, or no gap between base and teacher.")
    n_rows = sum(map(len, rows.values()))
    figure, axes = new_figure(0.5 * len(rows) + 0.42 * n_rows, rows=len(rows), sharex=True)
    for (metric, bars), ax in zip(rows.items(), axes, strict=True):
        _gap_panel(ax, bars, is_first=ax is axes[0])
        ax.set_title(score_label(metric), fontsize=11, loc="right", color=INK)
    told = {metric: [_gap_text(*bar) for bar in bars] for metric, bars in rows.items()}
    first = next(iter(rows))
    headline(figure, f"{score_label(first)}, gap closed: {', '.join(told[first])}")
    each = [f"{score_label(metric)} {', '.join(texts)}" for metric, texts in told.items()]
    alt = f"Share of the gap between base and teacher closed: {'; '.join(each)}."
    return Plot("gap", alt, png_of(figure))


def _gap_text(arm: str, share: float, ends: Sequence[float] | None) -> str:
    interval = f" ({ends[0]:.0f} to {ends[1]:.0f})" if ends else ""
    return f"{arm} {share:.0f} %{interval}".replace("-", "−")


def _gap_panel(
    ax: Any, bars: Sequence[tuple[str, float, Sequence[float] | None]], is_first: bool
) -> None:
    edges = [0.0, 100.0]
    for y, (arm, share, ends) in enumerate(bars):
        ax.barh(y, share, color=COLOURS[arm], height=0.6)
        if ends:
            ax.plot(ends, (y, y), color=INK, linewidth=1.8, solid_capstyle="butt")
        edges += [share, *(ends or ())]
        at = max(0, share, *(ends or ()))
        text = {"textcoords": "offset points", "va": "center", "color": INK}
        label = _gap_text("", share, ends).strip()
        ax.annotate(label, (at, y), (5, 0), bbox={"fc": "white", "ec": "none", "pad": 1}, **text)
    for x, model in ((0, "base"), (100, "teacher")):
        ax.axvline(x, color=COLOURS[model], linewidth=1.5, zorder=0)
        top = {"transform": ax.get_xaxis_transform(), "va": "bottom", "ha": "center"}
        if is_first:
            ax.text(x, 1.0, model, color=COLOURS[model], **top)
    name_rows(ax, [bar[0] for bar in bars])
    room = 0.34 * (max(edges) - min(edges))  # for the labels at the bars' ends
    ax.set_xlim(min(edges) - 0.02 * room, max(edges) + room)


def difference(differences: Mapping[str, Mapping[str, Any]]) -> Plot:
    """The second student minus the first on the same questions, with its 95 % interval and a line
    at zero: which is better, or that this run does not show it."""
    pairs = [name for name in differences if {*name.split(" − ")} <= {*ARMS}]
    if not pairs:
        return Plot("difference", "Nothing to draw: it takes two students.")
    plus, minus = pairs[0].split(" − ")
    found = differences[pairs[0]]
    points, ends = found["points"], (found["low"], found["high"])
    is_sure = ends[0] > 0 or ends[1] < 0
    colour = COLOURS[plus if points > 0 else minus] if is_sure else SOFT
    figure, (ax,) = new_figure(1.25)
    ax.axvline(0, color=INK, linewidth=1)
    ax.plot(ends, (0, 0), color=colour, linewidth=4, solid_capstyle="butt")
    ax.plot(points, 0, "o", color=colour, markersize=9)
    ax.annotate(signed(points), (points, 0), (0, 9), textcoords="offset points", ha="center",
                color=colour, weight="bold")  # fmt: skip
    widest = 1.25 * max(1.0, *map(abs, ends))
    ax.set(xlim=(-widest, widest), ylim=(-0.6, 0.9), yticks=())
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(f"{found['score']} of {plus} minus {minus}, points", fontsize=11, color=INK)
    for x, side, who in ((0.0, "left", minus), (1.0, "right", plus)):
        place = {"transform": ax.transAxes, "ha": side, "va": "top", "color": COLOURS[who]}
        ax.text(x, 1.0, f"← {who} is better" if who == minus else f"{who} is better →", **place)
    interval = f"95 % interval {signed(ends[0])} to {signed(ends[1])}"
    value = f"{plus} minus {minus}: {signed(points)} {found['score']} ({interval})"
    what = f"{plus if points > 0 else minus} is better" if is_sure else "it may be chance"
    headline(figure, f"{value}: {what}")
    return Plot("difference", f"{value}: {what}.", png_of(figure))


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
    headline(figure, _most_refused(rejection["reasons"], traces, accepted))
    refused = ", ".join(f"{count:,} {reason}" for reason, count in rejection["reasons"].items())
    alt = (
        f"Of {traces:,} traces {accepted:,} ({_share(accepted, traces)}) were accepted and "
        f"{examples:,} became examples. Refused, in the order of the rules: {refused or 'none'}."
    )
    return Plot("funnel", alt, png_of(figure))


def _most_refused(reasons: Mapping[str, int], traces: int, accepted: int) -> str:
    kept = f"{_share(accepted, traces)} of {traces:,} traces are accepted"
    if not any(reasons.values()):
        return kept
    most = max(reasons, key=lambda reason: reasons[reason])
    return f"{kept}; most of the others are refused as {most}"


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
    headline(
        figure,
        f"{questions[0]:,} of {len(sampled):,} questions have no accepted trace; pass@k goes from "
        f"{shares[0]:.0f} % to {shares[-1]:.0f} %",
    )
    alt = (
        f"Questions with no accepted trace: {questions[0]:,} of {len(sampled):,}. "
        f"pass@k goes from {shares[0]:.0f} % at k = 1 to {shares[-1]:.0f} % at k = {ks[-1]}."
    )
    return Plot("yield", alt, png_of(figure))


def curves(logs: Rows, temperature: float, held_out: Rows = MappingProxyType({})) -> Plot:
    """CE of the students, and the KL of those with softened targets: a panel each, since they are
    different quantities; on log axes, since most of the way is gone in the first steps. Diamonds
    are losses on what was `held_out`, the KL of all students too.
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
    if with_marks := any(held_out.values()):
        panels.setdefault("kl", {})
    figure, axes = new_figure(0.4 + 2.0 * len(panels), rows=len(panels), sharex=True)
    described: list[str] = []
    told: list[str] = []
    for (term, lines), ax in zip(panels.items(), axes, strict=True):
        ax.set_title(f"{titles[term]}, nats", fontsize=11, loc="left", color=INK)
        marks = {
            arm: [(row["step"], row[term]) for row in rows]
            for arm, rows in held_out.items()
            if rows
        }
        described += _loss_panel(ax, term.upper(), lines, marks)
        told.append(_where_it_ends(term, marks or lines))
    axes[-1].set_xlabel("optimiser step" + "; ◆ on held-out answers" * with_marks)
    headline(figure, ("Held out, " if with_marks else "") + "; ".join(told))
    return Plot("curves", ", ".join(described) + " nats per completion token.", png_of(figure))


def _loss_panel(ax: Any, term: str, lines: Points, marks: Points) -> Iterator[str]:
    """Draws each arm's line, and the diamonds of what is held out; gives a phrase for each."""
    ends: dict[str, float] = {}
    colours: dict[str, str] = {}
    for arm, points in lines.items():
        start, end = _curve(ax, arm, points)
        ends[f"{arm} {end:.2f}"], colours[f"{arm} {end:.2f}"] = end, COLOURS[arm]
        yield f"{term} of {arm} goes from {start:.2f} to {end:.2f}"
    for arm, points in marks.items():
        ax.plot(*zip(*points, strict=True), ":D", color=COLOURS[arm], markersize=5)
        end = points[-1][1]
        ends[f"{arm} ◆ {end:.2f}"], colours[f"{arm} ◆ {end:.2f}"] = end, COLOURS[arm]
        yield f"held out {term} of {arm} ends at {end:.2f}"
    log_scale(ax, [value for of in (lines, marks) for points in of.values() for _, value in points])
    name_lines(ax, ends, colours, 0.13)


def _smooth(points: Sequence[tuple[float, float]]) -> list[float]:
    """The running mean: one step's loss is that of its own few examples, and jumps."""
    values, half = [value for _, value in points], len(points) // 40
    return [fmean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def _where_it_ends(term: str, of: Points) -> str:
    ends = [f"{_smooth(points)[-1]:.2f} ({arm})" for arm, points in of.items()]
    return f"{term.upper()} ends at {', '.join(ends)}"


def _curve(ax: Any, arm: str, points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """One student's line, raw and as a running mean; returns that mean's first and last value."""
    steps, values = zip(*points, strict=True)
    smooth = _smooth(points)
    style = {"color": COLOURS[arm], "linestyle": ARMS[arm].line}  # not colour alone
    marker = "o" if len(values) == 1 else None
    ax.plot(steps, values, color=COLOURS[arm], linewidth=0.8, alpha=0.35)
    ax.plot(steps, smooth, linewidth=2, marker=marker, **style)
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
    looks = {"topk": (REFUSED, "-"), "sampled": (KEPT, "--")}
    ends: dict[str, dict[str, float]] = {measure: {} for measure in titles}
    described: list[str] = []
    for (measure, title), ax in zip(titles.items(), axes, strict=True):
        for cache, (colour, style) in looks.items():
            errors = [[r[measure] for r in rows if (r["kind"], r["k"]) == (cache, k)] for k in ks]
            means = [fmean(of_k) for of_k in errors]
            low, high = list(map(min, errors)), list(map(max, errors))
            ax.fill_between(ks, low, high, color=colour, alpha=0.15, linewidth=0)
            ax.plot(ks, means, style, color=colour, marker="o", linewidth=2)
            ends[measure][cache] = means[-1]
            described.append(
                f"{title}, {cache}: {means[0]:.2g} at k = {ks[0]}, {means[-1]:.2g} at {ks[-1]}"
            )
        ax.set_title(f"error {title}, nats", fontsize=11, loc="left", color=INK)
        ax.set(xscale="log", yscale="log")
        ax.set_xticks(ks, [str(k) for k in ks])
        ax.minorticks_off()
        ax.grid(axis="y", color=REST, linewidth=0.8)
    for ax, of in zip(axes, ends.values(), strict=True):  # behind all lines: the scale is shared
        name_lines(ax, of, {cache: colour for cache, (colour, _) in looks.items()}, 0.11)
    axes[-1].set_xlabel("k, tokens kept or drawn")
    best = {measure: min(of, key=lambda cache, of=of: of[cache]) for measure, of in ends.items()}
    one, many = best["per_token"], best["of_mean"]
    headline(figure, f"With {ks[-1]} tokens {one} is closer for a token, {many} for their mean")
    alt = f"Error of the KL to a cached teacher, in nats: {'; '.join(described)}."
    return Plot("cached-teacher", alt, png_of(figure))
