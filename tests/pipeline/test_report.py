"""A small run, written by hand, and what the report makes of it.

Ten evaluation questions, of which base answers 2, sft 6, kd 8 and the teacher all: sft has closed
half of the gap, kd three quarters.
"""

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from statistics import fmean

import pytest

from distill_lab.pipeline import report
from distill_lab.reporting.stats import bootstrap_interval
from distill_lab.run.records import (
    Example,
    LabError,
    Prediction,
    Question,
    Trace,
    Verdict,
    write_records,
    write_text,
)
from distill_lab.run.settings import Config

RIGHT = {"base": 2, "sft": 6, "kd": 8, "teacher": 10}
EVIL = "<think>Das Gebäude, 建物 & <script>alert('x')</script></think><img src=http://x.org/a.png>"
REASONS = ["ok", "wrong_answer", "ok", "malformed", "ok", "truncated", "ok", "wrong_answer"]
STEPS = [
    {"step": 1, "epoch": 0.5, "loss": 2.0, "ce": 2.0, "kl": 1.0},
    {"step": 2, "epoch": 1.0, "loss": 1.0, "ce": 1.0, "kl": 0.5},
]
KEYS = [
    "profile",
    "models",
    "data",
    "rejection",
    "scores",
    "gap_closed",
    "gap_closed_ci95",
    "differences",
    "seconds",
    "backend",
    "versions",
    "git",
    "config",
]


def questions(split, n):
    text = "Ada <b>Vell</b> was born in Graz."
    return [
        Question(f"{split}{i}", "Ada", text, "Where was Ada born?", ("Graz",)) for i in range(n)
    ]


def predictions(right):
    """The first `right` of ten questions answered well, the others with half the words."""
    good = "<think>So.</think><answer>Graz</answer>", "Graz", {"em": 100.0, "f1": 100.0}
    bad = EVIL, "", {"em": 0.0, "f1": 50.0}
    return [Prediction(f"eval{i}", 0, *(good if i < right else bad)) for i in range(10)]


def write_log(out, arm, rows):
    write_text(
        out / "students" / arm / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows)
    )


@pytest.fixture
def out(tmp_path):
    """Four training questions with two traces each, verdicts as in REASONS."""
    keys = [(f"train{n // 2}", n % 2) for n in range(8)]
    traces = [Trace(*key, EVIL, 20, "stop", "bundled", "p") for key in keys]
    verdicts = [
        Verdict(*key, reason, dict.fromkeys(("em", "f1"), 100.0 * (reason == "ok")))
        for key, reason in zip(keys, REASONS, strict=True)
    ]
    write_records(tmp_path / "questions.train.jsonl", questions("train", 4))
    write_records(tmp_path / "questions.eval.jsonl", questions("eval", 10))
    write_records(tmp_path / "traces.jsonl", traces)
    write_records(tmp_path / "verdicts.jsonl", verdicts)
    kept = [Example(*key, "prompt", EVIL) for key in keys[:3]]
    write_records(tmp_path / "examples.jsonl", kept)
    for who, right in RIGHT.items():
        write_records(tmp_path / "predictions" / f"{who}.jsonl", predictions(right))
    for arm in ("sft", "kd"):
        write_log(tmp_path, arm, STEPS)
    backend = {"name": "transformers", "device": "cpu", "dtype": "float32", "reason": "no GPU"}
    facts = {"seconds": {"generate": 12.34, "train": 75.0}, "backend": backend}
    write_text(tmp_path / "run.json", json.dumps(facts))
    return tmp_path


class Page(HTMLParser):
    """The start tags of a page, and the text of its table cells, row by row."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.rows, self._cell = [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self._cell = tag in ("td", "th") or (self._cell and tag in ("b", "span"))

    def handle_endtag(self, tag):
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._cell:
            self.rows[-1][-1] += data


def build(out, config=None):
    made = report.build(config or Config(), out)
    return made, (out / "report.html").read_text(encoding="utf-8")


def test_json_is_the_contract(out):
    made, _ = build(out)
    assert json.loads((out / "report.json").read_text(encoding="utf-8")) == made
    assert list(made) == KEYS
    assert made["models"] == {"teacher": "bundled", "base": "bundled"}
    assert made["data"] == {"source": "bundled", "train": 4, "eval": 10}
    assert made["rejection"] == {
        "traces": 8,
        "accepted": 4,
        "examples": 3,
        "reasons": {"truncated": 1, "malformed": 1, "wrong_answer": 2},
    }
    assert list(made["rejection"]["reasons"]) == ["truncated", "malformed", "wrong_answer"]
    assert list(made["scores"]) == ["base", "sft", "kd", "teacher"]
    assert {tuple(found) for found in made["scores"].values()} == {
        ("em", "f1", "em_ci95", "f1_ci95", "n")
    }
    assert made["seconds"] == {"generate": 12.3, "train": 75.0}
    assert list(made["backend"]) == ["name", "device", "dtype", "reason"]
    packages = ["python", "torch", "transformers", "peft", "datasets", "distill_lab"]
    assert list(made["versions"]) == packages
    assert made["config"]["train"]["alpha"] == 0.5
    assert made["git"] is None or list(made["git"]) == ["commit", "dirty"]


def test_scores_intervals_and_gap(out):
    made, _ = build(out)
    for who, right in RIGHT.items():
        em = [100.0] * right + [0.0] * (10 - right)
        f1 = [100.0] * right + [50.0] * (10 - right)
        found = made["scores"][who]
        assert (found["em"], found["f1"], found["n"]) == (fmean(em), fmean(f1), 10)
        assert found["em_ci95"] == pytest.approx(bootstrap_interval(em), abs=0.005)
        assert found["f1_ci95"] == pytest.approx(bootstrap_interval(f1), abs=0.005)
    assert made["gap_closed"] == {"sft": {"em": 0.5, "f1": 0.5}, "kd": {"em": 0.75, "f1": 0.75}}


def test_differences_and_the_gaps_intervals_are_in_the_file(out):
    made, _ = build(out)
    found = made["differences"]["kd − sft"]
    points = [0.0] * 6 + [100.0] * 2 + [0.0] * 2  # the two questions that kd alone has right
    ends = bootstrap_interval(points)
    assert found == {"points": 20.0, "low": ends[0], "high": ends[1], "score": "EM"}
    low, high = made["gap_closed_ci95"]["sft"]["em"]
    assert 0 <= low < 0.5 < high <= 1


def test_two_sources_are_both_named(out):
    config = Config()
    config = type(config)(data=type(config.data)(train="a.json", eval="b.json"))
    made, html = build(out, config)
    assert made["data"]["source"] == {"train": "a.json", "eval": "b.json"}
    assert "a.json" in html
    assert "b.json" in html


def test_the_same_run_gives_the_same_files(out):
    build(out)
    files = ["report.json", "report.md", "report.html", "plots/scores.png"]
    before = [(out / name).read_bytes() for name in files]
    build(out)
    assert [(out / name).read_bytes() for name in files] == before


def test_text_table_shows_the_numbers(out):
    lines = report.table(build(out)[0]).splitlines()
    cells = {row[1]: row for row in ([c.strip() for c in line.split("|")] for line in lines[2:6])}
    assert cells["sft"][2].startswith("60.0 (")
    assert cells["kd"][3].startswith("90.0 (")
    assert cells["sft"][4:7] == ["10", "50 %", "50 %"]
    assert cells["teacher"][4:7] == ["10", "", ""]
    assert "sft is what the paper did" in lines[-2]
    assert "Hinton et al. 2015" in lines[-2]


def test_html_stands_alone(out):
    _, html = build(out)
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe")
        for name in ("src", "href", "srcset", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,")), tag
    assert "url(" not in html
    assert "@import" not in html
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 6
    assert all(len(image["alt"]) > 30 for image in images)
    assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th")
    anchors = {a["href"][1:] for tag, a in page.tags if tag == "a"}
    assert anchors <= {attributes.get("id") for _, attributes in page.tags}


def test_alternative_text_says_what_is_seen(out):
    _, html = build(out)
    alts = " ".join(a["alt"] for tag, a in Page(html).tags if tag == "img")
    assert "EM of sft 60.0" in alts
    assert re.search(r"closed: EM sft 50 % \(\d+ to \d+\), kd 75 % \(", alts)
    assert "kd minus sft: +20.0 EM (95 % interval" in alts
    assert "Of 8 traces 4 (50 %) were accepted and 3 became examples." in alts
    assert "1 truncated, 1 malformed, 2 wrong_answer" in alts
    assert "KL of kd goes from 1.00 to 0.50" in alts
    assert "KL of sft" not in alts  # it has none


def test_what_models_wrote_is_escaped(out):
    _, html = build(out)
    assert "<script" not in html
    assert "&lt;script&gt;alert(" in html
    assert "http://x.org/a.png&gt;" in html  # as text, not as an image
    assert "Das Gebäude, 建物 &amp; " in html
    assert "Ada &lt;b&gt;Vell&lt;/b&gt;" in html


def test_html_tables_show_the_numbers(out):
    _, html = build(out)
    rows = Page(html).rows
    sft, kd = (next(row for row in rows if row[0].startswith(arm)) for arm in ("sft", "kd"))
    assert [cell.split()[0] for cell in sft[1:3]] == ["60.0", "80.0"]
    assert [cell.split()[0] for cell in kd[1:3]] == ["80.0", "90.0"]
    assert (sft[3:], kd[3:]) == (["50 %", "10"], ["75 %", "10"])
    paper_row = next(row for row in rows if row[0].startswith("R1-Distill-Qwen-32B"))
    assert paper_row[1:] == ["72.6", "83.3", "94.3", "62.1", "57.2", "1691", "91 %"]
    assert "May it be compared?" in html


def test_every_table_with_arms_says_which_is_the_papers(out):
    _, html = build(out)
    tables = [text.split("</table>")[0] for text in html.split("<table")[1:]]
    with_arms = [text for text in tables if 'class="swatch kd"' in text or "kd − " in text]
    assert len(with_arms) == 4
    assert all("sft is what the paper did" in text for text in with_arms)


def headline(out):
    build(out)
    return (out / "report.md").read_text(encoding="utf-8").splitlines()[2]


def rescore(out, **right):
    for who, count in right.items():
        write_records(out / "predictions" / f"{who}.jsonl", predictions(count))


def test_headline_states_the_result(out):
    text = headline(out)
    assert "Distillation closed 50 % of the gap between base and teacher" in text
    assert "sft, EM 20.0 → 60.0, teacher 100.0" in text
    assert "does not show which of the two is better" in text


@pytest.mark.parametrize(
    ("right", "words"),
    [
        ({"sft": 3}, "gained +10.0 EM (95 % interval +0.0 to +30.0): that may be chance"),
        ({"sft": 2}, "did not help"),
        ({"base": 8, "sft": 1}, "made the student worse"),
        ({"base": 2, "teacher": 5, "sft": 9}, "took the student past its teacher"),
        ({"base": 10}, "There is no gap to close"),
        ({"base": 10, "teacher": 4}, "There is no gap to close"),
        ({"sft": 10, "kd": 3}, "sft is better than kd"),
    ],
)
def test_headline_is_honest(out, right, words):
    rescore(out, **right)
    assert words in headline(out)


def test_teacher_equal_to_base_has_no_gap(out):
    rescore(out, base=10)
    made, html = build(out)
    assert made["gap_closed"]["sft"] == {"em": None, "f1": None}
    assert not (out / "plots" / "gap.png").exists()
    assert "Nothing to draw" in html


def test_nothing_accepted_and_no_student(out):
    verdicts = [
        Verdict(f"train{n // 2}", n % 2, "wrong_answer", {"em": 0.0, "f1": 0.0}) for n in range(8)
    ]
    write_records(out / "verdicts.jsonl", verdicts)
    (out / "examples.jsonl").unlink()
    for arm in ("sft", "kd"):
        (out / "predictions" / f"{arm}.jsonl").unlink()
        (out / "students" / arm / "log.jsonl").unlink()
        (out / "students" / arm).rmdir()
    made, _ = build(out)
    assert made["rejection"] == {
        "traces": 8,
        "accepted": 0,
        "examples": 0,
        "reasons": {"wrong_answer": 8},
    }
    assert made["scores"]["sft"] is None
    assert made["gap_closed"] == {"sft": None, "kd": None}
    assert "not run" in report.table(made)
    assert "No student was trained: 0 of 8 traces" in headline(out)


def test_one_arm_alone(out):
    (out / "predictions" / "kd.jsonl").unlink()
    (out / "students" / "kd" / "log.jsonl").unlink()
    (out / "students" / "kd").rmdir()
    made, _ = build(out)
    assert made["scores"]["kd"] is None
    assert made["gap_closed"]["sft"] == {"em": 0.5, "f1": 0.5}


@pytest.mark.parametrize("rows", [[], [{"step": 1, "ce": 1.0}]])
def test_logs_that_are_empty_or_without_kl(out, rows):
    for arm in ("sft", "kd"):
        write_log(out, arm, rows)
    assert list(build(out)[0]) == KEYS


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("questions.eval.jsonl", "data"),
        ("traces.jsonl", "generate"),
        ("verdicts.jsonl", "reject"),
        ("examples.jsonl", "reject"),
        ("students/kd/log.jsonl", "train"),
        ("predictions/kd.jsonl", "evaluate"),
        ("predictions/teacher.jsonl", "evaluate"),
    ],
)
def test_a_missing_file_names_the_stage(out, name, stage):
    (out / name).unlink()
    with pytest.raises(LabError, match=f"distill-lab {stage}`"):
        report.build(Config(), out)


def test_a_run_that_noted_nothing_of_itself(out):
    (out / "run.json").unlink()
    made, html = build(out)
    assert made["seconds"] == {}
    assert made["backend"] == dict.fromkeys(["name", "device", "dtype", "reason"])
    assert "did not note what it ran on" in html


def test_records_that_do_not_belong_together_are_refused(out):
    write_records(out / "predictions" / "sft.jsonl", predictions(6)[:-1])
    with pytest.raises(LabError, match=r"sft\.jsonl.*10 evaluation questions, found 9"):
        report.build(Config(), out)


def test_a_log_that_is_not_json_is_named(out):
    write_text(out / "students" / "sft" / "log.jsonl", "{broken\n")
    with pytest.raises(LabError, match=r"log\.jsonl.*found '\{broken'"):
        report.build(Config(), out)


def test_importing_loads_nothing_heavy():
    code = (
        "import sys; import distill_lab.pipeline.report, distill_lab.reporting.paper; "
        "print({'torch', 'transformers', 'matplotlib', 'jinja2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# -- by kind of question


def test_scores_are_told_by_kind_where_questions_carry_one(out):
    """RIGHT holds how many of the first questions each model has right: 3 of these are two-fact."""
    kinds = ["one-fact"] * 5 + ["two-fact"] * 3 + [None] * 2
    asked = [replace(q, kind=k) for q, k in zip(questions("eval", 10), kinds, strict=True)]
    write_records(out / "questions.eval.jsonl", asked)
    made = report.build(Config(), out)
    found = made["scores_by_kind"]
    assert {kind: {m["n"] for m in models.values()} for kind, models in found.items()} == {
        "one-fact": {5}, "two-fact": {3}, "other": {2}
    }  # fmt: skip
    for who, right in RIGHT.items():
        expected = [100 * min(max(right - low, 0), n) / n for low, n in ((0, 5), (5, 3), (8, 2))]
        assert [models[who]["em"] for models in found.values()] == pytest.approx(expected, abs=0.01)
    assert "| two-fact | teacher |" in (out / "report.md").read_text()
    html = (out / "report.html").read_text()
    assert "two-fact: 3 questions" in html


def test_without_kinds_there_is_nothing_by_kind(out):
    assert "scores_by_kind" not in report.build(Config(), out)
    assert "kind of question" not in (out / "report.md").read_text()
