"""How many prompts a step of own samples has: its completions come in whole groups."""

from __future__ import annotations

from distill_lab.run.arms import OwnArm
from distill_lab.run.distributed import size
from distill_lab.run.records import LabError

LEAST: dict[OwnArm, int] = {"rft": 1, "grpo": 2, "on-policy": 1}  # samples of a group


def prompts_a_step(group: int, batch_size: int, least: int = 2) -> int:
    """Prompts of an optimiser step, whose `batch_size` counts completions. LabError for a group of
    fewer than `least`, and where the step of a process is no whole number of groups."""
    if group < least:
        raise LabError(
            f"Group size: expected at least {least} completions a prompt, found {group}. One has "
            "no others to be better than: take 8, say."
        )
    if batch_size % (group * size()):
        processes = f" times {size()} processes" if size() > 1 else ""
        raise LabError(
            f"Batch size: expected a multiple of the group size {group}{processes}, found "
            f"{batch_size} completions. Take {group * size() * max(1, batch_size // group)}."
        )
    return batch_size // group
