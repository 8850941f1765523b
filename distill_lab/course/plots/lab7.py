"""Pictures of Lab 7 that a report on quantization does not have, in the style of
`reporting.plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from distill_lab.reporting.figures import (
    GREEN,
    INK,
    KEPT,
    REFUSED,
    REST,
    SOFT,
    Plot,
    headline,
    name_lines,
    name_rows,
    new_figure,
    png_of,
)

_LOOK = ((KEPT, "o", "-"), (REFUSED, "s", "--"), (GREEN, "D", ":"))
BINS = 48


def rounded_row(weights: Any, made: Mapping[int, Any]) -> Plot:
    """The weights (n) of a row as a histogram, and below it, for each number of bits, how many of
    them became each of the values that `made` (n) holds."""
    if not len(weights) or not made:
        return Plot("rounded-row", "Nothing to draw: there are no weights.")
    plain = [float(w) for w in weights]
    figure, axes = new_figure(1.25 * (1 + len(made)), rows=1 + len(made), sharex=True)
    axes[0].hist(plain, bins=BINS, color=SOFT)
    axes[0].set_title(f"{len(plain)} weights of a row", fontsize=11, loc="left", color=INK)
    phrases, used = list[str](), list[str]()
    for ax, (bits, values) in zip(axes[1:], made.items(), strict=True):
        counts: dict[float, int] = {}
        for value in values:
            counts[float(value)] = counts.get(float(value), 0) + 1
        worst = max(abs(w - float(v)) for w, v in zip(plain, values, strict=True))
        ax.vlines(list(counts), 0, list(counts.values()), color=KEPT, linewidth=1.4)
        phrase = f"{bits} bits: {len(counts)} of {2**bits} values, off by at most {worst:.2g}"
        ax.set_title(phrase, fontsize=11, loc="left", color=INK)
        phrases.append(phrase)
        used.append(f"{len(counts)} values with {bits} bits")
    for ax in axes:
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
    axes[-1].set_xlabel("weight", fontsize=11, color=INK)
    headline(figure, f"{len(set(plain))} different weights become {', '.join(used)}")
    told = f"{len(plain)} weights from {min(plain):.2g} to {max(plain):.2g}"
    return Plot("rounded-row", f"{told}. {'; '.join(phrases)}.", png_of(figure))


def kl_of_sharing(found: Mapping[str, Sequence[float]], bits: Sequence[int]) -> Plot:
    """KL in nats a token by those who share one scale, a mark for each number of bits."""
    if not found:
        return Plot("kl-of-sharing", "Nothing to draw: nothing was rounded.")
    figure, (ax,) = new_figure(1.1 + 0.42 * len(found))
    for y, values in enumerate(found.values()):
        for value, b, (colour, marker, _) in zip(values, bits, _LOOK, strict=False):
            label = f"{b} bits" if y == 0 else None
            at = max(value, 1e-9)
            ax.plot(at, y, marker, color=colour, markersize=7, label=label)
            ax.annotate(f"{value:.2g}", (at, y), (0, 7), textcoords="offset points", ha="center",
                        fontsize=9, color=colour)  # fmt: skip
    ax.set_xscale("log")
    name_rows(ax, list(found), scale=True)
    ax.margins(x=0.12)
    ax.set_xlabel("KL from the dense model, nats a token", fontsize=11, color=INK)
    ax.grid(axis="x", color=REST, linewidth=0.8)
    headline(figure, _dearest(found, bits))
    figure.legend(loc="outside lower center", ncols=len(bits), frameon=False, fontsize=10)
    told = "; ".join(
        f"{name}: " + ", ".join(f"{v:.3g} at {b} bits" for v, b in zip(values, bits, strict=True))
        for name, values in found.items()
    )
    return Plot("kl-of-sharing", f"KL by who shares a scale: {told}.", png_of(figure))


def _dearest(found: Mapping[str, Sequence[float]], bits: Sequence[int]) -> str:
    """Of the fewest bits the dearest and the cheapest way to share."""
    at = min(range(len(bits)), key=lambda n: bits[n])
    kl = {name: values[at] for name, values in found.items()}
    most, least = max(kl, key=lambda name: kl[name]), min(kl, key=lambda name: kl[name])
    if kl[most] == kl[least]:
        return f"At {bits[at]} bits it is the same who shares a scale"
    ratio = kl[most] / kl[least] if kl[least] > 0 else 0.0
    told = f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"
    times = f"{told} times" if ratio else "more than"
    return f"At {bits[at]} bits one scale a {most} costs {times} the KL of one a {least}"


def clipped(
    shares: Sequence[float], errors: Mapping[str, Sequence[float]], chosen: Mapping[str, float]
) -> Plot:
    """The squared error of a row against the share of its range that the steps reach over, a line a
    row, over its error without clipping; a ring where the share lies that was chosen."""
    if not errors:
        return Plot("clipped", "Nothing to draw: there are no rows.")
    figure, (ax,) = new_figure(3.2)
    phrases, told = list[str](), list[str]()
    for (name, line), (colour, marker, style) in zip(errors.items(), _LOOK, strict=False):
        whole = line[max(range(len(shares)), key=lambda n: shares[n])]
        relative = [value / whole for value in line]
        ax.plot(shares, relative, style, color=colour, marker=marker, markersize=4, label=name)
        at = min(range(len(shares)), key=lambda n: abs(shares[n] - chosen[name]))
        ax.plot(shares[at], relative[at], "o", color=colour, markersize=13, fillstyle="none")
        phrases.append(f"{name}: {chosen[name]:.2g} of the range, {relative[at]:.2f} of the error")
        told.append(f"{100 * (1 - relative[at]):.0f} % {name}")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel("share of the range that is kept", fontsize=11, color=INK)
    ax.set_title("squared error, over that without clipping", fontsize=11, loc="left", color=INK)
    ax.grid(axis="y", color=REST, linewidth=0.8)
    ax.legend(frameon=False, fontsize=10)
    headline(figure, f"The chosen range saves, of the error, {' and '.join(told)}")
    return Plot("clipped", f"Chosen are, for {'; '.join(phrases)}.", png_of(figure))


def layer_training(lines: Mapping[str, Sequence[float]], levels: Mapping[str, float]) -> Plot:
    """What a layer's outputs lose, in percent, by step of training, a line a way; and levels of
    those that are not trained."""
    if not lines:
        return Plot("layer-training", "Nothing to draw: nothing was trained.")
    figure, (ax,) = new_figure(3.2)
    last = max(len(line) for line in lines.values()) - 1
    ends, colours = dict[str, float](), dict[str, str]()
    for (name, line), (colour, _, style) in zip(lines.items(), _LOOK, strict=False):
        ax.plot(range(len(line)), [100 * v for v in line], style, color=colour, linewidth=2)
        ends[name], colours[name] = 100 * line[-1], colour
    for name, value in levels.items():
        ax.plot((0, last), (100 * value, 100 * value), ":", color=SOFT, linewidth=1)
        ends[name], colours[name] = 100 * value, SOFT
    ax.set_xlim(0, last)
    ax.set_xticks(range(0, last + 1, max(1, last // 4)))
    ax.set_ylim(0, None)
    ax.set_xlabel("step", fontsize=11, color=INK)
    ax.set_title("lost of the layer's outputs, percent", fontsize=11, loc="left", color=INK)
    name_lines(ax, ends, colours)
    best = min(lines, key=lambda name: lines[name][-1])
    first = 100 * lines[best][0]
    headline(figure, f"Trained {best}: from {first:.3g} to {ends[best]:.3g} % lost")
    told = [f"{name} from {100 * x[0]:.3g} to {100 * x[-1]:.3g} %" for name, x in lines.items()]
    told += [f"{name} {100 * value:.3g} %" for name, value in levels.items()]
    return Plot("layer-training", f"Lost of the outputs: {'; '.join(told)}.", png_of(figure))
