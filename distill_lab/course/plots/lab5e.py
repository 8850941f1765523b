"""Pictures of Lab 5e, distillation against reinforcement learning, in the style of
`reporting.plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from distill_lab.reporting.figures import (
    INK,
    KEPT,
    REFUSED,
    REST,
    Plot,
    headline,
    new_figure,
    png_of,
    signed,
)


def reward_groups(rewards: Sequence[Sequence[float]]) -> Plot:
    """Groups of samples, a row each, from those with the fewest rewards to those with the most; a
    square is blue where it was rewarded, and a dead group, whose rewards are all equal, says so."""
    if not rewards:
        return Plot("reward-groups", "Nothing to draw: there are no groups.")
    rows = sorted(rewards, key=sum)
    n, dead = len(rows[0]), [len(set(row)) == 1 for row in rows]
    figure, (ax,) = new_figure(0.5 + 0.24 * len(rows))
    for y, (row, is_dead) in enumerate(zip(rows, dead, strict=True)):
        colours = [KEPT if reward > 0 else REST for reward in row]
        ax.scatter(range(n), [y] * n, c=colours, marker="s", s=90)
        if is_dead:
            ax.text(n - 0.4, y, "dead", color=REFUSED, va="center", fontsize=9)
    ax.set(xlim=(-0.6, n + 0.6), ylim=(-0.7, len(rows) - 0.3), xticks=(), yticks=())
    ax.spines[["left", "bottom"]].set_visible(False)
    title = f"{sum(dead)} of {len(rows)} groups are dead"
    headline(figure, title)
    right = ", ".join(f"{sum(reward > 0 for reward in row)}" for row in rows)
    alt = f"{title}: of {n} samples each, so many are rewarded: {right}."
    return Plot("reward-groups", alt, png_of(figure))


def clipped_losses(
    ratios: Sequence[float], better: Sequence[float], worse: Sequence[float]
) -> Plot:
    """The loss of one token against its ratio, where its advantage is 1 (`better`) and -1."""
    if not ratios:
        return Plot("clipped-losses", "Nothing to draw: there are no ratios.")
    figure, axes = new_figure(2.6, columns=2)
    lines = (("A = 1", better, KEPT, "right"), ("A = −1", worse, REFUSED, "left"))
    phrases, told = list[str](), list[str]()
    for ax, (name, losses, colour, flat) in zip(axes, lines, strict=True):
        ax.plot(ratios, losses, color=colour, linewidth=2.5)
        ax.axvline(1, color=REST, linewidth=1)
        ax.set_xlabel("ratio", fontsize=11, color=INK)
        ax.set_title(f"loss, {name}", fontsize=11, loc="left", color=INK)
        flat_at = _flat(ratios, losses, flat)
        told.append(f"for {name} {flat_at}")
        phrases.append(
            f"{name}: from {losses[0]:.2f} at ratio {ratios[0]:.2f} to {losses[-1]:.2f} at "
            f"{ratios[-1]:.2f}, and {flat_at}"
        )
    headline(figure, f"The loss: {'; '.join(told)}")
    return Plot("clipped-losses", f"Loss of a token. {'; '.join(phrases)}.", png_of(figure))


def _flat(ratios: Sequence[float], losses: Sequence[float], side: str) -> str:
    """Where the loss has no slope, beginning at one side."""
    pairs = list(zip(ratios, losses, strict=True))
    pairs = pairs[::-1] if side == "right" else pairs
    end = pairs[0][0]
    for ratio, loss in pairs:
        if abs(loss - pairs[0][1]) > 1e-6:
            break
        end = ratio
    return f"flat at the {side} of {end:.2f}" if end != pairs[0][0] else "nowhere flat"


def live_steps(rows: Sequence[Mapping[str, float]]) -> Plot:
    """The mean reward of each step's samples, and the share of its groups that were dead."""
    if not rows:
        return Plot("live-steps", "Nothing to draw: no step was taken.")
    steps = [row["step"] for row in rows]
    figure, axes = new_figure(3.6, rows=2, sharex=True)
    parts = (("reward", "reward, mean of a step", KEPT), ("dead", "dead groups, share", REFUSED))
    phrases, grown = list[str](), dict[str, float]()
    for ax, (name, title, colour) in zip(axes, parts, strict=True):
        values = [row[name] for row in rows]
        ax.plot(steps, values, color=colour, marker="o", linewidth=1.5)
        ax.set(ylim=(-0.04, 1.04), yticks=(0, 0.5, 1))
        ax.set_title(title, fontsize=11, loc="left", color=INK)
        ax.grid(axis="y", color=REST, linewidth=0.8)
        half = max(1, len(values) // 2)
        first, last = fmean(values[:half]), fmean(values[-half:])
        grown[name] = last - first
        phrases.append(f"{title}: {first:.2f} in the first half and {last:.2f} in the last")
    axes[-1].set_xlabel("optimiser step", fontsize=11, color=INK)
    change = f"reward {signed(grown['reward'], 2)}, dead groups {signed(grown['dead'], 2)}"
    one = f"One step: reward {rows[0]['reward']:.2f}, dead groups {rows[0]['dead']:.2f}"
    headline(figure, f"From the first half to the last: {change}" if len(rows) > 1 else one)
    return Plot("live-steps", f"{len(rows)} steps. {'; '.join(phrases)}.", png_of(figure))


def fitted(teacher: Sequence[float], students: Mapping[str, Sequence[float]]) -> Plot:
    """A teacher's distribution (bars) and those of students that were fitted to it, a panel
    each."""
    if not students:
        return Plot("fitted", "Nothing to draw: there is no student.")
    figure, axes = new_figure(2.7, columns=len(students), sharey=True)
    phrases, told = list[str](), list[str]()
    for (name, shares), ax in zip(students.items(), axes, strict=True):
        places = range(len(teacher))
        ax.bar(places, teacher, color=REST, width=0.8)
        ax.plot(places, shares, color=KEPT, marker="o", markersize=4, linewidth=2)
        ax.set(xticks=(), yticks=())
        ax.spines["left"].set_visible(False)
        ax.set_title(name, fontsize=11, loc="left", color=INK)
        best = max(places, key=lambda place, of=shares: of[place])
        told.append(f"{name} {100 * shares[best]:.0f} %")
        shared = sum(min(pair) for pair in zip(teacher, shares, strict=True))
        phrases.append(
            f"{name}: highest at token {best + 1} with {100 * shares[best]:.0f} %, and shares "
            f"{100 * shared:.0f} % with the teacher"
        )
    headline(figure, f"The highest share of a token: {', '.join(told)}")
    alt = f"A teacher with two groups of likely tokens. {'; '.join(phrases)}."
    return Plot("fitted", alt, png_of(figure))
