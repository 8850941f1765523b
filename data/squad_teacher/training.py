"""LoRA on the model of the wheel, in parts that each go on where the last one stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from data.squad_teacher.packing import Completions, batch, rows
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import for_training, load
from distill_lab.models.sources import SMOLLM2
from distill_lab.run.settings import RuntimeSettings

LORA_RANK, LEARNING_RATE, EPOCHS = 16, 1e-3, 1
PARAGRAPHS = 2  # rows in an optimiser step
SEED = 0


class PackedTrainer(Trainer):
    """Cross-entropy at the learnt tokens, averaged over an optimiser step."""

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        labels = inputs.pop("labels")[0]  # (T,)
        learnt = (labels != -100).nonzero().squeeze(1)  # (N,)
        # the head, a third of the model, is applied to the learnt positions alone
        logits = model(**inputs, use_cache=False, logits_to_keep=learnt).logits[0]  # (N, V)
        total = cross_entropy(logits.float(), labels[learnt], reduction="sum")
        return total / (num_items_in_batch or len(learnt))


class StopInTime(TrainerCallback):
    """Writes a checkpoint and stops once so many minutes are over."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() + 60 * minutes

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if time.monotonic() > self.end:
            control.should_save = control.should_training_stop = True


def train(
    articles: Sequence[Any],
    work: Path,
    completions: Completions | None = None,
    init: str = "",
    minutes: float = float("inf"),
    learning_rate: float = LEARNING_RATE,
    epochs: int = EPOCHS,
    base: str = SMOLLM2,
) -> bool:
    """Trains on the articles of a SQuAD file (`packing.rows` says what of them), from the adapter
    `init` or from new layers; goes on from the last checkpoint in `work`.

    Returns whether it is done, and then the adapter lies in work/adapter.
    """
    model = load(base, choose_backend(RuntimeSettings(dtype="bfloat16")), "base")
    packed, n_too_long = rows(articles, model.tokenizer, completions)
    n_tokens = sum(len(row.ids) for row in packed)
    print(f"{len(packed)} rows, {n_tokens} tokens; left out as too long: {n_too_long}", flush=True)
    lm: Any = model.lm
    lm.set_attn_implementation("eager")  # at these lengths faster on a CPU than the fused one
    if init:
        lm = PeftModel.from_pretrained(lm, init, is_trainable=True)  # its layers in float32
    else:
        torch.manual_seed(SEED)  # of the new layers
        lm = for_training(model, LORA_RANK).lm
    arguments = _arguments(work, learning_rate, epochs)
    trainer = PackedTrainer(lm, arguments, batch, train_dataset=packed)  # type: ignore[arg-type]
    trainer.model_accepts_loss_kwargs = True  # we divide by num_items_in_batch ourselves
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(StopInTime(minutes))
    trainer.train(resume_from_checkpoint=any(work.glob("checkpoint-*")) or None)
    if trainer.state.global_step < trainer.state.max_steps:
        return False
    lm.save_pretrained(work / "adapter")
    return True


def _arguments(work: Path, learning_rate: float, epochs: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=epochs,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=50,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=PARAGRAPHS,
        use_cpu=True,
        bf16=True,
        save_steps=50,
        save_total_limit=2,
        logging_steps=10,
        report_to="none",
        remove_unused_columns=False,
        seed=SEED,
    )
