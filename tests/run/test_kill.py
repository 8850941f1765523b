"""A whole run on the bundled models, killed at ten random moments, ends as the undisturbed one."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

SMALL = [
    "--data.n-train", "100", "--data.n-eval", "40", "--train.epochs", "4",
    "--runtime.save-every", "5", "--runtime.device", "cpu",
]  # fmt: skip


def command(out: Path) -> list[str]:
    return [sys.executable, "-m", "distill_lab", "run", *SMALL, "--out", str(out)]


def left(out: Path) -> dict[str, list[bytes]]:
    """What a run leaves: records in any order, weights byte for byte."""
    records = [out / "traces.jsonl", out / "examples.jsonl", *out.glob("predictions/*.jsonl")]
    found = {str(p.relative_to(out)): sorted(p.read_bytes().splitlines()) for p in records}
    weights = out.glob("students/*/model/model.safetensors")
    return found | {str(p.relative_to(out)): [p.read_bytes()] for p in weights}


@pytest.mark.slow
def test_ten_kills_change_nothing(tmp_path):
    start = time.monotonic()
    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    whole_time = time.monotonic() - start
    rng = random.Random()
    moments = [rng.uniform(0.15, 0.7) * whole_time for _ in range(10)]
    print("killed after", [f"{moment:.1f}" for moment in moments])  # shown if the test fails
    for moment in moments:
        with subprocess.Popen(
            command(tmp_path / "killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(moment)
            process.kill()
    subprocess.run(command(tmp_path / "killed"), check=True, capture_output=True)
    assert left(tmp_path / "killed") == left(tmp_path / "whole")
    assert len(left(tmp_path / "whole")) == 8
