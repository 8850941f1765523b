"""Lab 6, pruning: its eight exercises, in the notebook's order. Each has a module; what several of
them need is in `mask_checks`, `answer_types` and `toys`."""

from __future__ import annotations

from distill_lab.course.exercises.lab6.blocks import DROP_BLOCKS
from distill_lab.course.exercises.lab6.influence import BLOCK_INFLUENCE
from distill_lab.course.exercises.lab6.magnitude import MAGNITUDE_MASK
from distill_lab.course.exercises.lab6.nm import NM_MASK
from distill_lab.course.exercises.lab6.recovery import MASKED_STEP
from distill_lab.course.exercises.lab6.sparsity import COUNT_SPARSITY
from distill_lab.course.exercises.lab6.speed import PREDICT_DECODE_SPEED
from distill_lab.course.exercises.lab6.wanda import WANDA_MASK

EXERCISES = (
    MAGNITUDE_MASK,
    COUNT_SPARSITY,
    WANDA_MASK,
    NM_MASK,
    BLOCK_INFLUENCE,
    DROP_BLOCKS,
    MASKED_STEP,
    PREDICT_DECODE_SPEED,
)
