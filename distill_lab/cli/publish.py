"""`distill-lab publish RUN`: a student and its traces, with their cards, to the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from distill_lab.run.arms import ArmName
from distill_lab.run.records import LabError

_NONE = arg(help_behavior_hint="")


@dataclass(frozen=True, slots=True)
class Publish:
    """What is published, and under which names and licences."""

    run: Annotated[Positional[Path], arg(metavar="RUN")] = Path("runs/tiny")
    """The run's folder. Student, traces and cards are laid out in it, in publish-<arm>."""
    arm: ArmName = "kd"
    """Which of the students."""
    to: Annotated[str, arg(metavar="OWNER/NAME", help_behavior_hint="")] = ""
    """The model's name on the hub; the traces become the data set OWNER/NAME-traces."""
    license: Annotated[str, _NONE] = ""
    """The student's licence, as the hub names it, where that of its base is not known here."""
    data_license: Annotated[str, _NONE] = ""
    """The licence of the training questions, where it is not known here: of a file, say."""
    base_model: Annotated[str, _NONE] = ""
    """The hub's name of the base model, where --models.student was a folder."""
    data: bool = True
    """Publish the traces, too."""
    private: bool = False
    """Make repositories that only you can see."""
    yes: bool = False
    """Upload, also into repositories of these names that are there. Without it the command only
    shows what would be uploaded, and opens no connection."""


def run(settings: Publish) -> None:
    """Shows what would be uploaded, and uploads it if told to."""
    if not settings.to:
        raise LabError("--to: expected a name on the hub, OWNER/NAME, found none.")
    from distill_lab.pipeline.publishing import publish

    wanted = publish.Wanted(
        settings.arm,
        settings.to,
        settings.license,
        settings.data_license,
        settings.base_model,
        settings.data,
    )
    repositories = publish.prepare(settings.run, wanted)
    print(publish.summary(repositories))
    if not settings.yes:
        print("Nothing was uploaded. Read the cards (README.md); --yes uploads.")
        return
    for page in publish.upload(repositories, settings.private):
        print(page)
