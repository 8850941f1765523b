"""A study's cells: a point of the grid, a seed and a student, the settings they come to, and what
two of them have in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from distill_lab.run.arms import ALL_ARMS, OWN_ARMS
from distill_lab.run.saved_settings import CACHE, STUDENTS, TRACES, fingerprint
from distill_lab.run.settings import Config, TrainSettings, profile
from distill_lab.studies.cells import cell_id
from distill_lab.studies.definition import Definition
from distill_lab.studies.running.setting_values import changed

TEACHER = ("models.teacher", "models.teacher_shots", "models.teacher_4bit")
SEEDS = ("data.seed", "generate.seed", "train.seed")
# what counts only where the teacher's softened targets do
_SOFTENING = (
    "alpha", "temperature", "divergence", "beta", "cache", "cache_k", "other_tokenizer",
)  # fmt: skip
# what a reference's scores depend on, of what axes may change
_STUDENT = ("models.student", "runtime")
_REFERENCE = {"base": _STUDENT, "start": _STUDENT, "teacher": (*TEACHER, "runtime")}


def base_config(definition: Definition) -> Config:
    """The settings that all cells have, with the seed 0; those of the axes are the profile's."""
    return changed(profile(definition.profile), definition.settings)


@dataclass(frozen=True, slots=True)
class Cell:
    """A student at a point of the grid and with a seed; or a reference (`base`, `start`,
    `teacher`), which has no seed, at a point of the axes on which it depends."""

    point: Mapping[str, Any]
    seed: int | None
    student: str
    config: Config = field(repr=False, compare=False)

    @property
    def id(self) -> str:
        return cell_id(self.point, self.seed, self.student)

    def __str__(self) -> str:
        at = [f"{name} {value}" for name, value in self.point.items()]
        seed = [] if self.seed is None else [f"seed {self.seed}"]
        return ", ".join([self.student, *at, *seed])

    @property
    def is_reference(self) -> bool:
        return self.seed is None

    @property
    def arm(self) -> str:
        """The arm that is trained: one without weight on the teacher's targets is `sft`."""
        arm = self.student.partition(":")[0]
        if arm in OWN_ARMS:
            return arm
        return arm if ALL_ARMS[arm].softened and self.config.train.alpha else "sft"

    @property
    def kind(self) -> str:
        """The choice of examples: of `pipeline.ablation`, or "" for those that are kept."""
        return self.student.partition(":")[2]

    @property
    def softened(self) -> bool:
        return not self.is_reference and ALL_ARMS[self.arm].softened

    @property
    def from_traces(self) -> bool:
        """Whether it learns from the teacher's traces, be it in part."""
        if self.is_reference:
            return False
        return self.arm not in OWN_ARMS or (self.arm == "on-policy" and self.config.own.share < 1)

    # -- what is shared by the cells in which it is the same

    @property
    def traces_key(self) -> str:
        """Of the teacher and how it is sampled: a trace depends on that, the question and its
        number, and not on which other questions there are."""
        one = changed(self.config, {"data.n_train": 0, "data.seed": 0, "generate.n_samples": 1})
        return fingerprint(one, TRACES)

    @property
    def examples_key(self) -> str:
        """Of the traces and of which are kept."""
        return fingerprint(self.config, (*TRACES, "reject"))

    @property
    def cache_key(self) -> str:
        """Of what a row of the teacher's cache depends on, the example itself apart."""
        return fingerprint(self.config, CACHE)

    @property
    def student_key(self) -> str:
        """Of all that a trained student depends on; of a reference, that its scores depend on."""
        if self.is_reference:
            return fingerprint(self.config, _REFERENCE[self.student], self.student)
        config = self.config
        if self.arm in OWN_ARMS:
            return fingerprint(config, (*STUDENTS, "own"), self.arm)
        if not self.softened:
            plain = TrainSettings()
            as_plain = {f"train.{name}": getattr(plain, name) for name in _SOFTENING}
            config = changed(config, as_plain)
        return fingerprint(config, STUDENTS, self.arm, self.kind)


def start_of(definition: Definition) -> Cell | None:
    """The student with which all others of the study begin, if it has one of its own."""
    config = changed(base_config(definition), {"runtime.threads": 1, **definition.start})
    seeded = changed(config, dict.fromkeys(SEEDS, 0))
    return Cell({}, 0, "sft", seeded) if definition.start else None


def cells_of(definition: Definition, start: str = "") -> list[Cell]:
    """All cells, references first; then by the grid's points, by seed, by student. `start` is the
    folder of the model with which the students begin, where it is not the profile's base."""
    plain = changed(base_config(definition), {"runtime.threads": 1})
    base = changed(plain, {"models.student": start}) if start else plain
    cells: dict[str, Cell] = {}
    for who in definition.references:
        for point in definition.points():
            at = {name: value for name, value in point.items() if name.startswith(_REFERENCE[who])}
            cell = Cell(at, None, who, changed(base if who == "start" else plain, at))
            cells.setdefault(cell.id, cell)
    for point in definition.points():
        for seed in range(definition.seeds):
            for student in definition.students:
                own = definition.by_student.get(student, {})
                config = changed(base, {**point, **own, **dict.fromkeys(SEEDS, seed)})
                cell = Cell(point, seed, student, config)
                cells[cell.id] = cell
    return list(cells.values())
