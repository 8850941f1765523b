"""Word problems through all stages: a teacher that always answers 8, a student of no skill."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from scripted import save_answering
from transformers import AutoTokenizer

from distill_lab.cli.main import main
from distill_lab.run.folder import RunFolder
from distill_lab.run.saved_settings import saved
from distill_lab.tasks.gsm8k import GSM8K
from distill_lab.tasks.prompts import prompt_id, render
from distill_lab.training.batches import encode_examples
from distill_lab.training.teacher_cache.build import RowFormat, TeacherCache

FINALS = {"train": [8, 12, "8", "8.0"], "eval": [8, -8, "$8"]}


def write_problems(folder: Path) -> None:
    for split, finals in FINALS.items():
        made = [
            {"question": f"How many are {split} {n}?", "answer": f"It is {final}.\n#### {final}"}
            for n, final in enumerate(finals)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in made))


def run(*arguments: str) -> object:
    with pytest.raises(SystemExit) as stopped:
        main(["run", *arguments])
    return stopped.value.code


@pytest.fixture
def flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    write_problems(tmp_path)
    return [
        "--data.task", "gsm8k", "--data.train", "train.jsonl", "--data.eval", "eval.jsonl",
        "--models.teacher-shots", "2", "--generate.n-samples", "2", "--generate.max-new-tokens",
        "12", "--train.epochs", "1", "--train.batch-size", "2", "--evaluate.max-new-tokens", "12",
        "--evaluate.bootstrap", "100", "--runtime.device", "cpu", "--runtime.threads", "1",
        "--out", "r",
    ]  # fmt: skip


def test_a_whole_run(flags, tiny_model, tmp_path, capsys):
    student = tiny_model("llama")
    teacher = save_answering(tmp_path / "teacher", student, "8")
    assert run(*flags, "--models.teacher", str(teacher), "--models.student", str(student)) in (
        0,
        None,
    )
    folder, tokenizer = RunFolder(Path("r")), AutoTokenizer.from_pretrained(teacher)

    questions = folder.train_questions.read()
    prompts = [render(GSM8K.user_text(q), tokenizer, 2, GSM8K) for q in questions]
    assert {t.prompt_id for t in folder.traces.read()} == set(map(prompt_id, prompts))
    verdicts = [(v.reason, v.scores) for v in folder.verdicts.read()]
    right = [("ok", {"accuracy": 100.0}), ("duplicate", {"accuracy": 100.0})]
    assert verdicts == [*right, *[("wrong_answer", {"accuracy": 0.0})] * 2, *right, *right]

    # Students are trained on the task's own prompt, without the worked examples of the teacher's.
    examples, config = folder.examples.read(), saved(folder.path)
    assert config
    rows = RowFormat("topk", 64, (2.0,), len(tokenizer))
    cache = TeacherCache(folder.teacher_cache, rows, str(teacher))
    of_task = encode_examples(examples, tokenizer, 512, None, 2, GSM8K)
    assert cache.missing(of_task) == 0  # not: SQuAD's prompts, which is the default
    assert cache.missing(encode_examples(examples, tokenizer, 512, None, 2)) == 3
    encoded = of_task[0]
    shown = [tokenizer.decode(ids) for ids in (encoded.student_prompt, encoded.teacher_prompt)]
    wanted = [render(examples[0].prompt, tokenizer, shots, GSM8K) for shots in (0, 2)]
    assert shown == [prompt.removesuffix("<think>") for prompt in wanted]
    assert GSM8K.shots[1].text in shown[1]

    report = folder.read_report()
    assert report["config"] == json.loads(json.dumps(dataclasses.asdict(config)))
    assert report["rejection"]["accepted"] == 3
    assert list(report["scores"]["teacher"]) == ["accuracy", "accuracy_ci95", "n"]
    assert report["scores"]["teacher"]["accuracy"] == 66.67
    assert report["scores"]["base"]["accuracy"] == 0
    assert report["gap_closed"].keys() == {"sft", "kd"}
    assert all(shares.keys() == {"accuracy"} for shares in report["gap_closed"].values())
    table = capsys.readouterr().out
    assert "| model   | accuracy (95 % CI) | n | gap accuracy |" in table
    for ending in ("md", "html"):
        text = folder.report(ending).read_text(encoding="utf-8")
        assert "accuracy" in text
        assert not {"EM", "F1", "SQuAD", "comprehension"} & set(text.replace(",", " ").split())

    assert run(*flags, "--data.task", "squad", "--data.train", "bundled") == 2
    assert "was made with --data.task gsm8k" in capsys.readouterr().err


def test_where_no_trace_is_right_one_sentence_says_so(flags, tiny_model, capsys):
    """As with the bundled teacher, which knows no sums."""
    teacher = save_answering(Path("teacher"), tiny_model("llama"), "9")
    models = ["--models.teacher", str(teacher), "--models.student", str(teacher)]
    assert run(*flags, *models) == 2
    error = capsys.readouterr().err
    assert "expected at least one trace to keep, found 8 refused (wrong_answer 8)" in error
    assert "--reject.min-f1" not in error
    assert len(error.strip().splitlines()[-1:]) == 1
    assert "Traceback" not in error
