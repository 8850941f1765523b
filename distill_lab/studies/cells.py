"""A study's cells, as `cells.jsonl` holds them: one line for each cell and half, with one score a
question, so that every finding can be computed again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from distill_lab.run.json_files import bad_file, read_json_lines
from distill_lab.run.records import LabError, write_text
from distill_lab.studies.definition import HalfName, Settings
from distill_lab.studies.measure_names import CONFIDENCE, ECE, digits
from distill_lab.studies.statistics import error_of

Scores = Mapping[str, Sequence[float]]  # one number a question, by measure
HALVES = get_args(HalfName)
_ADVICE = "Run the study again"


@dataclass(frozen=True, slots=True)
class CellScores:
    """What one cell scored on one half: a student at a point of the grid and with a seed, or one of
    the references, which have no seed.

    `scores` has one number a question, in the order of the half's questions: in a study's folder
    of the score that decides, and of what a finding is computed from. `means` has all measures,
    over all questions and of each kind (`em:one-fact`). `budget` is what the student took, see
    `studies.budget`; a reference and a cell of an earlier version have none.
    """

    cell: str
    half: HalfName
    settings: Settings
    seed: int | None
    student: str
    n_examples: int
    means: Mapping[str, float]
    scores: Scores
    budget: Mapping[str, float] = field(default_factory=dict)


def cell_id(settings: Settings, seed: int | None, student: str) -> str:
    """Eight hexadecimal digits that say which cell it is."""
    text = json.dumps([dict(sorted(settings.items())), seed, student])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def rounded(scores: Scores) -> dict[str, list[float]]:
    """The scores as the file keeps them: tenths of a point, thousandths of a nat. LabError for one
    that is no number."""
    for name, values in scores.items():
        if not all(map(math.isfinite, values)):
            raise LabError(
                f"{name}: expected a number for every question, found NaN or infinity. The student "
                "may have diverged: lower --train.learning-rate."
            )
    return {
        name: [round(value, digits(name) - 1) for value in values]
        for name, values in scores.items()
    }


def means_of(scores: Scores, kinds: Sequence[str | None]) -> dict[str, float]:
    """The mean of each measure, over all questions and, where there are several, by their kind; and
    where confidence was measured its calibration error."""
    means = _means(scores)
    for kind in sorted({kind for kind in kinds if kind}) if len({*kinds}) > 1 else ():
        at = [n for n, other in enumerate(kinds) if other == kind]
        of_kind = _means({name: [values[n] for n in at] for name, values in scores.items()})
        means |= {f"{name}:{kind}": mean for name, mean in of_kind.items()}
    return means


def _means(scores: Scores) -> dict[str, float]:
    means = {name: fmean(values) for name, values in scores.items()}
    if CONFIDENCE in scores:  # held against the first score, the one that decides
        means[ECE] = error_of(scores[CONFIDENCE], next(iter(scores.values())))
    return {name: round(mean, 4) for name, mean in means.items()}


def write_cells(path: Path, cells: Iterable[CellScores]) -> None:
    """Writes the whole file, in the order given."""
    write_text(path, "".join(map(to_line, cells)))


def read_cells(path: Path) -> list[CellScores]:
    """All lines of the file; LabError where one is not a cell's."""
    lines = read_json_lines(path, _ADVICE)
    return [from_json(line, path, n) for n, line in enumerate(lines, 1)]


def to_line(cell: CellScores) -> str:
    """A cell as one line of JSON; scores that are all 0 or 100 are a text of 0 and 1."""
    fields = {name: getattr(cell, name) for name in CellScores.__slots__}
    fields["scores"] = {name: _packed(values) for name, values in cell.scores.items()}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ": ")) + "\n"


def from_json(line: Any, path: Path, n: int) -> CellScores:
    """The cell on line n of the file, from its JSON."""
    try:
        scores = {name: _unpacked(values) for name, values in line["scores"].items()}
        cell = CellScores(**{**line, "scores": scores})
        lengths = {len(values) for values in scores.values()}
        if (
            len(lengths) == 1
            and cell.half in HALVES
            and all(map(math.isfinite, cell.means.values()))
        ):
            return cell
    except (TypeError, ValueError, AttributeError, KeyError):
        pass
    raise bad_file(path, "a cell's scores on each line", f"something else on line {n}", _ADVICE)


def _packed(values: Sequence[float]) -> str | list[float]:
    if all(value in (0, 100) for value in values):
        return "".join("1" if value else "0" for value in values)
    return [int(value) if value == int(value) else value for value in values]


def _unpacked(values: str | list[float]) -> list[float]:
    if isinstance(values, str):
        return [{"0": 0.0, "1": 100.0}[digit] for digit in values]
    return [float(value) for value in values]
