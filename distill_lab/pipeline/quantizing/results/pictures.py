"""The three pictures of a report on quantization, each with a sentence from its data."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from distill_lab.pipeline.pruning.results.readings import MEASURES, Measure
from distill_lab.pipeline.pruning.results.wording import WORDINGS
from distill_lab.pipeline.pruning.results.words import megabytes
from distill_lab.pipeline.quantizing.results.distances import frontier
from distill_lab.reporting.figures import (
    INK,
    KEPT,
    REFUSED,
    REST,
    SOFT,
    Plot,
    headline,
    new_figure,
    plain_ticks,
    png_of,
)

_SIDES = ((9, 6), (-9, 6), (9, -6), (-9, -6), (11, 0), (-11, 0))  # of a point, in points
Models = Mapping[str, Mapping[str, Any]]  # `models` of report.json

_TITLES = {
    "frontier": (
        "What a byte buys",
        "Each model by the bytes of its weights on disk and its score, with the 95 % interval over "
        "{noun}. The line joins those that no other beats in both. All models read the same "
        "{noun}, so that differences between them are surer than the bars.",
    ),
    "bits": (
        "What a bit costs",
        "KL from the dense model in nats a token, on its own answers or on the reviews, against "
        "the bits of the whole file for one weight: scales, and what was not quantized, count. "
        "Bars: 95 % intervals.",
    ),
    "sensitivity": (
        "Which linears can stand few bits",
        "KL from the dense model when one linear alone is quantized, all others as they were.",
    ),
}


def titles(task: str) -> dict[str, tuple[str, str]]:
    """Of each picture its title, and how to read it."""
    noun = WORDINGS[task].noun
    return {name: (title, text.format(noun=noun)) for name, (title, text) in _TITLES.items()}


def draw(report: Mapping[str, Any]) -> list[Plot]:
    """All pictures of a report."""
    models = report["models"]
    return [
        score_by_bytes(models, MEASURES[report["task"]][0]),
        bits(models),
        sensitivity(report["sensitivity"]),
    ]


def score_by_bytes(models: Models, measure: Measure) -> Plot:
    """The measure that decides against megabytes; a number stands for a model's name."""
    points = {name: (m["costs"]["bytes"] / 1e6, m[measure.name]) for name, m in models.items()}
    best = frontier(points)
    figure, (ax,) = new_figure(3.6 + 0.19 * len(points))
    ax.plot(*zip(*(points[name] for name in best), strict=True), color=REST, linewidth=2, zorder=0)
    for n, (name, (size, value)) in enumerate(points.items(), 1):
        colour = KEPT if name in best else SOFT
        ax.plot((size, size), models[name][f"{measure.name}_ci95"], color=colour, alpha=0.35)
        ax.plot(size, value, "o", color=colour, markersize=5, label=f"{n} {name}")
    ax.set_xscale("log")
    plain_ticks(ax.xaxis)
    ax.set_xlabel("weights on disk, MB", fontsize=11, color=INK)
    ax.set_ylabel(f"{measure.label}, percent", fontsize=11, color=INK)
    _legend(figure, ax)
    ends = {best[0]: f"The smallest, {best[0]}", "dense": "dense"}
    compared = [
        f"{said}: {megabytes(models[n]['costs']['bytes'])} MB, {points[n][1]:.1f}"
        for n, said in ends.items()
        if n in points
    ]
    headline(figure, f"{'; '.join(compared)} {measure.label}")
    _numbered(ax, list(points.values()))
    told = "; ".join(
        f"{name} {size:,.4g} MB, {value:.1f}" for name, (size, value) in points.items()
    )
    alt = f"{measure.label} by megabytes: {told}. Beaten by no other: {', '.join(best)}."
    return Plot("frontier", alt, png_of(figure))


def bits(models: Models) -> Plot:
    """KL against bits a weight, on logarithmic scales."""
    others = {name: m for name, m in models.items() if "kl" in m}
    points = {name: (m["costs"]["bits"], max(m["kl"], 1e-6)) for name, m in others.items()}
    if not points:
        return Plot("bits", "Nothing to draw: the dense model is alone.")
    figure, (ax,) = new_figure(3.6 + 0.19 * len(points))
    for n, (name, (x, y)) in enumerate(points.items(), 1):
        colour = REFUSED if "QAT" in name else KEPT
        ends = [max(end, 1e-6) for end in others[name]["kl_ci95"]]
        ax.plot((x, x), ends, color=colour, alpha=0.35)
        ax.plot(x, y, "o", color=colour, markersize=5, label=f"{n} {name}")
    ax.set_yscale("log")
    ax.set_xlabel("bits a weight, of the whole file", fontsize=11, color=INK)
    ax.set_ylabel("KL, nats a token", fontsize=11, color=INK)
    ax.grid(axis="y", color=REST, linewidth=0.8)
    _legend(figure, ax)
    ends = [choose(points, key=lambda name: points[name][1]) for choose in (max, min)]
    far, near = (f"{n} ({others[n]['kl']:.2g} nats, {points[n][0]:.2g} bits)" for n in ends)
    more = f"; nearest: {near}" if len(points) > 1 else ""
    headline(figure, f"Furthest from the dense model: {far}{more}")
    _numbered(ax, list(points.values()))
    told = "; ".join(f"{name} {x:.3g} bits, {y:.3g} nats" for name, (x, y) in points.items())
    return Plot("bits", f"KL from the dense model: {told}.", png_of(figure))


def _numbered(ax: Any, points: Sequence[tuple[float, float]]) -> None:
    """Each point's number beside it, on the side that has most room; called last, as it takes the
    places that all else has left the axes."""
    ax.margins(x=0.08)
    ax.figure.draw_without_rendering()
    places = [(x, y) for x, y in ax.transData.transform(points) * 72 / ax.figure.dpi]
    taken = [*places]
    for n, (x, y) in enumerate(places):
        others = [place for place in taken if place != (x, y)]
        dx, dy = max(_SIDES, key=lambda side: _room((x + side[0], y + side[1]), others))
        taken.append((x + dx, y + dy))
        ax.annotate(str(n + 1), points[n], xytext=(dx, dy), textcoords="offset points",
                    ha="center", va="center", fontsize=9, color=INK)  # fmt: skip


def _room(number: tuple[float, float], others: Sequence[tuple[float, float]]) -> float:
    """How far it is to the nearest other, in points; 18, the width of two numbers, are enough."""
    return min([18.0, *(math.dist(number, other) for other in others)])


def _legend(figure: Any, ax: Any) -> None:
    handles = ax.get_legend_handles_labels()
    place = {"loc": "outside lower center", "ncols": 2, "frameon": False, "fontsize": 9}
    figure.legend(*handles, handlelength=0.8, labelspacing=0.3, **place)


def sensitivity(found: Mapping[str, float]) -> Plot:
    """A row for each kind of linear, a column for each block."""
    if not found:
        return Plot(
            "sensitivity", "Nothing to draw: it was not asked which linears stand few bits."
        )
    parts = {name: re.search(r"\.(\d+)\.(.+)$", name) for name in found}
    at = {name: (match[2], int(match[1])) for name, match in parts.items() if match}
    kinds = list(dict.fromkeys(kind for kind, _ in at.values()))
    n_blocks = 1 + max(block for _, block in at.values())
    grid = [[0.0] * n_blocks for _ in kinds]
    for name, (kind, block) in at.items():
        grid[kinds.index(kind)][block] = found[name]
    figure, (ax,) = new_figure(0.9 + 0.3 * len(kinds))
    image = ax.imshow(grid, cmap="Blues", aspect="auto", vmin=0)
    ax.set_yticks(range(len(kinds)), [kind.split(".")[-1] for kind in kinds])
    ax.set_xticks(range(0, n_blocks, 1 + n_blocks // 13))
    ax.set_xlabel("block", fontsize=11, color=INK)
    figure.colorbar(image, ax=ax).set_label("KL, nats a token", fontsize=9.5, color=INK)
    top, (kind, block) = max((found[name], where) for name, where in at.items())
    typical = median(found[name] for name in at)
    times = f", {top / typical:.2g} times the median" if top > 1.5 * typical > 0 else ""
    headline(
        figure, f"Most sensitive: {kind.split('.')[-1]} of block {block}, {top:.2g} nats{times}"
    )
    most = sorted(found, key=lambda name: found[name], reverse=True)[:5]
    told = "; ".join(f"{name} {found[name]:.3g}" for name in most)
    return Plot("sensitivity", f"The most sensitive linears, in nats a token: {told}.",
                png_of(figure))  # fmt: skip
