"""Pictures of Lab 6 that a report on pruning does not have, in the style of `reporting.plots`."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from distill_lab.reporting.figures import (
    INK,
    KEPT,
    REFUSED,
    REST,
    Plot,
    headline,
    new_figure,
    png_of,
)

_LOOK = ((REFUSED, "s"), (KEPT, "o"))
GROUPS = 8  # of input features, by their norms


def kept_by_input(norms: Any, masks: Mapping[str, Any]) -> Plot:
    """How many weights two masks (out, in) keep of each input: its features in groups of equal
    size, from the quietest to the loudest by their `norms` (in)."""
    if not len(norms) or not masks:
        return Plot("kept-by-input", "Nothing to draw: there are no weights.")
    order = sorted(range(len(norms)), key=lambda n: float(norms[n]))
    n_groups = min(GROUPS, len(order))
    bounds = [len(order) * n // n_groups for n in range(n_groups + 1)]
    parts = [order[low:high] for low, high in zip(bounds, bounds[1:], strict=False)]  # noqa: RUF007
    figure, (ax,) = new_figure(3.0)
    phrases, ends = list[str](), list[str]()
    for (name, mask), (colour, marker) in zip(masks.items(), _LOOK, strict=False):
        shares = [100 * float(mask[:, part].float().mean()) for part in parts]
        ax.plot(range(n_groups), shares, color=colour, marker=marker, linewidth=2, label=name)
        phrases.append(
            f"{name} {shares[0]:.0f} % at the quietest, {shares[-1]:.0f} % at the loudest"
        )
        ends.append(f"{name} keeps {shares[-1]:.0f} %")
    ax.set(ylim=(0, 105), xlabel="input features, from the quietest eighth to the loudest")
    ax.set_xticks(range(n_groups), [f"{fmean(float(norms[n]) for n in p):.2g}" for p in parts])
    ax.set_title(
        "weights kept, percent (below: the inputs' norm)", fontsize=11, loc="left", color=INK
    )
    ax.legend(frameon=False)
    ax.grid(axis="y", color=REST, linewidth=0.8)
    headline(figure, f"Of the loudest inputs' weights {' and '.join(ends)}")
    return Plot("kept-by-input", f"Weights kept of an input: {'; '.join(phrases)}.", png_of(figure))


def decode_times(
    measured: Mapping[int, float], predicted: tuple[int, float], line: tuple[float, float]
) -> Plot:
    """Milliseconds a token against the number of blocks: what was measured, the line a L + b that
    was fitted to some of it, and a prediction from that line."""
    if len(measured) < 2:
        return Plot("decode-times", "Nothing to draw: a line takes two measurements.")
    figure, (ax,) = new_figure(3.0)
    most, (a, b) = max(measured), line
    ax.plot((0, most), (b, a * most + b), "--", color=INK, linewidth=1.2)
    ax.plot(list(measured), list(measured.values()), "o", color=KEPT, markersize=7)
    n, milliseconds = predicted
    ax.plot(n, milliseconds, "x", color=REFUSED, markersize=9, markeredgewidth=2)
    at = {"textcoords": "offset points", "va": "center"}
    ax.annotate("predicted", (n, milliseconds), (9, -10), color=REFUSED, **at)
    ax.annotate("b: no block at all", (0, b), (8, 12), color=INK, **at)
    ax.set(xlim=(0, most * 1.15), ylim=(0, 1.15 * max(measured.values())))
    ax.set_xlabel("blocks L")
    ax.set_xticks(sorted(measured))
    ax.set_title("decode, ms a token", fontsize=11, loc="left", color=INK)
    ax.grid(axis="y", color=REST, linewidth=0.8)
    found = f", and took {measured[n]:.2f} ms" if n in measured else ""
    headline(figure, f"{n} blocks were predicted to take {milliseconds:.2f} ms{found}")
    told = ", ".join(f"{measured[n]:.2f} ms with {n} blocks" for n in sorted(measured))
    sign = "+" if b >= 0 else "−"
    alt = f"Decode: {told}; the line is {a:.2f} L {sign} {abs(b):.2f}, and predicts "
    return Plot("decode-times", f"{alt}{milliseconds:.2f} ms with {n} blocks.", png_of(figure))
