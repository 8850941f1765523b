"""The paper's tables as data, and what of them may be held against a run of ours.

Every number is DeepSeek-R1's own, arXiv 2501.12948 version 1 (January 2025); `None` stands where
the paper prints '-'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distill_lab.run.records import LabError

CITATION = (
    "DeepSeek-AI, DeepSeek-R1: Incentivizing Reasoning Capability in LLMs via Reinforcement "
    "Learning"
)
SOURCE = "arXiv 2501.12948v1 (January 2025), tables 4, 5 and 6"
METHOD = (
    "Section 2.4: students are fine-tuned on about 800k kept samples (some 600k of them reasoning) "
    "with SFT only: no logits, no KL, no RL stage."
)
MEASURED = (
    "Sampled at temperature 0.6 and top-p 0.95, up to 64 responses a query: pass@1 is their mean, "
    "cons@64 their majority vote; 32,768 tokens at most."
)
# AIME 2024 as huggingface/open-r1 found it with LightEval (the README of its repository).
RERUN = {"Qwen-1.5B": 30.7, "Qwen-7B": 50.8, "Qwen-32B": 69.7}
RERUNS = (
    f"Re-runs by others differ by several points (AIME, open-r1: {RERUN['Qwen-1.5B']} for 1.5B, "
    f"{RERUN['Qwen-7B']} for 7B, {RERUN['Qwen-32B']} for 32B): a single number needs an interval."
)
# Numbers of its text: samples of section 2.3.3, how it evaluates, the teacher's parameters in
# billions (all, and at work on a token), the problems of AIME 2024.
FACTS = {
    "samples": 800_000,
    "reasoning": 600_000,
    "others": 200_000,
    "temperature": 0.6,
    "top-p": 0.95,
    "responses": 64,
    "parameters": 671,
    "active": 37,
}
QWQ = "AIME pass@1 of QwQ-32B-Preview: 50.0 in the paper, 44.0 in the README of its repository."
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


BENCHMARKS = (
    Benchmark("aime_pass1", "AIME 2024 pass@1", "percent"),
    Benchmark("aime_cons64", "AIME 2024 cons@64", "percent"),
    Benchmark("math500", "MATH-500", "percent"),
    Benchmark("gpqa", "GPQA Diamond", "percent"),
    Benchmark("livecodebench", "LiveCodeBench", "percent"),
    Benchmark("codeforces", "Codeforces", "rating"),
)


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


TEACHER = Row("DeepSeek-R1", "teacher", None, 79.8, None, 97.3, 71.5, 65.9, 2029)
TEACHER_CODEFORCES_PERCENTILE = 96.3
_QWQ = Row("QwQ-32B-Preview", "other", None, 50.0, 60.0, 90.6, 54.5, 41.9, 1316)
_RL_32B = Row("R1-Zero-Qwen-32B", "rl", None, 47.0, 60.0, 91.6, 55.0, 40.2, None)
_QWEN_32B = Row(
    "R1-Distill-Qwen-32B", "distilled", "Qwen2.5-32B", 72.6, 83.3, 94.3, 62.1, 57.2, 1691
)

TABLE_4 = (TEACHER,)  # of the paper's table 4 only the teacher is needed
TABLE_5 = (
    Row("GPT-4o-0513", "other", None, 9.3, 13.4, 74.6, 49.9, 32.9, 759),
    Row("Claude-3.5-Sonnet-1022", "other", None, 16.0, 26.7, 78.3, 65.0, 38.9, 717),
    Row("OpenAI-o1-mini", "other", None, 63.6, 80.0, 90.0, 60.0, 53.8, 1820),
    _QWQ,
    Row(
        "R1-Distill-Qwen-1.5B", "distilled", "Qwen2.5-Math-1.5B", 28.9, 52.7, 83.9, 33.8, 16.9, 954
    ),
    Row("R1-Distill-Qwen-7B", "distilled", "Qwen2.5-Math-7B", 55.5, 83.3, 92.8, 49.1, 37.6, 1189),
    Row("R1-Distill-Qwen-14B", "distilled", "Qwen2.5-14B", 69.7, 80.0, 93.9, 59.1, 53.1, 1481),
    _QWEN_32B,
    Row("R1-Distill-Llama-8B", "distilled", "Llama-3.1-8B", 50.4, 80.0, 89.1, 49.0, 39.6, 1205),
    Row(
        "R1-Distill-Llama-70B",
        "distilled",
        "Llama-3.3-70B-Instruct",
        70.0,
        86.7,
        94.5,
        65.2,
        57.5,
        1633,
    ),
)
TABLE_6 = (_QWQ, _RL_32B, _QWEN_32B)
TABLES = {4: TABLE_4, 5: TABLE_5, 6: TABLE_6}
STUDENTS = tuple(row for row in TABLE_5 if row.kind == "distilled")


def row(model: str) -> Row:
    """The row of that name; LabError with the names there are for an unknown one."""
    rows = {known.model: known for table in TABLES.values() for known in table}
    if model not in rows:
        raise LabError(f"model: expected one of {', '.join(rows)}; found {model!r}.")
    return rows[model]


def retention(student: str, benchmark: str) -> float | None:
    """Student score over teacher score, 1 being all of the teacher; None for a rating or a '-'.

    On AIME 2024 pass@1 (tables 4 and 5): 0.91 for R1-Distill-Qwen-32B, 0.36 for the 1.5B.
    """
    kept, whole = row(student).score(benchmark), TEACHER.score(benchmark)
    unit = next(known.unit for known in BENCHMARKS if known.key == benchmark)
    if unit == "rating" or kept is None or whole is None:
        return None
    return kept / whole


def _kept(size: str, family: str = "Qwen") -> str:
    return f"{retention(f'R1-Distill-{family}-{size}', 'aime_pass1'):.0%}".replace("%", " %")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of 'the paper beside ours'. `ours` and `why` are format
    strings over the names in `OURS`."""

    topic: str
    paper: str
    ours: str
    compare: Literal["as a shape", "no"]
    why: str


# What a report fills into `Comparison.ours`, as text: scores and shares of this run.
OURS = (
    "n",
    "source",
    "score",
    "subject",
    "sft",
    "kd",
    "teacher",
    "sft_kept",
    "kd_kept",
    "sft_closed",
    "kd_closed",
    "examples",
    "student",
)

COMPARISONS = (
    Comparison(
        "Absolute scores",
        f"MATH-500: teacher {TEACHER.math500}, the 7B {row('R1-Distill-Qwen-7B').math500}",
        "{score}: teacher {teacher}, sft {sft}, kd {kd} (questions: {source})",
        "no",
        "Another benchmark and other models: mathematics, science and code there, {subject} here.",
    ),
    Comparison(
        "Share of the teacher kept",
        f"AIME pass@1, student / teacher: {_kept('32B')} at 32B, {_kept('1.5B')} at 1.5B",
        "{score}, student / teacher: sft {sft_kept}, kd {kd_kept}",
        "as a shape",
        "A ratio within one benchmark says how much arrived, but it depends on how hard that "
        "benchmark is.",
    ),
    Comparison(
        "Gap closed",
        "Not given: tables 4 to 6 hold no scores of the undistilled base models",
        "{score}, from base to teacher: sft {sft_closed}, kd {kd_closed}",
        "no",
        "Without the bases' scores the paper's gap cannot be computed.",
    ),
    Comparison(
        "A bigger student of one family keeps more",
        "AIME pass@1 kept, Qwen: "
        + ", ".join(f"{n} {_kept(n)}" for n in ("1.5B", "7B", "14B", "32B"))
        + "; Llama: "
        + ", ".join(f"{n} {_kept(n, 'Llama')}" for n in ("8B", "70B")),
        "One student, of one size ({student})",
        "no",
        "One run has one student size; it takes several runs to show a trend. Across families "
        "there is none: the Llama of 70B keeps less than the Qwen of 32B.",
    ),
    Comparison(
        "Distillation against RL on the same student",
        f"AIME pass@1 at 32B: distilled {_QWEN_32B.aime_pass1}, RL alone {_RL_32B.aime_pass1}",
        "Not in this lab",
        "no",
        "No student is trained with RL here.",
    ),
    Comparison(
        "Plain fine-tuning on kept traces",
        "All six students: SFT only, about 800k samples",
        "sft: the same objective, on {examples} examples from kept traces",
        "as a shape",
        "The method is the same and the scale is not: whether it helps may be compared, by how "
        "much may not.",
    ),
    Comparison(
        "Softened targets",
        "None: no logits and no KL",
        "kd: {kd} {score} beside sft's {sft}",
        "no",
        "The kd arm is an extension of this course (Hinton et al. 2015); the paper has no such "
        "student.",
    ),
    Comparison(
        "How scores are measured",
        "Sampled at temperature 0.6, up to 64 responses a query, no intervals",
        "One greedy answer to each of {n} questions, bootstrap 95 % intervals",
        "no",
        "pass@1 over many samples and one greedy answer are different estimates, with different "
        "noise.",
    ),
)
