"""What models say of each review or question: the measures of a task, a number each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from distill_lab.pipeline.pruning.records import AnswerScore, Model, ModelsFolder, ReviewScore
from distill_lab.run.folder import RecordFile
from distill_lab.run.records import LabError
from distill_lab.tasks.squad.scores import normalize_answer
from distill_lab.tasks.sst2 import scores

M = TypeVar("M", bound=Model)
MeasureName = Literal["accuracy", "label_nll", "text_nll", "em", "f1", "answer_nll", "kl"]


@dataclass(frozen=True, slots=True)
class Measure:
    """A number a review or question: its names, its unit, and whether less of it is better. Where
    it is one a token, it is told as perplexity too."""

    name: MeasureName
    label: str
    unit: str
    lower_is_better: bool
    digits: int
    by_token: bool = False


# Of each task first what decides, then a finer one, then the NLL of a text.
MEASURES = {
    "sst2": (
        Measure("accuracy", "accuracy", "points", lower_is_better=False, digits=2),
        Measure("label_nll", "label NLL", "nats", lower_is_better=True, digits=4),
        Measure("text_nll", "text NLL", "nats a token", True, digits=4, by_token=True),
    ),
    "squad": (
        Measure("em", "EM", "points", lower_is_better=False, digits=2),
        Measure("f1", "F1", "points", lower_is_better=False, digits=2),
        Measure("answer_nll", "answer NLL", "nats a token", True, digits=4, by_token=True),
    ),
}
# Between models that come of one dense model: of all its tokens, not of its likeliest alone.
KL = Measure("kl", "KL to the dense model", "nats a token", lower_is_better=True, digits=6)


class Readings:
    """What a model says of all reviews or questions, in their order, once for each of its seeds."""

    __slots__ = ()
    measures: ClassVar[tuple[Measure, ...]]
    of_seeds: list[list[Any]]

    def values(self, measure: MeasureName) -> list[list[float]]:
        """The measure of each, once a seed; of texts the sum over their tokens."""
        raise NotImplementedError

    def tokens(self) -> list[float]:
        """Of how many tokens each text is."""
        raise NotImplementedError

    def beside(self, dense: Any) -> dict[str, float]:
        """Means, 0 to 100, that are told without an interval, the agreement with the dense model
        among them."""
        raise NotImplementedError

    def sizes(self, measure: MeasureName) -> list[float]:
        """By what the sum of the values is divided: tokens of texts, else how many there are."""
        by_token = next(each.by_token for each in self.measures if each.name == measure)
        return self.tokens() if by_token else [1.0] * len(self.of_seeds[0])


@dataclass(frozen=True, slots=True)
class ReviewReadings(Readings):
    """Label logits and text NLLs of reviews with these labels."""

    measures = MEASURES["sst2"]
    labels: list[int]
    of_seeds: list[list[ReviewScore]]

    def logits(self) -> list[Any]:
        """(n, 2) of each seed, the columns by label."""
        return [np.array([(s.negative, s.positive) for s in one]) for one in self.of_seeds]

    def values(self, measure: MeasureName) -> list[list[float]]:
        if measure == "text_nll":
            return [[score.text_nll for score in one] for one in self.of_seeds]
        count = scores.accuracy if measure == "accuracy" else scores.label_nll
        return [count(logits, self.labels) for logits in self.logits()]

    def tokens(self) -> list[float]:
        return [float(score.text_tokens) for score in self.of_seeds[0]]

    def beside(self, dense: ReviewReadings) -> dict[str, float]:
        logits, theirs = self.logits(), dense.logits()[0]
        return {
            "auc": fmean(scores.auc(each, self.labels) for each in logits),
            "share_positive": fmean(fmean(scores.share_positive(each)) for each in logits),
            "agreement": fmean(fmean(scores.agreement(each, theirs)) for each in logits),
        }


@dataclass(frozen=True, slots=True)
class AnswerReadings(Readings):
    """Answers to questions, and the NLLs of the dense model's answers. Two answers agree where
    SQuAD's normalisation makes one text of them, right or wrong."""

    measures = MEASURES["squad"]
    of_seeds: list[list[AnswerScore]]

    def values(self, measure: MeasureName) -> list[list[float]]:
        return [[float(getattr(score, measure)) for score in one] for one in self.of_seeds]

    def tokens(self) -> list[float]:
        return [float(score.answer_tokens) for score in self.of_seeds[0]]

    def beside(self, dense: AnswerReadings) -> dict[str, float]:
        theirs = dense.answers()[0]
        agreed = [
            fmean(100.0 * (a == b) for a, b in zip(one, theirs, strict=True))
            for one in self.answers()
        ]
        return {"agreement": fmean(agreed)}

    def answers(self) -> list[list[str]]:
        """The normalised answers of each seed."""
        return [[normalize_answer(score.answer) for score in one] for one in self.of_seeds]


def readings(variants: Sequence[Model], task: str, folder: ModelsFolder) -> Readings:
    """The scores of a model's seeds, in the order of the reviews or questions. LabError where a
    file holds scores of others, or no text has a token."""
    entries = folder.entries(task)[1].read()
    ids = [entry.id for entry in entries]
    if task == "sst2":
        seeds = [in_order(ids, folder.scores(variant), "score", "reviews") for variant in variants]
        return ReviewReadings([review.label for review in entries], seeds)
    answers = [in_order(ids, folder.answers(v), "score", "questions") for v in variants]
    of = AnswerReadings(answers)
    if not sum(of.tokens()):
        raise LabError(
            f"{folder.answers(variants[0]).path}: expected answers of the dense model with at "
            "least one token, found none. Take a model that answers."
        )
    return of


def in_order(ids: Sequence[str], file: RecordFile[Any], what: str, noun: str) -> list[Any]:
    """The file's records in the order of the entries with these ids. LabError where it holds
    records of others: `what` is one, `noun` the entries."""
    by_id = {record.entry_id: record for record in file.read()}
    if by_id.keys() != {*ids}:
        raise LabError(
            f"{file.path}: expected a {what} for each of the {len(ids)} evaluation {noun}, "
            f"found {len(by_id)}, not all of them. Run `distill-lab {file.stage}` again."
        )
    return [by_id[id] for id in ids]


def by_name(models: Sequence[M]) -> dict[str, list[M]]:
    """The models of each name: of what was trained one for each seed."""
    found: dict[str, list[M]] = {}
    for model in models:
        found.setdefault(model.name, []).append(model)
    return found


def readings_by_name(
    models: Sequence[Model], task: str, folder: ModelsFolder
) -> dict[str, Readings]:
    """What the models of each name say of all reviews or questions."""
    return {name: readings(seeds, task, folder) for name, seeds in by_name(models).items()}
