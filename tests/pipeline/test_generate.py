"""Sampling and answering as stages: every record there once, however often the stage was killed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted import ANSWERED, save_answering
from transformers import AutoTokenizer

from distill_lab.pipeline import evaluate, generate
from distill_lab.run.records import (
    LabError,
    Prediction,
    Question,
    Trace,
    read_records,
    to_line,
    write_records,
)
from distill_lab.run.settings import Config, EvaluateSettings, GenerateSettings, ModelSettings
from distill_lab.run.settings import RuntimeSettings as Runtime
from distill_lab.sampling.nucleus import Sampling
from distill_lab.tasks.prompts import prompt_id, render
from distill_lab.tasks.squad.task import SHOTS, user_text

CONTEXT = "Anna lives in Rome. Her brother has lived in {} for {} years."
CITIES = ("Paris", "Lima", "Oslo", "Rome", "Bern", "Cairo", "Quito", "Hanoi", "Accra")


def questions(n: int) -> list[Question]:
    """Of different lengths, and most with a beginning that they share."""
    return [
        Question(f"q{k}", "t", CONTEXT.format(city, "very " * (k % 4) + "many"), "Where?", (city,))
        for k in range(n)
        for city in [CITIES[k % len(CITIES)]]
    ]


def run_folder(out: Path, n: int = 9) -> Path:
    for name in ("train", "eval"):
        write_records(out / f"questions.{name}.jsonl", questions(n))
    return out


def config(teacher: Path | str, student: Path | str = "none", shots: int = 0) -> Config:
    return Config(
        models=ModelSettings(str(teacher), str(student), shots),
        generate=GenerateSettings(n_samples=3, temperature=1.0, top_p=0.9, max_new_tokens=8),
        evaluate=EvaluateSettings(max_new_tokens=12),
        runtime=Runtime(device="cpu", threads=1, sample_batch=7),
    )


def traces(out: Path) -> list[Trace]:
    return read_records(out / "traces.jsonl", Trace)


def in_any_order(records: list[Trace]) -> list[str]:
    return sorted(map(to_line, records))


# -- generate


@pytest.fixture(scope="module")
def whole(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    out = run_folder(tmp_path_factory.mktemp("whole"))
    assert generate.run(config(tiny_model("llama")), out) is True
    return out


def test_each_question_has_its_samples_once(whole, tiny_model):
    made = traces(whole)
    found = Counter((trace.question_id, trace.sample) for trace in made)
    assert found == Counter((q.id, sample) for q in questions(9) for sample in range(3))
    assert {trace.teacher for trace in made} == {str(tiny_model("llama"))}
    assert len({trace.completion for trace in made}) == len(made)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("llama"))
    prompts = {q.id: render(user_text(q.context, q.question), tokenizer) for q in questions(9)}
    assert all(trace.prompt_id == prompt_id(prompts[trace.question_id]) for trace in made)


def test_traces_do_not_depend_on_how_many_are_sampled_together(whole, tiny_model, tmp_path):
    settings = config(tiny_model("llama"))
    runtime = dataclasses.replace(settings.runtime, sample_batch=1)
    generate.run(dataclasses.replace(settings, runtime=runtime), run_folder(tmp_path))
    assert in_any_order(traces(tmp_path)) == in_any_order(traces(whole))


def test_nothing_is_computed_where_all_is_there(whole, tmp_path):
    run_folder(tmp_path)
    (tmp_path / "traces.jsonl").write_bytes((whole / "traces.jsonl").read_bytes())
    assert generate.run(config("/no/such/model"), tmp_path) is False
    assert (tmp_path / "traces.jsonl").read_bytes() == (whole / "traces.jsonl").read_bytes()


@pytest.mark.parametrize("torn", [0, 1, 40, -1], ids=lambda torn: f"torn at {torn}")
@pytest.mark.parametrize("dropped", [1, 2, 5, 26, 27])
def test_a_run_goes_on_where_it_stopped(dropped, torn, whole, tiny_model, tmp_path):
    lines = (whole / "traces.jsonl").read_bytes().splitlines(keepends=True)
    rest = lines[:-dropped]
    run_folder(tmp_path)
    (tmp_path / "traces.jsonl").write_bytes(b"".join(rest) + lines[-dropped].rstrip()[:torn])
    assert generate.run(config(tiny_model("llama")), tmp_path) is True
    text = (tmp_path / "traces.jsonl").read_bytes()
    assert text.startswith(b"".join(rest))  # kept as they are
    assert text == b"".join(lines)


def test_holes_in_the_middle_are_filled(whole, tiny_model, tmp_path):
    lines = (whole / "traces.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    run_folder(tmp_path)
    (tmp_path / "traces.jsonl").write_text("".join(lines[3:7] + lines[8:20]), encoding="utf-8")
    generate.run(config(tiny_model("llama")), tmp_path)
    assert in_any_order(traces(tmp_path)) == sorted(lines)


def test_a_few_shot_teacher_thinks_from_an_opened_tag(tiny_model, tmp_path):
    teacher = save_answering(tmp_path / "teacher", tiny_model("llama"))
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    seen = {}
    for shots in (0, 3):
        out = run_folder(tmp_path / str(shots), n=2)
        generate.run(config(teacher, shots=shots), out)
        for trace, question in zip(traces(out)[::3], questions(2), strict=True):
            prompt = render(user_text(question.context, question.question), tokenizer, shots)
            assert (SHOTS[2].completion in prompt) is (shots == 3)
            assert prompt.endswith("<think>") is (shots == 3)
            seen[shots, trace.question_id] = trace.prompt_id
    assert len(set(seen.values())) == 4


def test_a_traces_text_length_and_end_are_the_teachers(tiny_model, tmp_path):
    teacher = save_answering(tmp_path / "teacher", tiny_model("llama"))
    for shots, n_tokens in ((0, 9), (3, 8)):  # the begun tag is not sampled
        settings = config(teacher, shots=shots)
        longer = dataclasses.replace(settings.generate, max_new_tokens=20)
        out = run_folder(tmp_path / str(shots), n=2)
        generate.run(dataclasses.replace(settings, generate=longer), out)
        for trace in traces(out):
            found = (trace.completion, trace.n_tokens, trace.finish)
            assert found == (ANSWERED, n_tokens, "stop")


def test_without_questions_the_stage_that_makes_them_is_named(tmp_path):
    with pytest.raises(LabError, match=r"questions\.train\.jsonl.*`distill-lab data`"):
        generate.run(config("none"), tmp_path)
    assert list(tmp_path.iterdir()) == []


# Imports once; then each run is a fork of its own, so that there are many kills in little time.
KILL = """
import os, pathlib, random, shutil, signal, sys, time
from distill_lab.pipeline import generate
from distill_lab.run.saved_settings import from_json
import json

settings, folder, moments = from_json(json.loads(sys.argv[1])), sys.argv[2], int(sys.argv[3])

def started(out):
    child = os.fork()
    if not child:
        generate.run(settings, out)
        os._exit(0)
    return child

def size(out):
    path = out / "traces.jsonl"
    return path.stat().st_size if path.exists() else 0

def fresh(name):
    out = pathlib.Path(folder) / name
    out.mkdir()
    shutil.copy(pathlib.Path(folder) / "questions.train.jsonl", out)
    return out

begin = time.monotonic()
assert os.waitpid(started(fresh("whole")), 0)[1] == 0
took, whole = time.monotonic() - begin, size(pathlib.Path(folder) / "whole")
for n in range(moments):
    moment, out = random.Random(n), fresh(str(n))
    child, enough = started(out), whole * moment.uniform(0, 0.8)
    while size(out) < enough and time.monotonic() < begin + 600:
        time.sleep(0.001)
    time.sleep(moment.uniform(0, 0.1) * took)
    os.kill(child, signal.SIGKILL)
    killed = os.waitpid(child, 0)[1] == signal.SIGKILL
    print("killed" if killed else "done", size(out), flush=True)
    assert os.waitpid(started(out), 0)[1] == 0
"""


@pytest.mark.parametrize("moments", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_killed_run_ends_with_the_same_traces(moments, tiny_model, tmp_path):
    if not hasattr(sys.modules["os"], "fork"):
        pytest.skip("no fork here")
    run_folder(tmp_path, n=40)
    settings = json.dumps(dataclasses.asdict(config(tiny_model("llama"))))
    command = [sys.executable, "-c", KILL, settings, str(tmp_path), str(moments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "killed" in done.stdout
    expected = (tmp_path / "whole" / "traces.jsonl").read_bytes()
    assert len(expected.splitlines()) == 120
    for n in range(moments):
        assert (tmp_path / str(n) / "traces.jsonl").read_bytes() == expected


# -- evaluate


@pytest.fixture
def trained(tiny_model: Callable[[str], Path], tmp_path: Path) -> tuple[Path, Config]:
    """A run folder with two students, of which `kd` knows one answer; and its settings."""
    out = run_folder(tmp_path / "run", n=5)
    kd = save_answering(tmp_path / "answers", tiny_model("llama"))
    for arm, folder in (("sft", tiny_model("llama")), ("kd", kd)):
        (out / "students" / arm).mkdir(parents=True)
        (out / "students" / arm / "model").symlink_to(folder)
    return out, config(kd, tiny_model("gpt2"))


def predictions(out: Path, who: str) -> list[Prediction]:
    return read_records(out / "predictions" / f"{who}.jsonl", Prediction)


def test_all_four_answer_all_questions_and_are_scored(trained):
    out, settings = trained
    assert evaluate.run(settings, out) is True
    for who in evaluate.MODELS:
        made = predictions(out, who)
        assert sorted(p.question_id for p in made) == ["q0", "q1", "q2", "q3", "q4"]
    for who in ("kd", "teacher"):  # both answer Rome, which only q3 asks for
        for made in predictions(out, who):
            assert (made.completion, made.answer, made.sample) == (ANSWERED, "Rome", 0)
            assert made.em == made.f1 == (100 if made.question_id == "q3" else 0)
    assert {p.em for who in ("base", "sft") for p in predictions(out, who)} == {0.0}
    before = {who: (out / "predictions" / f"{who}.jsonl").read_bytes() for who in evaluate.MODELS}
    assert evaluate.run(config("/no/such/model", "/nor/this"), out) is False
    for who, text in before.items():
        assert (out / "predictions" / f"{who}.jsonl").read_bytes() == text


def test_an_evaluation_goes_on_where_it_stopped(trained):
    out, settings = trained
    evaluate.run(settings, out)
    path = out / "predictions" / "sft.jsonl"
    text = path.read_bytes()
    path.write_bytes(b"".join(text.splitlines(keepends=True)[:2]) + b'{"question_id": "q')
    # Only the student is loaded again: the others are all there, and here they could not be.
    assert evaluate.run(config("/no/such/model", "/nor/this"), out) is True
    assert path.read_bytes() == text


def test_a_partly_right_answer_has_its_share_of_f1(trained):
    out, settings = trained
    asked = Question("q", "t", "c", "Where?", ("in old Rome", "Paris"))
    nothing = Question("n", "t", "c", "Where?", ())  # unanswerable: any answer is wrong
    write_records(out / "questions.eval.jsonl", [asked, nothing])
    evaluate.run(settings, out)
    scores = {p.question_id: (p.em, round(p.f1, 6)) for p in predictions(out, "kd")}
    assert scores == {"q": (0, 50.0), "n": (0, 0)}  # precision 1, recall 1/3


def test_what_is_missing_is_named_before_anything_is_computed(trained):
    out, settings = trained
    (out / "students" / "kd" / "model").unlink()
    with pytest.raises(LabError, match=r"students/kd/model.*`distill-lab train`"):
        evaluate.run(settings, out)
    assert not (out / "predictions").exists()
    (out / "questions.eval.jsonl").unlink()
    with pytest.raises(LabError, match=r"questions\.eval\.jsonl.*`distill-lab data`"):
        evaluate.run(settings, out)


def test_every_setting_of_sampling_reaches_the_sampler():
    settings = GenerateSettings(3, 0.7, 0.8, top_k=20, max_new_tokens=5, seed=4)
    sampling = generate.teacher_sampling(Config(generate=settings))
    assert sampling == Sampling(3, 0.7, 0.8, max_new_tokens=5, seed=4, top_k=20)
