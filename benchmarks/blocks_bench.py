"""What fewer blocks and what zeros alone do to a token's time: SmolLM2-135M, batch size 1.

Which blocks go changes nothing in time: they are the ones after the first. Beside each measured
speed stands the one that Lab 6's line t = a L + b predicts, fitted by least squares to the times of
the models with other numbers of blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

import torch

from benchmarks.measure import Case, Result, UnavailableError
from benchmarks.table import NAMES
from benchmarks.worker import Work
from distill_lab.course.exercises.lab6.speed import predict_decode_speed
from distill_lab.models.backend import Backend
from distill_lab.models.loading import LanguageModel, load
from distill_lab.models.pruning.blocks import drop_blocks
from distill_lab.models.pruning.calibration import text_batches
from distill_lab.models.pruning.layout import blocks
from distill_lab.models.pruning.prune import prune_weights
from distill_lab.models.sources import SMOLLM2
from distill_lab.pipeline.pruning.settings import MeasureSettings
from distill_lab.pipeline.pruning.speed import side_by_side, times_faster
from distill_lab.run.records import LabError
from distill_lab.run.settings import BUNDLED
from distill_lab.tasks.squad import questions as squad

NAME = "blocks"
DROPPED = {"fewer_3": 3, "fewer_6": 6, "fewer_9": 9}  # by contender, of SmolLM2's 30
SMALL = {"fewer_3": 1, "fewer_6": 1, "fewer_9": 2}  # of the bundled teacher's 4
CONTENDERS = ("dense", *DROPPED, "wanda_50")


def cases(quick: bool) -> list[Case]:
    """One case, whose contenders are the dense model and what pruning made of it."""
    settings: dict[str, Any] = {"model": SMOLLM2, "prompt": 128, "new_tokens": 32, "rounds": 3}
    if quick:
        settings = {"model": BUNDLED, "prompt": 8, "new_tokens": 2, "rounds": 1}
    return [Case(NAME, "Fewer blocks, and zeros alone", "blocks_bench", CONTENDERS, settings)]


def prepare(contender: str, settings: dict[str, Any]) -> Work:
    """Rounds of one prompt and the tokens after it; a first round warms up and is not counted."""
    model = pruned(contender, settings["model"])
    how = MeasureSettings(
        prompt_tokens=settings["prompt"],
        new_tokens=settings["new_tokens"],
        repeats=settings["rounds"],
    )

    def work() -> dict[str, float]:
        [speed] = side_by_side([model], how)
        return {
            "blocks": len(blocks(model)),
            "decode": median(speed.decode),
            "prefill": median(speed.prefill),
        }

    return work


def pruned(contender: str, name: str) -> LanguageModel:
    """The dense model, or what the contender's pruning leaves of it; zeros stay in dense storage.
    UnavailableError where there is no such model."""
    threads = torch.get_num_threads()
    backend = Backend("transformers", "cpu", "float32", threads, "for the benchmark")
    try:
        model = load(name, backend, "teacher")
    except LabError as error:
        raise UnavailableError(str(error)) from None
    if contender in DROPPED:
        dropped = (SMALL if name == BUNDLED else DROPPED)[contender]
        drop_blocks(model, range(1, 1 + dropped))
    elif contender == "wanda_50":
        passages = list(dict.fromkeys(q.context for q in squad.load(BUNDLED, "train").questions))
        prune_weights(model, "wanda", 0.5, text_batches(model, passages[:4], 4, 128))
    return model


def table(result: Result) -> str:
    """Milliseconds a token; how many times as fast as dense, the median of the rounds and from the
    slowest to the fastest; and what the line predicts."""
    lines = [
        "| SmolLM2-135M | blocks | decode, ms | times as fast | predicted | prefill, ms | times as "
        "fast | predicted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for contender in result.case.contenders:
        if contender not in result.runs:
            lines.append(f"| {NAMES[contender]} |{' – |' * 7}")
            continue
        cells = [NAMES[contender], f"{result.middle(contender, 'blocks'):.0f}"]
        for part in ("decode", "prefill"):
            cells += [f"{1000 * (result.middle(contender, part) or 0):.3g}"]
            cells += _speeds(result, contender, part)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _speeds(result: Result, contender: str, part: str) -> list[str]:
    """Measured and predicted, beside dense; of dense itself nothing."""
    if contender == "dense":
        return ["", ""]
    dense, own = ([run.found[part] for run in result.runs[c]] for c in ("dense", contender))
    ratios = [slow / fast for slow, fast in zip(dense, own, strict=False)]
    measured = times_faster(dense[: len(ratios)], own[: len(ratios)])
    told = f"{measured:.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
    predicted = prediction(result, contender, part)
    return [told, "–" if predicted is None else f"{predicted:.2f}"]


def prediction(result: Result, contender: str, part: str) -> float | None:
    """How many times as fast as dense the line says; None where it has fewer than two points."""
    at: Mapping[str, float] = {c: result.runs[c][0].found["blocks"] for c in result.runs}
    others = [c for c in at if c != "wanda_50" and (c == "dense" or at[c] != at[contender])]
    if len({at[c] for c in others}) < 2:
        return None
    numbers = [round(at[c]) for c in others]
    seconds = [result.middle(c, part) or 0.0 for c in others]
    return predict_decode_speed(numbers, seconds, round(at["dense"]), round(at[contender]))
