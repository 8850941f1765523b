"""The models of a run of pruning, where each lies, and what is measured of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from distill_lab.pipeline.pruning.methods import Method, parse_all
from distill_lab.pipeline.pruning.settings import PruningConfig, TaskConfig
from distill_lab.run.folder import RecordFile, RunFolder, require_file
from distill_lab.run.json_files import read_json, read_json_lines
from distill_lab.run.records import LabError, Question, Record, Trace
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


class Model(Protocol):
    """A model of a run: where it lies, what tables call it, and the stage that makes it."""

    @property
    def place(self) -> str:
        """Its folder, below the run's."""
        ...

    @property
    def name(self) -> str:
        """Its name in tables, which is the same for all seeds."""
        ...

    @property
    def title(self) -> str:
        """Its name in progress bars, with its seed."""
        ...

    @property
    def stage(self) -> str:
        """The stage that makes it."""
        ...


@dataclass(frozen=True, slots=True)
class Variant:
    """A model of a run of pruning: the dense one, one that was pruned, or one that then recovered
    with a seed, by KL to the dense model or by CE alone."""

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
    def title(self) -> str:
        """Its name in progress bars, with its seed."""
        return self.name + (f", seed {self.seed}" if self.recovery else "")

    @property
    def stage(self) -> str:
        """The stage that makes it."""
        if self.method is None:
            return "adapt"
        return "recover" if self.recovery else "prune"


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


class ModelsFolder:
    """The folder of one run whose models come of one dense model; nothing is read or made until it
    is asked for. `command` is what the user types, before a stage's name where it `has_stages`."""

    def __init__(self, path: Path, command: str, has_stages: bool = True) -> None:
        self.path, self.command, self.has_stages = path, command, has_stages
        self.run = RunFolder(path)  # settings, notes, report and plots are as in a run
        adapt = self.typed("adapt")
        self.train_reviews = RecordFile(path / "reviews.train.jsonl", Review, adapt)
        self.eval_reviews = RecordFile(path / "reviews.eval.jsonl", Review, adapt)
        self.train_questions = RecordFile(path / "questions.train.jsonl", Question, adapt)
        self.eval_questions = RecordFile(path / "questions.eval.jsonl", Question, adapt)
        self.traces = RecordFile(path / "traces.jsonl", Trace, adapt)  # of the dense model
        self.all_scores = path / "scores"

    def typed(self, stage: str) -> str:
        """What the user types to run this stage."""
        return f"{self.command} {stage}" if self.has_stages else self.command

    def entries(self, task: str) -> tuple[RecordFile[Any], RecordFile[Any]]:
        """What a task trains on, and what it evaluates on: reviews or questions."""
        if task == "squad":
            return self.train_questions, self.eval_questions
        return self.train_reviews, self.eval_reviews

    def of(self, variant: Model) -> Path:
        """The folder of a model: its weights, masks, log and checkpoints."""
        return self.path / variant.place

    def model(self, variant: Model) -> Path:
        """Its weights and tokenizer; the folder has this name only once it is whole."""
        return self.of(variant) / "model"

    def training_log(self, variant: Model) -> Path:
        """JSON lines, one for each optimiser step."""
        return self.of(variant) / "log.jsonl"

    def scores(self, variant: Model) -> RecordFile[ReviewScore]:
        """A line for each evaluation review."""
        return self.records(variant, "scores", ReviewScore)

    def answers(self, variant: Model) -> RecordFile[AnswerScore]:
        """A line for each evaluation question."""
        return self.records(variant, "scores", AnswerScore)

    def records(self, variant: Model, kind: str, of: type[Record]) -> RecordFile[Record]:
        """What `evaluate` writes of a model into the folder of this kind."""
        name = f"{variant.place.replace('/', '.')}.jsonl"
        return RecordFile(self.path / kind / name, of, self.typed("evaluate"))

    def ledger(self, variant: Model) -> Path:
        """What a model weighs and how fast it is: of all but those that recovered."""
        return self.path / "ledgers" / f"{variant.place.replace('/', '.')}.json"

    def require_model(self, variant: Model) -> Path:
        """Its weights; LabError where its stage has not run."""
        return require_file(self.model(variant), self.typed(variant.stage))

    def read_training_log(self, variant: Model) -> list[dict[str, float]]:
        """The steps, as in a run's students."""
        stage = self.typed(variant.stage)
        log = require_file(self.training_log(variant), stage)
        return read_json_lines(log, f"Run `distill-lab {stage}` in another --out")

    def read_ledger(self, variant: Model) -> dict[str, Any]:
        """The ledger of a model; LabError where `evaluate` has not run."""
        stage = self.typed("evaluate")
        path = require_file(self.ledger(variant), stage)
        return read_json(path, "what a model weighs", f"Run `distill-lab {stage}` again")


MASKS, BLOCKS = "masks.safetensors", "blocks.json"  # beside a pruned model


class PruningFolder(ModelsFolder):
    """The folder of one run of pruning."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "prune")

    def masks(self, variant: Variant) -> Path:
        """Which weights a method keeps; there for methods that leave zeros."""
        return self.of(Variant(variant.method)) / MASKS

    def dropped(self, variant: Variant) -> Path:
        """Of blocks that were taken out: which ones, and the influence of all."""
        return self.of(variant) / BLOCKS


# What the records of each stage depend on. Methods and seeds may be added: each has its own files.
DENSE_FROM = ("data.task", "data.train", "data.n_train", "data.seed", "model", "adapt",
              "runtime.dtype")  # fmt: skip
_PRUNED = (*DENSE_FROM, "prune.n_calibration")
_RECOVERED = (*_PRUNED, "recover.steps", "recover.learning_rate", "recover.batch_size",
              "recover.temperature")  # fmt: skip
SCORES_FROM = ("data.eval", "data.n_eval")


def claim_pruning_folder(config: PruningConfig, out: Path) -> None:
    """Makes `config` the folder's: saved as config.json, or refused where something that is there
    was made with other settings. LabError for methods that there are not, too."""
    require_possible(config)
    made_from = {
        "pruned": _PRUNED,
        "recovered": _RECOVERED,
        "scores": (*_PRUNED, *SCORES_FROM),
    }
    claim_folder(config, PruningFolder(out), made_from)


def claim_folder(
    config: TaskConfig, folder: ModelsFolder, made_from: Mapping[str, Sequence[str]]
) -> None:
    """Saves `config`, or refuses it where the dense model, its answers, or what lies in one of
    these parts of the folder was made from other settings than these."""
    before = saved_as(type(config), folder.run.config)
    if before:
        answered = ("evaluate.max_new_tokens",) if config.data.task == "squad" else ()
        of_dense = [(folder.of(DENSE), DENSE_FROM), (folder.traces.path, (*DENSE_FROM, *answered))]
        others = [(folder.path / name, (*on, *answered)) for name, on in made_from.items()]
        refuse_changed(config, dict(settings(before)), [*of_dense, *others])
    write_config(config, folder.run.config)


def require_possible(config: PruningConfig) -> None:
    """LabError for a setting out of its bounds, a method that there is not, batches that do not
    divide."""
    check(config)
    check_batches(config.runtime.micro_batch, adapt=config.adapt, recover=config.recover)
    variants(config)


def check_batches(micro: int, **sections: Any) -> None:
    """LabError where micro-batches do not fill a step of one of these sections."""
    for section, settings_of in sections.items():
        if settings_of.batch_size % min(micro, settings_of.batch_size):
            raise LabError(
                f"--runtime.micro-batch: expected a divisor of --{section}.batch-size "
                f"{settings_of.batch_size}, found {micro}."
            )
