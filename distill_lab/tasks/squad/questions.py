"""SQuAD questions: loaded from a file or the hub, and checked one by one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from distill_lab.run.json_files import read_json
from distill_lab.run.json_text import is_unicode, shown
from distill_lab.run.records import LabError, Question
from distill_lab.run.settings import BUNDLED, data_folder
from distill_lab.tasks.squad.files import from_hub, read_dataset
from distill_lab.tasks.squad.scores import em as em
from distill_lab.tasks.squad.scores import f1 as f1
from distill_lab.tasks.squad.scores import normalize_answer as normalize_answer
from distill_lab.tasks.squad.scores import score as score
from distill_lab.tasks.task import LoadedQuestions, Split, require_usable

Json = dict[str, Any]

_BUNDLED_FILES: dict[Split, str] = {"train": "train.json", "validation": "dev.json"}
_STUDY_FILES = {"bundled-choose": "choose.json", "bundled-report": "report.json"}


def load(source: str, split: Split, strict: bool = False) -> LoadedQuestions:
    """The questions of 'bundled', of a study's bundled half, of a SQuAD 1.1 or 2.0 JSON file (these
    have no splits), or of a hub name.

    Bad questions are left out and named in `problems`; `strict` makes them a LabError, and so is a
    set with no good one.
    """
    return require_usable(check(_dataset(source, split)), source, strict)


def _dataset(source: str, split: Split) -> Json:
    """The source in the schema of a SQuAD file, whatever it was."""
    path = Path(source).expanduser()
    bundled = {BUNDLED: _BUNDLED_FILES[split], **_STUDY_FILES}
    if source in bundled:
        return read_dataset(data_folder() / "mini_squad" / bundled[source])
    if path.exists() or source.endswith(".json"):
        return read_dataset(path)
    return from_hub(source, split)


def check(dataset: Json) -> LoadedQuestions:
    """Every question of a dataset in SQuAD's schema: good, or named in `problems`.

    Of two questions with one id the first counts, good or bad.
    """
    questions: list[Question] = []
    problems: dict[str, list[str]] = {}
    names: list[str] = []
    seen: set[str] = set()
    for place, title, context, entry in _entries(dataset):
        given = entry.get("id")
        name = given if isinstance(given, str) and given.strip() else place
        kinds = ["duplicate_id"] if name in seen else _problems(title, context, entry)
        for kind in kinds:
            problems.setdefault(kind, []).append(name)
        if not kinds:
            answers = tuple(answer["text"] for answer in entry["answers"])
            kind = entry.get("kind")  # not SQuAD's: of what kind a question is, where a set says so
            kind = kind if isinstance(kind, str) and is_unicode(kind) else None
            questions.append(Question(name, title, context, entry["question"], answers, kind))
        seen.add(name)
        names.append(name)
    return LoadedQuestions(tuple(questions), problems, total=len(names))


def _entries(dataset: Json) -> Iterator[tuple[str, str, Any, Json]]:
    """Place, title, context and the entry itself of every question."""
    for at, article in _items(dataset["data"], "data"):
        title = article.get("title")
        for within, paragraph in _items(article.get("paragraphs"), f"{at}.paragraphs"):
            for place, entry in _items(paragraph.get("qas"), f"{within}.qas"):
                yield (
                    place,
                    title if isinstance(title, str) else "",
                    paragraph.get("context"),
                    entry,
                )


def _items(values: Any, place: str) -> Iterator[tuple[str, Json]]:
    """The objects of a list with their places; where there is none an empty one is missed by it."""
    if not isinstance(values, list):
        yield place, {}
        return
    for n, value in enumerate(cast(list[Any], values)):
        yield f"{place}[{n}]", cast(Json, value) if isinstance(value, dict) else {}


def _problems(title: str, context: Any, entry: Json) -> list[str]:
    """All that is wrong with one question; `missing_key` also stands for a wrong type."""
    answers: Any = entry.get("answers")
    texts: Json = {"id": entry.get("id"), "question": entry.get("question"), "context": context}
    if not isinstance(answers, list) or not all(isinstance(text, str) for text in texts.values()):
        return ["missing_key"]
    kinds = [f"empty_{name}" for name, text in texts.items() if not text.strip()]
    impossible = entry.get("is_impossible") is True
    if bool(cast(list[Any], answers)) == impossible:
        kinds.append("impossible_with_answers" if impossible else "no_answers")
    objects = [answer for _, answer in _items(answers, "answers")]
    strings = [title, *texts.values(), *(answer.get("text") for answer in objects)]
    if not all(is_unicode(text) for text in strings if isinstance(text, str)):
        kinds.append("not_unicode")  # else it cannot be written as a record
    return kinds + [kind for answer in objects for kind in _answer_problems(context, answer)]


def _answer_problems(context: str, answer: Json) -> list[str]:
    """An answer that is not in the context at all has a wrong offset too: so it is named twice."""
    text, start = answer.get("text"), answer.get("answer_start")
    if not isinstance(text, str) or type(start) is not int:
        return ["missing_key"]
    if not text.strip():
        return ["empty_answer"]
    if start >= 0 and context.startswith(text, start):
        return []
    return ["wrong_offset"] if text in context else ["wrong_offset", "answer_not_in_context"]


def check_file(path: Path) -> Json:
    """For `distill-lab check-data`: how many questions, how many kept, the ids by problem."""
    loaded = check(read_dataset(path))
    return {"questions": loaded.total, "kept": len(loaded.questions), "problems": loaded.problems}


def score_files(data: Path, predictions: Path) -> dict[str, float]:
    """For `distill-lab score`: `score` of two files; says on stderr how many have no prediction.

    `predictions` is one JSON object {question id: answer text}.
    """
    expected = "one JSON object {question id: answer text}"
    dataset, answers = read_dataset(data), read_json(predictions, expected)
    if not isinstance(answers, dict):
        found = type(answers).__name__
        raise LabError(f"{predictions}: expected {expected}, found a {found}. Convert the file.")
    for name, text in cast(Json, answers).items():
        if not isinstance(text, str):
            raise LabError(
                f"{predictions}: expected {expected}, found {shown(text)} for {name}. "
                'Write "" for no answer.'
            )
    result = score(dataset, cast(dict[str, str], answers))
    n_without = sum(entry["id"] not in answers for *_, entry in _entries(dataset))
    if n_without:
        print(f"{n_without} questions have no prediction: each counts 0.", file=sys.stderr)
    return result


def metric_path() -> Path:
    """The metric's file: `evaluate.load(str(metric_path()))`, which needs no network."""
    return Path(__file__).with_name("evaluate_metric.py")
