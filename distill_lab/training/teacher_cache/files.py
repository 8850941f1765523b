"""The files of a teacher cache: `meta.json`, `rows.bin` and `index.jsonl`.

meta.json says what was kept, and of which teacher; it is written first. rows.bin holds the records,
index.jsonl one line an example, {"key", "start", "n"}, written after the example's records are on
the disk. What a kill cut short is not in the index; it is cut off when filling goes on.
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
    """What was kept, and of which teacher: its name, and the hashes of its weights and vocabulary,
    so that keys need no teacher in memory."""

    kind: RowFormat
    teacher: str
    weights: str
    tokenizer: str
    format: int = _FORMAT


@dataclass(frozen=True, slots=True)
class Index:
    """Key to (first row, number of rows), and how much of both files that covers (rows, bytes)."""

    places: dict[str, tuple[int, int]]
    rows: int
    size: int


def key(meta: Meta, example: Encoded) -> str:
    """An example's name in the cache: a hash of all that its records depend on, so that a row is
    never taken for another's."""
    prompt, completion = example.teacher_prompt, example.completion
    digest = hashlib.sha256(
        f"{meta.teacher}\n{meta.weights}\n{meta.tokenizer}\n{len(prompt)}\n".encode()
    )
    digest.update(np.array([*prompt, *completion], "<u4").tobytes())
    return digest.hexdigest()


def write_meta(folder: Path, meta: Meta) -> None:
    write_text(folder / "meta.json", json.dumps(dataclasses.asdict(meta), indent=1) + "\n")


def read_meta(folder: Path) -> Meta | None:
    """None where there is no cache; LabError for a file that is none of ours."""
    path = folder / "meta.json"
    if not path.exists():
        left = [name for name in ("rows.bin", "index.jsonl") if (folder / name).exists()]
        if left:
            raise LabError(
                f"{path}: expected it beside {left[0]}, found none. Remove {folder} to make the "
                "teacher cache again."
            )
        return None
    try:
        found: Any = parse(path.read_text(encoding="utf-8"))
        kind = found.pop("kind")
        kind["temperatures"] = tuple(kind["temperatures"])
        meta = Meta(RowFormat(**kind), **found)
    except (ValueError, TypeError, AttributeError, KeyError):
        raise LabError(
            f"{path}: expected what a teacher cache was made with, found another file. "
            f"Remove {folder} to make the cache again."
        ) from None
    _require(folder, "format", meta.format, _FORMAT)
    return meta


def require_same(folder: Path, meta: Meta, kind: RowFormat, teacher: str) -> None:
    """LabError where the cache was made otherwise. It may have more temperatures than asked for."""
    _require(folder, "teacher", meta.teacher, teacher)
    for name in ("name", "k", "vocabulary"):
        _require(folder, f"kind.{name}", getattr(meta.kind, name), getattr(kind, name))
    if not set(kind.temperatures) <= set(meta.kind.temperatures):
        _require(folder, "kind.temperatures", meta.kind.temperatures, kind.temperatures)


def require_same_teacher(folder: Path, meta: Meta, weights: str, tokenizer: str) -> None:
    """LabError where another teacher has come to have the name."""
    _require(folder, f"the weights of {meta.teacher}", meta.weights[:12], weights[:12])
    _require(folder, f"the tokenizer of {meta.teacher}", meta.tokenizer[:12], tokenizer[:12])


def _require(folder: Path, name: str, made_with: Any, asked: Any) -> None:
    if made_with != asked:
        raise LabError(
            f"{folder}: expected a teacher cache made with {name} {asked}, found one made with "
            f"{made_with}. Remove the folder to make it again, or go back to {made_with}."
        )


def read_index(folder: Path, kind: RowFormat) -> Index:
    """The examples whose records are all there, up to the first that is torn."""
    lines, rows = folder / "index.jsonl", folder / "rows.bin"
    if not (lines.exists() and rows.exists()):
        return Index({}, 0, 0)
    there = rows.stat().st_size // row_dtype(kind).itemsize
    places: dict[str, tuple[int, int]] = {}
    end = size = 0
    for line in lines.read_bytes().splitlines(keepends=True):
        try:
            entry = parse(line.decode())
            name, start, n = entry["key"], entry["start"], entry["n"]
        except (ValueError, TypeError, KeyError):
            break
        if not line.endswith(b"\n") or start != end or start + n > there:
            break
        places[name] = (start, n)
        end, size = start + n, size + len(line)
    return Index(places, end, size)


class Writer:
    """Appends examples' records, after cutting off what the index does not cover."""

    def __init__(self, folder: Path, kind: RowFormat) -> None:
        index = read_index(folder, kind)
        self.end = index.rows
        self._rows = (folder / "rows.bin").open("ab")
        self._index = (folder / "index.jsonl").open("ab")
        self._rows.truncate(index.rows * row_dtype(kind).itemsize)
        self._index.truncate(index.size)

    def append(self, examples: Sequence[tuple[str, np.ndarray]]) -> None:
        """Keys and their records. On the disk when this returns, the index last."""
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
