"""On-policy distillation at work: with the settings of the shipped study *compare*, on the bundled
pair, each seed's student comes nearer to its teacher on what it writes itself.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import pytest

from distill_lab.course.plots.shipped import studies_folder
from distill_lab.run.folder import RunFolder
from distill_lab.studies.running.cell_configs import cells_of
from distill_lab.studies.running.definition_file import read_definition
from distill_lab.studies.running.run_study import run_study


@pytest.mark.slow
def test_its_divergence_to_the_teacher_on_own_samples_at_least_halves(tmp_path):
    """In nats a token, the mean of the first five steps and of the last five."""
    shipped = read_definition(studies_folder() / "compare" / "study.toml")
    settings = {**shipped.settings, "data.n_eval": 8}
    alone = replace(
        shipped, students=("on-policy",), measures=("em",), settings=settings, findings=()
    )
    assert run_study(alone, tmp_path, keep_models=True) == {}
    logs = (tmp_path / "work" / "students").glob("*/students/on-policy/log.jsonl")
    pairs = []
    for log in sorted(logs):
        rows = RunFolder(log.parents[2]).read_training_log("on-policy")
        assert len(rows) == alone.by_student["on-policy"]["train.steps"]
        pairs.append(tuple(fmean(r["kl"] for r in part) for part in (rows[:5], rows[-5:])))
    print(f"on-policy: {pairs}")
    assert len(pairs) == len({c.seed for c in cells_of(alone) if c.student == "on-policy"}) == 3
    assert all(last < first / 2 for first, last in pairs)
