"""Stage 4: the student learns from the kept traces, twice on the same examples.

Arm `sft` has alpha 0: what the paper did (section 2.4). Arm `kd` adds the temperature-softened KL
(Hinton et al. 2015), from a cache of the teacher's targets, so that it is run once and then gone. A
transformers Trainer does the work; the loss is ours.
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

from distill_lab.backends import Backend, choose_backend, start
from distill_lab.config import ARMS, Config
from distill_lab.encoding import Encoded, collate, encode_examples
from distill_lab.fused_loss import distillation_loss
from distill_lab.loss import (
    DenseTeacher,
    Loss,
    Objective,
    OpaqueHead,
    SparseTeacher,
    Teacher,
    completion_states,
)
from distill_lab.models import (
    Loaded,
    TextSide,
    for_training,
    head,
    hidden_states,
    load_base,
    load_teacher,
    load_text_side,
    require_known_head,
    require_shared_tokenizer,
    save_student,
)
from distill_lab.records import Example, LabError, need, read_records, write_text
from distill_lab.teacher_cache import Kind, TeacherCache, fill


def run(config: Config, out: Path) -> bool:
    """Writes students/<arm>/model and log.jsonl for both arms. False if both were there."""
    examples = read_records(need(out / "examples.jsonl", "reject"), Example)
    if not examples:
        raise LabError(
            f"{out / 'examples.jsonl'}: expected kept traces, found none. "
            "Loosen --reject or sample more."
        )
    if config.train.cache == "sampled" and config.train.divergence != "forward-kl":
        raise LabError(
            "--train.cache sampled: expected --train.divergence forward-kl, found "
            f"{config.train.divergence}. Choose --train.cache topk or none."
        )
    todo = [arm for arm in ARMS if not (out / "students" / arm / "model").exists()]
    for arm in todo:
        _train_arm(arm, examples, config, out)
    return bool(todo)


def _train_arm(arm: str, examples: Sequence[Example], config: Config, out: Path) -> None:
    folder = out / "students" / arm
    backend = start(config, out)
    set_seed(config.train.seed)
    base = load_base(config.models, backend)
    require_known_head(base)
    kd = arm == "kd" and config.train.alpha > 0
    text = load_text_side(config.models.teacher, "teacher") if kd else None
    if text:
        require_shared_tokenizer(text, base)
    encoded = encode_examples(examples, base, text, config)
    teacher = _teacher(text, base, encoded, backend, config, out) if text else None
    student = for_training(base, config.models.lora_rank)
    trainer = DistillationTrainer(student, teacher, encoded, arm, config, folder)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    _finish(student, trainer, folder)


def _teacher(
    text: TextSide,
    base: Loaded,
    encoded: Sequence[Encoded],
    backend: Backend,
    config: Config,
    out: Path,
) -> Loaded | TeacherCache:
    """The teacher itself, or the cache of its targets, filled where it is not whole yet."""
    s = config.train
    if s.cache == "none":
        return _checked_teacher(config, backend)
    width = min(text.vocabulary, base.vocabulary)
    kind = Kind(s.cache, s.cache_k, (s.temperature,), width)
    folder = out / "teacher_cache"
    begun = (folder / "meta.json").exists()
    if not begun or TeacherCache(folder, kind, text.name).missing(encoded):
        fill(folder, _checked_teacher(config, backend), encoded, kind, config.runtime.micro_batch)
    return TeacherCache(folder, kind, text.name)


def _checked_teacher(config: Config, backend: Backend) -> Loaded:
    teacher = load_teacher(config.models, backend)
    require_known_head(teacher)
    return teacher


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
        teacher: Loaded | TeacherCache | None,
        data: Sequence[Encoded],
        arm: str,
        config: Config,
        folder: Path,
    ) -> None:
        s = config.train
        alpha = 0.0 if teacher is None else s.alpha
        self.objective = Objective(alpha, s.temperature, s.divergence, s.beta)
        self.teacher = teacher
        self._head = head(student.lm)
        if isinstance(self._head, OpaqueHead):
            print(f"train: the loss goes through autograd, as {self._head.reason}")
        # CE and KL of this optimiser step, summed over its micro-batches
        self._parts = torch.zeros(2)
        pad: Any = student.tokenizer.pad_token_id
        super().__init__(
            model=student.lm,
            args=_arguments(config, student.lm.device, folder),
            train_dataset=data,  # type: ignore[arg-type]
            data_collator=lambda batch: collate(batch, pad) | self._targets(batch),
            callbacks=[_Progress(f"train {arm}")],
        )
        self.remove_callback(PrinterCallback)
        # we divide by num_items_in_batch: no second division by accumulation steps
        self.model_accepts_loss_kwargs = True

    def _targets(self, batch: Sequence[Encoded]) -> dict[str, Tensor]:
        """What the cache has for a batch's completion tokens (N, k): tensors, for the Trainer takes
        those to the GPU."""
        if not isinstance(self.teacher, TeacherCache):
            return {}
        kept = self.teacher.targets(batch, self.objective.temperature)
        named = {"ids": kept.ids, "log_p": kept.log_p, "log_tail": kept.log_tail}
        named["offset"] = kept.offset
        return {f"cached_{name}": value for name, value in named.items() if value is not None}

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
        with self.accelerator.autocast():  # half precision on a GPU, else nothing: `_mixed`
            hidden = hidden_states(
                model, inputs["input_ids"], inputs["attention_mask"]
            )  # (B, T, H)
        states, targets = completion_states(hidden, inputs["labels"])  # (N, H), (N)
        teacher = self._teacher_for(inputs)
        return distillation_loss(states, self._head, targets, self.objective, teacher, n_items)

    def _teacher_for(self, inputs: dict[str, Tensor]) -> Teacher | None:
        if self.teacher is None:
            return None
        if isinstance(self.teacher, TeacherCache):
            kept = [inputs.get(f"cached_{name}") for name in ("ids", "log_p", "log_tail", "offset")]
            ids, log_p, log_tail, offset = kept
            assert ids is not None
            assert log_p is not None
            return SparseTeacher(ids, log_p, log_tail, self.teacher.meta.kind.vocabulary, offset)
        with torch.no_grad():
            theirs = hidden_states(
                self.teacher.lm, inputs["teacher_input_ids"], inputs["teacher_attention_mask"]
            )
        states, _ = completion_states(theirs, inputs["teacher_labels"])  # (N, H_t)
        return DenseTeacher(states, head(self.teacher.lm))

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
        **_mixed(config, device),
    )


def _mixed(config: Config, device: torch.device) -> dict[str, Any]:
    """Products in half precision on a GPU, what is trained in float32; in float16 the Trainer
    scales the loss, as small gradients would be 0."""
    dtype = choose_backend(config.runtime, config.models.lora_rank).dtype
    on_gpu = device.type == "cuda"
    return {"fp16": on_gpu and dtype == "float16", "bf16": on_gpu and dtype == "bfloat16"}


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
