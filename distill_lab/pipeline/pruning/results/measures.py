"""What each review says of a model, and what all reviews together say, with intervals.

A model that recovered stands for all its seeds: they are averaged within a review, and reviews are
resampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import numpy as np

from distill_lab.pipeline.pruning.records import PruningFolder, ReviewScore, Variant
from distill_lab.pipeline.pruning.settings import MeasureSettings, PruningConfig
from distill_lab.reporting.stats import bootstrap_interval, t_interval
from distill_lab.run.records import LabError
from distill_lab.tasks.sst2 import scores
from distill_lab.tasks.sst2.reviews import Review

MeasureName = Literal["accuracy", "label_nll", "text_nll"]


@dataclass(frozen=True, slots=True)
class Measure:
    """A number a review: its names, its unit, and whether less of it is better."""

    name: MeasureName
    label: str
    unit: str
    lower_is_better: bool
    digits: int


MEASURES = (
    Measure("accuracy", "accuracy", "points", lower_is_better=False, digits=2),
    Measure("label_nll", "label NLL", "nats", lower_is_better=True, digits=4),
    Measure("text_nll", "text NLL", "nats a token", lower_is_better=True, digits=4),
)


@dataclass(frozen=True, slots=True)
class Readings:
    """What a model says of all reviews, in their order, once for each of its seeds."""

    labels: list[int]
    of_seeds: list[list[ReviewScore]]

    def logits(self) -> list[Any]:
        """(n, 2) of each seed, the columns by label."""
        return [np.array([(s.negative, s.positive) for s in one]) for one in self.of_seeds]

    def values(self, measure: MeasureName) -> list[list[float]]:
        """The measure of each review, once a seed; of texts the sum over their tokens."""
        if measure == "text_nll":
            return [[score.text_nll for score in one] for one in self.of_seeds]
        count = scores.accuracy if measure == "accuracy" else scores.label_nll
        return [count(logits, self.labels) for logits in self.logits()]

    def sizes(self, measure: MeasureName) -> list[float]:
        """By what the sum of the values is divided: tokens of texts, else reviews."""
        if measure != "text_nll":
            return [1.0] * len(self.labels)
        return [float(score.text_tokens) for score in self.of_seeds[0]]


@dataclass(frozen=True, slots=True)
class Difference:
    """One model minus another on the same reviews: the mean over seeds, its 95 % interval over
    reviews, each seed's own difference, and their 95 % t-interval (None for a single seed)."""

    value: float
    ci95: tuple[float, float]
    by_seed: list[float]
    seeds_t95: tuple[float, float] | None


def readings(
    variants: Sequence[Variant], reviews: Sequence[Review], folder: PruningFolder
) -> Readings:
    """The scores of a model's seeds, in the order of the reviews. LabError where a file holds
    scores of other reviews."""
    found: list[list[ReviewScore]] = []
    for variant in variants:
        file = folder.scores(variant)
        by_id = {score.review_id: score for score in file.read()}
        if by_id.keys() != {review.id for review in reviews}:
            raise LabError(
                f"{file.path}: expected a score for each of the {len(reviews)} evaluation reviews, "
                f"found {len(by_id)}, not all of them. Run `distill-lab prune evaluate` again."
            )
        found.append([by_id[review.id] for review in reviews])
    return Readings([review.label for review in reviews], found)


def means(of: Readings, dense: Readings, config: PruningConfig) -> dict[str, Any]:
    """Scores are 0 to 100, NLLs in nats; `_ci95` stands for a 95 % interval over reviews, `by_seed`
    holds the mean of each seed."""
    how, logits = config.evaluate, of.logits()
    found: dict[str, Any] = {"n": len(of.labels), "seeds": len(of.of_seeds)}
    by_seed: dict[str, list[float]] = {}
    for measure in MEASURES:
        value, low, high = _mean(of, measure.name, how)
        found[measure.name] = round(value, measure.digits)
        found[f"{measure.name}_ci95"] = [round(low, measure.digits), round(high, measure.digits)]
        seeds = _of_each_seed(of, measure.name)
        by_seed[measure.name] = [round(mean, measure.digits) for mean in seeds]
        if measure.name == "text_nll":
            found["perplexity"] = _perplexity(value)
            found["perplexity_ci95"] = [_perplexity(low), _perplexity(high)]
    found["auc"] = round(fmean(scores.auc(each, of.labels) for each in logits), 2)
    shares = [fmean(scores.share_positive(each)) for each in logits]
    found["share_positive"] = round(fmean(shares), 2)
    agreed = [fmean(scores.agreement(each, dense.logits()[0])) for each in logits]
    found["agreement"] = round(fmean(agreed), 2)
    found["minus_dense"] = {m.name: _minus_dense(of, dense, m, how) for m in MEASURES}
    return {**found, "by_seed": by_seed}


def _minus_dense(
    of: Readings, dense: Readings, measure: Measure, how: MeasureSettings
) -> dict[str, Any]:
    """What the model is above the dense one, review by review."""
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
    """The mean over reviews and seeds, and its interval."""
    averaged = np.mean(of.values(measure), axis=0).tolist()  # (n)
    sizes = of.sizes(measure)
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
    """What `plus` is above `minus`. A model without seeds stands beside each seed of the other."""
    above, below = plus.values(measure), minus.values(measure)
    n = max(len(above), len(below))
    pairs = zip(above * (n // len(above)), below * (n // len(below)), strict=True)
    by_review = [np.subtract(one, other) for one, other in pairs]  # seeds of (n)
    averaged = np.mean(by_review, axis=0).tolist()  # (n)
    sizes = plus.sizes(measure)
    by_seed = [float(each.sum()) / sum(sizes) for each in by_review]
    return Difference(
        sum(averaged) / sum(sizes),
        bootstrap_interval(averaged, how.seed, how.bootstrap, sizes),
        by_seed,
        t_interval(by_seed),
    )
