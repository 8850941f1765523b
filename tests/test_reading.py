"""The companion reading: its numbers are the paper's as `distill_lab.paper` has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from distill_lab import paper

READING = Path(__file__).parent.parent / "lab_notebooks" / "reading" / "DeepSeek_R1.md"
TEXT = READING.read_text(encoding="utf-8")


def table_after(title: str) -> list[list[str]]:
    """The cells of the first Markdown table below `title`, its rule left out."""
    lines = TEXT[TEXT.index(title) :].splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [row for row in rows if set(row[0]) != {"-"}]


@pytest.mark.parametrize("number", [4, 5, 6])
def test_each_table_is_the_one_in_paper(number):
    head, *rows = table_after(f"**Table {number}**")
    assert head == ["model", *(benchmark.title for benchmark in paper.BENCHMARKS)]
    found = [[name, *(None if c == "–" else float(c) for c in cells)] for name, *cells in rows]
    assert found == [
        [row.model, *(row.score(benchmark.key) for benchmark in paper.BENCHMARKS)]
        for row in paper.TABLES[number]
    ]


@pytest.mark.parametrize(
    ("sentence", "student", "benchmark"),
    [(r"the 32B keeps (\d+) %", "R1-Distill-Qwen-32B", "aime_pass1"),
     (r"and the 1.5B (\d+) %;", "R1-Distill-Qwen-1.5B", "aime_pass1"),
     (r"the 1.5B still keeps (\d+) %", "R1-Distill-Qwen-1.5B", "math500")],
)  # fmt: skip
def test_shares_of_the_teacher_are_computed_from_the_tables(sentence, student, benchmark):
    share = paper.retention(student, benchmark)
    assert share is not None
    assert re.search(sentence, TEXT)[1] == f"{100 * share:.0f}"  # type: ignore[index]


def test_what_others_found_is_as_in_paper():
    for number in re.findall(r"\d+\.\d", paper.RERUNS.split("(")[1].replace("1.5B", "")):
        assert number in TEXT.split("Others who ran")[1]


def test_the_common_error_is_corrected():
    assert "**no KL divergence**" in TEXT
    assert "`kd` is ours" in TEXT
