"""The tasks that there are, by their names: the place to add one."""

from __future__ import annotations

from distill_lab.run.records import LabError
from distill_lab.run.settings import Config
from distill_lab.tasks.gsm8k import GSM8K
from distill_lab.tasks.squad.task import SQUAD
from distill_lab.tasks.task import Task

TASKS = {task.name: task for task in (SQUAD, GSM8K)}


def task_named(name: str) -> Task:
    """The task of this name. LabError where there is none."""
    if name not in TASKS:
        raise LabError(f"--data.task: expected one of {', '.join(TASKS)}; found {name!r}.")
    return TASKS[name]


def task_of(config: Config) -> Task:
    """The run's task. LabError where a setting asks for a score that the task does not have."""
    task = task_named(config.data.task)
    if config.reject.min_f1 < 100 and "f1" not in task.score_names:
        raise LabError(
            f"--reject.min-f1 {config.reject.min_f1:g}: expected 100 with --data.task {task.name}, "
            "whose answers have no F1. Leave it out."
        )
    return task
