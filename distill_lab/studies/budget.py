"""What a student took: how its budget is read from its log and its traces, kept and found again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from distill_lab.models.loading import load_tokenizer_only
from distill_lab.pipeline.learning.teachers import encode_for
from distill_lab.run.arms import ALL_ARMS
from distill_lab.run.folder import RunFolder
from distill_lab.run.json_files import read_json
from distill_lab.run.operations import Budget, operations
from distill_lab.run.records import write_text
from distill_lab.run.settings import Config, ModelSettings
from distill_lab.sampling.jobs import encoded, jobs_for
from distill_lab.tasks.all_tasks import task_of

BUDGET = "budget.json"
SAMPLING_SECONDS = "sampling_seconds"  # a run's note of what its traces took


def read_budget(folder: Path) -> Budget:
    """The budget in a student's folder; an empty one where an earlier version trained it."""
    path = folder / BUDGET
    values = read_json(path, "a budget", "Run the study again") if path.exists() else {}
    return Budget(**values)


def write_budget(
    config: Config, arm: str, folder: Path, made_from: Path | None, seconds: float
) -> None:
    """Writes the budget of the student in `folder`. `made_from` has the traces that were sampled
    for it, refused ones too, if any; what its teacher's cache holds is counted as read once."""
    rows = RunFolder(folder).read_training_log(arm)
    names = ("trained", "scored", "sampled", "prompts")
    trained, scored, sampled, prompts = (sum(int(row.get(n, 0)) for row in rows) for n in names)
    wrote = read = 0
    if made_from:
        wrote, read = _sampling(config, RunFolder(made_from))
        seconds += RunFolder(made_from).read_notes().get(SAMPLING_SECONDS, 0.0)
    read += scored
    if ALL_ARMS[arm].softened and config.train.cache != "none":
        read += _cached(config, RunFolder(folder))
    of_student, of_teacher = (parameters(who, config.models) for who in ("base", "teacher"))
    budget = Budget(wrote, read, sampled, prompts, trained, seconds=round(seconds, 1))
    budget = replace(budget, flops=operations(budget, of_teacher, of_student))
    write_text(folder / BUDGET, json.dumps(budget.values) + "\n")


def _sampling(config: Config, run: RunFolder) -> tuple[int, int]:
    """Tokens that the teacher wrote in a run's traces, and those of the prompts, read once each."""
    tokenizer = load_tokenizer_only("teacher", config.models).tokenizer
    questions, shots = run.train_questions.read(), config.models.teacher_shots
    jobs = jobs_for(questions, tokenizer, shots, task_of(config))
    ids = encoded(jobs, tokenizer)
    wrote = sum(trace.n_tokens for trace in run.traces.read())
    return wrote, sum(len(ids[job.prompt]) for job in jobs)


def _cached(config: Config, run: RunFolder) -> int:
    """Tokens that the teacher reads of a student's examples, once each."""
    teacher, student = (load_tokenizer_only(who, config.models) for who in ("teacher", "base"))
    examples = list(dict.fromkeys(run.examples.read()))
    made = encode_for(config, examples, student, teacher)
    return sum(len(each.teacher_prompt) + len(each.completion) for each in made)


def parameters(who: str, models: ModelSettings) -> int:
    """Parameters of the teacher or the base, tied ones once; no weights are loaded."""
    config = load_tokenizer_only(who, models).config
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config).num_parameters()
