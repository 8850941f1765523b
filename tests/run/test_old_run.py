"""`old_run` is a run of before there were tasks (EM and F1 stand beside the other fields of a
record, and config.json names no task): it is still reported, resumed, and reported the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from distill_lab.cli.main import main
from distill_lab.pipeline import data, report
from distill_lab.run.arms import ARMS
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError
from distill_lab.run.saved_settings import saved

OLD = json.loads((Path(__file__).parent / "old_run" / "report.json").read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """With files of its own questions: those of the bundled set are others today."""
    run = RunFolder(shutil.copytree(Path(__file__).parent / "old_run", tmp_path / "run"))
    config = json.loads(run.config.read_text())
    for part, records in (("train", run.train_questions), ("eval", run.eval_questions)):
        paragraphs = [
            {"context": q.context, "qas": [{"id": q.id, "question": q.question, "answers": [
                {"text": text, "answer_start": q.context.index(text)} for text in q.answers]}]}
            for q in records.read()
        ]  # fmt: skip
        file = tmp_path / f"{part}.json"
        file.write_text(json.dumps({"data": [{"title": "old", "paragraphs": paragraphs}]}))
        config["data"][part] = str(file)
    run.config.write_text(json.dumps(config))
    return run


def as_before(made: dict[str, Any]) -> dict[str, Any]:
    """What a report has said since then, with the names that the files had."""
    data = {**made["data"], "source": OLD["data"]["source"]}
    return {key: {**made, "data": data}[key] for key in OLD}


def test_it_is_squad_and_reports_as_before(folder):
    config = saved(folder.path)
    assert config
    assert config.data.task == "squad"
    assert as_before(report.build(config, folder.path)) == OLD


def test_it_resumes(folder, capsys):
    for arm in ARMS:
        folder.model(arm).mkdir()
    answers = {who: folder.predictions(who).path.read_bytes() for who in ("base", "teacher", *ARMS)}
    verdicts = folder.verdicts.read()
    with pytest.raises(SystemExit) as stopped:
        main(["run", "--out", str(folder.path)])
    assert not stopped.value.code
    printed = capsys.readouterr().out
    for stage in ("generate", "train", "evaluate"):
        assert f"{stage}: all there already" in printed
    assert folder.verdicts.read() == verdicts
    assert {who: folder.predictions(who).path.read_bytes() for who in answers} == answers
    assert as_before(folder.read_report()) == OLD


def test_questions_that_have_changed_since_are_refused(folder):
    config = saved(folder.path)
    assert config
    traces = folder.traces.path.read_bytes()
    source = Path(config.data.train)
    source.write_text(source.read_text().replace("?", " now?"))
    with pytest.raises(LabError, match=r"traces.jsonl: expected records of the questions that"):
        data.run(config, folder.path)
    assert folder.traces.path.read_bytes() == traces
