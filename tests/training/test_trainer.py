"""The trainer from outside a run: a model and token ids of one's own, held against a loop of
PyTorch's own AdamW over the loss that is written to be read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distill_lab.losses.distillation import (
    DenseTeacher,
    Objective,
    completion_states,
    plain_loss,
)
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import LanguageModel, for_training, head, hidden_states, load
from distill_lab.run.settings import RuntimeSettings
from distill_lab.training.batches import Encoded, collate
from distill_lab.training.teacher_cache.build import RowFormat, TeacherCache, fill
from distill_lab.training.trainer import DistillationTrainer, EpochShuffle, Hyperparameters

# prompts of other lengths for teacher and student, and completions of 1 to 5 tokens
EXAMPLES = [
    Encoded([7 + i] * (2 + i % 3), [9 + i] * (1 + i % 4), list(range(20 + i, 21 + 2 * i)))
    for i in (0, 1, 2, 3, 4, 1, 2, 0)
]
STEPS = Hyperparameters(epochs=2, learning_rate=1e-2, batch_size=4, weight_decay=0.1, seed=5)
OBJECTIVES = [Objective(), Objective(0.7, 2.0), Objective(1.0, 3.0, "reverse-kl")]


def model(folder: Path) -> LanguageModel:
    backend = choose_backend(RuntimeSettings(device="cpu", dtype="float32"))
    return for_training(load(str(folder), backend, "student"), 0)


def trained_by_hand(student: LanguageModel, teacher: LanguageModel, objective: Objective) -> None:
    """The same order of examples, and the cosine from the peak to 0."""
    optimiser = torch.optim.AdamW(student.lm.parameters(), STEPS.learning_rate, weight_decay=0.0)
    decayed = [p for p in student.lm.parameters() if p.ndim > 1]
    order, step, n_steps = EpochShuffle(len(EXAMPLES), 4, STEPS.seed), 0, 4
    student.lm.train()
    for epoch in range(STEPS.epochs):
        order.set_epoch(epoch)
        chosen = list(order)
        for names in (chosen[:4], chosen[4:]):
            batch = collate([EXAMPLES[i] for i in names], 0)
            states, targets = completion_states(read(student, batch, ""), batch["labels"])
            with torch.no_grad():
                theirs = read(teacher, batch, "teacher_")
            at_teacher = DenseTeacher(
                completion_states(theirs, batch["teacher_labels"])[0], head(teacher.lm)
            )
            loss = plain_loss(states, head(student.lm), targets, objective, at_teacher)
            loss.total.backward()
            torch.nn.utils.clip_grad_norm_(student.lm.parameters(), 1.0)
            rate = STEPS.learning_rate * 0.5 * (1 + math.cos(math.pi * step / n_steps))
            optimiser.param_groups[0]["lr"] = rate
            with torch.no_grad():
                for parameter in decayed:
                    parameter.mul_(1 - rate * STEPS.weight_decay)
            optimiser.step()
            optimiser.zero_grad()
            step += 1


def require_same_steps(found: Tensor, expected: Tensor) -> None:
    """AdamW divides a gradient by its own size: one that is rounding alone makes a step of any size
    up to the rate, on one processor and not on another. Such are few; a forgotten decay moves
    nearly all weights by more than the tolerance."""
    off = (found - expected).abs().flatten()
    assert off.max() < STEPS.learning_rate
    assert (off > 2e-5).float().mean() < 1e-3


def read(model: LanguageModel, batch: dict[str, Tensor], whose: str) -> Tensor:
    return hidden_states(model.lm, batch[f"{whose}input_ids"], batch[f"{whose}attention_mask"])


@pytest.mark.parametrize("objective", OBJECTIVES, ids=["sft", "kd", "reverse"])
@pytest.mark.parametrize("micro_batch", [0, 2])
def test_a_model_and_token_ids_of_ones_own_are_enough(tiny_model, tmp_path, objective, micro_batch):
    """And as nothing but `folder` may be written, and no checkpoint was asked for, it is empty."""
    teacher, student, by_hand = (model(tiny_model(name)) for name in ("llama", "qwen3", "qwen3"))
    # random weights give nearly uniform answers, from which AdamW makes steps of rounding's size
    output: Any = teacher.lm.get_output_embeddings()
    output.weight.data.mul_(20)
    before = [p.clone() for p in teacher.lm.parameters()]
    source = teacher if objective.alpha else None
    how = Hyperparameters(2, 1e-2, 4, weight_decay=0.1, seed=5, micro_batch=micro_batch)
    trainer = DistillationTrainer(student, EXAMPLES, objective, source, how, tmp_path / "s")
    trainer.train()
    assert trainer.state.global_step == 4
    trained_by_hand(by_hand, teacher, objective)
    oracle: Any = dict(by_hand.lm.named_parameters())
    for name, parameter in student.lm.named_parameters():
        require_same_steps(parameter, oracle[name])
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.lm.parameters(), strict=True))
    assert not list((tmp_path / "s").iterdir())


def test_a_cache_of_ones_own_trains_as_its_teacher(tiny_model, tmp_path):
    teacher = model(tiny_model("llama"))
    kind = RowFormat("topk", 10_000, (2.0,), teacher.vocab_size)
    fill(tmp_path / "cache", teacher, EXAMPLES, kind)
    logs = []
    for source in (teacher, TeacherCache(tmp_path / "cache", kind, teacher.name)):
        student = model(tiny_model("qwen3"))
        objective = Objective(0.7, 2.0)
        trainer = DistillationTrainer(student, EXAMPLES, objective, source, STEPS, tmp_path / "s")
        trainer.train()
        logs.append([row["kl"] for row in trainer.state.log_history if "kl" in row])
    assert logs[0] == pytest.approx(logs[1], abs=2e-4)


def test_checkpoints_are_written_as_often_as_asked(tiny_model, tmp_path):
    how = Hyperparameters(2, 1e-2, 4, save_every=3)
    student = model(tiny_model("qwen3"))
    DistillationTrainer(student, EXAMPLES, Objective(), None, how, tmp_path).train()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-3", "checkpoint-4"]


@pytest.mark.parametrize("steps", [3, 4])
def test_a_training_that_had_all_its_steps_takes_no_more(tiny_model, tmp_path, steps):
    """Killed between its last checkpoint and the saving of the model, within an epoch or at its
    end."""
    how = Hyperparameters(1, 1e-2, 2, save_every=2, steps=steps)
    ended, again = (model(tiny_model("qwen3")) for _ in range(2))
    first, second = (
        DistillationTrainer(student, EXAMPLES, Objective(), None, how, tmp_path)
        for student in (ended, again)
    )
    first.train()
    second.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{steps}"))
    assert second.state.global_step == steps
    losses = [
        [row["loss"] for row in t.state.log_history if "loss" in row] for t in (first, second)
    ]
    assert losses[0] == losses[1]
    for one, other in zip(ended.lm.parameters(), again.lm.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_kl_without_a_teacher_is_refused_at_once(tiny_model, tmp_path):
    with pytest.raises(AssertionError, match="alpha > 0 needs a teacher"):
        DistillationTrainer(
            model(tiny_model("qwen3")), EXAMPLES, Objective(0.5), None, STEPS, tmp_path
        )
