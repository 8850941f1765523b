"""The arms: the students that a run trains, each on the same examples. A new one is an entry here.

What an arm trains with, and what tables and pictures say of it, is read from its entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ArmName = Literal["sft", "kd"]
# Arms that learn from the student's own samples; studies compare them from a common start.
OwnArm = Literal["rft", "grpo", "on-policy"]
# What an arm learns from where it is not the kept traces, but as many: traces as they come, right
# and wrong; the wrong ones alone; or right ones that are as few, of as many questions, which tells
# what is due to their being wrong from what is due to their being few.
AblationArm = Literal["unfiltered", "wrong-only", "right-only"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One student, and how it differs from the others."""

    about: str  # in a table, beside its name
    method: str  # the subject of the sentence that says what it gained
    softened: bool  # whether the teacher's softened targets count, with weight --train.alpha
    colour: str
    line: str = "-"  # of its curves: not told by colour alone


ARMS: dict[str, Arm] = {
    "sft": Arm(
        about="fine-tuned on the kept traces, as in the paper",
        method="Distillation",
        softened=False,
        colour="#0072b2",
    ),
    "kd": Arm(
        about="the same, with softened targets added (Hinton et al. 2015)",
        method="Distillation with softened targets",
        softened=True,
        colour="#c44e00",
        line="--",
    ),
}
OWN_ARMS: dict[OwnArm, Arm] = {
    "rft": Arm(
        about="fine-tuned on those of its own samples that the judge accepts",
        method="Rejection sampling of its own samples",
        softened=False,
        colour="#7a3e9d",
    ),
    "grpo": Arm(
        about="reinforcement learning on its own samples (GRPO)",
        method="Reinforcement learning",
        softened=False,
        colour="#8a6d00",
        line="-.",
    ),
    "on-policy": Arm(
        about="the teacher's distribution at each token of its own samples",
        method="On-policy distillation",
        softened=False,
        colour="#b0356f",
        line=":",
    ),
}
ALL_ARMS = {**ARMS, **OWN_ARMS}
MODELS = ("base", *ARMS, "teacher")  # those that are scored, in the order of the tables
ABOUT = {
    "base": "the student before any training",
    **{name: arm.about for name, arm in ARMS.items()},
    "teacher": "the model that wrote the traces",
}
COLOURS = {
    "base": "#6b6b6b",
    **{name: arm.colour for name, arm in ALL_ARMS.items()},
    "teacher": "#007a5a",
}
