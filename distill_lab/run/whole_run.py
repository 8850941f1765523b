"""Reads a whole run folder back, and checks that its records belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_lab.run.arms import ARMS, MODELS
from distill_lab.run.folder import RunFolder, require_file
from distill_lab.run.records import Example, LabError, Prediction, Question, Trace, Verdict, by_id


@dataclass(frozen=True, slots=True)
class RunRecords:
    """What a run left: `predictions` and `logs` of the arms that were run; `notes` is what the run
    noted about itself, `watched` what the arms said of a few questions as they learnt, `held_out`
    their losses on other answers of the teacher's."""

    train: dict[str, Question]
    eval: dict[str, Question]
    traces: list[Trace]
    verdicts: list[Verdict]
    examples: list[Example]
    predictions: dict[str, list[Prediction]]
    logs: dict[str, list[dict[str, float]]]
    notes: dict[str, Any]
    watched: dict[str, list[dict[str, Any]]]
    held_out: dict[str, list[dict[str, float]]]


def read_run(out: Path) -> RunRecords:
    """Every record of the run folder `out`.

    An arm without a student folder and without predictions was not run. A LabError names the stage
    to run where a file is missing, or where it belongs to other records than those beside it.
    """
    folder = RunFolder(out)
    train, evaluated = folder.train_questions.read(), folder.eval_questions.read()
    traces, verdicts = folder.traces.read(), folder.verdicts.read()
    kept = any(verdict.reason == "ok" for verdict in verdicts)
    arms = _arms(folder)
    if kept and not arms:
        require_file(folder.students, "train")
    scored = [who for who in MODELS if who in arms or who not in ARMS]
    run = RunRecords(
        by_id(train),
        by_id(evaluated),
        traces,
        verdicts,
        folder.examples.read() if kept else [],
        {who: folder.predictions(who).read() for who in scored},
        {arm: folder.read_training_log(arm) for arm in arms},
        folder.read_notes(),
        {arm: rows for arm in arms if (rows := folder.read_watched(arm))},
        {arm: rows for arm in arms if (rows := folder.read_held_out_losses(arm))},
    )
    _check(run, folder)
    return run


def _arms(folder: RunFolder) -> list[str]:
    """The arms that were run."""
    files = {arm: (folder.student(arm), folder.predictions(arm).path) for arm in ARMS}
    return [arm for arm, paths in files.items() if any(path.exists() for path in paths)]


def _check(run: RunRecords, folder: RunFolder) -> None:
    """Stale records, such as verdicts of other traces, would make a wrong table."""
    traces = [(trace.question_id, trace.sample) for trace in run.traces]
    verdicts = [(verdict.question_id, verdict.sample) for verdict in run.verdicts]
    unknown = {question for question, _ in traces} - run.train.keys()
    if unknown:
        raise LabError(
            f"{folder.traces.path}: expected traces of the questions in questions.train.jsonl, "
            f"found {len(unknown)} other questions. Choose another --out, or generate again."
        )
    _same(folder.verdicts.path, verdicts, traces, "traces", "reject")
    for who, answers in run.predictions.items():
        answered = [answer.question_id for answer in answers]
        path = folder.predictions(who).path
        _same(path, answered, run.eval, "evaluation questions", "evaluate")


def _same(path: Path, found: Iterable[Any], expected: Iterable[Any], of: str, stage: str) -> None:
    have, want = Counter(list(found)), Counter(list(expected))
    if have != want:
        raise LabError(
            f"{path}: expected one record for each of the {want.total()} {of}, found "
            f"{(have & want).total()} of them and {(have - want).total()} of others. "
            f"Run `distill-lab {stage}` again."
        )
