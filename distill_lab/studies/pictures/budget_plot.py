"""A score against what it took: one picture, a panel for each kind of budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distill_lab.reporting.figures import INK, REST, SOFT, Plot, in_axes, new_figure, png_of
from distill_lab.studies.measure_names import label
from distill_lab.studies.pictures.look import MARKS, colours, number
from distill_lab.studies.series import Spent

_KINDS: dict[str, Callable[[Mapping[str, float]], float]] = {
    "floating-point operations": lambda budget: budget["flops"],
    "tokens sampled, the teacher's and the student's": (
        lambda budget: budget["teacher_wrote"] + budget["student_wrote"]
    ),
    "tokens trained on": lambda budget: budget["trained"],
    "seconds of sampling and training": lambda budget: budget["seconds"],
}


def budget_plot(
    measure: str, students: Mapping[str, Sequence[Spent]], levels: Mapping[str, float]
) -> Plot:
    """The measure of each student against its budgets; `levels` are the references' scores."""
    figure, axes = new_figure(0.3 + 2.3 * len(_KINDS), rows=len(_KINDS))
    shades = colours(list(students))
    for (name, of), ax in zip(_KINDS.items(), axes, strict=True):
        ends = _points(ax, students, of, shades)
        for reference, level in levels.items():
            ax.axhline(level, color=SOFT, linewidth=1, linestyle=":")
            place = {"xycoords": ("axes fraction", "data"), "va": "bottom", "fontsize": 9}
            ax.annotate(reference, (0.01, level), color=SOFT, **place)
        _scale(ax, [of(spent.budget) for each in students.values() for spent in each])
        ax.set_xlabel(name, fontsize=11, color=INK)
        ax.set_ylabel(label(measure), fontsize=11, color=INK)
        ax.margins(x=0.25, y=0.1)
        ax.grid(axis="y", color=REST, linewidth=0.8)
        _name_points(ax, ends, shades, list(levels.values()))
    ranked = sorted(students, key=lambda who: _best(students[who]).point.mean, reverse=True)
    parts = [_described(who, _best(students[who]), measure) for who in ranked]
    title = f"{label(measure)} by operations: {'; '.join(parts)}"
    caption = (
        "Means over seeds, bars: 95 % intervals over passages. The start that all share, the "
        "teacher's traces and its reading of them are charged; its own training is not. Two "
        "operations a parameter for a token read or written, six for one trained on. Seconds are "
        "those of one machine, on which other cells were trained at the same time."
    )
    return Plot("budgets", f"{title}.", png_of(figure), title, caption)


def _points(
    ax: Any,
    students: Mapping[str, Sequence[Spent]],
    of: Callable[[Mapping[str, float]], float],
    shades: Mapping[str, str],
) -> dict[str, tuple[float, float]]:
    """Draws them; gives the last point of each student, beside which its name stands."""
    ends: dict[str, tuple[float, float]] = {}
    for n, (student, all_spent) in enumerate(students.items()):
        for spent in all_spent:
            x, point = of(spent.budget), spent.point
            bars = [[point.mean - point.low], [point.high - point.mean]]
            style = {"color": shades[student], "marker": MARKS[n % len(MARKS)]}
            ax.errorbar([x], [point.mean], bars, elinewidth=2, **style)
        ends[student] = (of(all_spent[-1].budget), all_spent[-1].point.mean)
    return ends


def _name_points(
    ax: Any,
    ends: Mapping[str, tuple[float, float]],
    shades: Mapping[str, str],
    levels: Sequence[float],
) -> None:
    """Each name beside its point, moved where a point or another name is, such as the references'
    at the left end of their `levels`."""
    points = {name: in_axes(ax, *place) for name, place in ends.items()}
    # left and right end, and height, of each name
    taken = [(0.0, 0.14, in_axes(ax, 1, level)[1] + 0.06) for level in levels]
    for name, (x, y) in points.items():
        wide = 0.02 + 0.02 * len(name)
        sides = {"left": (x + 0.02, x + 0.02 + wide), "right": (x - 0.02 - wide, x - 0.02)}
        places = [(side, y + up) for up in (0, 0.12, -0.12, 0.24, -0.24) for side in sides]
        free = (at for at in places if _is_free(*sides[at[0]], at[1], points, taken))
        side, height = next(free, ("left", y))
        taken.append((*sides[side], height))
        aside = (8 if side == "left" else -8, 0)
        place = {"xytext": aside, "textcoords": "offset points", "xycoords": "axes fraction"}
        look = {"color": shades[name], "ha": side, "va": "center", "fontsize": 11}
        ax.annotate(name, (x, height), annotation_clip=False, **place, **look)


def _is_free(
    left: float,
    right: float,
    height: float,
    points: Mapping[str, Any],
    taken: Sequence[tuple[float, float, float]],
) -> bool:
    on_point = any(left < x < right and abs(y - height) < 0.1 for x, y in points.values())
    on_name = any(a < right and left < b and abs(y - height) < 0.13 for a, b, y in taken)
    return not (on_point or on_name)


def _scale(ax: Any, values: Sequence[float]) -> None:
    """Logarithmic where budgets differ much; ticks such as 300G."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    if min(values) > 0 and max(values) > 6 * min(values):
        ax.set_xscale("log")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.minorticks_off()


def _best(all_spent: Sequence[Spent]) -> Spent:
    return max(all_spent, key=lambda spent: spent.point.mean)


def _described(student: str, spent: Spent, measure: str) -> str:
    return f"{student} {number(spent.point.mean, measure)} for {spent.budget['flops']:.1e}"
