"""Stage 1: the model learns the task before it is pruned, unless it has learnt it already. For
SQuAD it has: it is a student of Lab 5, and answers the training questions, as what it says itself
is what its pruned copies are calibrated and trained on.

A model that says one label for most reviews has little to lose: its accuracy would tell nothing of
what pruning breaks. (Minitron calls the same step teacher correction: arXiv 2408.11796, section 3.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from statistics import fmean
from typing import Any

from distill_lab.losses.distillation import Objective
from distill_lab.models.backend import Backend, start_on
from distill_lab.models.loading import LanguageModel, for_training, load
from distill_lab.models.pruning.layout import prunable
from distill_lab.pipeline.data import draw, untrained
from distill_lab.pipeline.pruning.reading.answers import own_answers, own_traces
from distill_lab.pipeline.pruning.records import DENSE, ModelsFolder, PruningFolder
from distill_lab.pipeline.pruning.settings import PruningConfig, TaskConfig
from distill_lab.pipeline.pruning.training import (
    hyperparameters_of,
    label_examples,
    plain_backend,
    save_whole,
    train_and_save,
)
from distill_lab.run.folder import RecordFile
from distill_lab.run.records import LabError, Question, Trace
from distill_lab.run.settings import BUNDLED
from distill_lab.sampling.label_logits import label_logits
from distill_lab.tasks.prompts import answer_text
from distill_lab.tasks.squad.task import SQUAD
from distill_lab.tasks.sst2.reviews import Review, load_reviews
from distill_lab.tasks.sst2.scores import accuracy
from distill_lab.tasks.task import Checked, Split

ASKED = 400  # training reviews on which it is seen whether a model has learnt the task


def run(config: PruningConfig, out: Path) -> bool:
    """`adapt`, in the folder of a run of pruning."""
    return adapt(config, PruningFolder(out))


def adapt(config: TaskConfig, folder: ModelsFolder) -> bool:
    """Writes the reviews or questions of both sets, dense/model, and the dense model's own answers
    to questions (traces.jsonl). False if all were there."""
    if config.data.task == "squad":
        return _answer(config, _drawn(config, folder, SQUAD.load), folder)
    reviews = _drawn(config, folder, load_reviews)
    if folder.model(DENSE).exists():
        return False
    backend = start_on(config.runtime.as_of_a_run(), 0, folder.path)
    model = load_dense(config, backend)
    prunable(model)  # a layout that cannot be pruned is named before the minutes of training
    found = _accuracy(model, reviews, config)
    enough = config.adapt.enough
    of = f"of {min(ASKED, len(reviews))} training reviews it labels {found:.1f} % rightly"
    learnt = found >= enough
    if learnt:
        reason = f"{of}, and {enough:g} % are enough: taken as it is"
        save_whole(model, folder.of(DENSE))
    else:
        reason = f"{of}, and {enough:g} % would be enough: fine-tuned on the task"
        print(f"adapt: {config.model.name}: {reason}", flush=True)
        _fine_tune(model, reviews, config, backend, folder)
    folder.run.write_note("adapt", {"accuracy": found, "adapted": not learnt, "reason": reason})
    if learnt:
        print(f"adapt: {config.model.name}: {reason}", flush=True)
    return True


def load_dense(config: TaskConfig, backend: Backend) -> LanguageModel:
    """The model that the settings name, before anything is done to it."""
    name = config.model.name
    of_task = {"sst2": "sst2", "squad": "teacher"}[config.data.task]
    role = of_task if name == BUNDLED else "base"  # of the bundled models the one for this task
    return load(name, backend, role, whole=not config.model.lora_rank)


def _answer(config: TaskConfig, questions: Sequence[Question], folder: ModelsFolder) -> bool:
    """Takes the model as it is, and writes what is missing of its answers."""
    with folder.traces.log() as log:
        existing = {trace.question_id for trace in log.records}
        answered = existing >= {question.id for question in questions}
        if folder.model(DENSE).exists() and answered and folder.run.read_notes().get("adapt"):
            return False
        model = _taken_as_it_is(config, folder)
        with closing(own_traces(model, questions, existing, config)) as batches:
            for batch in batches:
                log.append(trace for trace in batch if trace.question_id not in existing)
        _note_answers(log.records, questions, config, folder)
    own_answers(folder, model.tokenizer)  # LabError here, where nothing can be learnt from them
    return True


def _taken_as_it_is(config: TaskConfig, folder: ModelsFolder) -> LanguageModel:
    """The dense model: the folder's, or first the one that the settings name."""
    backend = plain_backend(config.runtime, folder.path)
    if folder.model(DENSE).exists():
        return load(str(folder.model(DENSE)), backend, "base")
    model = load_dense(config, backend)
    prunable(model)  # a layout that cannot be pruned is named here
    save_whole(model, folder.of(DENSE))
    return model


def _note_answers(
    traces: Sequence[Trace],
    questions: Sequence[Question],
    config: TaskConfig,
    folder: ModelsFolder,
) -> None:
    """Prints and notes how well the model answers, and how many answers are of use."""
    by_id = {question.id: question for question in questions}
    right = [SQUAD.grade(answer_text(t.completion), by_id[t.question_id])["em"] for t in traces]
    cut = sum(trace.finish == "length" for trace in traces)
    reason = (
        f"of {len(traces):,} training questions it answers {fmean(right):.1f} % rightly: taken as "
        "it is, and calibrated and trained on these answers"
    )
    reason += f" but for {cut:,} that ran out of tokens" if cut else ""
    print(f"adapt: {config.model.name}: {reason}", flush=True)
    note = {"em": round(fmean(right), 2), "cut": cut, "adapted": False, "reason": reason}
    folder.run.write_note("adapt", note)


def _accuracy(model: LanguageModel, reviews: Sequence[Review], config: TaskConfig) -> float:
    asked = draw(reviews, ASKED, config.data.seed)
    logits = label_logits(model, asked, config.runtime.batch, "adapt: has it learnt the task?")
    return round(fmean(accuracy(logits, [review.label for review in asked])), 2)


def _fine_tune(
    model: LanguageModel,
    reviews: Sequence[Review],
    config: TaskConfig,
    backend: Backend,
    folder: ModelsFolder,
) -> None:
    """CE on the label word alone: what the task asks."""
    settings = config.adapt
    hyperparameters = hyperparameters_of(settings, settings.seed, config.runtime, backend.dtype)
    examples = label_examples(reviews, model.tokenizer)
    student = for_training(model, config.model.lora_rank)
    train_and_save(student, examples, Objective(), None, hyperparameters, folder.of(DENSE), "adapt")


def _drawn(
    config: TaskConfig, folder: ModelsFolder, load: Callable[[str, Split, bool], Checked]
) -> list[Any]:
    """Writes the two sets, prints their sizes, and returns the one that is trained on. No entry of
    it is asked again in the evaluation, so both may come from one file."""
    settings = config.data
    train = load(settings.train, "train", settings.strict)
    held_out = load(settings.eval, "validation", settings.strict)
    chosen = draw(train.good, settings.n_train, settings.seed)
    others = untrained(held_out, chosen, settings.eval)
    evaluated = draw(others, settings.n_eval, settings.seed)
    _say("train", settings.train, train, chosen, settings.n_train)
    overlap = held_out.n_good - len(others)
    _say("eval", settings.eval, held_out, evaluated, settings.n_eval, overlap)
    made = [path for path in (folder.of(DENSE), folder.all_scores) if path.exists()]
    for file, entries, source in zip(
        folder.entries(settings.task), (chosen, evaluated), (settings.train, settings.eval),
        strict=True,
    ):  # fmt: skip
        _require_same(file, entries, source, made, train.noun)
        file.write(entries)
    return chosen


def _require_same(
    file: RecordFile[Any], entries: Sequence[Any], source: str, made: Sequence[Path], noun: str
) -> None:
    """LabError where models or scores were made from other entries: the source has changed."""
    if made and file.path.exists() and file.read() != [*entries]:
        raise LabError(
            f"{made[-1]}: expected what was made from the {noun} that {source} has, found what "
            "was made from others; it has changed since. Choose another --out."
        )


def _say(
    name: str, source: str, loaded: Checked, chosen: Sequence[Any], n: int, overlap: int = 0
) -> None:
    """One line: nothing disappears without a count."""
    line = f"{name:5} {source}: {len(chosen):,} {loaded.noun}, of {loaded.n_good:,} good ones"
    if n > len(chosen):
        line += f" ({n:,} were asked for: all are used)"
    if loaded.problems:
        line += f"; {loaded.n_bad} left out: {loaded.summary()}"
    if overlap:
        line += f"; {overlap} left out that are trained on"
    print(line, flush=True)
