"""What rejection is worth: the same student, the same number of examples, and no filter before.

In a folder of its own below the run's, so that the run's own students stay what they are.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Literal, get_args

from distill_lab import evaluate, train
from distill_lab.config import Config
from distill_lab.prompts import user_text
from distill_lab.records import (
    Example,
    LabError,
    Prediction,
    Question,
    Trace,
    Verdict,
    need,
    read_records,
    write_records,
)
from distill_lab.runs import adopt

# Traces as they come, right and wrong; or the wrong ones alone.
Kind = Literal["unfiltered", "wrong-only"]


def student_of(kind: Kind, config: Config, out: Path) -> list[Prediction]:
    """Trains an sft student on as many examples as the run in `out` kept, chosen as `kind` says,
    and gives its answers to the run's evaluation questions. What is there is not made again.

    LabError where the run has no verdicts yet, or none of its traces is wrong.
    """
    if kind not in get_args(Kind):
        raise LabError(f"Expected {' or '.join(get_args(Kind))}, found {kind!r}.")
    folder = out / "no_filter" / kind
    adopt(config, folder)
    asked = read_records(need(out / "questions.eval.jsonl", "data"), Question)
    write_records(folder / "questions.eval.jsonl", asked)
    write_records(folder / "examples.jsonl", _examples(kind, config, out))
    train.run(config, folder, ("sft",))
    evaluate.run(config, folder, ("sft",))
    return read_records(folder / "predictions" / "sft.jsonl", Prediction)


def _examples(kind: Kind, config: Config, out: Path) -> list[Example]:
    n = len(read_records(need(out / "examples.jsonl", "reject"), Example))
    asked = read_records(need(out / "questions.train.jsonl", "data"), Question)
    questions = {question.id: question for question in asked}
    traces = read_records(need(out / "traces.jsonl", "generate"), Trace)
    verdicts = read_records(need(out / "verdicts.jsonl", "reject"), Verdict)
    chosen = draw(traces, verdicts, n, kind, config.train.seed)
    texts = {name: user_text(asked.context, asked.question) for name, asked in questions.items()}
    return [Example(t.question_id, t.sample, texts[t.question_id], t.completion) for t in chosen]


def draw(
    traces: Sequence[Trace], verdicts: Sequence[Verdict], n: int, kind: Kind, seed: int
) -> list[Trace]:
    """n traces without looking at their verdicts, or n wrong ones (EM below 100), each as often as
    it takes to make n. The order in which batches ended plays no part."""
    wrong = {(verdict.question_id, verdict.sample) for verdict in verdicts if verdict.em < 100}
    pool = sorted(traces, key=lambda trace: (trace.question_id, trace.sample))
    if kind == "wrong-only":
        pool = [trace for trace in pool if (trace.question_id, trace.sample) in wrong]
    if not pool:
        raise LabError(
            f"A student of {kind} traces: expected at least one, found none. Sample a teacher that "
            "errs, or raise --generate.temperature."
        )
    random.Random(seed).shuffle(pool)
    return list(islice(cycle(pool), n))
