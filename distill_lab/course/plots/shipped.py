"""Pictures of the studies that come with the course (lab_notebooks/studies)."""

from __future__ import annotations

from pathlib import Path

from distill_lab.reporting.plots import Plot
from distill_lab.run.json_files import read_json
from distill_lab.run.records import LabError
from distill_lab.run.settings import shipped
from distill_lab.studies.page import PLOTS
from distill_lab.studies.results import STUDY


def study_pictures(name: str, *plots: str) -> list[Plot]:
    """Pictures of a study by the names of their files; by default the one of all its findings.

    LabError for a study or a picture that there is not.
    """
    folder = studies_folder() / name
    known = sorted(path.parent.name for path in studies_folder().glob(f"*/{STUDY}"))
    if name not in known:
        raise LabError(f"Expected one of the studies {', '.join(known)}; found {name!r}.")
    said = read_json(folder / STUDY, "a study's results")["pictures"]
    if missing := [plot for plot in plots if plot not in said]:
        raise LabError(f"Expected pictures of {name}: {', '.join(said)}; found {missing[0]!r}.")
    return [
        Plot(plot, said[plot], (folder / PLOTS / f"{plot}.png").read_bytes())
        for plot in plots or ("findings",)
    ]


def studies_folder() -> Path:
    """Where the studies lie."""
    return shipped("shipped_studies", "lab_notebooks/studies")
