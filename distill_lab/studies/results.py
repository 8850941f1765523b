"""What a study's folder says, `study.json` and `study.csv`, written from the cells' scores; and the
check that it still follows from them.

    cells.jsonl + halves.json -> study.json, study.csv, page.html, plots/
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_lab.reporting.figures import Plot
from distill_lab.run.json_files import bad_file, read_json
from distill_lab.run.records import LabError, write_text
from distill_lab.studies.cells import CellScores, means_of, read_cells
from distill_lab.studies.definition import Contrast, Definition, Side
from distill_lab.studies.findings import Finding, choose, findings, lines_behind
from distill_lab.studies.halves import REPORT, Half, read_halves
from distill_lab.studies.measure_names import scored_as

CELLS, HALVES, STUDY, TABLE, PAGE = (
    "cells.jsonl",
    "halves.json",
    "study.json",
    "study.csv",
    "page.html",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Study:
    """A study's folder as it was read: its definition, the cells' lines, the halves, and all of
    study.json."""

    definition: Definition
    lines: list[CellScores]
    halves: dict[str, Half]
    values: dict[str, Any]

    @property
    def findings(self) -> list[Finding]:
        """The findings as they are stored."""
        return [_finding(each) for each in self.values["findings"]]


def stored(
    definition: Definition, lines: Sequence[CellScores], halves: Mapping[str, Half]
) -> list[CellScores]:
    """The lines as the study's folder keeps them, so that it stays small: question by question only
    the score that decides, and the measures of the findings in the cells that they report."""
    wanted = {
        (line.cell, scored_as(choice.contrast.measure))
        for choice in choose(definition, lines, halves)
        for line in lines_behind(choice, lines, halves[REPORT])
    }

    def kept(line: CellScores) -> dict[str, Sequence[float]]:
        return {
            name: values
            for n, (name, values) in enumerate(line.scores.items())
            if n == 0 or (line.half == REPORT and (line.cell, name) in wanted)
        }

    return [dataclasses.replace(line, scores=kept(line)) for line in lines]


def write(folder: Path, definition: Definition, about: Mapping[str, Any]) -> list[Finding]:
    """Writes study.json and study.csv from cells.jsonl and halves.json, and gives the findings.

    `about` has what the scores do not tell: versions, git, seconds.
    """
    lines, halves = _read_scores(folder)
    made = findings(definition, lines, halves)
    values = {
        "name": definition.name,
        "question": definition.question,
        "definition": dataclasses.asdict(definition),
        "seeds": definition.seeds,
        "cells": len({line.cell for line in lines}),
        **about,
        "sha256": {name: _digest(folder / name) for name in (CELLS, HALVES)},
        "findings": [dataclasses.asdict(finding) for finding in made],
    }
    write_text(folder / STUDY, _text(values))
    write_text(folder / TABLE, table(definition, lines))
    return made


def note_page(folder: Path, pictures: Sequence[Plot]) -> None:
    """Notes in study.json which page was written from it, and what it says of each picture."""
    values = read_json(folder / STUDY, "a study's results")
    values["sha256"][PAGE] = _digest(folder / PAGE)
    values["pictures"] = {
        each.name: {"title": each.title, "caption": each.caption, "alt": each.alt}
        for each in pictures
    }
    write_text(folder / STUDY, _text(values))


def read(folder: Path) -> Study:
    """The study in a folder. LabError for a file that is missing or none of a study's."""
    values = read_json(folder / STUDY, "a study's results", "Run the study again")
    try:
        study = Study(_definition(values["definition"]), *_read_scores(folder), values)
        _ = study.findings, values["sha256"][CELLS]
    except (AttributeError, KeyError, TypeError):
        found = "something else"
        raise bad_file(folder / STUDY, "a study's results", found, "Run the study again") from None
    return study


def table(definition: Definition, lines: Sequence[CellScores]) -> str:
    """study.csv: a row a cell and half, with its axes, seed, student and means."""
    axes = definition.axis_names
    means = list(dict.fromkeys(name for line in lines for name in line.means))
    spent = list(dict.fromkeys(name for line in lines for name in line.budget))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["cell", *axes, "seed", "student", "half", "n_examples", *means, *spent])
    for line in lines:
        at = [line.settings.get(name, "") for name in axes]
        seed = "" if line.seed is None else line.seed
        scored = [line.means.get(name, "") for name in means]
        row = [line.cell, *at, seed, line.student, line.half, line.n_examples, *scored]
        writer.writerow([*row, *(line.budget.get(name, "") for name in spent)])
    return text.getvalue()


def check(folder: Path) -> list[str]:
    """What differs, one sentence each, of the study in a folder, or of all in the folders below it,
    when means, table and findings are computed again from the stored scores. LabError where there
    is no study."""
    folders = [folder] if (folder / STUDY).exists() else _folders_below(folder)
    if not folders:
        raise LabError(f"{folder}: expected a study's folder, or one that holds some; found none.")
    return [f"{place}: {problem}" for place in folders for problem in _check_one(place)]


def _folders_below(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob(STUDY))


def _check_one(folder: Path) -> Iterator[str]:
    try:
        study = read(folder)
    except LabError as error:
        yield str(error)
        return
    for name in (CELLS, HALVES, PAGE):
        found = _digest(folder / name) if (folder / name).exists() else "no file"
        if study.values["sha256"].get(name) != found:
            yield f"{name} is not the file that belongs to {STUDY}."
    problems = list(_check_cells(study))
    yield from problems
    if problems:
        return
    yield from _check_table(study, folder)
    yield from _check_findings(study)
    yield from _check_page(study, folder)


def _check_cells(study: Study) -> Iterator[str]:
    for line in study.lines:
        where, half = f"cell {line.cell}, {line.half}", study.halves.get(line.half)
        if half is None or {len(values) for values in line.scores.values()} != {len(half)}:
            yield f"{where}: expected a score for each question of {HALVES}, found others."
            continue
        means = means_of(line.scores, half.kinds)
        if names := [name for name, mean in means.items() if mean != line.means.get(name)]:
            yield f"{where}: expected means that follow from its scores, found others: {names}."


def _check_table(study: Study, folder: Path) -> Iterator[str]:
    path = folder / TABLE
    found = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    expected = table(study.definition, study.lines).splitlines()
    for n, (row, other) in enumerate(zip(expected, found, strict=False), 1):
        if row != other:
            yield f"{TABLE}, line {n}: expected {row!r}, found {other!r}."
    if len(expected) != len(found):
        yield f"{TABLE}: expected {len(expected)} lines, found {len(found)}."


def _check_findings(study: Study) -> Iterator[str]:
    expected = {f.id: f for f in findings(study.definition, study.lines, study.halves)}
    found = {f.id: f for f in study.findings}
    for id in {**expected, **found}:
        ours, theirs = expected.get(id), found.get(id)
        if ours is None or theirs is None:
            yield f"finding {id}: {'not in' if ours else 'only in'} {STUDY}."
            continue
        for field in dataclasses.fields(Finding):
            one, other = getattr(ours, field.name), getattr(theirs, field.name)
            if one != other:
                yield f"finding {id}: expected {field.name} {one}, found {other}."


def _check_page(study: Study, folder: Path) -> Iterator[str]:
    from markupsafe import escape

    path = folder / PAGE
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for finding in study.findings:
        if str(escape(str(finding))) not in text:
            yield f"{PAGE} does not say what {STUDY} does of finding {finding.id}."


def _read_scores(folder: Path) -> tuple[list[CellScores], dict[str, Half]]:
    return read_cells(folder / CELLS), read_halves(folder / HALVES)


def _text(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _finding(values: Mapping[str, Any]) -> Finding:
    """A finding from its JSON: tuples for lists."""
    of: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in values.items()
    }
    return Finding(**of)


def _definition(values: Mapping[str, Any]) -> Definition:
    """The definition from its JSON: tuples for lists."""
    contrasts = [
        Contrast(**{**each, "plus": Side(**each["plus"]), "minus": Side(**each["minus"])})
        for each in values["findings"]
    ]
    axes = tuple({name: tuple(of) for name, of in axis.items()} for axis in values["axes"])
    lists = {name: tuple(values[name]) for name in ("students", "measures")}
    return Definition(**{**values, **lists, "axes": axes, "findings": tuple(contrasts)})
