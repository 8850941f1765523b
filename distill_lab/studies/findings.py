"""What a study finds: for each contrast the setting that was chosen on one half, and on the other
half the difference, its interval over passages and its spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from distill_lab.run.records import LabError
from distill_lab.studies.cells import CellScores
from distill_lab.studies.definition import Contrast, Definition, Settings
from distill_lab.studies.halves import CHOOSE, REPORT, Half
from distill_lab.studies.measure_names import (
    CONFIDENCE,
    ECE,
    digits,
    gain,
    interval,
    label,
    scored_as,
    signed,
    split,
    unit,
)
from distill_lab.studies.statistics import (
    Statistic,
    calibration_error,
    difference,
    mean_of,
    passage_draws,
)

draws_of = cache(passage_draws)  # the same for all findings of a half


@dataclass(frozen=True, slots=True)
class Choice:
    """Where on the grid a contrast is reported: the points of its two sides, out of how many
    settings, and what was chosen on the axes that it leaves open."""

    contrast: Contrast
    plus: Settings
    minus: Settings
    settings_tried: int
    chosen: Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, as study.json has it; `chosen_on` is None where nothing had to be chosen, and
    `seeds_t95` for a single seed."""

    id: str
    contrast: str
    measure: str
    unit: str
    difference: float
    ci95: tuple[float, float]
    seeds: int
    seeds_t95: tuple[float, float] | None
    by_seed: tuple[float, ...]
    settings_tried: int
    chosen_on: str | None
    reported_on: str
    chosen: Settings

    @property
    def sure(self) -> bool:
        """Whether the interval leaves zero out; one without a width comes of too few passages."""
        low, high = self.ci95
        return low < high and (low > 0 or high < 0)

    @property
    def title(self) -> str:
        """The contrast, and the measure where the unit does not tell it."""
        name = label(self.measure)
        return self.contrast if name in (self.unit, self.contrast) else f"{self.contrast}, {name}"

    def __str__(self) -> str:
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        return (
            f"{self.title}: {signed(self.difference, self.measure)} {self.unit} "
            f"(95 % interval {interval(self.ci95, self.measure)}; {seeds})"
        )


def findings(
    definition: Definition, lines: Sequence[CellScores], halves: Mapping[str, Half]
) -> list[Finding]:
    """All findings that the lines answer, in the definition's order: one of whose cells all failed
    is left out, and `unanswered` names it."""
    choices = choose(definition, lines, halves)
    made = [_finding(definition, choice, lines, halves[REPORT]) for choice in choices]
    return [finding for finding in made if finding]


def unanswered(definition: Definition, made: Sequence[Finding]) -> list[str]:
    """The ids of the contrasts without a finding."""
    answered = {finding.id for finding in made}
    return [each.id for each in definition.findings if each.id not in answered]


def choose(
    definition: Definition, lines: Sequence[CellScores], halves: Mapping[str, Half]
) -> list[Choice]:
    """For each contrast the points that are to be reported: of several the one with the best mean
    difference on the half `choose`, the first of equals. A contrast for which no cell of that half
    is there is left out."""
    choices = [_choice(definition, contrast, lines, halves) for contrast in definition.findings]
    return [choice for choice in choices if choice]


def _choice(
    definition: Definition,
    contrast: Contrast,
    lines: Sequence[CellScores],
    halves: Mapping[str, Half],
) -> Choice | None:
    pairs = [
        (plus, minus)
        for plus, minus in definition.pairs(contrast)
        if (contrast.plus.student, plus) != (contrast.minus.student, minus)
    ]
    if len(pairs) == 1:
        return Choice(contrast, *pairs[0], settings_tried=1, chosen={})
    if CHOOSE not in halves:
        raise LabError(
            f"Finding {contrast.id}: expected one setting, or a set to choose on; found "
            f"{len(pairs)} settings. Name the axes' values, or the study's `choose`."
        )
    best, most, tried = None, -np.inf, 0
    for pair in pairs:
        points = mean_difference(contrast, *pair, lines, halves[CHOOSE])
        if points is None:
            continue
        tried, better = tried + 1, gain(contrast.measure, points)
        if better > most:
            best, most = pair, better
    if best is None:
        return None
    open_axes = [n for n in definition.axis_names if len({plus[n] for plus, _ in pairs}) > 1]
    return Choice(contrast, *best, tried, {name: best[0][name] for name in open_axes})


def mean_difference(
    contrast: Contrast,
    plus: Settings,
    minus: Settings,
    lines: Sequence[CellScores],
    half: Half,
) -> float | None:
    """The contrast at one setting, averaged over seeds, from the lines' means; None where no seed
    has both sides."""
    pairs = _pairs(contrast, plus, minus, lines, half)
    differences = [
        mean_of_line(above, contrast.measure, half) - mean_of_line(below, contrast.measure, half)
        for above, below in pairs
    ]
    return float(np.mean(differences)) if differences else None


def _finding(
    definition: Definition, choice: Choice, lines: Sequence[CellScores], half: Half
) -> Finding | None:
    contrast = choice.contrast
    pairs = _pairs(contrast, choice.plus, choice.minus, lines, half)
    if not pairs:
        return None
    plus, minus = (
        [statistic_of(line, contrast.measure, half) for line in side]
        for side in zip(*pairs, strict=True)
    )
    made, n = difference(plus, minus, draws_of(half.n_passages)), digits(contrast.measure)
    return Finding(
        id=contrast.id,
        contrast=contrast.contrast,
        measure=contrast.measure,
        unit=unit(contrast.measure),
        difference=round(made.value, n),
        ci95=_rounded(made.ci95, n),
        seeds=len(made.by_seed),
        seeds_t95=_rounded(made.seeds_t95, n) if made.seeds_t95 else None,
        by_seed=_rounded(made.by_seed, n),
        settings_tried=choice.settings_tried,
        chosen_on=definition.choose if choice.settings_tried > 1 else None,
        reported_on=definition.report,
        chosen=choice.chosen,
    )


def _rounded(values: Sequence[float], n: int) -> tuple[Any, ...]:
    return tuple(round(value, n) for value in values)


def _pairs(
    contrast: Contrast,
    plus: Settings,
    minus: Settings,
    lines: Sequence[CellScores],
    half: Half,
) -> list[tuple[CellScores, CellScores]]:
    """The lines of both sides, for each seed that both have. One line of a reference stands beside
    each seed of the other side."""
    points = ((contrast.plus, plus), (contrast.minus, minus))
    above, below = (lines_of(side.student, point, half.name, lines) for side, point in points)
    return [
        (above.get(seed) or above[None], below.get(seed) or below[None])
        for seed in _seeds_of_both(above, below)
    ]


def _seeds_of_both(
    above: Mapping[int | None, CellScores], below: Mapping[int | None, CellScores]
) -> list[int | None]:
    if None in above or None in below:
        with_seeds = below if None in above else above
        return list(with_seeds) if above and below else []
    return [seed for seed in above if seed in below]


def lines_of(
    student: str, point: Settings, half: str, lines: Sequence[CellScores]
) -> dict[int | None, CellScores]:
    """The lines of a student at a point of the grid, by seed. A reference's line, which names but
    the settings on which it depends, stands for all points that agree with these."""
    found = {
        line.seed: line
        for line in lines
        if (line.student, line.half) == (student, half)
        and all(point.get(name) == value for name, value in line.settings.items())
    }
    return {seed: found[seed] for seed in sorted(found, key=lambda seed: (seed is None, seed))}


def lines_behind(choice: Choice, lines: Sequence[CellScores], half: Half) -> list[CellScores]:
    """The lines from whose scores a choice is reported, or will be where the other side has none of
    that seed yet."""
    contrast = choice.contrast
    sides = (contrast.plus.student, choice.plus), (contrast.minus.student, choice.minus)
    return [line for side in sides for line in lines_of(*side, half.name, lines).values()]


def mean_of_line(line: CellScores, measure: str, half: Half) -> float:
    """A measure of one line over its half, as its means tell it. LabError as in `statistic_of`."""
    name, kind = split(measure)
    mean = line.means.get(name if all(half.of_kind(kind)) else measure)
    return statistic_of(line, measure, half).value if mean is None else mean


def statistic_of(line: CellScores, measure: str, half: Half) -> Statistic:
    """A measure of one line over its half. LabError where the line or the half lacks it."""
    name, kind = split(measure)
    needed, counted = scored_as(measure), half.of_kind(kind)
    if needed not in line.scores:
        raise LabError(
            f"{measure}: expected one of {', '.join(line.scores)}, which cell {line.cell} has; "
            f"found {needed}. Name it in the study's measures."
        )
    if not any(counted):
        raise LabError(
            f"{measure}: expected a kind of question of the half {half.name} "
            f"({', '.join(half.kind_names) or 'it has none'}), found {kind}."
        )
    if name == ECE:
        right = next(iter(line.scores.values()))  # the score that decides stands first
        return calibration_error(line.scores[CONFIDENCE], right, half.passages, counted)
    return mean_of(line.scores[name], half.passages, counted)
