"""transformers' Trainer with our objective: fine-tuning, or distillation from a model or its cache.

It needs no run folder and no `Config`. Data, order and loss are such that the number of processes
and the size of a micro-batch change nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import Sampler
from tqdm import tqdm
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from distill_lab.losses.distillation import (
    IGNORED,
    DenseTeacher,
    Loss,
    Objective,
    OpaqueHead,
    Teacher,
    completion_states,
)
from distill_lab.losses.fused import distillation_loss
from distill_lab.models.loading import LanguageModel, head, hidden_states
from distill_lab.run.distributed import size
from distill_lab.run.records import LabError
from distill_lab.training.batches import Encoded, blank, collate
from distill_lab.training.checkpoints import load_if_finished
from distill_lab.training.teacher_cache.build import TeacherCache


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """How a student is optimised: AdamW, a linear warm-up to the learning rate, then cosine to 0.

    `warmup` is a share of the steps. `batch_size` examples make an optimiser step, over all
    micro-batches and processes; `micro_batch` of them go through the model at once (0: all that one
    process has of a step). `dtype` is that of matrix products on a GPU. `save_every` steps a
    checkpoint is written (0: never). `steps` counts optimiser steps, whatever `epochs` says (0: as
    many as the epochs have).
    """

    epochs: int
    learning_rate: float
    batch_size: int
    warmup: float = 0.0
    weight_decay: float = 0.0
    seed: int = 0
    micro_batch: int = 0
    dtype: str = "float32"
    save_every: int = 0
    steps: int = 0


class EpochShuffle(Sampler[int]):
    """The examples in a new order each epoch, then blank ones until the last optimiser step is as
    full as the others: each process then has as many batches, and together they have what one
    process would have.
    """

    def __init__(self, n_examples: int, batch_size: int, seed: int) -> None:
        self.n_examples, self.seed, self.epoch = n_examples, seed, 0
        self.blanks = -n_examples % batch_size

    def set_epoch(self, epoch: int) -> None:
        """The Trainer calls this when an epoch begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n_examples + self.blanks

    def __iter__(self) -> Iterator[int]:
        random = torch.Generator().manual_seed(self.seed + self.epoch)
        yield from torch.randperm(self.n_examples, generator=random).tolist()
        yield from range(self.n_examples, len(self))


def call_through_wrapper(
    wrapper: torch.nn.Module, lm: torch.nn.Module, work: Callable[[], Any]
) -> Any:
    """Returns `work()`, called inside the forward pass of the module that wraps `lm`.

    DistributedDataParallel exchanges the gradients of its own forward pass alone, and we call the
    decoder and the head, never `lm`. (The same trick as in Lightning and TRL.)
    """
    if wrapper is lm:
        return work()
    forward = lm.forward

    def work_instead(*_: Any, **__: Any) -> Any:
        lm.forward = forward  # the work may call it
        return work()

    lm.forward = work_instead
    try:
        return wrapper()
    finally:
        lm.forward = forward


class DistillationTrainer(Trainer):
    """A Trainer with our objective, averaged over the completion tokens of a whole optimiser step.

    `teacher` is a model that runs at every step, a cache of its targets, or None where alpha is 0.
    Checkpoints go to `folder`; `title` stands before the progress bar; `callbacks` hear of each
    step, as `KeepMasks` of a pruned model does. At each step are logged CE and KL (nats a token)
    apart, and the tokens that went through the student (`trained`) and through a teacher that runs
    (`scored`). LabError where the batch sizes do not divide.
    """

    SUMS: ClassVar = ("ce", "kl", "trained", "scored")  # over a step's micro-batches and processes

    def __init__(
        self,
        student: LanguageModel,
        examples: Sequence[Any],
        objective: Objective,
        teacher: LanguageModel | TeacherCache | None,
        hyperparameters: Hyperparameters,
        folder: Path,
        title: str = "train",
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        assert teacher or not objective.alpha, "alpha > 0 needs a teacher"
        self.objective = objective
        self.teacher = teacher if objective.alpha else None
        self._order = EpochShuffle(len(examples), hyperparameters.batch_size, hyperparameters.seed)
        self._lm, self._head = student.lm, head(student.lm)
        if isinstance(self._head, OpaqueHead):
            print(f"train: the loss goes through autograd, as {self._head.reason}")
        self.sums: dict[str, float] = dict.fromkeys(self.SUMS, 0.0)  # of this optimiser step
        self._pad: Any = student.tokenizer.pad_token_id
        super().__init__(
            model=student.lm,
            args=one_gpu_a_process(
                TrainingArguments(**argument_values(hyperparameters, student.lm.device, folder))
            ),
            train_dataset=[*examples, *[blank(self._pad)] * self._order.blanks],  # type: ignore[arg-type]
            data_collator=self._batch,
            callbacks=[Progress(title), *callbacks],
        )
        self.remove_callback(PrinterCallback)
        # we divide by num_items_in_batch: no second division by accumulation steps
        self.model_accepts_loss_kwargs = True

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As the Trainer's, but that nothing is added to a checkpoint of the last step."""
        if load_if_finished(self, resume_from_checkpoint):
            return None
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochShuffle:
        return self._order

    def _batch(self, examples: Sequence[Encoded]) -> dict[str, Any]:
        """Padded tensors (B, T), and what a cache holds of the teacher at their N tokens."""
        batch: dict[str, Any] = collate(examples, self._pad)
        if isinstance(self.teacher, TeacherCache):
            batch["cached"] = self.teacher.targets(examples, self.objective.temperature)
        return batch

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        loss: Loss = call_through_wrapper(
            model, self._lm, lambda: self._loss(inputs, num_items_in_batch)
        )
        for name, value in zip(("ce", "kl"), torch.stack([loss.ce, loss.kl]).tolist(), strict=True):
            self.sums[name] += value
        self.sums["trained"] += n_read(inputs)
        # gradients are averaged over the processes, and n_items counts the tokens of all of them
        return loss.total * self.accelerator.num_processes

    def _loss(self, inputs: dict[str, Any], n_items: Tensor | int | None) -> Loss:
        """The loss of a micro-batch."""
        with self.accelerator.autocast():  # half precision on a GPU, and on a CPU nothing
            hidden = hidden_states(
                self._lm, inputs["input_ids"], inputs["attention_mask"]
            )  # (B, T, H)
        states, targets = completion_states(hidden, inputs["labels"])  # (N, H), (N)
        return self._compared(states, targets, self._teacher_at(inputs), inputs, n_items)

    def _compared(
        self, states: Tensor, targets: Tensor, teacher: Any, inputs: Any, n_items: Any
    ) -> Loss:
        """The loss of the student's N states (N, H) and its targets (N) beside the teacher."""
        return distillation_loss(states, self._head, targets, self.objective, teacher, n_items)

    def _teacher_at(self, inputs: dict[str, Any]) -> Teacher | None:
        """The teacher at the N completion tokens of a micro-batch."""
        if self.teacher is None:
            return None
        if isinstance(self.teacher, TeacherCache):
            return inputs["cached"].to(self.args.device)
        with torch.no_grad():
            hidden = hidden_states(
                self.teacher.lm, inputs["teacher_input_ids"], inputs["teacher_attention_mask"]
            )  # (B, T, H_t)
        self.sums["scored"] += n_read(inputs, "teacher_")
        states, _ = completion_states(hidden, inputs["teacher_labels"])  # (N, H_t)
        return DenseTeacher(states, head(self.teacher.lm))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:  # every step, see logging_steps; the summary at the end has other keys
            here = torch.tensor([*self.sums.values()], device=self.args.device)
            sums: Any = self.accelerator.reduce(here, "sum")
            logs |= self.logged(dict(zip(self.sums, sums.tolist(), strict=True)))
            self.sums = dict.fromkeys(self.SUMS, 0.0)
        super().log(logs, start_time)

    def logged(self, sums: dict[str, float]) -> dict[str, float]:
        """What the log says of a step, from the sums over its micro-batches and processes."""
        return sums


def n_read(inputs: dict[str, Any], whose: str = "") -> int:
    """Tokens that a model reads of a batch's examples, but for those that only fill a place."""
    real = (inputs[f"{whose}labels"] != IGNORED).any(1)  # (B)
    return int(inputs[f"{whose}attention_mask"][real].sum())


def argument_values(h: Hyperparameters, device: torch.device, folder: Path) -> dict[str, Any]:
    """The arguments of `TrainingArguments`, or of one that inherits from it. LabError where the
    batch sizes do not divide."""
    each = h.batch_size // size()  # examples of an optimiser step for one process
    micro = min(h.micro_batch or each, each)
    if each * size() != h.batch_size or each % micro:
        processes = f" over {size()} processes" if size() > 1 else ""
        raise LabError(
            f"--runtime.micro-batch: expected a divisor of --train.batch-size {h.batch_size}"
            f"{processes}, found {h.micro_batch}."
        )
    return {
        "output_dir": str(folder),
        "num_train_epochs": h.epochs,
        "max_steps": h.steps or -1,
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": each // micro,
        "learning_rate": h.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": h.warmup,  # a share below 1 is a share of the steps
        "weight_decay": h.weight_decay,
        "seed": h.seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # else a NaN is logged as an average of the others
        "save_strategy": "steps" if h.save_every else "no",
        "save_steps": h.save_every or 1,
        "save_total_limit": 2,
        "report_to": [],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "use_cpu": device.type == "cpu",  # else the Trainer takes a GPU that was not asked for
        **_half_precision(h.dtype, device),
    }


def one_gpu_a_process(arguments: TrainingArguments) -> TrainingArguments:
    """Several in one would go through DataParallel, past our loss."""
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _half_precision(dtype: str, device: torch.device) -> dict[str, Any]:
    """Matrix products in half precision on a GPU; what is trained stays float32. In float16 the
    Trainer scales the loss, as small gradients would be 0."""
    on_gpu = device.type == "cuda"
    return {"fp16": on_gpu and dtype == "float16", "bf16": on_gpu and dtype == "bfloat16"}


class Progress(TrainerCallback):
    """One bar with some of the numbers that are logged, in place of a line a step."""

    def __init__(self, title: str, shown: Sequence[str] = ("ce", "kl")) -> None:
        self.title, self.shown = title, shown

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc=self.title, unit="step"
        )

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.bar.update(state.global_step - self.bar.n)
        if logs and self.shown[0] in logs:
            numbers = {name: f"{logs[name]:.3f}" for name in self.shown}
            self.bar.set_postfix(numbers, refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()
