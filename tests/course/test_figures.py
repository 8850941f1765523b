"""Numbers in prose: each has a source, and another value than its source's is found."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from distill_lab.course.builder import figures, prose, run_figures, source, up_to_date
from distill_lab.run.records import LabError, Prediction, Question, Trace, Verdict
from distill_lab.run.whole_run import RunRecords

REPOSITORY = Path(__file__).parent.parent.parent
FIGURES = {"tiny.n": 1600, "tiny.sft.em": 50.83, "tiny.table": "| a |\n|---|\n| 7 |", "x.low": -1.7}


def findings(folder: Path) -> list[str]:
    return list(up_to_date.numbers(folder, source.read_all(folder)))


@pytest.fixture
def copy(tmp_path) -> Path:
    """The course's sources, reading, figures, studies and solved notebooks, README and handbook."""
    for name in ("source", "reading", "figures", "studies", "solutions"):
        shutil.copytree(REPOSITORY / "lab_notebooks" / name, tmp_path / "lab_notebooks" / name)
    results = Path("benchmarks", "results")
    shutil.copytree(REPOSITORY / results, tmp_path / results)
    (tmp_path / "docs").mkdir()
    for name in ("README.md", HANDBOOK):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


A = "lab_notebooks/source/Lab5a_Teacher_Generation.py"
B = "lab_notebooks/source/Lab5b_Rejection_Sampling.py"
D = "lab_notebooks/source/Lab5d_SQuAD_Evaluation.py"
HANDBOOK = "docs/handbook.md"
READING, OF = "lab_notebooks/reading/DeepSeek_R1.md", "lab_notebooks/figures/"
# Where, what stands there, what it is changed to, what the finding names.
CHANGES = (
    ("README.md", "| sft     | 43.8 (38.3", "| sft     | 44.8 (38.3", "tiny.table"),
    ("README.md", "| 52.2<!-- ", "| 53.2<!-- ", "expected 52.2 as in tiny.sft.one-fact.em"),
    ("README.md", "took 64<!--", "took 46<!--", "expected 64 as in times.run.seconds, found 46"),
    (HANDBOOK, "| 2.50<!-- ", "| 2.60<!-- ", "expected 2.50 as in bench.loss.liger.cpu"),
    ("README.md", "traces 217<!-- ", "traces 317<!-- ", "expected 217 as in cpu.accepted"),
    (READING, "keeps 91<!-- ", "keeps 19<!-- ", "expected 91 as in kept.Qwen-32B.aime_pass1"),
    (READING, "| R1-Distill-Qwen-7B | 55.5", "| R1-Distill-Qwen-7B | 55.6", "paper.table-5"),
    (A, "{tiny.two-fact.tokens:.1f} tokens", "35.9 tokens", "source for the number 35.9"),
    (B, "{tiny.right_later} of these", "2 of these", "source for the number 2"),
    (D, "{tiny.errors.two-fact.early} of", "{tiny.errors.most} of", "named tiny.errors.most"),
    (OF + "tiny.json", '"sft.two-fact.em": 36.22', '"sft.two-fact.em": 52', "expected 52.0 as in"),
    (OF + "cells.json", '"fact.right": 45', '"fact.right": 54', "expected 45 as its cell shows"),
)  # fmt: skip


def test_the_course_names_a_source_for_each_number():
    assert findings(REPOSITORY / "lab_notebooks") == []


@pytest.mark.parametrize(("file", "old", "new", "named"), CHANGES)
def test_a_figure_that_was_changed_is_found(copy, file, old, new, named):
    text = (copy / file).read_text()
    assert text.count(old) == 1, "the example is out of date"
    (copy / file).write_text(text.replace(old, new))
    found = findings(copy / "lab_notebooks")
    assert any(named in line for line in found), found


BARE = (
    "EM rose to 50.8.", "36 of 39 are right", "half of it, or 0.5 GB", "| sft | 51 |", "(49 %)",
    "1,600 traces", "Of 100, 7 are wrong.", "took 81 seconds", "2.50 times", "from −1.7 to 3",
)  # fmt: skip
NAMES = (
    "R1, Qwen2.5-0.5B, F1, T4, cons@64, MATH-500, GPT-4o-0513, T², 32B, 5a, fp16",
    "Labs 6 and 7, section 2.3.3, tables 4, 5 and 6, Exercise 1 (4 points), version 1, SQuAD 1.1",
    "## 3. Temperature", "1. One.\n2. Two.", "<summary>2. sft</summary>", "in 2015; AIME 2024",
    "`7`, $0.7^8$, $$\nx = 12\n$$, [1503.02531](https://arxiv.org/abs/1503.02531)",
    "T = 1, α = 0.5", "```\n17 lines\n```", "Liger 0.8.5", "16-bit weights",
)  # fmt: skip


@pytest.mark.parametrize("text", BARE)
def test_a_number_without_a_source_is_found(text):
    assert list(prose.of_cell(text, {}))
    assert list(prose.of_markdown(text, {}))


@pytest.mark.parametrize("text", NAMES)
def test_digits_in_names_and_code_need_none(text):
    assert not [*prose.of_cell(text, {}), *prose.of_markdown(text, {})]


def test_a_source_is_filled_with_its_figures():
    text = "{tiny.n} traces: {tiny.sft.em}, {tiny.sft.em:.0f}, {x.low}; {setting:8}; $\\frac{2}{p}$"
    assert not list(prose.of_cell(text, FIGURES))
    assert prose.filled(text, FIGURES) == "1,600 traces: 50.8, 51, −1.7; 8; $\\frac{2}{p}$"
    with pytest.raises(LabError, match=r"none named tiny\.kd\.em"):
        prose.filled("{tiny.kd.em}", FIGURES)


def test_markdown_is_held_at_the_decimals_it_is_given_with():
    good = "50.8<!-- tiny.sft.em -->, 51<!-- tiny.sft.em -->, 8<!-- setting -->\n\n"
    table = f"<!-- tiny.table -->\n{FIGURES['tiny.table']}\n"
    assert not list(prose.of_markdown(good + table, FIGURES))
    [wrong] = prose.of_markdown("50<!-- tiny.sft.em -->", FIGURES)
    assert wrong.startswith("expected 51 as in tiny.sft.em, found 50.")
    assert not list(prose.of_markdown("−1.7<!-- x.low -->", FIGURES))
    [wrong] = prose.of_markdown("1.7<!-- x.low -->", FIGURES)
    assert wrong.startswith("expected −1.7 as in x.low, found 1.7.")
    [wrong] = prose.of_markdown(table.replace("7", "8"), FIGURES)
    assert wrong.startswith("expected the table tiny.table")


# -- figures of a run

FACTS = "The mill was built by Ana. Ana lives in Rome. Bo lives in Graz."


def asked(name: str, kind: str, answer: str) -> Question:
    return Question(name, "", FACTS, "?", (answer,), kind)


def test_a_wrong_answer_stops_early_where_it_leads_to_the_right_one():
    question = asked("q", "two-fact", "Rome")
    answers = {"Ana": True, "Bo": False, "Graz": False, "": False, "Lima": False}
    found = {
        a: run_figures.stops_early(question, Prediction("q", 0, "", a, {"em": 0})) for a in answers
    }
    assert found == answers


def test_traces_are_told_by_kind_and_later_samples_may_be_right():
    """Verdicts stand in another order than their traces, and are joined all the same."""
    train = {q.id: q for q in (asked("a", "one-fact", "Graz"), asked("b", "two-fact", "Rome"))}
    ems = {("a", 0): 100, ("a", 1): 0, ("b", 0): 0, ("b", 1): 100}
    tokens = {("a", 0): 10, ("a", 1): 12, ("b", 0): 30, ("b", 1): 40}
    traces = [Trace(*key, "", n, "stop", "t", "p") for key, n in tokens.items()]
    verdicts = [
        Verdict(*key, "ok" if em else "wrong_answer", {"em": em}) for key, em in ems.items()
    ]
    run = RunRecords(train, {}, traces, verdicts[::-1], [], {}, {}, {}, {}, {})
    found = dict(run_figures.of_traces(run))
    assert found["one-fact.tokens"] == 11
    assert found["two-fact.tokens"] == 35
    assert found["wrong_percent"] == found["two-fact.wrong_percent"] == 50
    assert (found["right.tokens"], found["wrong.tokens"]) == (40, 30)
    assert (found["first_missed"], found["right_later"]) == (1, 1)


def test_the_benchmarks_figures_are_those_of_their_table():
    """An oracle: benchmarks/results/table.md, written by other code."""
    table = (REPOSITORY / "benchmarks" / "results" / "table.md").read_text()
    found = figures.read(REPOSITORY / "lab_notebooks")
    rows = re.findall(r"^\| Liger .*? \| [\d.]+ \| [\d.]+ \| ([\d.]+) \| ([\d,]+) \|", table, re.M)
    cases = ("loss", "loss-whole")
    assert rows == [
        (f"{found[f'bench.{c}.liger.cpu']:.2f}", f"{found[f'bench.{c}.liger.peak']:,}")
        for c in cases
    ]
    assert "ours / generate | at least 2 | {:.2f} |".format(
        found["bench.sampling.generate_stop.rate"]
    ) in table  # fmt: skip


def test_measuring_again_says_what_has_changed(copy, capsys):
    folder = copy / "lab_notebooks"
    file = folder / "figures" / "cells.json"
    kept = file.read_text()
    file.write_text(kept.replace('"fact.right": 45', '"fact.right": 54'))
    assert figures.measure(figures.Measure(folder=folder)) == ["cells.fact.right: 54 → 45"]
    assert json.loads(file.read_text()) == json.loads(kept)


def test_a_report_of_models_is_a_source_under_its_folders_name(copy):
    run = copy / "runs" / "prune-small"
    run.mkdir(parents=True)
    finding = {"plus": "wanda:0.5 + KL", "minus": "wanda:0.5 + CE", "measure": "accuracy",
               "difference": 4.7, "ci95": [2.2, 7.1]}  # fmt: skip
    report = {"models": {"dense": {}}, "findings": [finding],
              "data": {"train": {"n": 20}, "eval": {"n": 436}}}  # fmt: skip
    (run / "report.json").write_text(json.dumps(report), encoding="utf-8")
    (run / "report.md").write_text("# Report\n\n| m |\n|---|\n| 1 |\n\n| o |\n", encoding="utf-8")
    folder = copy / "lab_notebooks"
    assert len(figures.measure(figures.Measure(run, folder))) == 6
    found, name = figures.read(folder), "prune-small.wanda-0.5-KL-minus-wanda-0.5-CE.accuracy"
    assert found["prune-small.table"] == "| m |\n|---|\n| 1 |"
    assert (found[name], found[f"{name}.low"], found[f"{name}.high"]) == (4.7, 2.2, 7.1)
    assert found["prune-small.n_eval"] == 436


def test_a_chains_report_is_one_too(copy):
    run = copy / "runs" / "chain-small"
    run.mkdir(parents=True)
    step, order = (
        {"plus": plus, "minus": "q4_0", "measure": "em", "difference": difference, "ci95": [0, 3]}
        for plus, difference in (("neurons:0.25 → recover → q4_0", 1.5), ("neurons:0.25", 2.5))
    )
    report = {"models": {"dense": {}}, "steps": [step], "orders": [order],
              "data": {"train": {"n": 20}, "eval": {"n": 60}}}  # fmt: skip
    (run / "report.json").write_text(json.dumps(report), encoding="utf-8")
    (run / "report.md").write_text("| m |\n|---|\n| 1 |\n", encoding="utf-8")
    figures.measure(figures.Measure(run, copy / "lab_notebooks"))
    found = figures.read(copy / "lab_notebooks")
    assert found["chain-small.neurons-0.25-recover-q4_0-minus-q4_0.em"] == 1.5
    assert found["chain-small.neurons-0.25-minus-q4_0.em"] == 2.5


# -- figures of a study

TABLE = """cell,train.alpha,train.divergence,seed,student,half,n_examples,em,em:two-fact,kl
c0,,,0,base,report,,5.0,2.0,
c1,,,0,sft,report,300,40.0,20.0,
c2,,,1,sft,report,300,44.0,30.0,
c3,0.5,forward-kl,0,kd,choose,300,90.0,90.0,0.9
c4,0.5,forward-kl,0,kd,report,300,50.0,40.0,0.5
c5,0.5,forward-kl,1,kd,report,300,51.0,50.0,0.4
"""
FINDING = {
    "id": "kd-best", "difference": 8.5, "ci95": [-1.0, 18.0], "seeds": 2, "by_seed": [10.0, 7.0],
    "settings_tried": 3, "chosen": {"train.alpha": 0.5},
}  # fmt: skip


def test_findings_and_means_of_a_study_are_figures(copy):
    """Means are over the seeds, of the half that is reported, and never of an empty field."""
    folder = copy / "lab_notebooks" / "studies" / "softening"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps({"findings": [FINDING]}))
    (folder / "study.csv").write_text(TABLE)
    found = figures.read(copy / "lab_notebooks")
    expected = {
        "found.kd-best": 8.5, "found.kd-best.low": -1.0, "found.kd-best.high": 18.0,
        "found.kd-best.seeds": 2, "found.kd-best.tried": 3, "found.kd-best.alpha": 0.5,
        "found.kd-best.least": 7.0, "found.kd-best.most": 10.0,
        "study.softening.base.em": 5.0, "study.softening.sft.em": 42.0,
        "study.softening.sft.em-two-fact": 25.0, "study.softening.kd.0.5.forward-kl.em": 50.5,
        "study.softening.kd.0.5.forward-kl.kl": 0.45,
    }  # fmt: skip
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert "study.softening.sft.kl" not in found


def test_a_study_that_does_not_follow_from_its_scores_is_found(copy):
    study = copy / "lab_notebooks" / "studies" / "filter" / "study.json"
    text = study.read_text()
    study.write_text(re.sub(r'("difference": -?\d+\.)', r"\g<1>9", text, count=1))
    assert any("difference" in line for line in up_to_date.studies(copy / "lab_notebooks"))
