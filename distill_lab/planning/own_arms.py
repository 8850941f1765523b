"""What `doctor` predicts of the arms that learn from the student's own samples: the memory of each
at its worst moment, and the time of one student of one seed."""

from __future__ import annotations

from dataclasses import replace

from distill_lab.losses.fused import BUDGET
from distill_lab.planning.memory import (
    PROCESS,
    Parts,
    Stage,
    Way,
    sampling,
    training,
    weights,
)
from distill_lab.planning.model_shapes import Shape, shape_of
from distill_lab.run.arms import OWN_ARMS, OwnArm
from distill_lab.run.settings import Config


def predict_own(config: Config, way: Way) -> list[Stage]:
    """Each of these arms when it samples or when it learns, whichever takes more; prompt and sample
    are together as long as --train.max-length. LabError where a model's shape is not known."""
    return [Stage(arm, {**parts_of(arm, config, way), "process": PROCESS}) for arm in OWN_ARMS]


def parts_of(arm: OwnArm, config: Config, way: Way) -> Parts:
    """The bytes of an arm's worst moment, by kind, without the process itself."""
    models, own = config.models, config.own
    student, teacher = shape_of(models.student, "base"), None
    of_teacher: Parts = {}
    if arm == "on-policy":
        teacher = shape_of(models.teacher, "teacher")
        of_teacher = {"teacher": weights(teacher, way, models.teacher_4bit, models.teacher)}
    config = replace(config, runtime=replace(config.runtime, micro_batch=rows_of(config)))
    completion = min(config.train.max_length, own.max_new_tokens + 1)
    of_probabilities = arm == "grpo" or (arm == "on-policy" and own.targets == "sampled")
    learning = training(student, config, way, completion, None if of_probabilities else teacher)
    if of_probabilities:
        learning = {**learning, "logits": _log_probs(student, rows_of(config) * completion)}
    prompts = min(config.runtime.sample_batch, config.train.batch_size) // own.group
    length = config.train.max_length - completion  # of a prompt, whose completion fills it up
    drawing = sampling(
        student, learning["weights"], own.group, max(1, prompts), max(1, length),
        own.max_new_tokens, way,
    )  # fmt: skip
    # AdamW's two moments stay while samples are drawn
    learnt = student.lora(models.lora_rank) if models.lora_rank else student.parameters
    drawing = {**drawing, "gradients and optimiser": 8 * learnt}
    return {**of_teacher, **max(learning, drawing, key=lambda parts: sum(parts.values()))}


def rows_of(config: Config) -> int:
    """Samples that go through the model at once: whole groups."""
    group = config.own.group
    return max(1, config.runtime.micro_batch // group) * group


def _log_probs(shape: Shape, n: int) -> int:
    """`policy_gradient.token_log_probs` over n tokens: a chunk's logits, softened, as logarithms,
    and the gradient of each."""
    return 6 * min(BUDGET, 4 * n * shape.vocab_size)
