"""Where a SQuAD set comes from: a JSON file or the hub, both handed on in the schema of a SQuAD
file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from distill_lab.run.json_files import bad_file, read_json
from distill_lab.run.json_text import listed
from distill_lab.tasks.hub import hub_rows

Json = dict[str, Any]

_SQUAD_FILE = "a SQuAD 1.1 or 2.0 JSON file"


def read_dataset(path: Path) -> Json:
    """A SQuAD file: an object with a list `data`. What is in the list is not looked at here."""
    dataset = read_json(path, _SQUAD_FILE)
    if not isinstance(dataset, dict):
        raise bad_file(path, _SQUAD_FILE, f"a {type(dataset).__name__}", "Convert the file")
    values = cast(Json, dataset)
    if not isinstance(values.get("data"), list):
        found = f'no list "data" among the keys ({listed(values)})'
        raise bad_file(path, _SQUAD_FILE, found, "Convert the file")
    return values


def from_hub(name: str, split: str) -> Json:
    """A hub set in the schema of a SQuAD file; there, no answers means unanswerable."""
    columns = {"id", "context", "question", "answers"}
    rows = hub_rows(name, split, "a JSON file", "SQuAD", columns)
    return {"data": [_article(row) for row in rows]}


def _article(row: Json) -> Json:
    """One row as an article of one paragraph of one question."""
    texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
    answers = [{"text": text, "answer_start": at} for text, at in zip(texts, starts, strict=True)]
    entry = {"id": row["id"], "question": row["question"], "answers": answers}
    entry["is_impossible"] = not answers
    return {
        "title": row.get("title"),
        "paragraphs": [{"context": row["context"], "qas": [entry]}],
    }
