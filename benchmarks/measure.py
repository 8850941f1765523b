"""How a figure is taken: each run in a process of its own, contenders in turn, medians at the end.

Memory is what the operating system says: the peak of the resident set while the work goes on, less
the resident set before it. A process of its own, as a peak stays with a process for its life.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from tqdm import tqdm

ROOT = Path(__file__).parent.parent
RESULT = "RESULT "  # begins the one line of a worker's output that counts
_LONGEST = 900  # seconds a run may take


class UnavailableError(Exception):
    """A contender that cannot run here; its message says why."""


@dataclass(frozen=True, slots=True)
class Case:
    """The same work for several contenders: functions of the module `benchmarks.<module>`."""

    name: str
    title: str
    module: str
    contenders: tuple[str, ...]  # the first is ours, which the others are held against
    settings: dict[str, Any]
    repeats: int = 5  # at most so many: fewer for what takes long
    seldom: tuple[str, ...] = ()  # contenders that no target is about: two runs at most


@dataclass(frozen=True, slots=True)
class Run:
    """One run: seconds; seconds of all cores together; bytes above the start; what it found."""

    wall: float
    cpu: float
    peak: float
    whole: float  # bytes, what was there at the start included
    found: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NoRun:
    """Why a contender did not run: a limit of its own, or an error."""

    reason: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case: runs of each contender, or why there are none."""

    case: Case
    runs: dict[str, list[Run]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)  # those whose reason is an error

    def add(self, contender: str, answer: Run | NoRun) -> None:
        if isinstance(answer, Run):
            self.runs.setdefault(contender, []).append(answer)
        else:
            self.reasons[contender] = answer.reason
            self.failed.update({contender} if answer.failed else ())

    def middle(self, contender: str, what: str) -> float | None:
        """The median of a run's field or of something found; None where there is none."""
        rows = [asdict(run) | run.found for run in self.runs.get(contender, [])]
        return median(row[what] for row in rows) if rows and what in rows[0] else None

    def spread(self, contender: str, what: str = "cpu") -> float | None:
        """(slowest - fastest) / median."""
        values = [getattr(run, what) for run in self.runs.get(contender, [])]
        return (max(values) - min(values)) / median(values) if values else None

    def record(self) -> dict[str, Any]:
        """As JSON: the settings, each run and the medians."""
        whats = ("wall", "cpu", "peak", "whole")
        return {
            **asdict(self.case),
            "runs": {name: [asdict(run) for run in runs] for name, runs in self.runs.items()},
            "medians": {name: {w: self.middle(name, w) for w in whats} for name in self.runs},
            "reasons": self.reasons,
        }


def run_cases(cases: Sequence[Case], repeats: int, threads: int) -> Iterator[list[Result]]:
    """All cases, with a progress bar, a name at a time; a contender that fails is not tried again.

    Cases of one name that follow each other, as those that show growth, share their processes.
    """
    groups = [list(group) for _, group in groupby(cases, key=lambda case: case.name)]
    total = sum(min(repeats, g[0].repeats) * len(g[0].contenders) for g in groups)
    with tqdm(total=total, desc="bench", unit="process") as bar:
        for group in groups:
            yield _run_group(group, min(repeats, group[0].repeats), threads, bar)


def _run_group(group: list[Case], repeats: int, threads: int, bar: Any) -> list[Result]:
    contenders = group[0].contenders
    results = [Result(case) for case in group]
    for repeat in range(repeats):
        # in turn, and each time another one first: what warms up or wears out meets all alike
        first = repeat % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            bar.set_postfix_str(f"{group[0].name}: {contender}")
            tired = repeat >= 2 and contender in group[0].seldom
            if contender not in results[0].reasons and not tired:
                settings = [case.settings for case in group]
                answers = run_once(group[0].module, contender, settings, threads)
                for result, answer in zip(results, answers, strict=True):
                    result.add(contender, answer)
            bar.update()
    return results


def run_once(
    module: str, contender: str, settings: list[dict[str, Any]], threads: int
) -> list[Run | NoRun]:
    """One run for each of the settings, all in one process of its own."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "benchmarks.worker", module, contender, json.dumps(settings)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_LONGEST
        )
    except subprocess.TimeoutExpired:
        return [NoRun(f"stopped after {_LONGEST} s", failed=True)] * len(settings)
    lines = [line for line in done.stdout.splitlines() if line.startswith(RESULT)]
    if done.returncode or len(lines) != len(settings):
        reason = f"failed with exit code {done.returncode}: {_error(done.stderr)}"
        return [NoRun(reason, failed=True)] * len(settings)
    answers = [json.loads(line.removeprefix(RESULT)) for line in lines]
    return [NoRun(**a) if "reason" in a else Run(**a) for a in answers]


def _error(stderr: str) -> str:
    """The line that names the error: the last but for what a progress bar or a log wrote after."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception): ", line)]
    return (named or lines or ["no output"])[-1]
