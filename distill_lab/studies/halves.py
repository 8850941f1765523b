"""The two halves of a study's evaluation questions: on one settings are chosen, on the other
findings are reported."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill_lab.run.json_files import bad_file, read_json
from distill_lab.run.records import Question, write_text

CHOOSE, REPORT = "choose", "report"


@dataclass(frozen=True, slots=True)
class Half:
    """The questions of a half in their order: of each its id, its kind, and the index of its
    passage. `questions` is empty in a half that was read from a study's folder."""

    name: str
    ids: tuple[str, ...]
    kinds: tuple[str | None, ...]
    passages: tuple[int, ...]
    questions: tuple[Question, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_passages(self) -> int:
        return max(self.passages) + 1

    @property
    def kind_names(self) -> list[str]:
        """The kinds that there are, by name."""
        return sorted({kind for kind in self.kinds if kind})

    def of_kind(self, kind: str | None) -> list[bool]:
        """Which questions are of a kind; all where it is None."""
        return [kind is None or its == kind for its in self.kinds]


def half_of(name: str, questions: Sequence[Question]) -> Half:
    """The half of these questions. Questions with the same title and text share a passage; one
    without a text is a passage of its own."""
    index: dict[tuple[str, ...], int] = {}
    passages = tuple(
        index.setdefault((q.title, q.context) if q.context else (q.id,), len(index))
        for q in questions
    )
    ids, kinds = tuple(q.id for q in questions), tuple(q.kind for q in questions)
    return Half(name, ids, kinds, passages, tuple(questions))


def write_halves(path: Path, halves: Mapping[str, Half]) -> None:
    """Writes halves.json: ids, kinds and passages of each half's questions."""
    values = {
        name: {"ids": half.ids, "kinds": half.kinds, "passages": half.passages}
        for name, half in halves.items()
    }
    write_text(path, json.dumps(values, ensure_ascii=False) + "\n")


def read_halves(path: Path) -> dict[str, Half]:
    """The halves of a study's folder, by name. LabError for a file that is none."""
    expected, found = "a study's halves: ids, kinds and passages", read_json(path, "halves.json")
    try:
        return {
            name: Half(name, *(tuple(half[key]) for key in ("ids", "kinds", "passages")))
            for name, half in found.items()
        }
    except (AttributeError, KeyError, TypeError):
        raise bad_file(path, expected, "something else", "Run the study again") from None
