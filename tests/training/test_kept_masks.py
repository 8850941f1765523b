"""Dropped weights stay 0 while the real trainer recovers a pruned model from the dense one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parametrize
from transformers import TrainerCallback

from distill_lab.losses.distillation import Objective
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import LanguageModel, for_training, load
from distill_lab.models.pruning.layout import prunable
from distill_lab.models.pruning.masks import KeepMasks, Masks
from distill_lab.models.pruning.prune import prune_weights
from distill_lab.run.records import LabError
from distill_lab.run.settings import RuntimeSettings
from distill_lab.training.batches import Encoded
from distill_lab.training.trainer import DistillationTrainer, Hyperparameters

EXAMPLES = [
    Encoded([7 + i] * (2 + i % 3), [7 + i] * (2 + i % 3), list(range(20 + i, 22 + 2 * i)))
    for i in (0, 1, 2, 3, 4, 1, 2, 0)
]
STEPS = Hyperparameters(epochs=3, learning_rate=1e-2, batch_size=4, weight_decay=0.1, seed=5)
KL, CE = Objective(1.0, 2.0), Objective()


def model(folder: Any, lora_rank: int = 0) -> LanguageModel:
    """Random weights give nearly uniform answers; this one prefers some, so that there is something
    to recover."""
    backend = choose_backend(RuntimeSettings(device="cpu", dtype="float32"))
    student = load(str(folder), backend, "student")
    output: Any = student.lm.get_output_embeddings()
    output.weight.data.mul_(20)
    return for_training(student, lora_rank)


def pruned(folder: Any, pattern: float | tuple[int, int] = 0.5) -> tuple[LanguageModel, Masks]:
    student = model(folder)
    return student, prune_weights(student, "magnitude-row", pattern)


def trainer_of(
    student: LanguageModel, dense: LanguageModel | None, folder: Any, *callbacks: TrainerCallback,
    objective: Objective = KL, how: Hyperparameters = STEPS,
) -> DistillationTrainer:  # fmt: skip
    return DistillationTrainer(
        student, EXAMPLES, objective, dense, how, folder, callbacks=callbacks
    )


def weights(student: LanguageModel) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in student.lm.named_parameters()}


class CountRefilled(TrainerCallback):
    """Counts, at the end of each step, how many dropped weights are not 0."""

    def __init__(self, masks: Masks, student: LanguageModel) -> None:
        self.masks, self.student, self.refilled = masks, student, []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.refilled.append(self.masks.violations(self.student))


@pytest.mark.parametrize(
    ("pattern", "objective"), [(0.5, KL), ((2, 4), CE)], ids=["half-kl", "2:4-ce"]
)
def test_no_dropped_weight_changes_and_the_others_learn(tiny_model, tmp_path, pattern, objective):
    dense = model(tiny_model("llama"))
    student, masks = pruned(tiny_model("llama"), pattern)
    before, count = weights(student), CountRefilled(masks, student)
    teacher = dense if objective.alpha else None
    how = Hyperparameters(3, 1e-3, 4, weight_decay=0.1, seed=5, micro_batch=2)
    trainer = trainer_of(
        student, teacher, tmp_path, KeepMasks(masks), count, objective=objective, how=how
    )
    trainer.train()
    assert count.refilled == [0] * 6
    assert masks.violations(student) == 0
    for name, mask in masks.kept.items():
        changed = before[f"{name}.weight"] != weights(student)[f"{name}.weight"]
        assert not changed[~mask].any()
        assert changed[mask].float().mean() > 0.9
    part = "kl" if objective.alpha else "ce"
    losses = [row[part] for row in trainer.state.log_history if part in row]
    assert losses[-1] < losses[0]
    assert not any(p._backward_hooks for p in student.lm.parameters())


def test_whatever_else_moves_a_dropped_weight_it_is_0_after_the_step(tiny_model, tmp_path):
    """Its gradient is 0, but an optimiser may have reasons of its own."""
    student, masks = pruned(tiny_model("llama"))
    count = CountRefilled(masks, student)
    trainer_of(student, None, tmp_path, _Nudge(), KeepMasks(masks), count, objective=CE).train()
    assert count.refilled == [0] * 6


class _Nudge(TrainerCallback):
    def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        with torch.no_grad():
            for parameter in given["model"].parameters():
                parameter.add_(0.01)


def test_without_the_masks_five_steps_of_adamw_fill_every_zero(tiny_model, tmp_path):
    student, masks = pruned(tiny_model("llama"))
    count = CountRefilled(masks, student)
    trainer_of(student, model(tiny_model("llama")), tmp_path, count).train()
    assert count.refilled[4] > 0.95 * masks.n_dropped


def test_what_is_kept_trains_as_if_nothing_else_were_there(tiny_model, tmp_path):
    """The oracle multiplies each weight by its mask in the forward pass, so that the dropped ones
    have no gradient: clipping and AdamW then see the kept ones alone."""
    dense = model(tiny_model("llama"))
    student, masks = pruned(tiny_model("llama"))
    oracle, _ = pruned(tiny_model("llama"))
    linears = prunable(oracle)
    for name, linear in linears.items():
        parametrize.register_parametrization(linear, "weight", _Masked(masks.kept[name]))
    how = Hyperparameters(1, 1e-2, 2, weight_decay=0.1, seed=5)
    trainer_of(student, dense, tmp_path, KeepMasks(masks), how=how).train()
    trainer_of(oracle, dense, tmp_path, how=how).train()
    for name, linear in prunable(student).items():
        torch.testing.assert_close(linear.weight, linears[name].weight, rtol=0, atol=2e-5)


class _Masked(torch.nn.Module):
    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def test_a_training_that_goes_on_from_a_checkpoint_ends_as_one_that_was_not_stopped(
    tiny_model, tmp_path
):
    dense, how = model(tiny_model("llama")), Hyperparameters(2, 1e-2, 4, seed=5, save_every=2)
    whole, masks = pruned(tiny_model("llama"))
    trainer_of(whole, dense, tmp_path / "a", KeepMasks(masks), how=how).train()
    resumed = model(tiny_model("llama"))  # its weights are the checkpoint's
    count = CountRefilled(masks, resumed)
    path = str(tmp_path / "a" / "checkpoint-2")
    trainer = trainer_of(resumed, dense, tmp_path / "b", KeepMasks(masks), count, how=how)
    trainer.train(resume_from_checkpoint=path)
    assert count.refilled == [0, 0]
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(resumed)[name]), name


def test_a_checkpoint_without_masks_is_refused(tiny_model, tmp_path):
    dense, how = model(tiny_model("llama")), Hyperparameters(1, 1e-2, 4, seed=5, save_every=1)
    student, masks = pruned(tiny_model("llama"))
    trainer_of(student, dense, tmp_path, how=how).train()
    trainer = trainer_of(pruned(tiny_model("llama"))[0], dense, tmp_path, KeepMasks(masks), how=how)
    with pytest.raises(LabError, match=r"that are not\. Apply the masks first"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def test_a_model_that_was_not_pruned_is_refused(tiny_model, tmp_path):
    _, masks = pruned(tiny_model("llama"))
    trainer = trainer_of(
        model(tiny_model("llama")), model(tiny_model("llama")), tmp_path, KeepMasks(masks)
    )
    with pytest.raises(LabError, match="Apply the masks first") as error:
        trainer.train()
    assert "\n" not in str(error.value)


def test_an_optimiser_from_before_the_pruning_is_refused(tiny_model, tmp_path):
    """Its averages would move what has no gradient any more."""
    student = model(tiny_model("llama"))
    optimiser = torch.optim.AdamW(student.lm.parameters(), 1e-2)
    student.lm(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
    optimiser.step()
    optimiser.zero_grad()
    masks = prune_weights(student, "magnitude-row", 0.5)
    trainer = trainer_of(student, model(tiny_model("llama")), tmp_path, KeepMasks(masks))
    trainer.optimizer = optimiser
    with pytest.raises(LabError, match="expected a fresh optimiser, found one that remembers"):
        trainer.train()


def test_an_adapter_is_refused(tiny_model, tmp_path):
    """Merged into the weights, it would fill the zeros."""
    _, masks = pruned(tiny_model("llama"))
    student = model(tiny_model("llama"), lora_rank=2)
    trainer = trainer_of(student, model(tiny_model("llama")), tmp_path, KeepMasks(masks))
    with pytest.raises(LabError, match="Take the model that they were made for, without adapter"):
        trainer.train()
