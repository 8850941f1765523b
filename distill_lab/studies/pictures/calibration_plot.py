"""Whether a student is as sure as it is right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from distill_lab.reporting.figures import INK, SOFT, Plot, new_figure, png_of
from distill_lab.studies.pictures.look import MARKS, colours
from distill_lab.studies.series import Calibration


def calibration(of_students: Mapping[str, Calibration]) -> Plot:
    """Share of right answers against confidence, in bins; on the diagonal a model is as sure as it
    is right."""
    figure, (ax,) = new_figure(4.2)
    shades = colours(list(of_students))
    ax.plot((0, 100), (0, 100), color=SOFT, linewidth=1, linestyle=":")
    for n, (student, made) in enumerate(of_students.items()):
        sizes = 18 + 150 * np.asarray(made.counts) / max(made.counts)
        ax.plot(made.confidence, made.right, color=shades[student], linewidth=1.5)
        label_text = f"{student} (ECE {made.error:.1f})"
        style = {"color": shades[student], "marker": MARKS[n % len(MARKS)], "alpha": 0.75}
        ax.scatter(made.confidence, made.right, sizes, label=label_text, zorder=3, **style)
    ax.set(xlim=(-3, 103), ylim=(-3, 103))
    ax.set_xlabel("confidence in the answer, percent", fontsize=11, color=INK)
    ax.set_ylabel("answers that are right, percent", fontsize=11, color=INK)
    legend = ax.legend(frameon=False, loc="upper left", fontsize=11)
    for handle in legend.legend_handles:
        handle.set_sizes([40])
    parts = [
        f"{student} is {'over' if made.excess > 0 else 'under'}confident by "
        f"{abs(made.excess):.1f} points"
        for student, made in of_students.items()
    ]
    caption = (
        "Answers in bins of equal width; the larger a mark, the more answers. Below the dotted "
        "line a model is surer than it is right. ECE: the mean distance from that line, in points."
    )
    title = "; ".join(parts)
    return Plot("calibration", f"{title}.", png_of(figure), title, caption)
