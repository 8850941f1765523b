"""Own samples drawn by two processes are those that one would draw, and so is what they teach."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_processes import launcher

from distill_lab.run.folder import RunFolder
from distill_lab.run.saved_settings import write_config
from distill_lab.run.settings import (
    Config,
    ModelSettings,
    OwnSettings,
    RuntimeSettings,
    TrainSettings,
    data_folder,
)
from distill_lab.tasks.squad.questions import load

SCRIPT = """
import sys
from pathlib import Path
from distill_lab.pipeline import own_arms
from distill_lab.run.distributed import join
from distill_lab.run.saved_settings import saved
out = Path(sys.argv[1])
join("cpu")
for arm in ("grpo", "on-policy"):
    own_arms.run(saved(out), out, arm)
"""
# 16 completions a step: one process takes them at once, two take two groups each. The student is
# one that is right now and then, and the teacher another one: else nothing would be learnt.
MODELS = data_folder() / "tiny_models"
CONFIG = Config(
    models=ModelSettings(teacher=str(MODELS / "base"), student=str(MODELS / "teacher")),
    train=TrainSettings(steps=3, batch_size=16, learning_rate=1e-3),
    own=OwnSettings(group=4, max_new_tokens=48),
    runtime=RuntimeSettings(device="cpu", threads=1),
)
LOGGED = ("loss", "ce", "kl", "grad_norm", "sampled", "prompts", "trained", "length", "ended")


def curves(place: Path, processes: int) -> dict[str, list[list[float]]]:
    out = place / str(processes)
    folder = RunFolder(out)
    folder.train_questions.write(load("bundled", "train").questions[:12])
    write_config(CONFIG, folder.config)
    (place / "own.py").write_text(SCRIPT, encoding="utf-8")
    start = launcher(processes) if processes > 1 else []
    command = [sys.executable, *start, str(place / "own.py"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-6000:]
    return {
        arm: [[row[name] for name in LOGGED] for row in folder.read_training_log(arm)]
        for arm in ("grpo", "on-policy")
    }


@pytest.mark.slow
def test_two_processes_are_as_one(tmp_path):
    one, two = (curves(tmp_path, processes) for processes in (1, 2))
    for arm in one:
        assert len(one[arm]) == 3
        assert all(row[LOGGED.index("grad_norm")] > 0.01 for row in one[arm][1:])
        for found, expected in zip(two[arm], one[arm], strict=True):
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
