"""The picture: time and memory of the loss by contender, and four curves of growth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Result
from benchmarks.table import GROWTH, label, size

INK, OURS, OTHERS = "#222222", "#0072b2", "#9a9a9a"
_LINES = (("#0072b2", "o-"), ("#c44e00", "s--"), ("#007a5a", "^:"))
_AXES = {
    "loss-tokens": "completion tokens",
    "loss-vocabulary": "vocabulary",
    "sampling-n": "samples a question, N",
    "sampling-context": "tokens of prompt",
}


def draw(results: Sequence[Result], versions: Mapping[str, str], to: Path) -> str:
    """Writes the picture and returns its alternative text, made from the same numbers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 11), layout="constrained")
    axes: list[Any] = list(figure.subplots(3, 2).flat)
    said = _bars(axes[:2], next((r for r in results if r.case.name == "loss"), None), versions)
    for ax, name in zip(axes[2:], GROWTH, strict=True):
        points = [r for r in results if r.case.name == name and r.runs]
        said += _lines(ax, points, name, versions)
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(colors=INK, length=3)
    figure.savefig(to, dpi=110, bbox_inches="tight")  # cases that were not asked for leave no gap
    return said.strip()


def _bars(axes: Sequence[Any], loss: Result | None, versions: Mapping[str, str]) -> str:
    """Time on the left, memory on the right, contenders in the same order."""
    if loss is None or not loss.runs:
        for ax in axes:
            ax.set_axis_off()
        return ""
    order = sorted(loss.runs, key=lambda c: loss.middle(c, "cpu") or 0, reverse=True)
    names = [label(c, versions) for c in order]
    time, peak = ([loss.middle(c, what) or 0 for c in order] for what in ("cpu", "peak"))
    colours = [OURS if c.startswith("ours") else OTHERS for c in order]
    for ax, values, title in (
        (axes[0], time, "CPU seconds"),
        (axes[1], [v / 1e6 for v in peak], "extra peak memory, MB"),
    ):
        bars = ax.barh([n.replace(", ", "\n", 1) for n in names], values, color=colours)
        ax.bar_label(bars, fmt="%.3g" if ax is axes[0] else "%.0f", padding=3, color=INK)
        ax.set_title(f"Loss and gradient: {title}", loc="left", fontsize=10)
        ax.margins(x=0.15)
        ax.tick_params(axis="y", labelsize=7.5)
    axes[1].set_yticklabels([])
    pairs = zip(reversed(names), reversed(time), reversed(peak), strict=True)
    said = "; ".join(f"{name} {t:.3g} s and {p / 1e6:.0f} MB" for name, t, p in pairs)
    return f"CPU time and extra peak memory of loss and gradient: {said}. "


def _lines(ax: Any, points: Sequence[Result], name: str, versions: Mapping[str, str]) -> str:
    """CPU time against what grows."""
    if not points:
        ax.set_axis_off()
        return ""
    what, axis = GROWTH[name], _AXES[name]
    said = []
    for contender, (colour, style) in zip(points[0].case.contenders, _LINES, strict=False):
        line = [(size(p, what), t) for p in points if (t := p.middle(contender, "cpu")) is not None]
        if line:
            xs, ys = zip(*line, strict=True)
            ax.plot(xs, ys, style, color=colour, label=label(contender, versions))
            said.append(f"{label(contender, versions)} from {ys[0]:.3g} to {ys[-1]:.3g}")
    ax.set_xlabel(axis, color=INK)
    ax.locator_params(axis="x", nbins=5)
    ax.set_ylabel("CPU seconds", color=INK)
    ax.set_ylim(bottom=0)
    ax.set_title(points[0].case.title, loc="left", fontsize=10)
    ax.legend(frameon=False, fontsize=8)
    first, last = (size(point, what) for point in (points[0], points[-1]))
    return f"CPU seconds against {axis}, {first:,.0f} to {last:,.0f}: {', '.join(said)}. "
