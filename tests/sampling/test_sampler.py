"""Which sampler makes the traces, why, and that one run never mixes two."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distill_lab.models.backend import Backend
from distill_lab.run import saved_settings
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError
from distill_lab.run.settings import ModelSettings, RuntimeSettings, profile
from distill_lab.sampling.sampler import OwnSampler, choose, open_teacher

CPU = Backend("transformers", "cpu", "float32", 1, "a test")
CUDA = Backend("transformers", "cuda", "bfloat16", 1, "a test")
WITHOUT = importlib.util.find_spec("vllm") is None


def config(asked: Any = "auto", name: str = "tiny", **models: Any) -> Any:
    chosen = profile(name)
    runtime = replace(chosen.runtime, sampler=asked)
    return replace(chosen, runtime=runtime, models=replace(chosen.models, **models))


def test_auto_is_our_own_but_on_a_cluster():
    for name in ("tiny", "cpu", "colab"):
        assert choose(config(name=name), CUDA, None)[0] == "own"
    name, reason = choose(config(name="cluster"), CPU, None)
    assert (name, reason) == ("own", "vLLM needs a CUDA GPU")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An importable package of vLLM's name, where there is none."""
    if WITHOUT:
        (tmp_path / "there" / "vllm").mkdir(parents=True)
        (tmp_path / "there" / "vllm" / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(str(tmp_path / "there"))


@pytest.mark.usefixtures("installed")
def test_a_cluster_with_cuda_and_vllm_takes_it():
    assert choose(config(name="cluster"), CUDA, None)[0] == "vllm"
    assert choose(config("vllm"), CUDA, None) == ("vllm", "it was asked for")
    assert choose(config("own", "cluster"), CUDA, None) == ("own", "it was asked for")


@pytest.mark.usefixtures("installed")
def test_what_vllm_lacks_is_said(monkeypatch):
    with pytest.raises(LabError, match=r"--runtime.sampler vllm: expected a CUDA GPU, found cpu"):
        choose(config("vllm"), CPU, None)
    with pytest.raises(LabError, match=r"expected a teacher in 16 bits"):
        choose(config("vllm", teacher_4bit=True), CUDA, None)
    with pytest.raises(LabError, match=r"expected a whole model as the teacher"):
        choose(config("vllm", teacher="squad-teacher"), CUDA, None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(LabError, match=r"expected one process"):
        choose(config("vllm"), CUDA, None)
    assert choose(config(name="cluster"), CUDA, None)[0] == "own"


@pytest.mark.skipif(not WITHOUT, reason="vLLM is installed")
def test_vllm_that_is_not_installed_is_said_with_what_to_install():
    with pytest.raises(LabError, match=r"pip install vllm==0\.31\.0"):
        choose(config("vllm"), CUDA, None)
    assert choose(config(name="cluster"), CUDA, None)[0] == "own"


def test_auto_stays_with_what_made_the_traces():
    name, reason = choose(config(name="cluster"), CUDA, "own")
    assert (name, reason) == ("own", "the traces that are there were made with it")
    with pytest.raises(LabError, match=r"--runtime.sampler vllm: expected a CUDA GPU"):
        choose(config(), CPU, "vllm")


def test_our_own_is_opened_and_noted(tiny_model, tmp_path, capsys):
    settings = replace(config(), models=ModelSettings(str(tiny_model("llama"))))
    for _ in range(2):
        teacher = open_teacher(settings, CPU, tmp_path)
        assert isinstance(teacher, OwnSampler)
        assert teacher.model.name == str(tiny_model("llama"))
    assert RunFolder(tmp_path).read_notes()["sampler"]["name"] == "own"
    assert capsys.readouterr().out.count("sampled by our own, as vLLM is for") == 1


# -- a run that goes on


def begun(out: Path, asked: Any, made_by: str | None) -> None:
    saved_settings.claim_run_folder(config(asked), out)
    (out / "traces.jsonl").write_text("{}\n")
    if made_by:
        RunFolder(out).write_note("sampler", {"name": made_by, "reason": "a test"})


@pytest.mark.parametrize(
    ("first", "made_by", "then"),
    [
        ("auto", "own", "vllm"),
        ("auto", "vllm", "own"),
        ("vllm", "vllm", "own"),
        ("own", "own", "vllm"),
        ("auto", None, "vllm"),  # a run of before there was a choice
    ],
)
def test_another_sampler_than_made_the_traces_is_refused(first, made_by, then, tmp_path):
    begun(tmp_path, first, made_by)
    said = rf"traces.jsonl was made with --runtime.sampler {made_by or 'own'}, now {then} is asked"
    with pytest.raises(LabError, match=said):
        saved_settings.claim_run_folder(config(then), tmp_path)


@pytest.mark.parametrize(
    ("first", "made_by", "then"),
    [
        ("auto", "own", "own"),
        ("auto", "vllm", "vllm"),
        ("vllm", "vllm", "auto"),
        ("own", "own", "auto"),
        ("auto", None, "own"),
    ],
)
def test_the_same_sampler_by_another_name_goes_on(first, made_by, then, tmp_path):
    begun(tmp_path, first, made_by)
    saved_settings.claim_run_folder(config(then), tmp_path)
    assert saved_settings.saved(tmp_path) == config(then)


def test_before_there_are_traces_it_may_change(tmp_path):
    saved_settings.claim_run_folder(config("own"), tmp_path)
    RunFolder(tmp_path).write_note("sampler", {"name": "own", "reason": "a test"})
    saved_settings.claim_run_folder(config("vllm"), tmp_path)
    assert saved_settings.sampler_of(tmp_path) is None


def test_a_config_of_before_there_was_a_choice_is_read(tmp_path):
    saved_settings.claim_run_folder(config(), tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('  "sampler": "auto",\n', ""))
    assert '"sampler"' not in (tmp_path / "config.json").read_text()
    assert saved_settings.saved(tmp_path) == config()
    assert RuntimeSettings().sampler == "auto"
