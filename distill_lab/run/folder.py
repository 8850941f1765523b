"""The files of a run: what each is called, what it holds, and which stage writes it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, cast

from distill_lab.run.json_files import read_json, read_json_lines
from distill_lab.run.json_text import parse
from distill_lab.run.records import (
    Example,
    LabError,
    Prediction,
    Question,
    Record,
    RecordLog,
    Trace,
    Verdict,
    read_records,
    write_records,
    write_text,
)


def require_file(path: Path, stage: str) -> Path:
    """The path, if it is there; else the error says which stage makes it."""
    if not path.exists():
        in_notebook = "run the cells above"
        if " " not in stage:  # `prune adapt` is no stage that lab.run knows
            in_notebook += f', or lab.run("{stage}")'
        raise LabError(
            f"{path}: expected what the stage {stage} makes, found none. Run `distill-lab {stage}` "
            f"first; in a notebook, {in_notebook}."
        )
    return path


@dataclass(frozen=True, slots=True)
class RecordFile(Generic[Record]):
    """A file of records of one kind, and the stage that writes it."""

    path: Path
    kind: type[Record]
    stage: str

    def read(self) -> list[Record]:
        """All its records, checked; LabError where its stage has not run."""
        return read_records(require_file(self.path, self.stage), self.kind)

    def write(self, records: Iterable[Record]) -> None:
        """The whole file, atomically."""
        write_records(self.path, records)

    def log(self, writes: bool = True) -> RecordLog[Record]:
        """The file as one that grows; `writes` is False in a process that only looks on."""
        return RecordLog(self.path, self.kind, writes)


class RunFolder:
    """The folder of one run, at `path`; nothing is read or made until it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.train_questions = RecordFile(path / "questions.train.jsonl", Question, "data")
        self.eval_questions = RecordFile(path / "questions.eval.jsonl", Question, "data")
        self.traces = RecordFile(path / "traces.jsonl", Trace, "generate")
        self.verdicts = RecordFile(path / "verdicts.jsonl", Verdict, "reject")
        self.examples = RecordFile(path / "examples.jsonl", Example, "reject")
        self.teacher_cache = path / "teacher_cache"
        self.held_out = path / "held_out"  # what the teacher says of a few evaluation questions
        self.students = path / "students"
        self.all_predictions = path / "predictions"
        self.plots = path / "plots"
        self._notes = path / "run.json"

    def student(self, arm: str) -> Path:
        """The folder of an arm's student: its checkpoints, log and model."""
        return self.students / arm

    def model(self, arm: str) -> Path:
        """The trained model of an arm; it has this name only once it is whole."""
        return self.student(arm) / "model"

    def training_log(self, arm: str) -> Path:
        """JSON lines, one for each optimiser step."""
        return self.student(arm) / "log.jsonl"

    def watched(self, arm: str) -> Path:
        """JSON lines: what a student said of a few questions at some steps of its training."""
        return self.student(arm) / "watched.jsonl"

    def held_out_losses(self, arm: str) -> Path:
        """JSON lines: `step`, and `ce` and `kl` on held-out answers of the teacher's."""
        return self.student(arm) / "held_out.jsonl"

    def predictions(self, who: str) -> RecordFile[Prediction]:
        """The answers of base, teacher or an arm, and their scores."""
        return RecordFile(self.all_predictions / f"{who}.jsonl", Prediction, "evaluate")

    def report(self, ending: str) -> Path:
        """The report as `json`, `md` or `html`."""
        return self.path / f"report.{ending}"

    def require_model(self, arm: str) -> Path:
        """The trained model; LabError where `train` has not made it."""
        return require_file(self.model(arm), "train")

    def read_training_log(self, arm: str) -> list[dict[str, float]]:
        """`step`, `loss`, `ce` and `kl` in nats a token, `grad_norm` and more of each step."""
        log = require_file(self.training_log(arm), "train")
        return read_json_lines(log, "Run `distill-lab train` again")

    def read_watched(self, arm: str) -> list[dict[str, Any]]:
        """`step` and the fields of a `Prediction`; [] where nobody was asked."""
        path = self.watched(arm)
        return read_json_lines(path, "Delete it") if path.exists() else []

    def read_held_out_losses(self, arm: str) -> list[dict[str, float]]:
        """`step`, and `ce` and `kl` in nats a token; [] where nothing was held out."""
        path = self.held_out_losses(arm)
        return read_json_lines(path, "Delete it") if path.exists() else []

    def read_report(self) -> dict[str, Any]:
        """What stands in report.json."""
        report = require_file(self.report("json"), "report")
        return read_json(report, "a report", "Run `distill-lab report` again")

    def read_notes(self) -> dict[str, Any]:
        """What the run notes about itself: `seconds` a stage, the `backend`, the `sampler`."""
        try:
            text = self._notes.read_text(encoding="utf-8") if self._notes.exists() else "{}"
            notes: Any = parse(text)
        except ValueError:
            notes = None
        if not isinstance(notes, dict):
            raise LabError(
                f"{self._notes}: expected what a run notes about itself, found another file. "
                "Delete it."
            )
        return cast("dict[str, Any]", notes)

    def write_note(self, key: str, value: Any) -> None:
        """Sets one of the notes."""
        notes = {**self.read_notes(), key: value}
        write_text(self._notes, json.dumps(notes, indent=1) + "\n")
