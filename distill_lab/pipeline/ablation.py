"""What rejection is worth: the same student, the same number of examples, and no filter before, or
one that keeps the wrong traces; and for that its control, as few right ones.

In a folder of its own below the run's, so that the run's own students stay what they are.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import get_args

from distill_lab.pipeline import evaluate, train
from distill_lab.run.arms import AblationArm
from distill_lab.run.folder import RunFolder
from distill_lab.run.records import (
    Example,
    LabError,
    Prediction,
    Trace,
    Verdict,
    by_question,
    judged,
)
from distill_lab.run.saved_settings import claim_run_folder
from distill_lab.run.settings import Config
from distill_lab.tasks.all_tasks import task_of

KINDS = get_args(AblationArm)
FOLDER = "no_filter"  # below the run's


def student_of(kind: AblationArm, config: Config, out: Path) -> list[Prediction]:
    """Trains an sft student on as many examples as the run in `out` kept, chosen as `kind` says,
    and gives its answers to the run's evaluation questions. What is there is not made again.

    LabError where the run has no verdicts yet, or none of its traces is wrong.
    """
    if kind not in KINDS:
        raise LabError(f"Expected one of {', '.join(KINDS)}; found {kind!r}.")
    folder = out / FOLDER / kind
    claim_run_folder(config, folder)
    run, ablated = RunFolder(out), RunFolder(folder)
    ablated.eval_questions.write(run.eval_questions.read())
    ablated.examples.write(examples_of(kind, config, run))
    train.run(config, folder, ("sft",))
    evaluate.run(config, folder, ("sft",))
    return ablated.predictions("sft").read()


def examples_of(kind: AblationArm, config: Config, run: RunFolder) -> list[Example]:
    """As many examples as the run kept, chosen as `kind` says. LabError where there is none."""
    n = len(run.examples.read())
    chosen = draw(run.traces.read(), run.verdicts.read(), n, kind, config.train.seed)
    user_text = task_of(config).user_text
    texts = {question.id: user_text(question) for question in run.train_questions.read()}
    return [Example(t.question_id, t.sample, texts[t.question_id], t.completion) for t in chosen]


def draw(
    traces: Sequence[Trace], verdicts: Sequence[Verdict], n: int, kind: AblationArm, seed: int
) -> list[Trace]:
    """n traces of a kind, each as often as it takes to make n. The order in which batches ended
    plays no part."""
    pairs = sorted(judged(traces, verdicts), key=lambda pair: (pair[0].question_id, pair[0].sample))
    wrong = [trace for trace, verdict in pairs if not verdict.right]
    right = [trace for trace, verdict in pairs if verdict.reason == "ok"]
    rng = random.Random(seed)
    pool = {
        "unfiltered": lambda: [trace for trace, _ in pairs],
        "wrong-only": lambda: wrong,
        "right-only": lambda: _as_few(right, wrong, rng),
    }[kind]()
    if not pool:
        raise LabError(
            f"A student of {kind} traces: expected at least one, found none. Sample a teacher that "
            "errs, or raise --generate.temperature."
        )
    rng.shuffle(pool)
    return list(islice(cycle(pool), n))


def _as_few(right: list[Trace], wrong: list[Trace], rng: random.Random) -> list[Trace]:
    """Right traces as few as the wrong ones: for each question that has k of those another draw of
    k from one question, as far as there are questions with so many."""
    groups = list(by_question(right).values())
    rng.shuffle(groups)
    chosen: list[Trace] = []
    for k in sorted(map(len, by_question(wrong).values()), reverse=True):
        group = next((group for group in groups if len(group) >= k), None)
        if group:
            groups.remove(group)
            chosen += rng.sample(group, k)
    return chosen
