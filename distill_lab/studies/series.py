"""The numbers behind a study's pictures: means along an axis, the map of two axes, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from distill_lab.studies.cells import CellScores
from distill_lab.studies.definition import Contrast, Settings
from distill_lab.studies.findings import draws_of, lines_of, mean_difference, statistic_of
from distill_lab.studies.halves import CHOOSE, REPORT, Half
from distill_lab.studies.measure_names import CONFIDENCE
from distill_lab.studies.results import Study
from distill_lab.studies.statistics import BINS, bin_of, mean_interval

Axis = Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Point:
    """A mean over seeds, and over all points of the grid that share this value of the axis, with
    its 95 % interval over passages."""

    value: Any
    mean: float
    low: float
    high: float

    def overlaps(self, other: Point) -> bool:
        """Whether the two intervals have a value in common."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True, slots=True)
class Series:
    """A measure along an axis: the points of each student, on one half; `axis` has the settings
    whose values name a point, `averaged` those over whose values each point is a mean."""

    axis: tuple[str, ...]
    averaged: tuple[str, ...]
    measure: str
    half: str
    students: dict[str, list[Point]]


@dataclass(frozen=True, slots=True)
class Map:
    """The mean difference of a contrast at each point of two axes (rows, columns), NaN where there
    is none, on the half where it was chosen."""

    contrast: Contrast
    rows: str
    columns: str
    row_values: list[Any]
    column_values: list[Any]
    differences: np.ndarray  # (rows, columns)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a student took, the mean over its seeds of each part of its budget, and a measure of
    it."""

    budget: dict[str, float]
    point: Point


@dataclass(frozen=True, slots=True)
class Calibration:
    """Of one student: mean confidence, share of right answers (both 0 to 100) and number of answers
    in each bin that has some; the calibration error, and mean confidence minus share right."""

    confidence: list[float]
    right: list[float]
    counts: list[int]
    error: float
    excess: float


def fullest_half(study: Study) -> str:
    """The half on which more cells were measured, the reported one of equals."""
    counts = {half: sum(line.half == half for line in study.lines) for half in study.halves}
    return max((REPORT, CHOOSE), key=lambda half: counts.get(half, 0))


def along(study: Study, axis: Axis, measure: str) -> Series:
    """The measure of each student at each value of an axis; a student of whom nothing was measured
    is left out."""
    half = fullest_half(study)
    names = named_by(axis)
    rows = [dict(zip(axis, values, strict=True)) for values in zip(*axis.values(), strict=True)]
    students: dict[str, list[Point]] = {}
    for student in study.definition.students:
        points = [_point(study, student, row, names, measure, half) for row in rows]
        if any(points):
            students[student] = [point for point in points if point]
    others = [each for each in study.definition.axes if each != axis]
    averaged = tuple(name for each in others for name in named_by(each) if len(each[name]) > 1)
    return Series(names, averaged, measure, half, students)


def named_by(axis: Axis) -> tuple[str, ...]:
    """The settings that tell an axis's points apart: the first alone, or where it has a value twice
    all that vary."""
    first = next(iter(axis))
    if len(set(axis[first])) == len(axis[first]):
        return (first,)
    return tuple(name for name, values in axis.items() if len(set(values)) > 1)


def _point(
    study: Study, student: str, row: Settings, names: tuple[str, ...], measure: str, half: str
) -> Point | None:
    questions = study.halves[half]
    lines = [
        line
        for point in study.definition.points()
        if row.items() <= point.items()
        for line in lines_of(student, point, half, study.lines).values()
    ]
    value = row[names[0]] if len(names) == 1 else tuple(row[name] for name in names)
    return _mean(lines, value, measure, questions) if lines else None


def _mean(lines: Sequence[CellScores], value: Any, measure: str, questions: Half) -> Point:
    statistics = [statistic_of(line, measure, questions) for line in lines]
    low, high = mean_interval(statistics, draws_of(questions.n_passages))
    return Point(value, fmean(each.value for each in statistics), low, high)


def spent(study: Study, measure: str) -> dict[str, list[Spent]]:
    """What each student took at each point of the grid, and the measure of it."""
    half = fullest_half(study)
    found: dict[str, list[Spent]] = {}
    for student in study.definition.students:
        for point in study.definition.points():
            lines = list(lines_of(student, point, half, study.lines).values())
            if lines and all(line.budget for line in lines):
                names = lines[0].budget
                budget = {name: fmean(line.budget[name] for line in lines) for name in names}
                made = _mean(lines, point, measure, study.halves[half])
                found.setdefault(student, []).append(Spent(budget, made))
    return found


def map_of(study: Study, contrast: Contrast) -> Map | None:
    """The map of a contrast that leaves two axes open; of more the mean over the others. None for
    one that leaves fewer."""
    axes = [axis for axis in study.definition.axes if not axis.keys() & contrast.plus.at.keys()]
    axes = [axis for axis in axes if len(next(iter(axis.values()))) > 1]
    if len(axes) < 2 or CHOOSE not in study.halves:
        return None
    (rows, row_values), (columns, column_values) = (next(iter(axis.items())) for axis in axes[:2])
    found: dict[tuple[Any, Any], list[float]] = {}
    for plus, minus in study.definition.pairs(contrast):
        value = mean_difference(contrast, plus, minus, study.lines, study.halves[CHOOSE])
        same = (contrast.plus.student, plus) == (contrast.minus.student, minus)
        if value is not None and not same:
            found.setdefault((plus[rows], plus[columns]), []).append(value)
    table = [
        [
            fmean(found[row, column]) if (row, column) in found else np.nan
            for column in column_values
        ]
        for row in row_values
    ]
    return Map(contrast, rows, columns, [*row_values], [*column_values], np.array(table))


def calibration_of(study: Study, student: str) -> Calibration | None:
    """Confidence against share right over all a student's cells; None where it was not measured."""
    half = fullest_half(study)
    lines = [line for line in study.lines if (line.student, line.half) == (student, half)]
    lines = [line for line in lines if CONFIDENCE in line.scores]
    if not lines:
        return None
    confidence = np.concatenate([line.scores[CONFIDENCE] for line in lines])
    right = np.concatenate([next(iter(line.scores.values())) for line in lines])
    at = bin_of(confidence.tolist())
    used = [n for n in range(BINS) if (at == n).any()]
    return Calibration(
        confidence=[float(confidence[at == n].mean()) for n in used],
        right=[float(right[at == n].mean()) for n in used],
        counts=[int((at == n).sum()) for n in used],
        error=fmean(line.means["ece"] for line in lines),
        excess=float((confidence - right).mean()),
    )
