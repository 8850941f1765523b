"""Pictures of Lab 5c, student training, in the style of `reporting.plots`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from distill_lab.reporting.figures import (
    INK,
    KEPT,
    REFUSED,
    REST,
    Plot,
    headline,
    name_lines,
    new_figure,
    png_of,
)


def softened(tokens: Sequence[str], probabilities: Mapping[float, Sequence[float]]) -> Plot:
    """One distribution at several temperatures, one panel each. `probabilities` maps T to the
    tokens' probabilities (0 to 1)."""
    if not tokens or not probabilities:
        return Plot("softened", "Nothing to draw: there are no probabilities.")
    columns = 2
    rows = (len(probabilities) + 1) // columns
    figure, axes = new_figure(
        0.3 + 1.7 * rows, rows=rows, columns=columns, sharex=True, sharey=True
    )
    phrases: list[str] = []
    highest = max(max(shares) for shares in probabilities.values())
    for (temperature, shares), ax in zip(probabilities.items(), axes, strict=False):
        bars = ax.bar(range(len(tokens)), shares, color=KEPT, width=0.65)
        ax.set_xticks(range(len(tokens)), tokens)  # by position: two tokens may look the same
        ax.bar_label(bars, [f"{100 * share:.0f} %" for share in shares], padding=2, color=INK)
        ax.set_title(f"T = {temperature:g}", fontsize=11, loc="left", color=INK)
        ax.set(ylim=(0, highest * 1.2), yticks=())
        ax.spines["left"].set_visible(False)
        parts = ", ".join(f"{t} {100 * s:.0f} %" for t, s in zip(tokens, shares, strict=True))
        phrases.append(f"T = {temperature:g}: {parts}")
    for ax in axes[len(probabilities) :]:
        ax.set_visible(False)
    shares = {temperature: 100 * max(of) for temperature, of in probabilities.items()}
    ends = [f"{shares[t]:.0f} % at T = {t:g}" for t in (min(shares), max(shares))]
    headline(figure, f"The likeliest has {' and '.join(ends)}")
    alt = f"The same logits, softened. {'; '.join(phrases)}."
    return Plot("softened", alt, png_of(figure))


def hesitations(
    tokens: Sequence[str],
    entropies: Sequence[float],
    a_row: int = 24,
    what: str = "its uncertainty",
) -> Plot:
    """How unsure a teacher is at each token of a completion: its entropy in nats, `a_row` tokens a
    row; or another quantity of a token, `what`. The title says how few tokens hold nine tenths of
    it."""
    total = sum(entropies)
    if not total:
        return Plot("hesitations", "Nothing to draw: the teacher is nowhere unsure.")
    order = sorted(range(len(tokens)), key=lambda n: -entropies[n])
    sums = list(accumulate(entropies[n] for n in order))
    few = 1 + next(n for n, held in enumerate(sums) if held >= 0.9 * total)
    starts = range(0, len(tokens), a_row)
    figure, axes = new_figure(0.4 + 1.7 * len(starts), rows=len(starts), sharey=True)
    for start, ax in zip(starts, axes, strict=True):
        part = list(range(start, min(start + a_row, len(tokens))))
        colours = [KEPT if n in order[:few] else REST for n in part]
        ax.bar(part, [entropies[n] for n in part], color=colours, width=0.7)
        ax.set_xticks(part, [tokens[n].strip() or "␣" for n in part], rotation=90)
        ax.tick_params(axis="x", labelsize=9, length=0)
        ax.set_xlim(start - 0.6, start + a_row - 0.4)
    title = f"{few} of {len(tokens)} tokens hold nine tenths of {what} (nats)"
    headline(figure, title)
    said = ", ".join(f"{tokens[n].strip()!r} {entropies[n]:.2f}" for n in order[:few])
    return Plot("hesitations", f"{title}: {said}.", png_of(figure))


def gradient_norms(temperatures: Sequence[float], norms: Sequence[float]) -> Plot:
    """The norm of the KL's gradient against T: `norms` are those with T^2; without, each is divided
    by T^2."""
    if not temperatures:
        return Plot("gradient-norms", "Nothing to draw: there are no temperatures.")
    without = [norm / t**2 for norm, t in zip(norms, temperatures, strict=True)]
    figure, (ax,) = new_figure(3.2)
    phrases: list[str] = []
    lines = (("with T²", norms, KEPT, "-"), ("without", without, REFUSED, "--"))
    for name, values, colour, style in lines:
        ax.plot(temperatures, values, style, color=colour, marker="o", linewidth=2)
        phrases.append(
            f"{name} {values[0]:.2g} at T = {temperatures[0]:g} and {values[-1]:.2g} at "
            f"T = {temperatures[-1]:g}"
        )
    ax.set(xscale="log", yscale="log", xlabel="temperature T")
    ax.set_title("norm of the KL's gradient", fontsize=11, loc="left", color=INK)
    ax.set_xticks(temperatures, [f"{t:g}" for t in temperatures])
    ax.minorticks_off()
    ax.grid(axis="y", color=REST, linewidth=0.8)
    ends = {name: values[-1] for name, values, *_ in lines}
    name_lines(ax, ends, {name: colour for name, _, colour, _ in lines})
    fallen = {name: values[0] / values[-1] for name, values, *_ in lines}
    last = f"T = {temperatures[-1]:g}"
    falls = [f"{_times(factor)} {name}" for name, factor in fallen.items()]
    headline(figure, f"Up to {last} the gradient falls by {' and '.join(falls)}")
    alt = f"Norm of the KL's gradient in the student's logits: {', '.join(phrases)}."
    return Plot("gradient-norms", alt, png_of(figure))


def _times(factor: float) -> str:
    """`a factor of 8.2`, `a factor of 8,400`."""
    return f"a factor of {factor:,.0f}" if factor >= 10 else f"a factor of {factor:.1f}"


def likeliest_tokens(
    logits: Any, decode: Callable[[int], str], n: int = 6
) -> Callable[[Any, float], str]:
    """For `slider`: draws one distribution over the vocabulary, of `logits` (V), at a temperature:
    its n likeliest tokens, and all others together."""
    top = logits.topk(n).indices.tolist()
    names = [*(decode(token).strip() or "␣" for token in top), "others"]

    def draw(ax: Any, temperature: float) -> str:
        softened = (logits.float() / temperature).softmax(-1)
        shares = [100 * softened[token].item() for token in top]
        shares.append(max(0.0, 100 - sum(shares)))
        bars = ax.bar(range(n + 1), shares, color=[KEPT] * n + [REFUSED], width=0.7)
        ax.bar_label(bars, [f"{share:.0f}" for share in shares], padding=2, color=INK, fontsize=9)
        ax.set_xticks(range(n + 1), names, rotation=45)
        ax.set(ylim=(0, 112), yticks=())
        ax.spines["left"].set_visible(False)
        return f"{names[0]} {shares[0]:.0f} %, all but these {n} tokens {shares[-1]:.0f} %"

    return draw


def loss_surface(
    loss: Callable[..., Any], teacher: Any, words: Sequence[str], steps: int = 30
) -> Callable[[Any, float], str]:
    """For `slider`: draws `loss(student, teacher, targets, alpha, 1)` over all distributions that a
    student may have on three words, for an alpha. The text says the first word; `teacher` has the
    logits (3) of the teacher. Right the share of the first word, up that of the second."""
    import torch

    shares = [
        (a / steps, b / steps, (steps - a - b) / steps)
        for a in range(1, steps)
        for b in range(1, steps - a)
    ]
    rows, text = torch.tensor(shares).log(), torch.tensor([0])  # (n, 3)
    own = teacher.float().softmax(-1).tolist()

    def draw(ax: Any, alpha: float) -> str:
        values = [loss(row[None], teacher[None], text, alpha, 1.0).item() for row in rows]
        x, y, _ = zip(*shares, strict=True)
        ax.tricontourf(x, y, values, levels=12, cmap="Blues_r")
        lowest = shares[min(range(len(values)), key=values.__getitem__)]
        ax.plot(*lowest[:2], "o", color=REFUSED, markersize=9)
        ax.plot(*own[:2], "x", color=INK, markersize=8, markeredgewidth=2)
        ax.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        ax.set_xlabel(words[0], fontsize=10, color=INK)
        ax.set_ylabel(words[1], fontsize=10, color=INK)
        each = zip(words, lowest, strict=True)
        return f"lowest at {', '.join(f'{word} {100 * share:.0f} %' for word, share in each)}"

    return draw
