"""Pictures and means of the studies that come with the course (lab_notebooks/studies), and pictures
of a student's own."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from distill_lab.reporting.figures import Plot
from distill_lab.run.json_files import read_json
from distill_lab.run.records import LabError
from distill_lab.run.settings import profile, shipped
from distill_lab.studies.halves import REPORT
from distill_lab.studies.page import PLOTS
from distill_lab.studies.results import STUDY, read


def study_pictures(study: str | Path, *plots: str) -> list[Plot]:
    """Pictures of a study by the names of their files; by default the one of all its findings.

    study: the name of one that comes with the course, or the folder of another. LabError for a
    study or a picture that there is not.
    """
    folder = study if isinstance(study, Path) else _folder_of(study)
    said = read_json(folder / STUDY, "a study's results")["pictures"]
    if missing := [plot for plot in plots if plot not in said]:
        known = ", ".join(said)
        raise LabError(f"Expected pictures of {folder.name}: {known}; found {missing[0]!r}.")
    if not all(isinstance(words, dict) for words in said.values()):
        raise LabError(
            f"{folder / STUDY}: expected title, caption and text of each picture, found what an "
            "earlier version wrote. Run the study again; what is there is kept."
        )
    return [
        Plot(plot, png=(folder / PLOTS / f"{plot}.png").read_bytes(), **said[plot])
        for plot in plots or ("findings",)
    ]


def study_means(name: str) -> dict[str, dict[str, float]]:
    """Of each model of a study without axes, references first, the means over its seeds: of its
    measures on the half that is reported, and of what it took, of which references have none.
    LabError for a study that there is not."""
    study = read(_folder_of(name))
    found: dict[str, dict[str, float]] = {}
    for student in (*study.definition.references, *study.definition.students):
        lines = [line for line in study.lines if (line.student, line.half) == (student, REPORT)]
        if lines:
            rows = [{**line.means, **line.budget} for line in lines]
            found[student] = {key: fmean(row[key] for row in rows) for key in rows[0]}
    return found


def bundled_sizes() -> tuple[int, int]:
    """Parameters of the bundled teacher and student, on which the course's studies were made."""
    from distill_lab.studies.budget import parameters

    models = profile("tiny").models
    return parameters("teacher", models), parameters("base", models)


def _folder_of(name: str) -> Path:
    known = sorted(path.parent.name for path in studies_folder().glob(f"*/{STUDY}"))
    if name not in known:
        raise LabError(f"Expected one of the studies {', '.join(known)}; found {name!r}.")
    return studies_folder() / name


def studies_folder() -> Path:
    """Where the studies lie."""
    return shipped("shipped_studies", "lab_notebooks/studies")
