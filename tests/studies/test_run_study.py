"""A small study on the bundled models, with all measures and all caches: what is shared is made
once, a kill changes nothing, two jobs are as one, and a cell that fails is named while the others
go on.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from distill_lab.cli.main import main
from distill_lab.pipeline import data
from distill_lab.run.folder import RunFolder
from distill_lab.sampling import decode
from distill_lab.studies import results
from distill_lab.studies.cells import cell_id, read_cells
from distill_lab.studies.running.cell_configs import cells_of
from distill_lab.studies.running.clock import Clock
from distill_lab.studies.running.definition_file import read_definition
from distill_lab.studies.running.shared_work import make_shared
from distill_lab.studies.running.work_folder import Work
from distill_lab.tasks.squad.questions import load

# 8 questions of 4 samples and 16 of 2 share traces; of the third point no trace is kept
STUDY = """
question = "Is kd better?"
seeds = 1
measures = ["em", "f1", "pass@2", "nll", "kl", "confidence", "ece"]
[settings]
"train.steps" = 2
"data.n_eval" = 4
[[axes]]
"data.n_train" = [8, 16, 8]
"generate.n_samples" = [4, 2, 2]
"reject.max_paragraph" = [120, 120, 1]
"train.cache" = ["sampled", "none", "topk"]
[[findings]]
id = "kd-best"
measure = "f1"
plus = {student = "kd"}
minus = {student = "sft"}
[[findings]]
id = "kl"
measure = "kl"
plus = {student = "kd", "train.cache" = "none"}
minus = {student = "sft"}
"""
POINTS = [
    {
        "data.n_train": n,
        "generate.n_samples": samples,
        "reject.max_paragraph": words,
        "train.cache": cache,
    }
    for n, samples, words, cache in (
        (8, 4, 120, "sampled"),
        (16, 2, 120, "none"),
        (8, 2, 1, "topk"),
    )
]


def command(folder: Path, *more: str) -> list[str]:
    (folder / "small.toml").write_text(STUDY, encoding="utf-8")
    return ["study", "run", str(folder / "small.toml"), "--out", str(folder / "out"), *more]


def run(folder: Path, *more: str) -> int | str | None:
    """The command's exit status."""
    with pytest.raises(SystemExit) as ended:
        main(command(folder, *more))
    return ended.value.code


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[Path, list[int], int | str | None]:
    """The study's folder, how many traces were sampled at each call, and its exit status."""
    folder, sampled = tmp_path_factory.mktemp("study"), []
    complete, training = decode.complete, {q.id for q in load("bundled", "train").questions}

    def counting(model, jobs, sampling, ids=None):
        sampled.extend([sampling.n] * sum(job.question_id in training for job in jobs))
        return complete(model, jobs, sampling, ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "complete", counting)
        status = run(folder)
    return folder / "out", sampled, status


def test_no_trace_is_made_twice(small):
    """Each question as often as the cell that needs most samples of it."""
    out, sampled, _ = small
    questions = load("bundled", "train").questions
    need: dict[str, int] = {}
    for n, samples in ((8, 4), (16, 2), (8, 2)):
        for question in data.draw(questions, n, 0):
            need[question.id] = max(samples, need.get(question.id, 0))
    [store] = (out / "work" / "traces").iterdir()
    traces = RunFolder(store).traces.read()
    assert sum(sampled) == len(traces) == sum(need.values())
    assert {(t.question_id, t.sample) for t in traces} == {
        (id, sample) for id, n in need.items() for sample in range(n)
    }


def test_each_cell_has_the_traces_of_its_own_settings(small):
    out, _, _ = small
    counts = sorted(
        len(RunFolder(folder).traces.read()) for folder in (out / "work" / "examples").iterdir()
    )
    assert counts == [8 * 2, 8 * 4, 16 * 2]


def test_the_lines_are_those_of_the_grid_in_its_order(small):
    """All on the half to choose on; on the other the references and what was chosen."""
    out, _, _ = small
    lines = read_cells(out / "cells.jsonl")
    findings = json.loads((out / "study.json").read_text())["findings"]
    chosen = findings[0]["chosen"]
    expected = [(None, who, {}, half) for who in ("base", "teacher") for half in results_halves()]
    for point in POINTS[:2]:
        for student in ("sft", "kd"):
            reported = point == chosen or point["train.cache"] == "none"
            halves = results_halves() if reported else ["choose"]
            expected += [(0, student, point, half) for half in halves]
    assert [(line.seed, line.student, line.settings, line.half) for line in lines] == expected
    for line in lines:
        assert line.cell == cell_id(line.settings, line.seed, line.student)
        assert {len(scores) for scores in line.scores.values()} == {4}
        assert {*line.means} >= {*"em f1 pass@2 nll kl confidence ece".split()}
        of_kl = line.half == "report" and line.settings.get("train.cache") == "none"
        assert ("kl" in line.scores) == of_kl
        assert "pass@2" not in line.scores  # no finding needs them


def results_halves() -> list[str]:
    return ["choose", "report"]


def test_a_cell_that_fails_is_named_the_others_go_on_and_the_status_says_so(small, capfd):
    out, _, status = small
    assert status == 1
    before = (out / "cells.jsonl").read_bytes()
    assert run(out.parent) == 1  # tried again; nothing that is done is done again
    printed = capfd.readouterr().err
    assert (out / "cells.jsonl").read_bytes() == before
    for student in ("sft", "kd"):
        at = (
            "data.n_train 8, generate.n_samples 2, reject.max_paragraph 1, train.cache topk, seed 0"
        )
        assert f"Failed: {student}, {at}: " in printed
    assert printed.count("Failed: ") == 2
    assert "expected at least one trace to keep, found 16 refused (long_paragraph" in printed
    assert "distill-lab: 2 cells failed" in printed


def test_the_folder_is_checked_and_its_models_are_gone(small):
    out, _, _ = small
    assert results.check(out) == []
    assert not [*(out / "work" / "students").rglob("*.safetensors")]
    assert (out / ".gitignore").read_text() == "work/\n"


@pytest.mark.slow
def test_a_student_that_diverges_is_named_and_nothing_is_measured_of_it(tmp_path, capfd):
    """Weights grow by a factor of 99 each step, until they are infinite."""
    words = [
        "study",
        "run",
        "--out",
        str(tmp_path / "out"),
        "--axis",
        "train.learning_rate=0.001,10",
    ]
    values = ("data.n_train=8", "generate.n_samples=1", "data.n_eval=4", "train.steps=30")
    for value in (*values, "train.weight_decay=10"):
        words += ["--setting", value]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--seeds", "1", "--students", "sft"])
    assert ended.value.code == 1
    printed = capfd.readouterr().err
    assert re.search(
        r"Failed: sft, train\.learning_rate 10\.0, seed 0: expected a finite loss and gradient, "
        r"found NaN or infinity at step \d+\. Lower train\.learning_rate\.",
        printed,
    )
    assert printed.count("Failed: ") == 1
    students = [line for line in read_cells(tmp_path / "out" / "cells.jsonl") if line.seed == 0]
    assert [line.settings for line in students] == [{"train.learning_rate": 0.001}]


def test_seconds_are_those_of_all_phases_and_parts(small, tmp_path):
    """Sampling alone, with no cell yet, is noted, so that a kill leaves it."""
    out, _, _ = small
    seconds = json.loads((out / "study.json").read_text())["seconds"]
    definition = read_definition(out / "study.toml")
    ticks: list[float] = []
    clock = Clock(tmp_path, "s")

    def tick() -> None:
        clock.tick()
        ticks.append(clock.seconds)

    make_shared(cells_of(replace(definition, students=("sft",))), Work(tmp_path), 1, tick)
    assert len(ticks) == 1
    assert 0 < ticks[0] < seconds
    later = Clock(tmp_path, "s")
    time.sleep(0.05)
    later.tick()
    assert later.seconds >= ticks[0] + 0.05


def test_a_worker_imports_neither_torch_nor_transformers_before_unsloth():
    code = (
        "import sys\nfrom distill_lab.studies.running.worker import do\n"
        "print(*{'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.slow
def test_two_jobs_give_the_numbers_of_one(small, tmp_path):
    assert run(tmp_path, "--jobs", "2") == 1
    assert left(tmp_path / "out") == left(small[0])


@pytest.mark.slow
def test_a_study_that_was_killed_twice_ends_with_the_same_cells(small, tmp_path):
    kill_when(tmp_path, lambda: [*(tmp_path / "out").glob("work/traces/*/traces.jsonl")])
    kill_when(tmp_path, lambda: [*(tmp_path / "out").glob("work/students/*/students/sft/model")])
    assert run(tmp_path) == 1
    assert left(tmp_path / "out") == left(small[0])


def kill_when(folder: Path, is_time: Callable[[], list[Path]]) -> None:
    words = [sys.executable, "-m", "distill_lab", *command(folder)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not is_time():
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)
        process.kill()


def left(out: Path) -> dict[str, bytes]:
    """What a study ships that does not tell the time."""
    return {name: (out / name).read_bytes() for name in ("cells.jsonl", "halves.json", "study.csv")}


@pytest.mark.slow
def test_a_study_whose_work_is_gone_grows_by_a_seed_and_makes_nothing_again(tmp_path, capfd):
    """What is added is what a study with both seeds has, and what was there stays as it was."""
    small = ("data.n_train=8", "generate.n_samples=1", "data.n_eval=4", "train.steps=2")
    words = ["study", "run", "--axis", "train.alpha=0.5", "--students", "kd"]
    words += [word for value in small for word in ("--setting", value)]

    def cells(folder: str, seeds: int) -> dict[tuple[str, str], str]:
        with pytest.raises(SystemExit) as ended:
            main([*words, "--seeds", str(seeds), "--out", str(tmp_path / folder)])
        assert ended.value.code == 0
        lines = (tmp_path / folder / "cells.jsonl").read_text().splitlines()
        timeless = re.compile(r'"seconds": [0-9.]+')
        return {(line[:20], line[20:50]): timeless.sub("", line) for line in lines}

    whole = cells("both", 2)
    one = cells("grown", 1)
    shutil.rmtree(tmp_path / "grown" / "work")
    capfd.readouterr()
    grown = cells("grown", 2)
    assert "lines are there and not made again" in capfd.readouterr().out
    assert one.items() <= grown.items()
    assert grown == whole
    assert results.check(tmp_path / "grown") == []
    assert len([*(tmp_path / "grown" / "work" / "traces").iterdir()]) == 1  # of the new seed
