"""What a study asks: its grid of settings, its students and measures, and the differences of which
it speaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

HalfName = Literal["choose", "report"]
REFERENCES = ("base", "start", "teacher")
Settings = Mapping[str, Any]  # values by `section.name`, such as {"train.alpha": 0.5}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two students that a finding compares, and where on the axes it stands: an axis
    that is not in `at` is open."""

    student: str
    at: Settings = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contrast:
    """A difference that a study reports: `plus` minus `minus` in a measure."""

    id: str
    contrast: str
    measure: str
    plus: Side
    minus: Side


@dataclass(frozen=True, slots=True)
class Definition:
    """A study. `choose` and `report` name the two sets of evaluation questions; `choose` is empty
    where nothing is chosen. In each axis the values of one table vary together.

    With `start` all students begin as one that was fine-tuned with these settings and the seed 0,
    not as the profile's base. `by_student` has settings of one student alone.
    """

    name: str
    question: str
    profile: str = "tiny"
    seeds: int = 3
    students: tuple[str, ...] = ("sft", "kd")
    measures: tuple[str, ...] = ("em", "f1")
    choose: str = "bundled-choose"
    report: str = "bundled-report"
    settings: Settings = field(default_factory=dict)
    start: Settings = field(default_factory=dict)
    by_student: Mapping[str, Settings] = field(default_factory=dict)
    axes: tuple[Mapping[str, tuple[Any, ...]], ...] = ()
    findings: tuple[Contrast, ...] = ()

    @property
    def halves(self) -> dict[HalfName, str]:
        """The sets of evaluation questions by their part in the study."""
        return {"choose": self.choose, "report": self.report} if self.choose else {
            "report": self.report
        }  # fmt: skip

    @property
    def references(self) -> tuple[str, ...]:
        """What is measured beside the students, without a seed."""
        return tuple(name for name in REFERENCES if name != "start" or self.start)

    @property
    def axis_names(self) -> tuple[str, ...]:
        """All settings that vary, in the order of the axes."""
        return tuple(name for axis in self.axes for name in axis)

    def points(self) -> list[dict[str, Any]]:
        """The grid: the values of all axes at each of its points; the last axis varies fastest."""
        crossed = product(*map(_rows, self.axes))
        return [{name: value for row in rows for name, value in row.items()} for rows in crossed]

    def pairs(self, contrast: Contrast) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """The points that a finding may compare, plus and minus, in the grid's order.

        An axis named in `plus` is fixed there, any other is open. `minus` stands where `plus` does,
        but for the axes that it names itself.
        """
        return [
            (point, partner)
            for point in self.points()
            if _agree(point, contrast.plus.at)
            for partner in self._partners(point, contrast.minus.at)
        ]

    def _partners(self, point: Settings, at: Settings) -> Iterator[dict[str, Any]]:
        """The points that differ from this one only in the axes that `at` names."""
        kept = [name for axis in self.axes if not axis.keys() & at.keys() for name in axis]
        wanted = {**{name: point[name] for name in kept}, **at}
        return (other for other in self.points() if _agree(other, wanted))


def _rows(axis: Mapping[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    """The points of one axis."""
    return [dict(zip(axis, values, strict=True)) for values in zip(*axis.values(), strict=True)]


def _agree(point: Settings, wanted: Settings) -> bool:
    return all(point[name] == value for name, value in wanted.items())
