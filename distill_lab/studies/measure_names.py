"""What a study may measure of a student: names, how tables print them, units, and which way is
better.

A measure gives one number a question. `ece` alone does not: it is computed from the confidences of
all questions. `em:two-fact` is the measure `em` on the questions of one kind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from distill_lab.tasks.task import Task, score_label

CONFIDENCE, ECE, NLL, KL = "confidence", "ece", "nll", "kl"
OF_TRACES = (NLL, KL)  # measured on held-out traces of the teacher
LOWER_IS_BETTER = (ECE, NLL, KL)
_PASS = re.compile(r"pass@([1-9]\d*)")
_UNITS = {NLL: "nats a token", KL: "nats a token", CONFIDENCE: "points", ECE: "points"}


def known(task: Task) -> tuple[str, ...]:
    """The measures of a task, with `pass@4` for all numbers of samples."""
    return (*task.score_names, "pass@4", NLL, KL, CONFIDENCE, ECE)


def is_known(name: str, task: Task) -> bool:
    """Whether the name, without a kind, is that of a measure."""
    return name in known(task) or pass_size(name) is not None


def split(measure: str) -> tuple[str, str | None]:
    """The name and the kind of questions: `em:two-fact` is `em` on `two-fact`."""
    name, _, kind = measure.partition(":")
    return name, kind or None


def pass_size(name: str) -> int | None:
    """The k of `pass@k`; None for another name."""
    match = _PASS.fullmatch(name)
    return int(match[1]) if match else None


def needed(names: Sequence[str], task: Task) -> list[str]:
    """What has to be measured, once each, so that these measures, with kinds or without, can be
    told: the score that decides comes first, and confidence stands for the calibration error."""
    return list(dict.fromkeys([task.score_names[0], *map(scored_as, names)]))


def scored_as(measure: str) -> str:
    """The measure that has a score for each question, from which this one is computed."""
    name, _ = split(measure)
    return CONFIDENCE if name == ECE else name


def label(measure: str) -> str:
    """A measure as tables and axes print it."""
    name, kind = split(measure)
    text = name if name == CONFIDENCE or pass_size(name) else score_label(name)
    return f"{text} on {kind} questions" if kind else text


def unit(measure: str) -> str:
    """The unit of a difference; scores are 0 to 100, and named by themselves."""
    name, _ = split(measure)
    return _UNITS.get(name) or label(name)


def digits(measure: str) -> int:
    """Decimals of a difference in study.json."""
    return 4 if split(measure)[0] in OF_TRACES else 2


def gain(measure: str, difference: float) -> float:
    """The difference, turned so that more is better."""
    return -difference if split(measure)[0] in LOWER_IS_BETTER else difference


def signed(value: float, measure: str) -> str:
    """`+4.2`, `−0.021`: a difference as texts print it, with one decimal or, in nats, three."""
    return f"{value:+.{digits(measure) - 1}f}".replace("-", "−")


def interval(ends: tuple[float, float], measure: str) -> str:
    """`−3.3 to +6.7`."""
    return " to ".join(signed(end, measure) for end in ends)
