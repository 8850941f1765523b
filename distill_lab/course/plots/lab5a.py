"""Pictures of Lab 5a: what a temperature does to the next token, and what sampling buys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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

_LINES = ("-", "--", ":", "-.")
_HUES = (KEPT, REFUSED, GREEN, SOFT)  # beside _LINES, for those who see no colours


def next_token(chances: Mapping[float, Sequence[float]], tokens: Sequence[str]) -> Plot:
    """The probabilities of the likeliest next tokens, one panel per temperature. The last bar is
    the sum of all other tokens.

    chances: for each temperature, the probability (0 to 1) of each of `tokens`.
    """
    rows = [*(token.strip() or repr(token) for token in tokens), "all others"]
    figure, axes = new_figure(0.7 + 0.3 * len(rows), columns=len(chances), sharey=True)
    phrases: list[str] = []
    for (temperature, probabilities), ax in zip(chances.items(), axes, strict=True):
        shares = [*probabilities, max(0.0, 1 - sum(probabilities))]
        colours = [KEPT] * len(probabilities) + [REFUSED]
        ax.barh(range(len(rows)), [100 * p for p in shares], color=colours, height=0.62)
        for y, p in enumerate(shares):
            ax.text(100 * p + 3, y, _percent(p), va="center", color=INK, fontsize=9)
        ax.set_title(f"T = {temperature:g}", fontsize=11, color=INK)
        name_rows(ax, rows)
        ax.set_xlim(0, 150)  # room for a label beside a bar of 100 %
        each = ", ".join(f"{row} {_percent(p)}" for row, p in zip(rows, shares, strict=True))
        phrases.append(f"at T = {temperature:g} {each}")
    ends = [
        f"{_percent(of[0])} at T = {t:g}" for t, of in (*chances.items(),)[:: len(chances) - 1 or 1]
    ]
    headline(figure, f"The likeliest token, {rows[0]}: {', '.join(ends)}")
    return Plot("next-token", f"Chances of the next token: {'; '.join(phrases)}.", png_of(figure))


def _percent(share: float) -> str:
    return "<1 %" if 1e-6 < share < 0.005 else f"{100 * share:.0f} %"


def passes(curves: Mapping[str, Sequence[float]]) -> Plot:
    """pass@k in percent against k = 1, 2, …, one line for each name."""
    if not curves:
        return Plot("passes", "Nothing to draw: no curves.")
    figure, (ax,) = new_figure(3.2)
    phrases: list[str] = []
    for n, (name, shares) in enumerate(curves.items()):
        style = {"color": _HUES[n % 4], "linestyle": _LINES[n % 4], "linewidth": 2, "marker": "o"}
        ax.plot(range(1, len(shares) + 1), shares, markersize=5, **style)
        phrases.append(
            f"{name} from {shares[0]:.0f} % at k = 1 to {shares[-1]:.0f} % at k = {len(shares)}"
        )
    low = min(min(shares) for shares in curves.values())
    most = max(len(shares) for shares in curves.values())
    ax.set(xlabel="k, traces a question", ylabel="pass@k, percent")
    ax.set_ylim(max(0.0, 10 * (low // 10) - 5), 102)
    ax.set_xticks(range(1, most + 1))
    ax.grid(axis="y", color=REST, linewidth=0.8)
    hues = {name: _HUES[n % 4] for n, name in enumerate(curves)}
    name_lines(ax, {name: shares[-1] for name, shares in curves.items()}, hues, 0.075)
    headline(figure, _highest(curves))
    return Plot("passes", f"pass@k: {'; '.join(phrases)}.", png_of(figure))


def _highest(curves: Mapping[str, Sequence[float]]) -> str:
    first = max(curves, key=lambda name: curves[name][0])
    last = max(curves, key=lambda name: curves[name][-1])
    at_1, at_k = f"{curves[first][0]:.0f} %", f"{curves[last][-1]:.0f} %"
    k = len(curves[last])
    return f"With one trace {first} is highest ({at_1}), with {k} traces {last} ({at_k})"


def lengths(right: Sequence[int], wrong: Sequence[int]) -> Plot:
    """How long right and wrong traces are, in tokens: two histograms, in percent of each group."""
    if not right or not wrong:
        return Plot("lengths", "Nothing to draw: it takes right traces and wrong ones.")
    figure, axes = new_figure(3.4, rows=2, sharex=True, sharey=True)
    edges = _edges(min(*right, *wrong), max(*right, *wrong))
    groups = (("right", right, KEPT), ("wrong", wrong, REFUSED))
    for (name, group, colour), ax in zip(groups, axes, strict=True):
        ax.hist(group, edges, color=colour, weights=[100 / len(group)] * len(group), rwidth=0.9)
        middle = _median(group)
        ax.axvline(middle, color=INK, linewidth=1.2)
        ax.set_title(
            f"{name}: {len(group):,} traces, median {middle} tokens",
            fontsize=11, loc="left", color=INK,
        )  # fmt: skip
        ax.set_ylabel("percent")
    axes[-1].set_xlabel("tokens of a trace")
    more = _median(wrong) - _median(right)
    how = f"{abs(more)} tokens {'longer' if more > 0 else 'shorter'} than" if more else "as long as"
    headline(figure, f"Wrong traces are {how} right ones, by the median")
    alt = (
        f"Tokens of a trace: {len(right):,} right ones with a median of {_median(right)} "
        f"({min(right)} to {max(right)}), {len(wrong):,} wrong ones with {_median(wrong)} "
        f"({min(wrong)} to {max(wrong)})."
    )
    return Plot("lengths", alt, png_of(figure))


def _median(values: Sequence[int]) -> int:
    return sorted(values)[len(values) // 2]


def _edges(low: int, high: int) -> list[int]:
    """The edges of at most 24 bins, each with equally many whole numbers."""
    width = 1 + (high - low) // 24
    return list(range(low, high + width + 1, width))
