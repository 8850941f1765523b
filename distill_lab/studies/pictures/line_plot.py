"""Measures along an axis, a line for each student."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from distill_lab.reporting.figures import INK, REST, Plot, name_lines, new_figure, png_of
from distill_lab.studies.halves import CHOOSE, REPORT
from distill_lab.studies.measure_names import LOWER_IS_BETTER, gain, label, split
from distill_lab.studies.pictures.look import MARKS, axis_label, colours, number, tick
from distill_lab.studies.series import Point, Series

_DASHES = str.maketrans(".@", "--")
_WHICH = {CHOOSE: "on which settings are chosen", REPORT: "that are reported"}


def line_plot(panels: Sequence[Series]) -> Plot:
    """A measure along one axis, a line a student; of kinds of questions, a panel for each kind."""
    first = panels[0]
    students = list(first.students)
    figure, axes = new_figure(0.35 + 2.5 * len(panels), rows=len(panels), sharex=True)
    shades = colours(students)
    for series, ax in zip(panels, axes, strict=True):
        _lines(ax, series, shades)
        ax.set_title(_with_direction(series.measure), fontsize=11, loc="left", color=INK)
    axes[-1].set_xlabel(axis_label(first.axis), fontsize=11, color=INK)
    alt = ". ".join(_described(series) for series in panels) + "."
    measure, kind = split(first.measure)
    name = f"{first.axis[0]}-{measure}{'-by-kind' if kind else ''}".translate(_DASHES)
    title = "; ".join(map(_line_title, panels))
    return Plot(name, alt, png_of(figure), title, _caption(first))


def _caption(series: Series) -> str:
    spans = "bands" if _is_numeric(series) else "bars"
    said = f"Means over seeds on the questions {_WHICH[series.half]}; {spans}: 95 % intervals over "
    over = f" Each point is the mean over all values of {axis_label(series.averaged)}."
    return f"{said}passages.{over if series.averaged else ''}"


def _with_direction(measure: str) -> str:
    return label(measure) + (" (lower is better)" if split(measure)[0] in LOWER_IS_BETTER else "")


def _lines(ax: Any, series: Series, shades: Mapping[str, str]) -> None:
    values = list(dict.fromkeys(p.value for points in series.students.values() for p in points))
    numeric = _is_numeric(series)
    place = {value: value if numeric else n for n, value in enumerate(values)}
    ends: dict[str, float] = {}
    for n, (student, points) in enumerate(series.students.items()):
        xs, means = [place[p.value] for p in points], [p.mean for p in points]
        low, high = [p.low for p in points], [p.high for p in points]
        style = {"color": shades[student], "marker": MARKS[n % len(MARKS)]}
        if numeric:
            ax.fill_between(xs, low, high, color=shades[student], alpha=0.13, linewidth=0)
            ax.plot(xs, means, linewidth=2, markersize=5, **style)
        else:
            aside = 0.16 * (n - (len(series.students) - 1) / 2)  # else one would hide another
            xs = [x + aside for x in xs]
            errors = [np.subtract(means, low), np.subtract(high, means)]
            ax.errorbar(xs, means, errors, linestyle="none", elinewidth=2, **style)
        ends[student] = means[-1]
    if numeric and is_geometric(values):
        ax.set_xscale("log")
    ax.set_xticks(list(place.values()), [tick(value).replace(", ", "\n") for value in values])
    ax.minorticks_off()
    ax.margins(x=0.06 if numeric else 0.2)
    ax.grid(axis="y", color=REST, linewidth=0.8)
    name_lines(ax, ends, shades)


def _is_numeric(series: Series) -> bool:
    values = [point.value for points in series.students.values() for point in points]
    return all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)


def is_geometric(values: Sequence[float]) -> bool:
    """Whether values grow by about the same factor, rather than by the same amount."""
    if len(values) < 3 or min(values) <= 0 or list(values) != sorted(values):
        return False
    factors, steps = np.diff(np.log(values)), np.diff(values)
    return bool(np.std(factors) / np.mean(factors) < np.std(steps) / np.mean(steps))


def _described(series: Series) -> str:
    return f"{label(series.measure)} along {axis_label(series.axis)}: " + "; ".join(
        f"{student} "
        + ", ".join(f"{number(p.mean, series.measure)} at {tick(p.value)}" for p in points)
        for student, points in series.students.items()
    )


def _line_title(series: Series) -> str:
    """What the measure does along the axis: of up to two students from where to where; of more, at
    the last value, those whose intervals reach the best one's, and the last; on an axis of names,
    with which it is least and most."""
    name, axis = label(series.measure), axis_label(series.axis)
    ends = {student: (points[0], points[-1]) for student, points in series.students.items()}

    def at(point: Point) -> str:
        return number(point.mean, series.measure)

    if not _is_numeric(series):
        parts = [_range(who, points, at) for who, points in series.students.items()]
        return f"{name} by {axis}: {'; '.join(parts)}"
    if len(ends) <= 2:
        parts = [f"{who} {at(a)} → {at(b)}" for who, (a, b) in ends.items()]
        a, b = next(iter(ends.values()))
        return f"{name} by {axis}, {tick(a.value)} to {tick(b.value)}: {', '.join(parts)}"
    ranked = sorted(ends, key=lambda who: gain(series.measure, ends[who][1].mean), reverse=True)
    last = {who: ends[who][1] for who in ranked}
    best, worst = ranked[0], ranked[-1]
    where = f"{axis} {tick(last[best].value)}"
    if last[best].overlaps(last[worst]):
        spread = f"{at(last[worst])} to {at(last[best])}"
        return f"{name} at {where}: the students' intervals overlap ({spread})"
    ahead = [f"{who} {at(last[who])}" for who in ranked if last[who].overlaps(last[best])]
    leaders = " and ".join(filter(None, (", ".join(ahead[:-1]), ahead[-1])))
    are = "is" if len(ahead) == 1 else "are"
    return f"{name} at {where}: {leaders} {are} ahead, {worst} {at(last[worst])} is last"


def _range(who: str, points: Sequence[Point], at: Callable[[Point], str]) -> str:
    """`kd 37.5 with forward-kl to 50.0 with jsd`; where the axis does not matter, `sft 40.0`."""
    least, most = (choose(points, key=lambda point: point.mean) for choose in (min, max))
    if at(least) == at(most):
        return f"{who} {at(most)}"
    if least.overlaps(most):
        return f"{who} {at(least)} to {at(most)}, intervals overlap"
    return f"{who} {at(least)} with {tick(least.value)} to {at(most)} with {tick(most.value)}"
