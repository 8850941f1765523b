"""Bounds are held, and a run's settings cannot change under records that were made with others."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest

from distill_lab.run.records import LabError
from distill_lab.run.saved_settings import (
    bounds_of_settings,
    check,
    claim_run_folder,
    fingerprint,
    flag,
    from_json,
    settings,
)
from distill_lab.run.settings import PROFILES, Config, data_folder, profile


def changed(name: str, value: Any, config: Config | None = None) -> Config:
    """The configuration (default: tiny) with one setting changed: `changed("train.alpha", 0.3)`."""
    config = config or profile("tiny")
    section, field = name.split(".")
    part = dataclasses.replace(getattr(config, section), **{field: value})
    return dataclasses.replace(config, **{section: part})


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_within_bounds_and_knows_its_name(name):
    check(profile(name))
    assert profile(name).profile == name


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_comes_back_from_json(name):
    text = json.dumps(dataclasses.asdict(profile(name)))
    assert from_json(json.loads(text)) == profile(name)


def test_an_unknown_profile_is_refused_with_the_known_ones():
    with pytest.raises(LabError, match=r"tiny, cpu, colab, cluster.*'laptop'"):
        profile("laptop")


OUT_OF_BOUNDS = (
    ("train.alpha", 1.5),
    ("train.alpha", -0.1),
    ("train.alpha", math.nan),
    ("train.temperature", 0.0),
    ("train.temperature", -2.0),
    ("train.temperature", math.nan),
    ("train.learning_rate", 0.0),
    ("train.learning_rate", math.nan),
    ("train.warmup", 1.1),
    ("train.epochs", 0),
    ("train.steps", -1),
    ("train.batch_size", 0),
    ("train.max_length", 0),
    ("runtime.save_every", 0),
    ("generate.n_samples", 0),
    ("generate.n_samples", -1),
    ("generate.temperature", -0.1),
    ("generate.temperature", math.nan),
    ("generate.top_p", 0.0),
    ("generate.top_p", 1.1),
    ("generate.top_k", -1),
    ("generate.max_new_tokens", 0),
    ("data.n_train", -1),
    ("data.n_eval", -1),
    ("models.teacher_shots", 4),
    ("models.lora_rank", -1),
    ("reject.min_f1", 101.0),
    ("reject.k", 0),
    ("evaluate.max_new_tokens", 0),
    ("evaluate.bootstrap", 10),
    ("runtime.micro_batch", 0),
    ("runtime.sample_batch", 0),
    ("runtime.threads", -1),
)


@pytest.mark.parametrize(("name", "value"), OUT_OF_BOUNDS)
def test_a_setting_out_of_bounds_is_refused_with_its_flag_and_value(name, value):
    with pytest.raises(LabError) as caught:
        check(changed(name, value))
    assert str(caught.value).startswith(f"{flag(name)}: expected ")
    assert f"found {value}" in str(caught.value)


def test_every_number_among_the_settings_has_bounds():
    numbers = {name for name, value in settings(Config()) if type(value) in (int, float)}
    assert set(bounds_of_settings()) == numbers


WITHIN_BOUNDS = (
    ("train.alpha", 0.0),
    ("train.alpha", 1),
    ("train.warmup", 0.0),
    ("generate.temperature", 0.0),  # greedy
    ("generate.top_p", 1.0),
    ("generate.top_k", 0),
    ("data.n_train", 0),  # all
    ("models.teacher_shots", 3),
    ("data.strict", True),
    ("reject.min_f1", 0.0),
)


@pytest.mark.parametrize(("name", "value"), WITHIN_BOUNDS)
def test_the_ends_of_the_bounds_are_allowed(name, value):
    check(changed(name, value))


def test_flags_are_as_they_are_typed():
    assert flag("generate.n_samples") == "--generate.n-samples"


def test_every_setting_is_listed_once():
    names = [name for name, _ in settings(profile("tiny"))]
    assert len(names) == len(set(names))
    assert "train.alpha" in names
    assert "profile" not in names


def made(out: Path, *files: str) -> None:
    """Puts what a slow stage leaves into the run's folder."""
    for file in files:
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (out / file).write_text("{}\n")


TRACES = "traces.jsonl"
STUDENT = "students/sft/config.json"
ANSWERS = "predictions/base.jsonl"
REFUSED = (
    (TRACES, "data.n_train", 100),
    (TRACES, "data.seed", 7),
    (TRACES, "models.teacher", "other"),
    (TRACES, "models.teacher_shots", 3),
    (TRACES, "models.teacher_4bit", True),
    (TRACES, "generate.temperature", 0.9),
    (TRACES, "generate.n_samples", 8),
    (TRACES, "generate.top_k", 20),
    (STUDENT, "models.student", "other"),
    (STUDENT, "models.lora_rank", 4),
    (STUDENT, "reject.min_f1", 50.0),
    (STUDENT, "train.alpha", 0.3),
    (STUDENT, "train.temperature", 1.0),
    (ANSWERS, "data.eval", "other.json"),
    (ANSWERS, "data.n_eval", 10),
    (ANSWERS, "data.n_train", 100),
    (ANSWERS, "train.alpha", 0.3),
    (ANSWERS, "evaluate.max_new_tokens", 5),
)


@pytest.mark.parametrize(("file", "name", "value"), REFUSED)
def test_a_setting_that_slow_records_were_made_with_cannot_change(file, name, value, tmp_path):
    before = profile("tiny")
    claim_run_folder(before, tmp_path)
    made(tmp_path, file)
    with pytest.raises(LabError) as caught:
        claim_run_folder(changed(name, value), tmp_path)
    message = str(caught.value)
    assert f"{flag(name)} {dict(settings(before))[name]}" in message
    assert f"now {value}" in message
    assert file.split("/")[0] in message
    assert from_json(json.loads((tmp_path / "config.json").read_text())) == before


ALLOWED = (
    (TRACES, "train.alpha", 0.3),  # the students are not there yet
    (TRACES, "reject.min_f1", 50.0),
    (TRACES, "data.n_eval", 10),
    (TRACES, "models.student", "other"),
    (STUDENT, "evaluate.max_new_tokens", 5),
    (ANSWERS, "evaluate.bootstrap", 200),
    (ANSWERS, "evaluate.seed", 3),
)


@pytest.mark.parametrize(("file", "name", "value"), ALLOWED)
def test_what_only_cheap_stages_made_may_change(file, name, value, tmp_path):
    claim_run_folder(profile("tiny"), tmp_path)
    made(tmp_path, file)
    claim_run_folder(changed(name, value), tmp_path)
    assert (
        dict(settings(from_json(json.loads((tmp_path / "config.json").read_text()))))[name] == value
    )


@pytest.mark.parametrize("name", [n for n, _ in settings(profile("tiny"))])
def test_any_setting_may_change_before_slow_records_are_there(name, tmp_path):
    claim_run_folder(profile("tiny"), tmp_path)
    claim_run_folder(changed(name, "another"), tmp_path)


FIXED = ("runtime.dtype", "runtime.sampler")
RUNTIME = [n for n, _ in settings(profile("tiny")) if n.startswith("runtime.") and n not in FIXED]


@pytest.mark.parametrize("name", RUNTIME)
def test_runtime_settings_may_always_change(name, tmp_path):
    claim_run_folder(profile("tiny"), tmp_path)
    made(tmp_path, TRACES, STUDENT, ANSWERS)
    claim_run_folder(changed(name, "another"), tmp_path)


def test_the_same_settings_are_adopted_again(tmp_path):
    for _ in range(2):
        claim_run_folder(profile("tiny"), tmp_path / "new" / "run")
        made(tmp_path / "new" / "run", TRACES, STUDENT, ANSWERS)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"profile": "tiny"}', '{"profile": "ti'])
def test_a_config_file_that_is_none_is_named(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(LabError, match=r"config\.json.*settings of a run"):
        claim_run_folder(profile("tiny"), tmp_path)
    assert (tmp_path / "config.json").read_text() == text


def test_the_bundled_data_is_found():
    assert (data_folder() / "mini_squad" / "train.json").is_file()


def test_a_new_setting_changes_no_key_until_it_has_another_value():
    """Else a study would not find what an earlier version has trained."""
    named = changed("train.other_tokenizer", "uld")
    values = {name: v for name, v in settings(profile("tiny")) if name.startswith("train.")}
    del values["train.other_tokenizer"]
    before = hashlib.sha256(json.dumps([values], sort_keys=True).encode()).hexdigest()[:12]
    assert fingerprint(profile("tiny"), ("train",)) == before
    assert fingerprint(named, ("train",)) != before
