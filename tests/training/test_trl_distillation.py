"""On-policy distillation beside TRL's `DistillationTrainer`: its samples, our loss and its loss.

Its divergence is a Triton kernel, which no CPU runs. Triton's interpreter does (`make
test-unsloth-kernels`); elsewhere TRL's own formula, GKD's, stands in for the kernel, and all that
leads to it, which positions count and what the sum is divided by, is the trainer's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from distill_lab.losses.distillation import Objective
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import LanguageModel, for_training, load
from distill_lab.run.settings import RuntimeSettings
from distill_lab.sampling.nucleus import Sampling
from distill_lab.training.batches import Encoded, collate
from distill_lab.training.own_samples import Drawing, OwnSamplesTrainer
from distill_lab.training.trainer import Hyperparameters

pytestmark = pytest.mark.filterwarnings("ignore")
KERNEL = "trl.kernels.chunked_divergence"
BETAS = {"forward-kl": 0.0, "jsd": 0.3, "reverse-kl": 1.0}
PROMPTS = [" ".join(["Rome"] * n) for n in range(1, 5)]


def formula() -> ModuleType:
    """In the kernel's place: the logits of all positions, and the divergence as GKD has it."""
    from trl.experimental.gkd import GKDTrainer

    def apply(
        student: Tensor, weight: Tensor, _: None, teacher: Tensor, theirs: Tensor, __: None,
        beta: float, temperature: float, *scales: Any,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        assert scales == (1.0, None, 1.0, None)
        rows = GKDTrainer.generalized_jsd_loss(
            student @ weight.T, teacher @ theirs.T, beta=beta, temperature=temperature,
            reduction="none",
        ).sum(-1)  # fmt: skip
        return rows, torch.zeros_like(rows)

    module = ModuleType(KERNEL)
    module.ChunkedDivergenceFunction = SimpleNamespace(apply=apply)  # type: ignore[attr-defined]
    return module


@pytest.fixture(params=["formula", pytest.param("kernel", marks=pytest.mark.slow)])
def divergence(request, monkeypatch) -> None:
    """What TRL's trainer computes its divergence with."""
    if request.param == "formula":
        monkeypatch.setitem(sys.modules, KERNEL, formula())
        return
    pytest.importorskip("triton", reason="TRL's kernel needs Triton")
    if os.environ.get("TRITON_INTERPRET") != "1":  # it is read as Triton is imported
        pytest.skip("on a CPU Triton needs TRITON_INTERPRET=1")


def model(folder: Path, trained: bool) -> LanguageModel:
    """Random weights, sharpened, so that the two differ."""
    made = load(
        str(folder), choose_backend(RuntimeSettings(device="cpu", dtype="float32")), "student"
    )
    output: Any = made.lm.get_output_embeddings()
    output.weight.data.mul_(20)
    return for_training(made, 0) if trained else made


def trls(student: LanguageModel, teacher: LanguageModel, folder: Path, **more: Any) -> Any:
    from datasets import Dataset
    from trl.trainer.distillation_config import DistillationConfig
    from trl.trainer.distillation_trainer import DistillationTrainer

    arguments = DistillationConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, gradient_checkpointing=False,
        report_to="none", per_device_train_batch_size=2, gradient_accumulation_steps=2,
        max_completion_length=7, seed=3, **more,
    )  # fmt: skip
    rows = Dataset.from_dict({"prompt": PROMPTS})
    lm: Any = student.lm
    # one token in ten ends a completion: their lengths differ
    lm.generation_config.eos_token_id = [student.tokenizer.eos_token_id, *range(100, 200)]
    return DistillationTrainer(
        lm, teacher.lm, arguments, train_dataset=rows, processing_class=student.tokenizer
    )


def its_batches(trainer: Any) -> list[dict[str, Tensor]]:
    """The two micro-batches of one step, completions sampled by TRL."""
    trainer.model.train()
    trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    return trainer._buffered_inputs


def as_ours(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same token ids, right-padded, prompt and completion in one row."""
    rows = [
        [ids[mask.bool()].tolist() for ids, mask in ((p, pm), (c, cm))]
        for p, pm, c, cm in zip(
            *(batch[n] for n in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")),
            strict=True,
        )
    ]
    return collate([Encoded(prompt, prompt, completion) for prompt, completion in rows], 0)


@pytest.mark.parametrize(
    ("kind", "temperature"),
    [
        ("reverse-kl", 1.0),
        pytest.param("forward-kl", 1.0, marks=pytest.mark.slow),
        pytest.param("jsd", 1.0, marks=pytest.mark.slow),
        pytest.param("reverse-kl", 2.0, marks=pytest.mark.slow),
    ],
)
def test_on_the_same_samples_our_loss_and_its_gradient_are_trls(
    tiny_model, tmp_path, divergence, kind, temperature
):
    """Over both micro-batches of a step, whose completions have other lengths. Only ours has T^2
    before it."""
    student, teacher = model(tiny_model("llama"), True), model(tiny_model("qwen3"), False)
    theirs = trls(student, teacher, tmp_path, beta=BETAS[kind], temperature=temperature)
    batches = its_batches(theirs)
    assert len({tuple(batch["completion_mask"].sum(1).tolist()) for batch in batches}) == 2
    ours = OwnSamplesTrainer(
        student, [], Drawing(Sampling(1, temperature, 1.0, 7), 4),
        Objective(1.0, temperature, kind, 0.3), teacher, Hyperparameters(1, 1e-3, 4), tmp_path,
    )  # fmt: skip
    weights = [p for p in student.lm.parameters() if p.requires_grad]
    for batch in batches:
        n_items: Any = batch["num_items_in_batch"]
        loss, _, _ = theirs._compute_loss(student.lm, batch, n_items)
        made = ours._loss(as_ours(batch), n_items).total / temperature**2
        torch.testing.assert_close(made, loss, rtol=1e-5, atol=1e-6)
        for mine, its in zip(
            torch.autograd.grad(made, weights), torch.autograd.grad(loss, weights), strict=True
        ):
            torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-6)
