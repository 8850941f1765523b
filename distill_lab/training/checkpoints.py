"""What a trainer leaves in its folder: checkpoints to go on from, and the log of its steps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from transformers import Trainer, TrainerState

from distill_lab.run.records import write_text


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint. One that a kill cut short is removed: its trainer_state.json,
    which is written last, is missing or torn."""
    whole = []
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())
            whole.append(checkpoint)
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
    return str(max(whole, key=lambda c: int(c.name.rpartition("-")[2]))) if whole else None


def load_if_finished(trainer: Trainer, checkpoint: str | None) -> bool:
    """Loads a checkpoint of the last step, if it is one; a trainer that went on from it would take
    one step more, at a rate of its own, where steps are counted and end within an epoch."""
    if not checkpoint:
        return False
    state = TrainerState.load_from_json(f"{checkpoint}/trainer_state.json")
    if not 0 < trainer.args.max_steps <= state.global_step:
        return False
    trainer._load_from_checkpoint(checkpoint)
    trainer.state = state
    return True


def remove_checkpoints(folder: Path) -> None:
    """Once the trained model is saved they are of no use, and large."""
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def write_log(trainer: Trainer, path: Path) -> None:
    """JSON lines, one for each optimiser step that was logged."""
    rows = [row for row in trainer.state.log_history if "loss" in row]
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
