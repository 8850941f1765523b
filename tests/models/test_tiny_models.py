"""The bundled pair is small, shares its tokenizer, and is as good, and as bad, as the lab needs."""

from __future__ import annotations

import statistics

import pytest
from safetensors import safe_open

from data.tiny_models.make import answers
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import load, require_shared_tokenizer
from distill_lab.run.settings import RuntimeSettings, data_folder
from distill_lab.tasks.prompts import parse

FOLDER = data_folder() / "tiny_models"
ROLES = ("teacher", "base")


def test_both_are_safetensors_and_together_under_10_mb():
    files = [file for role in ROLES for file in (FOLDER / role).iterdir()]
    assert sum(file.stat().st_size for file in files) < 10e6
    assert {file.suffix for file in files} == {".json", ".jinja", ".safetensors"}
    for role in ROLES:
        with safe_open(FOLDER / role / "model.safetensors", "pt") as weights:
            assert weights.keys()


def test_the_base_is_smaller_and_can_be_compared_token_by_token():
    backend = choose_backend(RuntimeSettings(device="cpu"))
    teacher, base = (load("bundled", backend, role) for role in ROLES)
    require_shared_tokenizer(teacher, base, "Take another.")
    assert base.lm.num_parameters() < teacher.lm.num_parameters() < 1.2e6


@pytest.mark.parametrize(("role", "low", "high"), [("teacher", 70, 80), ("base", 5, 15)])
def test_scores_on_unseen_names(role, low, high):
    texts, scores = zip(*answers(role), strict=True)
    assert low <= statistics.mean(scores) <= high
    assert len(scores) >= 200
    well_formed = statistics.mean(parse(text) is not None for text in texts)
    assert well_formed > 0.98 if role == "teacher" else well_formed == 0
