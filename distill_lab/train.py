"""Stage 4: the student learns from the kept traces, twice on the same examples.

Arm `sft` has alpha 0: what the paper did (section 2.4). Arm `kd` adds the temperature-softened KL
(Hinton et al. 2015). A transformers Trainer does the work; the loss is ours.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from distill_lab.backends import start
from distill_lab.config import ARMS, Config
from distill_lab.encoding import Encoded, collate, encode_examples
from distill_lab.loss import Loss, completion_states, distillation_loss
from distill_lab.models import (
    Loaded,
    for_training,
    head,
    hidden_states,
    load_base,
    load_teacher,
    require_known_head,
    require_shared_tokenizer,
    save_student,
)
from distill_lab.records import Example, LabError, need, read_records, write_text


def run(config: Config, out: Path) -> bool:
    """Writes students/<arm>/model and log.jsonl for both arms. False if both were there."""
    examples = read_records(need(out / "examples.jsonl", "reject"), Example)
    if not examples:
        raise LabError(
            f"{out / 'examples.jsonl'}: expected kept traces, found none. "
            "Loosen --reject or sample more."
        )
    todo = [arm for arm in ARMS if not (out / "students" / arm / "model").exists()]
    for arm in todo:
        _train_arm(arm, examples, config, out)
    return bool(todo)


def _train_arm(arm: str, examples: Sequence[Example], config: Config, out: Path) -> None:
    folder = out / "students" / arm
    backend = start(config, out)
    set_seed(config.train.seed)
    alpha = config.train.alpha if arm == "kd" else 0.0
    base = load_base(config.models, backend)
    teacher = load_teacher(config.models, backend) if alpha else None
    require_known_head(base)
    if teacher:
        require_known_head(teacher)
        require_shared_tokenizer(teacher, base)
    encoded = encode_examples(examples, base, teacher, config)
    student = for_training(base, config.models.lora_rank)
    trainer = DistillationTrainer(student, teacher, encoded, alpha, arm, config, folder)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    _finish(student, trainer, folder)


def _finish(student: Loaded, trainer: Trainer, folder: Path) -> None:
    """The log, then the model under its own name at once; checkpoints have then done their work."""
    rows = [row for row in trainer.state.log_history if "loss" in row]
    write_text(folder / "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    partial = folder / "model.partial"
    save_student(student, partial)
    partial.rename(folder / "model")
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint.

    One that a kill cut short is removed: trainer_state.json, written last, is missing or torn.
    """
    whole = []
    for checkpoint in folder.glob("checkpoint-*"):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())
            whole.append(checkpoint)
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
    return str(max(whole, key=lambda c: int(c.name.rpartition("-")[2]))) if whole else None


class DistillationTrainer(Trainer):
    """A Trainer with our objective, averaged over the completion tokens of a whole optimiser step.

    CE and KL are logged apart, each step.
    """

    def __init__(
        self,
        student: Loaded,
        teacher: Loaded | None,
        data: Sequence[Encoded],
        alpha: float,
        arm: str,
        config: Config,
        folder: Path,
    ) -> None:
        self.teacher, self.alpha, self.temperature = teacher, alpha, config.train.temperature
        # CE and KL of this optimiser step, summed over its micro-batches
        self._parts = torch.zeros(2)
        pad: Any = student.tokenizer.pad_token_id
        super().__init__(
            model=student.lm,
            args=_arguments(config, student.lm.device, folder),
            train_dataset=data,  # type: ignore[arg-type]
            data_collator=lambda batch: collate(batch, pad),
            callbacks=[_Progress(f"train {arm}")],
        )
        self.remove_callback(PrinterCallback)
        # we divide by num_items_in_batch: no second division by accumulation steps
        self.model_accepts_loss_kwargs = True

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        loss = self._loss(model, inputs, num_items_in_batch)
        self._parts += torch.stack([loss.ce, loss.kl]).float().cpu()
        return loss.total

    def _loss(self, model: Any, inputs: dict[str, Tensor], n_items: Tensor | int | None) -> Loss:
        hidden = hidden_states(model, inputs["input_ids"], inputs["attention_mask"])  # (B, T, H)
        states, targets = completion_states(hidden, inputs["labels"])  # (N, H), (N)
        if self.teacher is None:
            return distillation_loss(states, head(model), targets, n_items=n_items)
        with torch.no_grad():
            theirs = hidden_states(
                self.teacher.lm, inputs["teacher_input_ids"], inputs["teacher_attention_mask"]
            )
            teacher_states, _ = completion_states(theirs, inputs["teacher_labels"])  # (N, H_t)
        return distillation_loss(
            states,
            head(model),
            targets,
            alpha=self.alpha,
            temperature=self.temperature,
            teacher_states=teacher_states,
            teacher_head=head(self.teacher.lm),
            n_items=n_items,
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:  # every step, see logging_steps; the summary at the end has other keys
            logs["ce"], logs["kl"] = self._parts.tolist()
            self._parts.zero_()
        super().log(logs, start_time)


def _arguments(config: Config, device: torch.device, folder: Path) -> TrainingArguments:
    s = config.train
    micro = min(config.runtime.micro_batch, s.batch_size)
    if s.batch_size % micro:
        raise LabError(
            f"--runtime.micro-batch: expected a divisor of --train.batch-size {s.batch_size}, "
            f"found {micro}."
        )
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=s.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=s.batch_size // micro,
        learning_rate=s.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=s.warmup,  # a share below 1 is a share of the steps
        weight_decay=s.weight_decay,
        seed=s.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,  # else a NaN is logged as an average of the others
        save_steps=config.runtime.save_every,
        save_total_limit=2,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=device.type == "cpu",  # else the Trainer takes a GPU that was not asked for
    )


class _Progress(TrainerCallback):
    """One bar with the loss, in place of a line a step."""

    def __init__(self, title: str) -> None:
        self.title = title

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc=self.title, unit="step"
        )

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        self.bar.update(state.global_step - self.bar.n)
        if logs and "ce" in logs:
            self.bar.set_postfix(ce=f"{logs['ce']:.3f}", kl=f"{logs['kl']:.3f}", refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.close()
