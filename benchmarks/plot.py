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
    loss = next((r for r in results if r.case.name == "loss"), None)
    said = []
    for ax, what, unit, scale in (
        (axes[0], "cpu", "CPU seconds", 1.0),
        (axes[1], "peak", "extra peak memory, MB", 1e-6),
    ):
        said.append(_bars(ax, loss, what, unit, scale, versions))
    for ax, name in zip(axes[2:], GROWTH, strict=True):
        said.append(_lines(ax, [r for r in results if r.case.name == name and r.runs], name,
                           versions))  # fmt: skip
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(colors=INK, length=3)
    figure.savefig(to, dpi=110)
    return " ".join(sentence for sentence in said if sentence)


def _bars(
    ax: Any, loss: Result | None, what: str, unit: str, scale: float, versions: Mapping[str, str]
) -> str:
    if loss is None or not loss.runs:
        ax.set_axis_off()
        return ""
    values = {c: (loss.middle(c, what) or 0) * scale for c in loss.runs}
    order = sorted(values, key=lambda c: values[c], reverse=True)
    names = [label(c, versions) for c in order]
    colours = [OURS if c.startswith("ours") else OTHERS for c in order]
    bars = ax.barh(names, [values[c] for c in order], color=colours)
    ax.bar_label(bars, fmt="%.1f" if scale == 1 else "%.0f", padding=3, color=INK)
    ax.set_title(f"Loss and gradient: {unit}", loc="left", fontsize=11)
    ax.margins(x=0.15)
    pairs = ", ".join(f"{label(c, versions)} {values[c]:.1f}" for c in reversed(order))
    return f"Bars of {unit} for loss and gradient: {pairs}."


def _lines(ax: Any, points: Sequence[Result], name: str, versions: Mapping[str, str]) -> str:
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
            said.append(f"{label(contender, versions)} from {ys[0]:.2f} to {ys[-1]:.2f}")
    ax.set_xlabel(axis, color=INK)
    ax.set_ylabel("CPU seconds", color=INK)
    ax.set_ylim(bottom=0)
    ax.set_title(points[0].case.title, loc="left", fontsize=11)
    ax.legend(frameon=False, fontsize=8)
    first, last = (size(point, what) for point in (points[0], points[-1]))
    return f"CPU seconds against {axis}, {first:,.0f} to {last:,.0f}: {', '.join(said)}."
