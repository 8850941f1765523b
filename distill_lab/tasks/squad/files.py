"""Where a SQuAD set comes from: a JSON file or the hub, both handed on in the schema of a SQuAD
file.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, cast

from distill_lab.run.json_files import bad_file, read_json
from distill_lab.run.json_text import listed
from distill_lab.run.records import LabError

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
    datasets: Any = importlib.import_module("datasets")  # here, since it takes seconds to import
    print(f"Loading {name}, split {split} …", flush=True)  # without a network it tries for 30 s
    try:
        rows = datasets.load_dataset(name, split=split)
    except Exception as error:  # the client raises many unrelated kinds: no network, name, split
        reason = " ".join(str(error).split())[:200]
        raise LabError(
            f"{name}: expected 'bundled', a JSON file or a hub set with the split {split}, "
            f"found none ({type(error).__name__}: {reason}). Check name and network."
        ) from None
    missing = {"id", "context", "question", "answers"} - set(rows.column_names)
    if missing:
        raise LabError(
            f"{name}: expected SQuAD's columns, found none named {', '.join(sorted(missing))}. "
            "Choose another set."
        )
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
