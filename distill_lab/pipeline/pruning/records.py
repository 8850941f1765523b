"""The models of a run of pruning, where each lies, and what is measured of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distill_lab.pipeline.pruning.methods import Method, parse_all
from distill_lab.pipeline.pruning.settings import PruningConfig
from distill_lab.run.folder import RecordFile, RunFolder, require_file
from distill_lab.run.json_files import read_json, read_json_lines
from distill_lab.run.records import LabError, Question, Trace
from distill_lab.run.saved_settings import (
    check,
    refuse_changed,
    saved_as,
    settings,
    write_config,
)
from distill_lab.tasks.sst2.reviews import Review

Recovery = Literal["kl", "ce"]
RECOVERIES: tuple[Recovery, ...] = ("kl", "ce")


@dataclass(frozen=True, slots=True)
class ReviewScore:
    """What one model says of one evaluation review: the logits of the two label words, and the
    negative log-likelihood of the review's own tokens, in nats, with their number."""

    review_id: str
    negative: float
    positive: float
    text_nll: float
    text_tokens: int

    @property
    def entry_id(self) -> str:
        """The review's id."""
        return self.review_id


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """How one model answers one evaluation question, greedily: EM and F1, 0 to 100. The negative
    log-likelihood, in nats, is of the tokens of the dense model's own answer to it, with their
    number, so that all models are asked for the likelihood of one text."""

    question_id: str
    completion: str
    answer: str
    em: float
    f1: float
    answer_nll: float
    answer_tokens: int

    @property
    def entry_id(self) -> str:
        """The question's id."""
        return self.question_id


@dataclass(frozen=True, slots=True)
class Variant:
    """A model of the run: the dense one, one that was pruned, or one that then recovered with a
    seed, by KL to the dense model or by CE alone."""

    method: Method | None = None
    recovery: Recovery | None = None
    seed: int = 0

    @property
    def place(self) -> str:
        """Its folder, below the run's."""
        if self.method is None:
            return "dense"
        if self.recovery is None:
            return f"pruned/{self.method.folder}"
        return f"recovered/{self.method.folder}/{self.recovery}-{self.seed}"

    @property
    def name(self) -> str:
        """Its name in tables, which is the same for all seeds."""
        if self.method is None:
            return "dense"
        recovered = f" + {self.recovery.upper()}" if self.recovery else ""
        return self.method.text + recovered

    @property
    def stage(self) -> str:
        """The stage that makes it."""
        if self.method is None:
            return "prune adapt"
        return "prune recover" if self.recovery else "prune prune"


DENSE = Variant()


def variants(config: PruningConfig) -> list[Variant]:
    """All models that the settings ask for, in the order of the tables."""
    methods = parse_all(config.prune.methods, "--prune.methods")
    return [DENSE, *map(Variant, methods), *recovered(config)]


def recovered(config: PruningConfig) -> Iterator[Variant]:
    """The models that recovery makes. LabError where one is not among those that are pruned."""
    for method in parse_all(config.recover.methods, "--recover.methods"):
        if method.text not in config.prune.methods:
            raise LabError(
                f"--recover.methods: expected methods that --prune.methods has too; found "
                f"{method.text!r}. Add it there."
            )
        for recovery in RECOVERIES:
            for seed in range(config.recover.seeds):
                yield Variant(method, recovery, seed)


class PruningFolder:
    """The folder of one run of pruning; nothing is read or made until it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = RunFolder(path)  # settings, notes, report and plots are as in a run
        self.train_reviews = RecordFile(path / "reviews.train.jsonl", Review, "prune adapt")
        self.eval_reviews = RecordFile(path / "reviews.eval.jsonl", Review, "prune adapt")
        self.train_questions = RecordFile(path / "questions.train.jsonl", Question, "prune adapt")
        self.eval_questions = RecordFile(path / "questions.eval.jsonl", Question, "prune adapt")
        self.traces = RecordFile(path / "traces.jsonl", Trace, "prune adapt")  # of the dense model
        self.all_scores = path / "scores"

    def entries(self, task: str) -> tuple[RecordFile[Any], RecordFile[Any]]:
        """What a task trains on, and what it evaluates on: reviews or questions."""
        if task == "squad":
            return self.train_questions, self.eval_questions
        return self.train_reviews, self.eval_reviews

    def of(self, variant: Variant) -> Path:
        """The folder of a model: its weights, masks, log and checkpoints."""
        return self.path / variant.place

    def model(self, variant: Variant) -> Path:
        """Its weights and tokenizer; the folder has this name only once it is whole."""
        return self.of(variant) / "model"

    def masks(self, variant: Variant) -> Path:
        """Which weights a method keeps; there for methods that leave zeros."""
        return self.of(Variant(variant.method)) / "masks.safetensors"

    def dropped(self, variant: Variant) -> Path:
        """Of blocks that were taken out: which ones, and the influence of all."""
        return self.of(variant) / "blocks.json"

    def training_log(self, variant: Variant) -> Path:
        """JSON lines, one for each optimiser step."""
        return self.of(variant) / "log.jsonl"

    def scores(self, variant: Variant) -> RecordFile[ReviewScore]:
        """A line for each evaluation review."""
        return RecordFile(self._scores(variant), ReviewScore, "prune evaluate")

    def answers(self, variant: Variant) -> RecordFile[AnswerScore]:
        """A line for each evaluation question."""
        return RecordFile(self._scores(variant), AnswerScore, "prune evaluate")

    def _scores(self, variant: Variant) -> Path:
        return self.all_scores / f"{variant.place.replace('/', '.')}.jsonl"

    def ledger(self, variant: Variant) -> Path:
        """What a model weighs and how fast it is: of the dense one and of the pruned ones."""
        return self.path / "ledgers" / f"{variant.place.replace('/', '.')}.json"

    def require_model(self, variant: Variant) -> Path:
        """Its weights; LabError where its stage has not run."""
        return require_file(self.model(variant), variant.stage)

    def read_training_log(self, variant: Variant) -> list[dict[str, float]]:
        """The steps, as in a run's students."""
        log = require_file(self.training_log(variant), variant.stage)
        return read_json_lines(log, f"Run `distill-lab {variant.stage}` in another --out")

    def read_ledger(self, variant: Variant) -> dict[str, Any]:
        """The ledger of a model; LabError where `evaluate` has not run."""
        path = require_file(self.ledger(variant), "prune evaluate")
        return read_json(path, "what a model weighs", "Run `distill-lab prune evaluate` again")


# What the records of each stage depend on. Methods and seeds may be added: each has its own files.
_DENSE = ("data.task", "data.train", "data.n_train", "data.seed", "model", "adapt",
          "runtime.dtype")  # fmt: skip
_ANSWERED = ("evaluate.max_new_tokens",)  # where the dense model's own answers are read
_PRUNED = (*_DENSE, "prune.n_calibration")
_RECOVERED = (*_PRUNED, "recover.steps", "recover.learning_rate", "recover.batch_size",
              "recover.temperature")  # fmt: skip
_SCORES = (*_PRUNED, "data.eval", "data.n_eval")


def claim_pruning_folder(config: PruningConfig, out: Path) -> None:
    """Makes `config` the folder's: saved as config.json, or refused where something that is there
    was made with other settings. LabError for methods that there are not, too."""
    require_possible(config)
    folder = PruningFolder(out)
    before = saved_as(PruningConfig, folder.run.config)
    if before:
        answered = _ANSWERED if config.data.task == "squad" else ()
        made_from = [
            (folder.of(DENSE), _DENSE),
            (folder.traces.path, (*_DENSE, *answered)),
            (out / "pruned", (*_PRUNED, *answered)),
            (out / "recovered", (*_RECOVERED, *answered)),
            (folder.all_scores, (*_SCORES, *answered)),
        ]
        refuse_changed(config, dict(settings(before)), made_from)
    write_config(config, folder.run.config)


def require_possible(config: PruningConfig) -> None:
    """LabError for a setting out of its bounds, a method that there is not, batches that do not
    divide."""
    check(config)
    _check_batches(config)
    variants(config)


def _check_batches(config: PruningConfig) -> None:
    """LabError where micro-batches do not fill a step."""
    micro = config.runtime.micro_batch
    for section, settings_of in (("adapt", config.adapt), ("recover", config.recover)):
        if settings_of.batch_size % min(micro, settings_of.batch_size):
            raise LabError(
                f"--runtime.micro-batch: expected a divisor of --{section}.batch-size "
                f"{settings_of.batch_size}, found {micro}."
            )
