"""Stage 1: the questions are loaded, checked and drawn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from distill_lab.run.folder import RecordFile, RunFolder
from distill_lab.run.records import LabError, Question
from distill_lab.run.settings import Config
from distill_lab.tasks.all_tasks import task_of
from distill_lab.tasks.task import Checked, LoadedQuestions

Drawn = TypeVar("Drawn")


def run(config: Config, out: Path) -> None:
    """Writes questions.train.jsonl and questions.eval.jsonl, and prints the counts.

    No drawn training question is asked again in the evaluation, so both may come from one file.
    """
    settings, task = config.data, task_of(config)
    train = task.load(settings.train, "train", settings.strict)
    held_out = task.load(settings.eval, "validation", settings.strict)
    chosen = draw(train.questions, settings.n_train, settings.seed)
    others = untrained(held_out, chosen, settings.eval)
    evaluation = draw(others, settings.n_eval, settings.seed)
    _report("train", settings.train, train, chosen, settings.n_train)
    overlap = len(held_out.questions) - len(others)
    _report("eval", settings.eval, held_out, evaluation, settings.n_eval, overlap)
    folder = RunFolder(out)
    _require_same(folder.train_questions, chosen, settings.train, folder.traces.path)
    _require_same(folder.eval_questions, evaluation, settings.eval, folder.predictions("base").path)
    folder.train_questions.write(chosen)
    folder.eval_questions.write(evaluation)


def _require_same(
    file: RecordFile[Question], chosen: Sequence[Question], source: str, made: Path
) -> None:
    """LabError where records were made from other questions: the source has changed since then."""
    if not (file.path.exists() and made.exists()):
        return
    before, now = (
        [(q.id, q.context, q.question, q.answers) for q in questions]
        for questions in (file.read(), chosen)
    )
    if before != now:
        raise LabError(
            f"{made}: expected records of the questions that {source} has, found those of others; "
            "it has changed since. Choose another --out."
        )


def draw(questions: Sequence[Drawn], n: int, seed: int) -> list[Drawn]:
    """`n` questions, or reviews, drawn without replacement, in their old order; all for 0 or too
    high an n."""
    if n == 0 or n >= len(questions):
        return list(questions)
    return [questions[i] for i in sorted(random.Random(seed).sample(range(len(questions)), n))]


def untrained(held_out: Checked, chosen: Sequence[Any], source: str) -> list[Any]:
    """The good entries of `source` that are not among those `chosen` to train on. LabError where
    there is none."""
    ids = {entry.id for entry in chosen}
    others = [entry for entry in held_out.good if entry.id not in ids]
    if not others:
        raise LabError(
            f"--data.eval {source}: expected {held_out.noun} that are not trained on, found none. "
            "Choose another set, or draw fewer with --data.n-train."
        )
    return others


def _report(
    name: str,
    source: str,
    loaded: LoadedQuestions,
    chosen: Sequence[Question],
    n: int,
    overlap: int = 0,
) -> None:
    """One line: nothing disappears without a count."""
    line = f"{name:5} {source}: {len(chosen)} questions, of {len(loaded.questions)} good ones"
    if n > len(chosen):
        line += f" ({n} were asked for: all are used)"
    if loaded.problems:
        line += f"; {loaded.n_bad} left out: {loaded.summary()}"
    if overlap:
        line += f"; {overlap} left out that are trained on"
    print(line)
