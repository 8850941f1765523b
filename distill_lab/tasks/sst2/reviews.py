"""Film reviews with a label, as in SST-2 (Socher et al. 2013): from a file or the hub, and checked
one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from distill_lab.run.json_files import bad_file, read_json_lines, read_text
from distill_lab.run.json_text import is_unicode, listed
from distill_lab.run.settings import BUNDLED, data_folder
from distill_lab.tasks.hub import hub_rows
from distill_lab.tasks.task import Checked, Split, require_usable

_BUNDLED_FILES: dict[Split, str] = {"train": "train.jsonl", "validation": "dev.jsonl"}
_TSV = "a file of GLUE's SST-2 (train.tsv or dev.tsv)"
_COLUMNS = {"sentence", "label"}


@dataclass(frozen=True, slots=True)
class Review:
    """A sentence about a film. `label` is 1 (positive) or 0 (negative); `id` is made of the text,
    as SST-2 has none, so that one sentence has the same id in every file. `kind` is there where the
    data say one, such as `negation`."""

    id: str
    text: str
    label: int
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class LoadedReviews(Checked):
    """The good reviews in file order; the places of bad rows, such as `line 7`, by kind of problem;
    how many rows were read."""

    noun = "reviews"
    reviews: tuple[Review, ...]
    problems: dict[str, list[str]]
    total: int

    @property
    def good(self) -> tuple[Review, ...]:
        return self.reviews


def load_reviews(source: str, split: Split, strict: bool = False) -> LoadedReviews:
    """The reviews of 'bundled', of a file (GLUE's .tsv, or .jsonl with the same two keys; a file
    has no splits), or of a hub name (stanfordnlp/sst2).

    Bad rows are left out and named in `problems`; `strict` makes them a LabError, and so is a set
    with no good one.
    """
    path = Path(source).expanduser()
    if source == BUNDLED:
        path = data_folder() / "mini_sst2" / _BUNDLED_FILES[split]
    if path.suffix == ".jsonl":
        loaded = _check(_numbered(read_json_lines(path, "Correct the line"), "line", 1))
    elif path.exists() or path.suffix == ".tsv":
        loaded = _check(_numbered(_tsv_rows(path), "line", 2))  # line 1 names the columns
    else:
        loaded = from_hub(source, split)
    return require_usable(loaded, source, strict)


def from_hub(name: str, split: Split) -> LoadedReviews:
    """The reviews of a hub set with SST-2's columns, its bad rows named as `row 7`, from 0 on."""
    rows = hub_rows(name, split, "a .tsv or .jsonl file", "SST-2", _COLUMNS)
    return _check(_numbered(rows, "row", 0))


def _numbered(rows: Iterable[Any], word: str, start: int) -> list[tuple[str, Any]]:
    """Each row with its place."""
    return [(f"{word} {n}", row) for n, row in enumerate(rows, start)]


def _tsv_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a GLUE file by the names of its columns; one with a cell too few or too many is
    empty. Quotes are text there, so that a tab can be nothing but a border."""
    text = read_text(path, _TSV)
    if not text.strip():
        raise bad_file(path, _TSV, "an empty file", "Download it again")
    # not at U+2028 and its like, which sentences may hold
    header, *lines = text.removesuffix("\n").split("\n")
    names = header.split("\t")
    if not set(names) >= _COLUMNS:
        found = f"the columns ({listed(names)}) without sentence or label"
        advice = "Take train.tsv or dev.tsv (GLUE's test.tsv has no labels)"
        raise bad_file(path, f"{_TSV}, its columns named on line 1", found, advice)
    cells = [line.split("\t") for line in lines]
    return [dict(zip(names, row, strict=True)) if len(row) == len(names) else {} for row in cells]


def _check(rows: Iterable[tuple[str, Any]]) -> LoadedReviews:
    """Every row: a review, or named by its place in `problems`.

    Of equal sentences the first one counts. A later one with the other label has a problem of its
    own name, since one of the two must be wrong.
    """
    reviews: dict[str, Review] = {}
    problems: dict[str, list[str]] = {}
    total = 0
    for place, row in rows:
        total += 1
        values = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
        text, label = values.get("sentence"), values.get("label")
        problem = _problem(text, label)
        if problem is None:
            review = _review(cast(str, text), int(cast(Any, label)), values.get("kind"))
            first = reviews.setdefault(review.id, review)
            if first is not review:
                same = first.label == review.label
                problem = "duplicate_sentence" if same else "contradicted_label"
        if problem is not None:
            problems.setdefault(problem, []).append(place)
    return LoadedReviews(tuple(reviews.values()), problems, total)


def _problem(text: Any, label: Any) -> str | None:
    """What is wrong with one row alone: the first kind that holds."""
    if not isinstance(text, str) or label is None:
        return "missing_column"
    if not is_unicode(text):
        return "not_unicode"  # else it cannot be written as a record
    if not text.strip():
        return "empty_sentence"
    # a file has text, the hub a number; -1 marks SST-2's hidden labels
    return None if label in ("0", "1") or (type(label) is int and label in (0, 1)) else "bad_label"


def _review(text: str, label: int, kind: Any) -> Review:
    text = text.strip()  # SST-2's sentences end with a space
    kind = kind if isinstance(kind, str) and is_unicode(kind) else None
    return Review(hashlib.sha256(text.encode()).hexdigest()[:16], text, label, kind)
