"""The paper's tables, held against a copy typed by hand as the paper prints them."""

import pytest

from distill_lab.reporting import page, paper
from distill_lab.run.records import LabError

# AIME pass@1, cons@64, MATH-500, GPQA Diamond, LiveCodeBench, Codeforces
TABLE_5 = """
GPT-4o-0513             9.3  13.4 74.6 49.9 32.9  759
Claude-3.5-Sonnet-1022 16.0  26.7 78.3 65.0 38.9  717
OpenAI-o1-mini         63.6  80.0 90.0 60.0 53.8 1820
QwQ-32B-Preview        50.0  60.0 90.6 54.5 41.9 1316
R1-Distill-Qwen-1.5B   28.9  52.7 83.9 33.8 16.9  954
R1-Distill-Qwen-7B     55.5  83.3 92.8 49.1 37.6 1189
R1-Distill-Qwen-14B    69.7  80.0 93.9 59.1 53.1 1481
R1-Distill-Qwen-32B    72.6  83.3 94.3 62.1 57.2 1691
R1-Distill-Llama-8B    50.4  80.0 89.1 49.0 39.6 1205
R1-Distill-Llama-70B   70.0  86.7 94.5 65.2 57.5 1633
"""
TABLE_4 = "DeepSeek-R1 79.8 - 97.3 71.5 65.9 2029"
TABLE_6 = """
QwQ-32B-Preview     50.0 60.0 90.6 54.5 41.9 1316
R1-Zero-Qwen-32B    47.0 60.0 91.6 55.0 40.2    -
R1-Distill-Qwen-32B 72.6 83.3 94.3 62.1 57.2 1691
"""
BASES = {
    "R1-Distill-Qwen-1.5B": "Qwen2.5-Math-1.5B",
    "R1-Distill-Qwen-7B": "Qwen2.5-Math-7B",
    "R1-Distill-Qwen-14B": "Qwen2.5-14B",
    "R1-Distill-Qwen-32B": "Qwen2.5-32B",
    "R1-Distill-Llama-8B": "Llama-3.1-8B",
    "R1-Distill-Llama-70B": "Llama-3.3-70B-Instruct",
}


@pytest.mark.parametrize(("number", "printed"), [(4, TABLE_4), (5, TABLE_5), (6, TABLE_6)])
def test_tables_are_the_papers(number, printed):
    typed = [line.split() for line in printed.strip().splitlines()]
    ours = [
        [row.model, *(row.score(column.key) for column in paper.BENCHMARKS)]
        for row in paper.TABLES[number]
    ]
    assert ours == [
        [name, *(None if cell == "-" else float(cell) for cell in cells)] for name, *cells in typed
    ]


def test_table_6_has_no_rating():
    assert {b.key for b in paper.BENCHMARKS} - {b.key for b in paper.PERCENTS} == {"codeforces"}


def test_six_students_and_their_bases():
    assert {row.model: row.base for row in paper.STUDENTS} == BASES
    assert all(row.base is None for row in paper.TABLE_5 if row not in paper.STUDENTS)
    assert paper.TEACHER.kind == "teacher"


@pytest.mark.parametrize(
    ("student", "benchmark", "share"),
    [
        ("R1-Distill-Qwen-32B", "aime_pass1", 72.6 / 79.8),
        ("R1-Distill-Qwen-1.5B", "aime_pass1", 28.9 / 79.8),
        ("R1-Distill-Qwen-7B", "math500", 92.8 / 97.3),
    ],
)
def test_retention_is_student_over_teacher(student, benchmark, share):
    assert paper.retention(student, benchmark) == pytest.approx(share)


def test_retention_as_the_text_rounds_it():
    kept = [paper.retention(f"R1-Distill-Qwen-{size}", "aime_pass1") for size in ("32B", "1.5B")]
    assert [round(100 * (share or 0)) for share in kept] == [91, 36]


def test_no_share_of_a_dash_or_of_a_rating():
    assert paper.retention("R1-Distill-Qwen-7B", "aime_cons64") is None  # the teacher has a '-'
    assert paper.retention("R1-Distill-Qwen-7B", "codeforces") is None


def test_unknown_names_say_what_there_is():
    with pytest.raises(LabError, match=r"R1-Distill-Qwen-7B.*found 'R1-Distill-Qwen-3B'"):
        paper.retention("R1-Distill-Qwen-3B", "aime_pass1")
    with pytest.raises(LabError, match=r"math500.*found 'squad'"):
        paper.retention("R1-Distill-Qwen-7B", "squad")


def test_every_comparison_says_why_and_asks_only_for_what_a_report_has():
    score = {"em": 50.0}
    report = {
        "scores": {"teacher": score, "sft": score, "kd": None},
        "gap_closed": {"sft": {"em": 0.5}, "kd": None},
        "data": {"source": "bundled", "eval": 240},
        "rejection": {"examples": 1234},
        "models": {"base": "bundled"},
        "config": {"data": {}},  # as before there were tasks
    }
    for line, ours in page.comparisons(report):
        assert ours
        assert line.why.endswith(".")
        assert line.compare in ("as a shape", "no")
        assert not {"{", "}"} & {*line.paper, *line.why, *ours}
    assert {line.compare for line in paper.COMPARISONS} == {"as a shape", "no"}
    absolute = next(line for line in paper.COMPARISONS if line.topic == "Absolute scores")
    assert absolute.compare == "no"
    assert absolute.paper == "MATH-500: teacher 97.3, the 7B 92.8"
