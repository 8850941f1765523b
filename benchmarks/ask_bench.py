"""Seconds until each of a run's four models has written its first token, once they are loaded.

They are asked the first trap of Lab 5, together, as `lab.ask` does. Loading is timed apart.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from benchmarks.measure import ROOT, Case, UnavailableError
from benchmarks.worker import Work
from distill_lab.chat.replies import ask
from distill_lab.chat.speakers import of_run
from distill_lab.course.asking import TRAPS
from distill_lab.run.arms import MODELS
from distill_lab.run.records import LabError
from distill_lab.run.settings import profile
from distill_lab.sampling.nucleus import Sampling

NAME = "ask"
RUN = "runs/tiny"


def cases(quick: bool) -> list[Case]:
    """One case; there is no smaller one."""
    return [Case(NAME, "Asking the four models of a run", "ask_bench", ("ours",), {"run": RUN})]


def prepare(contender: str, settings: dict[str, Any]) -> Work:
    """Another question warms up. UnavailableError where there is no such run."""
    began = perf_counter()
    try:
        speakers, _ = of_run(profile("tiny"), ROOT / settings["run"], MODELS)
    except LabError as error:
        raise UnavailableError(f"{error} `make lab` makes that run.") from None
    load = perf_counter() - began
    list(ask(speakers, TRAPS[1], Sampling()))

    def work() -> dict[str, float]:
        began = perf_counter()
        replies = ask(speakers, TRAPS[0], Sampling())
        next(replies)
        first = perf_counter() - began
        *_, ended = replies
        tokens = sum(reply.completion.n_tokens for reply in ended if reply.completion)
        return {"load": load, "first": first, "tokens": tokens}

    return work
