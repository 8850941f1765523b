"""Pictures of Lab 5c, student training, in the style of `reporting.plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from distill_lab.reporting.plots import INK, KEPT, REFUSED, REST, Plot, new_figure, png_of


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
    axes[0].set_title(title, fontsize=11, loc="left", color=INK)
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
        at = {"textcoords": "offset points", "va": "center", "color": colour}
        ax.annotate(name, (temperatures[-1], values[-1]), (8, 0), **at)
        phrases.append(
            f"{name} {values[0]:.2g} at T = {temperatures[0]:g} and {values[-1]:.2g} at "
            f"T = {temperatures[-1]:g}"
        )
    ax.set(xscale="log", yscale="log", xlabel="temperature T")
    ax.set_title("norm of the KL's gradient", fontsize=11, loc="left", color=INK)
    ax.set_xticks(temperatures, [f"{t:g}" for t in temperatures])
    ax.set_xlim(temperatures[0] * 0.85, temperatures[-1] * 2.2)  # room for the lines' names
    ax.minorticks_off()
    ax.grid(axis="y", color=REST, linewidth=0.8)
    alt = f"Norm of the KL's gradient in the student's logits: {', '.join(phrases)}."
    return Plot("gradient-norms", alt, png_of(figure))
