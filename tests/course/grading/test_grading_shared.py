"""Notebooks that a red team and honest students handed in: no point for the first, all for the
others. They are no part of the course; where they are not there, this is skipped."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent.parent
CLASSES = (("lab5a", "forged", "lab5a*"), ("lab5c", "forged", "lab5c*"), ("lab5a", "honest", "H*"))

pytestmark = pytest.mark.notebook


@pytest.mark.parametrize(("lab", "kind", "names"), CLASSES, ids=str)
def test_each_gets_what_is_due(lab, kind, names, shared_data, tmp_path):
    found = sorted((shared_data / "grading" / kind).glob(f"{names}.ipynb"))
    if not found:
        pytest.skip(f"no {names}")
    handed_in = tmp_path / "class"
    handed_in.mkdir()
    for file in found:
        shutil.copy(file, handed_in)
    command = [sys.executable, "-m", "distill_lab", "grade", lab, str(handed_in)]
    out = tmp_path / "out"
    subprocess.run([*command, "--out", str(out)], cwd=ROOT, check=True, timeout=900)
    with open(out / "grades.csv", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    assert len(rows) == len(found)
    for row in rows:
        due = row["of"] if kind == "honest" else "0"
        said = json.loads((out / "students" / f"{row['student']}.json").read_text("utf-8"))
        assert row["points"] == due, (row["student"], said["marks"])
        assert (row["review"] != "0") == (kind == "forged"), (row["student"], said["remarks"])
        assert row["failure"] == ""
