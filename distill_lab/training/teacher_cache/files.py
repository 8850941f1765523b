"""The files of a teacher cache: `meta.json`, `rows.bin` and `index.jsonl`.

meta.json says what is kept, and of which teacher; it is written first. rows.bin holds the records,
index.jsonl one line an example, {"key", "start", "n"}, written after the example's records are on
the disk. Records that a kill cut short are not in the index; the next writer cuts them off.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill_lab.run.json_text import parse
from distill_lab.run.records import LabError, write_text
from distill_lab.training.batches import Encoded
from distill_lab.training.teacher_cache.rows import RowFormat, row_dtype

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Meta:
    """What is kept, and of which teacher: its name, and the hashes of its weights and vocabulary,
    so that keys need no teacher in memory."""

    row_format: RowFormat  # "kind" in meta.json
    teacher: str
    weights: str
    tokenizer: str
    format: int = _FORMAT


@dataclass(frozen=True, slots=True)
class Index:
    """Where each key's records are (first row, number of rows), and how much of both files is
    whole: rows of rows.bin, bytes of index.jsonl."""

    places: dict[str, tuple[int, int]]
    n_rows: int
    n_bytes: int


def key(meta: Meta, example: Encoded) -> str:
    """An example's name in the cache: a hash of all that its records depend on, so that no example
    gets another's."""
    prompt, completion = example.teacher_prompt, example.completion
    digest = hashlib.sha256(
        f"{meta.teacher}\n{meta.weights}\n{meta.tokenizer}\n{len(prompt)}\n".encode()
    )
    digest.update(np.array([*prompt, *completion], "<u4").tobytes())
    return digest.hexdigest()


def write_meta(folder: Path, meta: Meta) -> None:
    values = dataclasses.asdict(meta)
    values = {"kind": values.pop("row_format"), **values}
    write_text(folder / "meta.json", json.dumps(values, indent=1) + "\n")


def read_meta(folder: Path) -> Meta | None:
    """None where there is no cache; LabError for a file that no version of ours wrote."""
    path = folder / "meta.json"
    if not path.exists():
        present = [name for name in ("rows.bin", "index.jsonl") if (folder / name).exists()]
        if present:
            raise LabError(
                f"{path}: expected it beside {present[0]}, found none. Remove {folder} to make the "
                "teacher cache again."
            )
        return None
    try:
        values: Any = parse(path.read_text(encoding="utf-8"))
        kind = values.pop("kind")
        kind["temperatures"] = tuple(kind["temperatures"])
        meta = Meta(RowFormat(**kind), **values)
    except (ValueError, TypeError, AttributeError, KeyError):
        raise LabError(
            f"{path}: expected what a teacher cache was made with, found another file. "
            f"Remove {folder} to make the cache again."
        ) from None
    _require(folder, "format", meta.format, _FORMAT)
    return meta


def require_same(folder: Path, meta: Meta, wanted: Meta) -> None:
    """LabError where the cache was made otherwise, or where the teacher's name now belongs to
    another model. It may have more temperatures than are wanted."""
    _require(folder, "teacher", meta.teacher, wanted.teacher)
    for name in ("name", "k", "vocabulary"):
        made_with, value = getattr(meta.row_format, name), getattr(wanted.row_format, name)
        _require(folder, f"kind.{name}", made_with, value)
    present, temperatures = meta.row_format.temperatures, wanted.row_format.temperatures
    if not set(temperatures) <= set(present):
        _require(folder, "kind.temperatures", present, temperatures)
    _require(folder, f"the weights of {meta.teacher}", meta.weights[:12], wanted.weights[:12])
    _require(folder, f"the tokenizer of {meta.teacher}", meta.tokenizer[:12], wanted.tokenizer[:12])


def _require(folder: Path, name: str, made_with: Any, wanted: Any) -> None:
    if made_with != wanted:
        raise LabError(
            f"{folder}: expected a teacher cache made with {name} {wanted}, found one made with "
            f"{made_with}. Remove the folder to make it again, or go back to {made_with}."
        )


def read_index(folder: Path, row_format: RowFormat) -> Index:
    """The examples whose records are whole, up to the first that is torn."""
    lines, rows = folder / "index.jsonl", folder / "rows.bin"
    if not (lines.exists() and rows.exists()):
        return Index({}, 0, 0)
    n_whole = rows.stat().st_size // row_dtype(row_format).itemsize
    places: dict[str, tuple[int, int]] = {}
    end = n_bytes = 0
    for line in lines.read_bytes().splitlines(keepends=True):
        try:
            entry = parse(line.decode())
            name, start, n = entry["key"], entry["start"], entry["n"]
        except (ValueError, TypeError, KeyError):
            break
        if not line.endswith(b"\n") or start != end or start + n > n_whole:
            break
        places[name] = (start, n)
        end, n_bytes = start + n, n_bytes + len(line)
    return Index(places, end, n_bytes)


class Writer:
    """Appends examples' records, after cutting off what the index does not cover."""

    def __init__(self, folder: Path, row_format: RowFormat) -> None:
        index = read_index(folder, row_format)
        self.end = index.n_rows
        self._rows = (folder / "rows.bin").open("ab")
        self._index = (folder / "index.jsonl").open("ab")
        self._rows.truncate(index.n_rows * row_dtype(row_format).itemsize)
        self._index.truncate(index.n_bytes)

    def append(self, examples: Sequence[tuple[str, np.ndarray]]) -> None:
        """Writes keys and their records. On the disk when this returns, the index last."""
        lines = []
        for name, rows in examples:
            self._rows.write(rows.tobytes())
            lines.append(json.dumps({"key": name, "start": self.end, "n": len(rows)}) + "\n")
            self.end += len(rows)
        _to_disk(self._rows)
        self._index.write("".join(lines).encode())
        _to_disk(self._index)

    def close(self) -> None:
        self._rows.close()
        self._index.close()


def _to_disk(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
