"""The paper's tables, and what of them may be held against a run of ours: `paper.json`.

Every number there is DeepSeek-R1's own, arXiv 2501.12948 version 1 (January 2025), but for
`reruns`, which huggingface/open-r1 measured with LightEval (AIME, the README of its repository);
null stands where the paper prints '-'. `facts` are numbers of its text: the samples of section
2.3.3, how it evaluates, the teacher's parameters in billions (all, and at work on a token).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distill_lab.run.json_files import read_json
from distill_lab.run.records import LabError

_PAPER: dict[str, Any] = read_json(Path(__file__).with_name("paper.json"), "the paper's tables")
CITATION: str = _PAPER["citation"]
SOURCE: str = _PAPER["source"]
METHOD: str = _PAPER["method"]
MEASURED: str = _PAPER["measured"]
QWQ: str = _PAPER["qwq"]
FACTS: dict[str, float] = _PAPER["facts"]
RERUN: dict[str, float] = _PAPER["reruns"]
RERUNS = (
    f"Re-runs by others differ by several points (AIME, open-r1: {RERUN['Qwen-1.5B']} for 1.5B, "
    f"{RERUN['Qwen-7B']} for 7B, {RERUN['Qwen-32B']} for 32B): a single number needs an interval."
)
ARMS_NOTE = (
    "sft is what the paper did; kd (temperature-softened KL, Hinton et al. 2015) is an extension "
    "of this course."
)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A column of the tables. A rating has no natural zero, so shares of it mean nothing."""

    key: str
    title: str
    unit: Literal["percent", "rating"]


BENCHMARKS = tuple(Benchmark(**fields) for fields in _PAPER["benchmarks"])


@dataclass(frozen=True, slots=True)
class Row:
    """One model: percent, and for Codeforces a rating. A distilled student started from `base`."""

    model: str
    kind: Literal["teacher", "distilled", "rl", "other"]
    base: str | None
    aime_pass1: float | None
    aime_cons64: float | None
    math500: float | None
    gpqa: float | None
    livecodebench: float | None
    codeforces: int | None

    def score(self, benchmark: str) -> float | None:
        """The score under a key of `BENCHMARKS`; LabError for another key."""
        keys = [known.key for known in BENCHMARKS]
        if benchmark not in keys:
            raise LabError(f"benchmark: expected one of {', '.join(keys)}; found {benchmark!r}.")
        return getattr(self, benchmark)


_COLUMNS: list[str] = _PAPER["columns"]
_ROWS = {
    made.model: made
    for made in (Row(**dict(zip(_COLUMNS, cells, strict=True))) for cells in _PAPER["rows"])
}
# of the paper's table 4 only the teacher is needed
TABLES = {
    int(number): tuple(_ROWS[model] for model in models)
    for number, models in _PAPER["tables"].items()
}
(TEACHER,), TABLE_5, TABLE_6 = TABLES[4], TABLES[5], TABLES[6]
PERCENTS = tuple(each for each in BENCHMARKS if each.unit == "percent")  # all that table 6 has
STUDENTS = tuple(row for row in TABLE_5 if row.kind == "distilled")


def row(model: str) -> Row:
    """The row of that name; LabError with the names there are for an unknown one."""
    if model not in _ROWS:
        raise LabError(f"model: expected one of {', '.join(_ROWS)}; found {model!r}.")
    return _ROWS[model]


def retention(student: str, benchmark: str) -> float | None:
    """Student score over teacher score, 1 being all of the teacher; None for a rating or a '-'.

    On AIME 2024 pass@1 (tables 4 and 5): 0.91 for R1-Distill-Qwen-32B, 0.36 for the 1.5B.
    """
    kept, whole = row(student).score(benchmark), TEACHER.score(benchmark)
    unit = next(known.unit for known in BENCHMARKS if known.key == benchmark)
    if unit == "rating" or kept is None or whole is None:
        return None
    return kept / whole


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of 'the paper beside ours'. `ours` and `why` are format strings that a report fills
    with the scores and shares of a run (`page.comparisons`)."""

    topic: str
    paper: str
    ours: str
    compare: Literal["as a shape", "no"]
    why: str


def _comparison(fields: dict[str, Any]) -> Comparison:
    """In paper.json `paper` is a format string too, over the tables and AIME's shares kept."""
    kept = {
        student.model.removeprefix("R1-Distill-"): f"{retention(student.model, 'aime_pass1'):.0%}"
        for student in STUDENTS
    }
    kept = {name: share.replace("%", " %") for name, share in kept.items()}
    return Comparison(**{**fields, "paper": fields["paper"].format(rows=_ROWS, kept=kept)})


COMPARISONS = tuple(_comparison(fields) for fields in _PAPER["comparisons"])
