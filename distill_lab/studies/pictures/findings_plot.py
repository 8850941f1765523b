"""All findings in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distill_lab.reporting.figures import INK, KEPT, REFUSED, SOFT, Plot, new_figure, png_of
from distill_lab.studies.findings import Finding
from distill_lab.studies.measure_names import gain, signed


def forest(findings: Sequence[Finding]) -> Plot:
    """All findings, a panel for each unit: the interval, the mean, and a point for each seed."""
    panels: dict[str, list[Finding]] = {}
    for finding in findings:
        panels.setdefault(finding.unit, []).append(finding)
    sizes = [len(rows) for rows in panels.values()]
    height = 0.55 * sum(sizes) + 0.75 * len(panels)
    ratios = {"height_ratios": [size + 0.6 for size in sizes]}
    figure, axes = new_figure(height, rows=len(panels), gridspec_kw=ratios)
    for (unit, rows), ax in zip(panels.items(), axes, strict=True):
        for y, finding in enumerate(rows):
            _forest_row(ax, y, finding)
        ax.axvline(0, color=INK, linewidth=1)
        ax.set_ylim(len(rows) - 0.55, -0.75)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
        ax.set_xlabel(f"difference, {unit}", fontsize=11, color=INK)
        ax.locator_params(axis="x", nbins=6)
        ax.margins(x=0.04)
    caption = (
        "Line: 95 % interval over passages; dot: mean over seeds; small marks: the seeds. Blue is "
        "better beyond chance, orange worse, grey may be chance."
    )
    alt = f"{'; '.join(map(str, findings))}."
    return Plot("findings", alt, png_of(figure), _forest_title(findings), caption)


def _forest_row(ax: Any, y: int, finding: Finding) -> None:
    better = gain(finding.measure, finding.difference) > 0
    colour = (KEPT if better else REFUSED) if finding.sure else SOFT
    ax.plot(finding.ci95, (y, y), color=colour, linewidth=3, solid_capstyle="butt")
    ax.plot(finding.difference, y, "o", color=colour, markersize=8)
    seeds = finding.by_seed
    ax.plot(seeds, [y + 0.17] * len(seeds), "|", color=INK, markersize=6, alpha=0.7)
    text = {"transform": ax.get_yaxis_transform(), "va": "bottom", "color": INK, "fontsize": 11}
    text["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # over the zero line
    values = f"{signed(finding.difference, finding.measure)}"
    ax.text(0, y - 0.17, _cut(finding.title), ha="left", **text)
    ax.text(1, y - 0.17, values, ha="right", **{**text, "color": colour, "weight": "bold"})


def _cut(text: str, most: int = 50) -> str:
    return text if len(text) <= most else text[: most - 2] + " …"


def _forest_title(findings: Sequence[Finding]) -> str:
    if len(findings) == 1:
        (only,) = findings
        how = "beyond chance" if only.sure else "which may be chance"
        return f"{only.title}: {signed(only.difference, only.measure)} {only.unit}, {how}"
    sure = [gain(f.measure, f.difference) > 0 for f in findings if f.sure]
    parts = [
        f"{n} {'is' if n == 1 else 'are'} {what}"
        for n, what in (
            (sum(sure), "better beyond chance"),
            (len(sure) - sum(sure), "worse"),
            (len(findings) - len(sure), "undecided"),
        )
        if n
    ]
    return f"Of {len(findings)} differences {', '.join(parts)}"
