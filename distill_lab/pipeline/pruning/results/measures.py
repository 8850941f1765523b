"""What all reviews or questions together say of a model, with intervals.

A model that recovered stands for all its seeds: they are averaged within a review or question, and
these are resampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill_lab.pipeline.pruning.results.readings import Measure, MeasureName, Readings
from distill_lab.pipeline.pruning.settings import MeasureSettings
from distill_lab.reporting.stats import bootstrap_interval, t_interval


@dataclass(frozen=True, slots=True)
class Difference:
    """One model minus another on the same reviews or questions: the mean over seeds, its 95 %
    interval over these, each seed's own difference, and their 95 % t-interval (None for a single
    seed)."""

    value: float
    ci95: tuple[float, float]
    by_seed: list[float]
    seeds_t95: tuple[float, float] | None


def means(of: Readings, dense: Readings, how: MeasureSettings) -> dict[str, Any]:
    """Scores are 0 to 100, NLLs in nats; `_ci95` stands for a 95 % interval over reviews or
    questions, `by_seed` holds the mean of each seed."""
    found: dict[str, Any] = {"n": len(of.of_seeds[0]), "seeds": len(of.of_seeds)}
    by_seed: dict[str, list[float]] = {}
    for measure in of.measures:
        value, low, high = _mean(of, measure.name, how)
        found[measure.name] = round(value, measure.digits)
        found[f"{measure.name}_ci95"] = [round(low, measure.digits), round(high, measure.digits)]
        seeds = _of_each_seed(of, measure.name)
        by_seed[measure.name] = [round(mean, measure.digits) for mean in seeds]
        if measure.by_token:
            found["perplexity"] = _perplexity(value)
            found["perplexity_ci95"] = [_perplexity(low), _perplexity(high)]
    found |= {name: round(value, 2) for name, value in of.beside(dense).items()}
    found["minus_dense"] = {m.name: _minus_dense(of, dense, m, how) for m in of.measures}
    return {**found, "by_seed": by_seed}


def _minus_dense(
    of: Readings, dense: Readings, measure: Measure, how: MeasureSettings
) -> dict[str, Any]:
    """What the model is above the dense one, review by review or question by question."""
    return rounded(difference(of, dense, measure.name, how), measure.digits)


def rounded(made: Difference, digits: int) -> dict[str, Any]:
    """A difference as report.json has it."""

    def ends(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(round(value, digits) for value in values)

    return {
        "difference": round(made.value, digits),
        "ci95": ends(made.ci95),
        "by_seed": ends(made.by_seed),
        "seeds_t95": ends(made.seeds_t95) if made.seeds_t95 else None,
    }


def _mean(of: Readings, measure: MeasureName, how: MeasureSettings) -> tuple[float, float, float]:
    return mean(of.values(measure), of.sizes(measure), how)


def mean(
    of_seeds: Sequence[Sequence[float]], sizes: Sequence[float], how: MeasureSettings
) -> tuple[float, float, float]:
    """The mean over all entries and over seeds, and its interval over entries; each entry counts by
    its size."""
    averaged = np.mean(of_seeds, axis=0).tolist()  # (n)
    value = sum(averaged) / sum(sizes)
    return value, *bootstrap_interval(averaged, how.seed, how.bootstrap, sizes)


def _of_each_seed(of: Readings, measure: MeasureName) -> list[float]:
    total = sum(of.sizes(measure))
    return [sum(values) / total for values in of.values(measure)]


def _perplexity(nats: float) -> float:
    """Of a NLL a token; four significant digits are more than it has."""
    return float(f"{math.exp(min(nats, 700)):.4g}")


def difference(
    plus: Readings, minus: Readings, measure: MeasureName, how: MeasureSettings
) -> Difference:
    """What `plus` is above `minus`."""
    return paired(plus.values(measure), minus.values(measure), plus.sizes(measure), how)


def paired(
    above: Sequence[Sequence[float]],
    below: Sequence[Sequence[float]],
    sizes: Sequence[float],
    how: MeasureSettings,
) -> Difference:
    """What the values of one model are above another's, entry by entry, for each seed; one without
    seeds stands beside each seed of the other. Each entry counts by its size."""
    n = max(len(above), len(below))
    pairs = zip([*above] * (n // len(above)), [*below] * (n // len(below)), strict=True)
    by_entry = [np.subtract(one, other) for one, other in pairs]  # seeds of (n)
    by_seed = [float(each.sum()) / sum(sizes) for each in by_entry]
    value, low, high = mean([each.tolist() for each in by_entry], sizes, how)
    return Difference(value, (low, high), by_seed, t_interval(by_seed))
