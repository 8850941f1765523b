"""A study's pictures: each with a title that says what it shows, told from the data.

They look as a run's: 5.2 inches wide, to be read at a phone's width, with labels beside the marks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from distill_lab.reporting.plots import INK, KEPT, REFUSED, REST, Plot, _figure, _png
from distill_lab.run.arms import COLOURS
from distill_lab.studies.findings import Finding, signed
from distill_lab.studies.measure_names import LOWER_IS_BETTER, OF_TRACES, gain, label, split
from distill_lab.studies.series import Calibration, Map, Point, Series

SOFT = "#6b6b6b"
_OTHERS = ("#007a5a", "#7a3e9d", "#8a6d00", "#b0356f", "#444444")  # students without a colour
_MARKS = "osD^vP*X"
_IN_WORDS = {
    "data.n_train": "training questions",
    "generate.n_samples": "samples a question",
    "generate.temperature": "sampling temperature",
    "train.temperature": "T",
}
_LINE = 0.045  # of the axes' height, at least between two labels


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with its title and how it is read."""

    title: str
    caption: str
    plot: Plot


def colours(students: Sequence[str]) -> dict[str, str]:
    """A colour for each student; arms on the kept examples have those of a run's report."""
    others = iter(_OTHERS * (1 + len(students) // len(_OTHERS)))
    return {name: COLOURS.get(name) or next(others) for name in students}


def short(name: str) -> str:
    """A setting in words: `alpha` for `train.alpha`."""
    return _IN_WORDS.get(name) or name.partition(".")[2].replace("_", " ")


def number(value: float, measure: str) -> str:
    """A mean as labels print it."""
    return f"{value:.3f}" if split(measure)[0] in OF_TRACES else f"{value:.1f}"


def forest(findings: Sequence[Finding]) -> Picture:
    """All findings, a panel for each unit: the interval, the mean, and a point for each seed."""
    panels: dict[str, list[Finding]] = {}
    for finding in findings:
        panels.setdefault(finding.unit, []).append(finding)
    sizes = [len(rows) for rows in panels.values()]
    height = 0.55 * sum(sizes) + 0.75 * len(panels)
    ratios = {"height_ratios": [size + 0.6 for size in sizes]}
    figure, axes = _figure(height, rows=len(panels), gridspec_kw=ratios)
    for (unit, rows), ax in zip(panels.items(), axes, strict=True):
        for y, finding in enumerate(rows):
            _forest_row(ax, y, finding)
        ax.axvline(0, color=INK, linewidth=1)
        ax.set_ylim(len(rows) - 0.55, -0.75)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.set_xlabel(f"difference, {unit}", fontsize=11, color=INK)
        ax.margins(x=0.04)
    caption = (
        "Line: 95 % interval over passages; dot: mean over seeds; small marks: the seeds. Blue is "
        "better beyond chance, orange worse, grey may be chance."
    )
    alt = f"{'; '.join(map(str, findings))}."
    return Picture(_forest_title(findings), caption, Plot("findings", alt, _png(figure)))


def _forest_row(ax: Any, y: int, finding: Finding) -> None:
    better = gain(finding.measure, finding.difference) > 0
    colour = (KEPT if better else REFUSED) if finding.sure else SOFT
    ax.plot(finding.ci95, (y, y), color=colour, linewidth=3, solid_capstyle="butt")
    ax.plot(finding.difference, y, "o", color=colour, markersize=8)
    seeds = finding.by_seed
    ax.plot(seeds, [y + 0.17] * len(seeds), "|", color=INK, markersize=6, alpha=0.7)
    text = {"transform": ax.get_yaxis_transform(), "va": "bottom", "color": INK, "fontsize": 11}
    text["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # over the zero line
    values = f"{signed(finding.difference, finding.measure)}"
    ax.text(0, y - 0.17, _cut(finding.contrast), ha="left", **text)
    ax.text(1, y - 0.17, values, ha="right", **{**text, "color": colour, "weight": "bold"})


def _cut(text: str, most: int = 50) -> str:
    return text if len(text) <= most else text[: most - 2] + " …"


def _forest_title(findings: Sequence[Finding]) -> str:
    if len(findings) == 1:
        (only,) = findings
        how = "beyond chance" if only.sure else "which may be chance"
        return f"{only.contrast}: {signed(only.difference, only.measure)} {only.unit}, {how}"
    sure = [gain(f.measure, f.difference) > 0 for f in findings if f.sure]
    parts = [
        f"{n} {'is' if n == 1 else 'are'} {what}"
        for n, what in (
            (sum(sure), "better beyond chance"),
            (len(sure) - sum(sure), "worse"),
            (len(findings) - len(sure), "undecided"),
        )
        if n
    ]
    return f"Of {len(findings)} differences {', '.join(parts)}"


def line_plot(panels: Sequence[Series]) -> Picture:
    """Measures along one axis, a panel each and a line a student; the first panel gives the
    title."""
    first = panels[0]
    students = list(first.students)
    figure, axes = _figure(0.35 + 2.5 * len(panels), rows=len(panels), sharex=True)
    shades = colours(students)
    for series, ax in zip(panels, axes, strict=True):
        _lines(ax, series, shades)
        ax.set_title(_with_direction(series.measure), fontsize=11, loc="left", color=INK)
    axes[-1].set_xlabel(short(first.axis), fontsize=11, color=INK)
    caption = (
        f"Means over seeds on the half “{first.half}”; bands: 95 % intervals over passages. Where "
        "other axes vary too, the mean over their values."
    )
    alt = ". ".join(_described(series) for series in panels) + "."
    name = f"{first.axis.replace('.', '-')}-{first.measure.replace('@', '-').replace(':', '-')}"
    return Picture(_line_title(first), caption, Plot(name, alt, _png(figure)))


def _with_direction(measure: str) -> str:
    return label(measure) + (" (lower is better)" if split(measure)[0] in LOWER_IS_BETTER else "")


def _lines(ax: Any, series: Series, shades: Mapping[str, str]) -> None:
    values = list(dict.fromkeys(p.value for points in series.students.values() for p in points))
    numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    place = {value: value if numeric else n for n, value in enumerate(values)}
    ends: dict[str, float] = {}
    for n, (student, points) in enumerate(series.students.items()):
        xs, means = [place[p.value] for p in points], [p.mean for p in points]
        low, high = [p.low for p in points], [p.high for p in points]
        style = {"color": shades[student], "marker": _MARKS[n % len(_MARKS)]}
        if numeric:
            ax.fill_between(xs, low, high, color=shades[student], alpha=0.13, linewidth=0)
            ax.plot(xs, means, linewidth=2, markersize=5, **style)
        else:
            errors = [np.subtract(means, low), np.subtract(high, means)]
            ax.errorbar(xs, means, errors, linestyle="none", elinewidth=2, **style)
        ends[student] = means[-1]
    if numeric and is_geometric(values):
        ax.set_xscale("log")
    ax.set_xticks(list(place.values()), [tick(value) for value in values])
    ax.minorticks_off()
    ax.margins(x=0.06 if numeric else 0.2)
    ax.grid(axis="y", color=REST, linewidth=0.8)
    _labels_at_the_end(ax, ends, shades)


def tick(value: Any) -> str:
    """A value of an axis in print: `2` for 2.0."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def is_geometric(values: Sequence[float]) -> bool:
    """Whether values grow by about the same factor, rather than by the same amount."""
    if len(values) < 3 or min(values) <= 0 or list(values) != sorted(values):
        return False
    factors, steps = np.diff(np.log(values)), np.diff(values)
    return bool(np.std(factors) / np.mean(factors) < np.std(steps) / np.mean(steps))


def _labels_at_the_end(ax: Any, ends: Mapping[str, float], shades: Mapping[str, str]) -> None:
    """Each student's name right of its line, moved apart where two would overlap."""
    low, high = ax.get_ylim()
    at = {name: (value - low) / (high - low) for name, value in ends.items()}
    lowest = -math.inf
    for name in sorted(at, key=lambda name: at[name]):
        lowest = max(at[name], lowest + 2 * _LINE)
        text = {"xycoords": "axes fraction", "va": "center", "fontsize": 11}
        ax.annotate(name, (1.02, lowest), color=shades[name], annotation_clip=False, **text)


def _described(series: Series) -> str:
    return f"{label(series.measure)} along {short(series.axis)}: " + "; ".join(
        f"{student} "
        + ", ".join(f"{number(p.mean, series.measure)} at {tick(p.value)}" for p in points)
        for student, points in series.students.items()
    )


def _line_title(series: Series) -> str:
    """What the measure does along the axis: of up to two students from where to where, of more the
    best and the worst at the last value."""
    name, axis = label(series.measure), short(series.axis)
    ends = {student: (points[0], points[-1]) for student, points in series.students.items()}

    def at(point: Point) -> str:
        return number(point.mean, series.measure)

    if len(ends) <= 2:
        parts = [f"{who} {at(a)} → {at(b)}" for who, (a, b) in ends.items()]
        a, b = next(iter(ends.values()))
        return f"{name} by {axis}, {tick(a.value)} to {tick(b.value)}: {', '.join(parts)}"
    ranked = sorted(ends, key=lambda who: gain(series.measure, ends[who][1].mean), reverse=True)
    best, worst = ranked[0], ranked[-1]
    where = f"{axis} {tick(ends[best][1].value)}"
    of_best, of_worst = at(ends[best][1]), at(ends[worst][1])
    if ends[best][1].overlaps(ends[worst][1]):
        return f"{name} at {where} tells no student from another ({of_worst} to {of_best})"
    return f"{name} at {where}: {best} is best ({of_best}), {worst} worst ({of_worst})"


def heat_map(of: Map, finding: Finding) -> Picture:
    """A difference over two axes on the half where it was chosen, with what became of the chosen
    setting on the other half in the title."""
    table, measure = of.differences, of.contrast.measure
    most = max(float(np.nanmax(np.abs(table))), 1e-9)
    figure, (ax,) = _figure(0.9 + 0.5 * len(table))
    better = np.vectorize(lambda value: gain(measure, value))(table)
    ax.imshow(better, cmap=_cmap(), vmin=-most, vmax=most, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            chosen = _is_chosen(of, finding, row, column)
            colour = "#ffffff" if abs(value) > 0.6 * most else INK
            text = signed(value, measure) + (" ●" if chosen else "")
            ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=11)
    ax.set_xticks(range(len(of.column_values)), [tick(v) for v in of.column_values])
    ax.set_yticks(range(len(of.row_values)), [tick(v) for v in of.row_values])
    ax.set_xlabel(short(of.columns), fontsize=11, color=INK)
    ax.set_ylabel(short(of.rows), fontsize=11, color=INK)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    chosen = [v for v in table.flat if not np.isnan(v)]
    best = max(chosen, key=lambda value: gain(measure, value))
    where = ", ".join(f"{short(name)} {tick(value)}" for name, value in finding.chosen.items())
    title = (
        f"{finding.contrast}: best at {where}, {signed(best, measure)} {finding.unit} where it was "
        f"chosen and {signed(finding.difference, measure)} on the other questions"
    )
    caption = (
        "Mean difference over seeds on the half on which settings are chosen (●: the chosen one); "
        "blue is better. The best of many is partly luck: only the other half tells its worth."
    )
    alt = f"{title}. Mean of all settings {signed(fmean(chosen), measure)}."
    return Picture(title, caption, Plot(f"map-{finding.id}", alt, _png(figure)))


def _is_chosen(of: Map, finding: Finding, row: int, column: int) -> bool:
    chosen = finding.chosen
    return (chosen.get(of.rows), chosen.get(of.columns)) == (
        of.row_values[row],
        of.column_values[column],
    )


def _cmap() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("difference", [REFUSED, "#ffffff", KEPT])


def calibration(of_students: Mapping[str, Calibration]) -> Picture:
    """Share of right answers against confidence, in bins; on the diagonal a model is as sure as it
    is right."""
    figure, (ax,) = _figure(4.2)
    shades = colours(list(of_students))
    ax.plot((0, 100), (0, 100), color=SOFT, linewidth=1, linestyle=":")
    for n, (student, made) in enumerate(of_students.items()):
        sizes = 18 + 150 * np.asarray(made.counts) / max(made.counts)
        ax.plot(made.confidence, made.right, color=shades[student], linewidth=1.5)
        label_text = f"{student} (ECE {made.error:.1f})"
        style = {"color": shades[student], "marker": _MARKS[n % len(_MARKS)], "alpha": 0.75}
        ax.scatter(made.confidence, made.right, sizes, label=label_text, zorder=3, **style)
    ax.set(xlim=(-3, 103), ylim=(-3, 103))
    ax.set_xlabel("confidence in the answer, percent", fontsize=11, color=INK)
    ax.set_ylabel("answers that are right, percent", fontsize=11, color=INK)
    legend = ax.legend(frameon=False, loc="upper left", fontsize=11)
    for handle in legend.legend_handles:
        handle.set_sizes([40])
    parts = [
        f"{student} is {'over' if made.excess > 0 else 'under'}confident by "
        f"{abs(made.excess):.1f} points"
        for student, made in of_students.items()
    ]
    caption = (
        "Answers in bins of equal width; the larger a mark, the more answers. Below the dotted "
        "line a model is surer than it is right. ECE: the mean distance from that line, in points."
    )
    title = "; ".join(parts)
    return Picture(title, caption, Plot("calibration", f"{title}.", _png(figure)))
