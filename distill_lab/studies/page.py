"""A study's page: the question, a sentence for each finding, the pictures, all means. One file."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distill_lab.reporting import paper, templates
from distill_lab.reporting.figures import Plot
from distill_lab.reporting.page import duration
from distill_lab.run.arms import OWN_ARMS
from distill_lab.run.records import write_bytes, write_text
from distill_lab.run.saved_settings import flag
from distill_lab.studies import series
from distill_lab.studies.cells import CellScores
from distill_lab.studies.findings import Finding, lines_of, unanswered
from distill_lab.studies.halves import Half
from distill_lab.studies.measure_names import CONFIDENCE, ECE, gain, interval, label, signed
from distill_lab.studies.pictures.budget_plot import budget_plot
from distill_lab.studies.pictures.calibration_plot import calibration
from distill_lab.studies.pictures.findings_plot import forest
from distill_lab.studies.pictures.heat_map import heat_map
from distill_lab.studies.pictures.line_plot import line_plot
from distill_lab.studies.pictures.look import number, short, tick
from distill_lab.studies.results import PAGE, Study, note_page, read

PLOTS = "plots"


def write(folder: Path, lines: Sequence[CellScores] = ()) -> None:
    """Writes page.html and plots/ of the study in this folder, from its other files; `lines` are
    its cells with all their scores, where they are at hand: else a measure whose scores the folder
    does not keep stands in the table alone."""
    study = read(folder)
    study = dataclasses.replace(study, lines=[*lines]) if lines else study
    made = draw(study)
    for picture in made:
        assert picture.png is not None, picture.name
        write_bytes(folder / PLOTS / f"{picture.name}.png", picture.png)
    names = {f"{picture.name}.png" for picture in made}
    for path in (folder / PLOTS).glob("*.png"):
        if path.name not in names:  # of an earlier definition
            path.unlink()
    write_text(folder / PAGE, _render(study, made))
    note_page(folder, made)


def draw(study: Study) -> list[Plot]:
    """All pictures, those that answer the question first."""
    made = [forest(study.findings)] if study.findings else []
    made += _budgets(study)
    made += _maps(study)
    made += _along_axes(study)
    of_students = {
        student: found
        for student in (*study.definition.students, *study.definition.references)
        if (found := series.calibration_of(study, student))
    }
    return [*made, calibration(of_students)] if of_students else made


def _budgets(study: Study) -> list[Plot]:
    """The score that decides against what it took, where some learn from their own samples."""
    measured = _measured(study)
    if not (measured and {*study.definition.students} & {*OWN_ARMS}):
        return []
    measure = measured[0]
    lines = [line for line in study.lines if line.half == series.fullest_half(study)]
    levels = {
        line.student: line.means[measure]
        for line in lines
        if line.student in study.definition.references
    }
    return [budget_plot(measure, series.spent(study, measure), levels)]


def _maps(study: Study) -> list[Plot]:
    contrasts = {each.id: each for each in study.definition.findings}
    found = [(series.map_of(study, contrasts[f.id]), f) for f in study.findings if f.chosen]
    return [heat_map(made, finding) for made, finding in found if made]


def _along_axes(study: Study) -> list[Plot]:
    """A picture for each axis and measure, and of the first measure one by kind of question."""
    made: list[Plot] = []
    names = _measured(study)
    kinds = study.halves[series.fullest_half(study)].kind_names
    wanted = [[name] for name in names]
    if names and kinds:
        wanted.insert(1, [f"{names[0]}:{kind}" for kind in kinds])
    for axis in study.definition.axes:
        if len(next(iter(axis.values()))) < 2:
            continue
        for measures in wanted:
            panels = [series.along(study, axis, measure) for measure in measures]
            if panels[0].students:
                made.append(line_plot(panels))
    return made


def _measured(study: Study) -> list[str]:
    """The measures that all students' lines have, the calibration error instead of confidence."""
    scored = [line.scores for line in study.lines if line.student in study.definition.students]
    names = [name for name in scored[0] if all(name in each for each in scored)] if scored else []
    return [ECE if name == CONFIDENCE else name for name in names]


def _tabled(study: Study) -> list[str]:
    """The measures whose means there are, over all questions."""
    return list(dict.fromkeys(n for line in study.lines for n in line.means if ":" not in n))


def reading(finding: Finding) -> str:
    """What a difference says, in a word or three."""
    if not finding.sure:
        return "may be chance"
    return "better" if gain(finding.measure, finding.difference) > 0 else "worse"


def chosen(finding: Finding) -> str:
    """`alpha 0.5, temperature 2, of 12 settings`; empty where nothing was chosen."""
    if not finding.chosen_on:
        return ""
    at = ", ".join(f"{short(name)} {tick(value)}" for name, value in finding.chosen.items())
    return f"{at}, of {finding.settings_tried} settings"


def sentence(finding: Finding) -> str:
    """The finding, what it says, and where it was chosen."""
    return "; ".join(filter(None, [f"{finding}: {reading(finding)}", chosen(finding)])) + "."


def means(study: Study, half: str) -> Iterator[dict[str, Any]]:
    """The rows of the table of means on a half: references first, then each point of the grid and
    student, over all seeds."""
    for student in study.definition.references:
        for line in study.lines:
            if (line.student, line.half) == (student, half):
                yield {"at": line.settings, "student": student, "seeds": 1, "means": line.means}
    for point in study.definition.points():
        for student in study.definition.students:
            lines = list(lines_of(student, point, half, study.lines).values())
            if lines:
                names = lines[0].means
                averaged = {n: sum(each.means[n] for each in lines) / len(lines) for n in names}
                yield {"at": point, "student": student, "seeds": len(lines), "means": averaged}


def half_name(study: Study, half: Half) -> str:
    """`bundled-report: 1,000 questions on 250 passages`."""
    name = {**study.definition.halves}.get(half.name, half.name)  # type: ignore[call-overload]
    return f"{name}: {len(half):,} questions on {half.n_passages:,} passages"


def _render(study: Study, made: list[Plot]) -> str:
    environment = templates.environment(html=True)
    environment.filters.update(duration=duration, flag=flag, label=label, short=short, tick=tick)
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    return environment.get_template("study.html.jinja").render(
        study=study,
        paper=paper,
        definition=study.definition,
        values=study.values,
        findings=study.findings,
        unanswered=unanswered(study.definition, study.findings),
        pictures=made,
        halves=[half_name(study, half) for half in study.halves.values()],
        means={half: list(means(study, half)) for half in study.halves},
        columns=[name for name in _tabled(study) if name != CONFIDENCE],
        number=number,
        signed=signed,
        interval=interval,
        reading=reading,
        sentence=sentence,
        chosen=chosen,
    )
