"""`old_run` is a run of before there were tasks (EM and F1 stand beside the other fields of a
record, and config.json names no task): it is still reported, resumed, and reported the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from distill_lab.cli.main import main
from distill_lab.pipeline import report
from distill_lab.run.arms import ARMS
from distill_lab.run.folder import RunFolder
from distill_lab.run.saved_settings import saved

OLD = json.loads((Path(__file__).parent / "old_run" / "report.json").read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    shutil.copytree(Path(__file__).parent / "old_run", tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_it_is_squad_and_reports_as_before(folder):
    config = saved(folder.path)
    assert config
    assert config.data.task == "squad"
    made = report.build(config, folder.path)
    assert {key: made[key] for key in OLD} == OLD


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
    made = folder.read_report()
    assert {key: made[key] for key in OLD} == OLD
