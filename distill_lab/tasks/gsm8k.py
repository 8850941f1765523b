"""Word problems in GSM8K's file format (Cobbe et al. 2021), graded by their number.

A file holds one JSON object a line: `{"question": "…", "answer": "… #### 42"}`. The worked solution
before `####` is not used: a student learns from its teacher's reasoning.
"""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from distill_lab.run.json_files import bad_file, read_json_lines
from distill_lab.run.json_text import is_unicode
from distill_lab.run.records import Question
from distill_lab.run.settings import BUNDLED, data_folder
from distill_lab.tasks.task import LoadedQuestions, Shot, Split, Task, require_usable

_BUNDLED_FILES: dict[Split, str] = {"train": "train.jsonl", "validation": "test.jsonl"}
_FILE = "'bundled' or a file of GSM8K's format (.jsonl)"
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
# A minus after a digit, a word or a bracket subtracts: 10-4 holds 10 and 4.
_NUMBER = re.compile(r"(?:(?<![\w)])-)?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")


def number(text: str) -> Decimal | None:
    """The last number in a text, where an answer usually stands; None where there is none.

    Units, currency and percent signs do not count: `$1,000.00`, `1000` and `1000 %` are equal.
    """
    plain = _THOUSANDS.sub("", re.sub("[−–]", "-", text).replace("$", ""))
    numbers = _NUMBER.findall(plain)
    return Decimal(numbers[-1]) if numbers else None


def grade(answer: str, question: Question) -> dict[str, float]:
    """Accuracy, 0 or 100: whether the answer's number is that of a reference."""
    value = number(answer)
    right = value is not None and value in map(number, question.answers)
    return {"accuracy": 100.0 * right}


def load(source: str, split: Split, strict: bool = False) -> LoadedQuestions:
    """The questions of 'bundled' (one-step sums) or of a file, which has no splits.

    Bad questions are left out and named in `problems`; `strict` makes them a LabError, and so is a
    file with no good one.
    """
    path = Path(source).expanduser()
    if source == BUNDLED:
        path = data_folder() / "one_step_sums" / _BUNDLED_FILES[split]
    elif not path.exists():
        raise bad_file(path, _FILE, "no such file", "Check --data.task and the path")
    return require_usable(check(read_json_lines(path, "Correct the line")), source, strict)


def check(entries: list[Any]) -> LoadedQuestions:
    """Every entry of a file: good, or named by its line in `problems`.

    GSM8K has no ids, so a question is known by its text: the same one in two files is noticed.
    """
    questions: dict[str, Question] = {}
    problems: dict[str, list[str]] = {}
    for line, entry in enumerate(entries, 1):
        values = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        text, answer = values.get("question"), values.get("answer")
        problem, name = None, ""
        if not isinstance(text, str) or not isinstance(answer, str):
            problem = "missing_key"
        elif not is_unicode(text + answer):
            problem = "not_unicode"
        elif not text.strip():
            problem = "empty_question"
        elif "####" not in answer or number(answer.rpartition("####")[2]) is None:
            problem = "no_final_number"
        else:
            name = hashlib.sha256(text.strip().encode()).hexdigest()[:16]
            problem = "duplicate_question" if name in questions else None
            final = answer.rpartition("####")[2].strip()
            questions.setdefault(name, Question(name, "", "", text.strip(), (final,)))
        if problem:
            problems.setdefault(problem, []).append(f"line {line}")
    return LoadedQuestions(tuple(questions.values()), problems, len(entries))


def _text(question: str) -> str:
    return f"Problem: {question}"


# As short as SQuAD's, for the same reason.
_SHOTS = (
    Shot(
        _text("Tom has 3 apples and buys 5 more. How many apples does he have now?"),
        "<think>Tom has 3 + 5 = 8 apples.</think> <answer>8</answer>",
    ),
    Shot(
        _text("A box holds 14 pens. Mia takes 4 of them out. How many pens are left in the box?"),
        "<think>14 - 4 = 10 pens are left.</think> <answer>10</answer>",
    ),
    Shot(
        _text("There are 6 oranges in each bag. How many oranges are in 2 bags?"),
        "<think>2 bags hold 2 * 6 = 12 oranges.</think> <answer>12</answer>",
    ),
)

GSM8K = Task(
    name="gsm8k",
    title="word problems",
    subject="word problems",
    load=load,
    instruction=(
        "Solve the problem. First think in one or two sentences inside <think> </think>. "
        "Then give the number that answers it, and nothing else, inside <answer> </answer>."
    ),
    shots=_SHOTS,
    user_text=lambda question: _text(question.question),
    grade=grade,
    score_names=("accuracy",),
)
