"""What of a study's definition cannot be run, each mistake in one sentence."""

from __future__ import annotations

from typing import get_args

from distill_lab.run.arms import ARMS, OWN_ARMS, AblationArm
from distill_lab.run.groups import LEAST, prompts_a_step
from distill_lab.run.json_text import listed, shown
from distill_lab.run.records import LabError
from distill_lab.run.settings import profile
from distill_lab.studies.definition import Contrast, Definition
from distill_lab.studies.measure_names import is_known, known, split
from distill_lab.studies.running.cell_configs import base_config, cells_of
from distill_lab.studies.running.setting_values import require_known
from distill_lab.tasks.all_tasks import task_of

# an arm on the kept examples, or on another choice of as many
STUDENTS = (
    *ARMS,
    *OWN_ARMS,
    *(f"{arm}:{kind}" for arm in ARMS for kind in get_args(AblationArm)),
)


def checked(definition: Definition) -> Definition:
    """The definition itself. LabError for what cannot be run: an empty grid, a finding that no cell
    answers, an unknown student or measure."""
    profile(definition.profile)
    if definition.seeds < 1:
        raise LabError(f"seeds: expected 1 or more, found {definition.seeds}.")
    if not (definition.students and definition.report):
        lacking = "report" if definition.students else "students"
        raise LabError(f"{lacking}: expected at least one, found an empty grid. Name one.")
    for student in definition.students:
        require_known("student", student, STUDENTS)
    for student in definition.by_student:
        require_known("student", student, definition.students)
    _check_measures(definition)
    _check_groups(definition)
    names = definition.axis_names
    elsewhere = {*definition.settings, *(n for of in definition.by_student.values() for n in of)}
    for name in names:
        if names.count(name) > 1 or name in elsewhere:
            raise LabError(f"{name}: expected it in one place, found it in two. Take one out.")
    for each in definition.findings:
        _check_contrast(each, definition)
    ids = [each.id for each in definition.findings]
    for name in ids:
        if ids.count(name) > 1:
            raise LabError(f"findings: expected each id once, found {name} twice. Rename one.")
    return definition


def _check_measures(definition: Definition) -> None:
    task = task_of(base_config(definition))
    for measure in (*definition.measures, *(each.measure for each in definition.findings)):
        if not is_known(split(measure)[0], task):
            require_known("measure", measure, known(task))
    if not definition.measures:
        raise LabError("measures: expected at least one, found none. Name one.")


def _check_groups(definition: Definition) -> None:
    """Of own samples, which come in whole groups: before any student is trained."""
    for cell in cells_of(definition):
        if not cell.is_reference and cell.arm in LEAST:
            own, size = cell.config.own, cell.config.train.batch_size
            prompts_a_step(own.group, size, LEAST[cell.arm])


def _check_contrast(contrast: Contrast, definition: Definition) -> None:
    where = f"Finding {contrast.id}"
    for side in (contrast.plus, contrast.minus):
        if side.student not in (*definition.students, *definition.references):
            raise LabError(
                f"{where}: expected one of the study's students ({listed(definition.students)}) or "
                f"{listed(definition.references)}; found {shown(side.student)}."
            )
        for name in side.at:
            if name not in definition.axis_names:
                raise LabError(
                    f"{where}: expected one of the study's axes "
                    f"({listed(definition.axis_names) or 'it has none'}), found {name}."
                )
    pairs = definition.pairs(contrast)
    plus = [point for point, _ in pairs]
    if not pairs:
        raise LabError(f"{where}: expected values that are on the axes, found no cell with them.")
    if any(plus.count(point) > 1 for point in plus):
        raise LabError(
            f"{where}: expected one cell in minus for each in plus, found several. Fix all the "
            "names of that axis."
        )
    if len(pairs) > 1 and not definition.choose:
        raise LabError(
            f"{where}: expected all axes fixed, as the study has no half to choose on; found "
            f"{len(pairs)} settings. Name `choose`, or fix them."
        )
