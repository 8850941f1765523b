"""Where a SQuAD set comes from: a JSON file or the hub, both handed on in the schema of a SQuAD
file.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any, cast

from distill_lab.records import LabError

Json = dict[str, Any]

_SQUAD_FILE = "a SQuAD 1.1 or 2.0 JSON file"


def read_json(path: Path, expected: str) -> Any:
    """The file's JSON; a LabError for all that can be wrong with a file, `expected` in it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise _bad(path, expected, "no such file", "Check the path") from None
    except UnicodeDecodeError:
        raise _bad(path, expected, "bytes that are no UTF-8 text", "Unpack or convert it") from None
    except OSError as error:  # a folder, no permission, ...
        reason = f"what cannot be read ({error.strerror})"
        raise _bad(path, expected, reason, "Name a readable file") from None
    if not text.strip():
        raise _bad(path, expected, "an empty file", "Download or write it again")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"JSON that breaks at line {error.lineno}, column {error.colno} ({error.msg})"
        raise _bad(path, expected, where, "Download or write it again") from None


def _bad(path: Path, expected: str, found: str, advice: str) -> LabError:
    return LabError(f"{path}: expected {expected}, found {found}. {advice}.")


def read_dataset(path: Path) -> Json:
    """A SQuAD file: an object with a list `data`. What is in the list is not looked at here."""
    dataset = read_json(path, _SQUAD_FILE)
    if not isinstance(dataset, dict):
        raise _bad(path, _SQUAD_FILE, f"a {type(dataset).__name__}", "Convert the file")
    values = cast(Json, dataset)
    if not isinstance(values.get("data"), list):
        found = f'no list "data" among the keys ({", ".join(values)})'
        raise _bad(path, _SQUAD_FILE, found, "Convert the file")
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
