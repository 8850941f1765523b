"""Reads a whole run folder back, and checks that its records belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill_lab.run.arms import ARMS, MODELS
from distill_lab.run.json_files import read_json_lines
from distill_lab.run.records import (
    Example,
    LabError,
    Prediction,
    Question,
    Record,
    Trace,
    Verdict,
    read_notes,
    read_records,
    require_file,
)


@dataclass(frozen=True, slots=True)
class Run:
    """What a run left: `predictions` and `logs` of the arms that were run; `notes` is run.json."""

    train: dict[str, Question]
    eval: dict[str, Question]
    traces: list[Trace]
    verdicts: list[Verdict]
    examples: list[Example]
    predictions: dict[str, list[Prediction]]
    logs: dict[str, list[dict[str, float]]]
    notes: dict[str, Any]


def read_run(out: Path) -> Run:
    """Every record of the run folder `out`.

    An arm without a student folder and without predictions was not run. A LabError names the stage
    to run where a file is missing, or where it belongs to other records than those beside it.
    """

    def read(name: str, kind: type[Record], stage: str) -> list[Record]:
        return read_records(require_file(out / name, stage), kind)

    train = {question.id: question for question in read("questions.train.jsonl", Question, "data")}
    evaluated = {
        question.id: question for question in read("questions.eval.jsonl", Question, "data")
    }
    traces = read("traces.jsonl", Trace, "generate")
    verdicts = read("verdicts.jsonl", Verdict, "reject")
    kept = any(verdict.reason == "ok" for verdict in verdicts)
    examples = read("examples.jsonl", Example, "reject") if kept else []
    arms = _arms(out)
    if kept and not arms:
        require_file(out / "students", "train")
    logs = {arm: _log(require_file(out / "students" / arm / "log.jsonl", "train")) for arm in arms}
    scored = [who for who in MODELS if who in arms or who not in ARMS]
    predictions = {who: read(f"predictions/{who}.jsonl", Prediction, "evaluate") for who in scored}
    run = Run(train, evaluated, traces, verdicts, examples, predictions, logs, read_notes(out))
    _check(run, out)
    return run


def _arms(out: Path) -> list[str]:
    places = {arm: (out / "students" / arm, out / "predictions" / f"{arm}.jsonl") for arm in ARMS}
    return [arm for arm, paths in places.items() if any(path.exists() for path in paths)]


def _log(path: Path) -> list[dict[str, float]]:
    """The logged optimiser steps of one student: `step`, `ce` and `kl` in nats per token, more."""
    return read_json_lines(path, "Run `distill-lab train` again")


def _check(run: Run, out: Path) -> None:
    """Stale records, such as verdicts of other traces, would make a wrong table."""
    traces = [(trace.question_id, trace.sample) for trace in run.traces]
    verdicts = [(verdict.question_id, verdict.sample) for verdict in run.verdicts]
    unknown = {question for question, _ in traces} - run.train.keys()
    if unknown:
        raise LabError(
            f"{out / 'traces.jsonl'}: expected traces of the questions in questions.train.jsonl, "
            f"found {len(unknown)} other questions. Choose another --out, or generate again."
        )
    _same(out / "verdicts.jsonl", verdicts, traces, "traces", "reject")
    for who, answers in run.predictions.items():
        path, ids = out / "predictions" / f"{who}.jsonl", [answer.question_id for answer in answers]
        _same(path, ids, run.eval, "evaluation questions", "evaluate")


def _same(path: Path, found: Iterable[Any], expected: Iterable[Any], of: str, stage: str) -> None:
    have, want = Counter(list(found)), Counter(list(expected))
    if have != want:
        raise LabError(
            f"{path}: expected one record for each of the {want.total()} {of}, found "
            f"{(have & want).total()} of them and {(have - want).total()} of others. "
            f"Run `distill-lab {stage}` again."
        )
