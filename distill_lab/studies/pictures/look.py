"""What all of a study's pictures have in common: names and numbers in print, colours, marks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

from distill_lab.run.arms import COLOURS
from distill_lab.studies.measure_names import OF_TRACES, split

MARKS = "osD^vP*X"
_OTHERS = ("#007a5a", "#7a3e9d", "#8a6d00", "#b0356f", "#444444")  # students without a colour
_IN_WORDS = {
    "data.n_train": "training questions",
    "generate.n_samples": "samples a question",
    "generate.temperature": "sampling temperature",
    "train.temperature": "T",
}


def colours(students: Sequence[str]) -> dict[str, str]:
    """A colour for each student; arms on the kept examples, and the teacher, have those of a run's
    report, which the others do not take, so that a student has one colour in all pictures."""
    taken = {COLOURS.get(name) for name in (*students, "teacher")}
    others = cycle(colour for colour in _OTHERS if colour not in taken)
    return {name: COLOURS.get(name) or next(others) for name in students}


def short(name: str) -> str:
    """A setting in words: `alpha` for `train.alpha`."""
    return _IN_WORDS.get(name) or name.partition(".")[2].replace("_", " ")


def axis_label(names: Sequence[str]) -> str:
    """The settings of an axis in words."""
    return ", ".join(map(short, names))


def number(value: float, measure: str) -> str:
    """A mean as labels print it."""
    return f"{value:.3f}" if split(measure)[0] in OF_TRACES else f"{value:.1f}"


def tick(value: Any) -> str:
    """A value of an axis in print: `2` for 2.0; of several settings all values."""
    if isinstance(value, tuple):
        return ", ".join(map(tick, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
