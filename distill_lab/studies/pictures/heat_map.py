"""The map of two axes."""

from __future__ import annotations

from statistics import fmean
from typing import Any

import numpy as np

from distill_lab.reporting.figures import INK, KEPT, REFUSED, Plot, new_figure, png_of
from distill_lab.studies.findings import Finding
from distill_lab.studies.measure_names import gain, signed
from distill_lab.studies.pictures.look import short, tick
from distill_lab.studies.series import Map


def heat_map(of: Map, finding: Finding) -> Plot:
    """A difference over two axes on the half where it was chosen, with what became of the chosen
    setting on the other half in the title."""
    table, measure = of.differences, of.contrast.measure
    most = max(float(np.nanmax(np.abs(table))), 1e-9)
    figure, (ax,) = new_figure(0.9 + 0.5 * len(table))
    better = np.vectorize(lambda value: gain(measure, value))(table)
    ax.imshow(better, cmap=_cmap(), vmin=-most, vmax=most, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            chosen = _is_chosen(of, finding, row, column)
            colour = "#ffffff" if abs(value) > 0.85 * most else INK
            text = signed(value, measure) + (" ●" if chosen else "")
            ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=11)
    ax.set_xticks(range(len(of.column_values)), [tick(v) for v in of.column_values])
    ax.set_yticks(range(len(of.row_values)), [tick(v) for v in of.row_values])
    ax.set_xlabel(short(of.columns), fontsize=11, color=INK)
    ax.set_ylabel(short(of.rows), fontsize=11, color=INK)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    chosen = [v for v in table.flat if not np.isnan(v)]
    best = max(chosen, key=lambda value: gain(measure, value))
    where = ", ".join(f"{short(name)} {tick(value)}" for name, value in finding.chosen.items())
    title = (
        f"{finding.title}: best at {where}, {signed(best, measure)} {finding.unit} where it was "
        f"chosen and {signed(finding.difference, measure)} on the other questions"
    )
    caption = (
        "Mean difference over seeds on the half on which settings are chosen (●: the chosen one); "
        "blue is better. The best of many is partly luck: only the other half tells its worth."
    )
    alt = f"{title}. Mean of all settings {signed(fmean(chosen), measure)}."
    return Plot(f"map-{finding.id}", alt, png_of(figure), title, caption)


def _is_chosen(of: Map, finding: Finding, row: int, column: int) -> bool:
    chosen = finding.chosen
    return (chosen.get(of.rows), chosen.get(of.columns)) == (
        of.row_values[row],
        of.column_values[column],
    )


def _cmap() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("difference", [REFUSED, "#ffffff", KEPT])
