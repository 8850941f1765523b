"""A whole run on hand-made questions: a teacher that always answers Rome, a student of no skill."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from scripted import save_answering

from distill_lab.cli.main import main
from distill_lab.run import past_times
from distill_lab.run.records import Example, Trace, Verdict, read_records

KEYS = (
    "profile", "models", "data", "rejection", "scores", "gap_closed", "gap_closed_ci95",
    "differences", "seconds", "backend", "versions", "git", "config",
)  # fmt: skip


def write_squad(path: Path, places: list[str], prefix: str) -> None:
    """A question a place: its answer is the place."""
    paragraphs = []
    for n, place in enumerate(places):
        context = f"Anna has lived in {place} for {n + 2} years."
        answers = [{"text": place, "answer_start": context.index(place)}]
        entry = {"id": f"{prefix}{n}", "question": "Where does Anna live?", "answers": answers}
        paragraphs.append({"context": context, "qas": [entry]})
    path.write_text(json.dumps({"data": [{"title": "Anna", "paragraphs": paragraphs}]}))


def run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", *arguments])
    assert stopped.value.code == 0


def contents(out: Path) -> dict[str, tuple[int, bytes]]:
    """When each file that takes time to make was written, and what is in it."""
    slow = [out / "traces.jsonl", *out.glob("students/**/*"), *out.glob("predictions/*")]
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in slow if p.is_file()}


def test_a_whole_run_and_the_same_again(tiny_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTILL_LAB_CACHE", str(tmp_path / "cache"))
    write_squad(tmp_path / "train.json", ["Rome", "Oslo", "Rome", "Rome", "Lima", "Rome"], "t")
    write_squad(tmp_path / "eval.json", ["Rome", "Bern", "Rome", "Cairo"], "e")
    teacher = save_answering(tmp_path / "teacher", tiny_model("llama"))
    first = [
        "--data.train", "train.json", "--data.eval", "eval.json", "--models.teacher", str(teacher),
        "--models.student", str(tiny_model("llama")), "--generate.n-samples", "2",
        "--generate.max-new-tokens", "12", "--train.epochs", "2", "--train.batch-size", "2",
        "--evaluate.max-new-tokens", "12", "--evaluate.bootstrap", "100",
        "--runtime.device", "cpu", "--runtime.threads", "1", "--out", "r",
    ]  # fmt: skip
    run(*first)
    out = Path("r")

    assert len(read_records(out / "traces.jsonl", Trace)) == 12
    reasons = [verdict.reason for verdict in read_records(out / "verdicts.jsonl", Verdict)]
    right, wrong = ["ok", "duplicate"], ["wrong_answer", "wrong_answer"]
    assert reasons == [*right, *wrong, *right, *right, *wrong, *right]
    examples = read_records(out / "examples.jsonl", Example)
    assert [example.question_id for example in examples] == ["t0", "t2", "t3", "t5"]

    report = json.loads((out / "report.json").read_text())
    assert tuple(report) == KEYS
    remembered = [json.loads(line)["stage"] for line in past_times.file().read_text().splitlines()]
    assert remembered == ["generate", "train", "evaluate"]
    assert report["profile"] == "tiny"
    assert report["models"] == {"teacher": str(teacher), "base": str(tiny_model("llama"))}
    assert (report["data"]["train"], report["data"]["eval"]) == (6, 4)
    assert report["rejection"] == {
        "traces": 12, "accepted": 4, "examples": 4, "reasons": {"wrong_answer": 4, "duplicate": 4},
    }  # fmt: skip
    assert list(report["scores"]) == ["base", "sft", "kd", "teacher"]
    assert all(scores["n"] == 4 for scores in report["scores"].values())
    assert report["scores"]["teacher"]["em"] == report["scores"]["teacher"]["f1"] == 50
    assert report["scores"]["base"]["em"] == 0
    assert list(report["gap_closed"]) == ["sft", "kd"]
    assert {"data", "generate", "reject", "train", "evaluate"} <= set(report["seconds"])
    assert report["backend"]["device"] == "cpu"
    assert report["config"] == json.loads((out / "config.json").read_text())
    for name in ("report.md", "report.html"):
        assert "kd" in (out / name).read_text(encoding="utf-8")
    assert not list(out.rglob("*.tmp"))
    assert not list(out.rglob("*.partial"))
    assert "| teacher" in capsys.readouterr().out

    before = contents(out)
    assert len(before) > 8
    for again in (first, ["--out", "r"]):
        run(*again)
        assert contents(out) == before
        printed = capsys.readouterr().out
        for stage in ("generate", "train", "evaluate"):
            assert f"{stage}: all there already" in printed
    assert json.loads((out / "report.json").read_text())["scores"] == report["scores"]

    shutil.rmtree(out / "students")
    code, error = on_a_small_disk("train", "--out", "r")
    assert code == 2
    assert "distill-lab: writing: " in error
    assert "Traceback" not in error
    assert not list(out.glob("students/*/model"))


def on_a_small_disk(*arguments: str) -> tuple[object, str]:
    """Exit code and stderr, where no file can be larger than 50 kB."""
    resource: Any = pytest.importorskip("resource")
    old, errors = resource.getrlimit(resource.RLIMIT_FSIZE), io.StringIO()
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, old[1]))
    try:
        with contextlib.redirect_stderr(errors), pytest.raises(SystemExit) as stopped:
            main(list(arguments))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    return stopped.value.code, errors.getvalue()
