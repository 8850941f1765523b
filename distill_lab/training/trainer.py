"""The Trainer of both students: transformers' own, with our objective.

Data, order and loss are such that the number of processes and the size of a micro-batch change
nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler
from tqdm import tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from distill_lab.losses.distillation import (
    DenseTeacher,
    Objective,
    OpaqueHead,
    SparseTeacher,
    Teacher,
    completion_states,
)
from distill_lab.losses.fused import distillation_loss
from distill_lab.models.backend import choose_backend
from distill_lab.models.loading import LanguageModel, head, hidden_states
from distill_lab.run.distributed import size
from distill_lab.run.records import LabError
from distill_lab.run.settings import Config
from distill_lab.training.batches import Encoded, blank, collate
from distill_lab.training.teacher_cache.build import TeacherCache


class EpochShuffle(Sampler[int]):
    """The examples in another order each epoch, then blank ones until the last optimiser step is as
    full as the others: each process then has as many batches, and their sum is what one would have.
    """

    def __init__(self, n_examples: int, batch_size: int, seed: int) -> None:
        self.n_examples, self.seed, self.epoch = n_examples, seed, 0
        self.blanks = -n_examples % batch_size

    def set_epoch(self, epoch: int) -> None:
        """The Trainer says which one begins."""
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
    """What `work` returns, done inside the forward pass of the module that `lm` is wrapped in.

    DistributedDataParallel exchanges the gradients of what passed through it alone, and we call the
    decoder and the head, never `lm`. (The same trick as in Lightning and TRL.)
    """
    if wrapper is lm:
        return work()
    forward = lm.forward

    def instead(*_: Any, **__: Any) -> Any:
        lm.forward = forward  # the work may call it
        return work()

    lm.forward = instead
    try:
        return wrapper()
    finally:
        lm.forward = forward


class DistillationTrainer(Trainer):
    """A Trainer with our objective, averaged over the completion tokens of a whole optimiser step.

    CE and KL are logged apart, each step.
    """

    def __init__(
        self,
        student: LanguageModel,
        teacher: LanguageModel | TeacherCache | None,
        data: Sequence[Encoded],
        arm: str,
        config: Config,
        folder: Path,
    ) -> None:
        s = config.train
        self._order = EpochShuffle(len(data), s.batch_size, s.seed)
        alpha = 0.0 if teacher is None else s.alpha
        self.objective = Objective(alpha, s.temperature, s.divergence, s.beta)
        self.teacher = teacher
        self._lm = student.lm
        self._head = head(student.lm)
        if isinstance(self._head, OpaqueHead):
            print(f"train: the loss goes through autograd, as {self._head.reason}")
        # CE and KL of this optimiser step, summed over its micro-batches
        self._parts = torch.zeros(2)
        pad: Any = student.tokenizer.pad_token_id
        super().__init__(
            model=student.lm,
            args=_arguments(config, student.lm.device, folder),
            train_dataset=[*data, *[blank(pad)] * self._order.blanks],  # type: ignore[arg-type]
            data_collator=lambda batch: collate(batch, pad) | self._targets(batch),
            callbacks=[_Progress(f"train {arm}")],
        )
        self.remove_callback(PrinterCallback)
        # we divide by num_items_in_batch: no second division by accumulation steps
        self.model_accepts_loss_kwargs = True

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochShuffle:
        return self._order

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
        n_items = num_items_in_batch
        total, ce, kl = call_through_wrapper(model, self._lm, lambda: self._loss(inputs, n_items))
        self._parts += torch.stack([ce, kl]).float().cpu()
        # gradients are averaged over the processes, and n_items counts the tokens of all of them
        return total * self.accelerator.num_processes

    def _loss(
        self, inputs: dict[str, Tensor], n_items: Tensor | int | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Total, CE and KL of a micro-batch."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        with self.accelerator.autocast():  # half precision on a GPU, and on a CPU nothing
            hidden = hidden_states(self._lm, ids, mask)  # (B, T, H)
        states, targets = completion_states(hidden, inputs["labels"])  # (N, H), (N)
        loss = distillation_loss(
            states, self._head, targets, self.objective, self._teacher_for(inputs), n_items
        )
        return loss.total, loss.ce, loss.kl

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
            parts: Any = self.accelerator.reduce(self._parts.to(self.args.device), "sum")
            logs["ce"], logs["kl"] = parts.tolist()
            self._parts.zero_()
        super().log(logs, start_time)


def _arguments(config: Config, device: torch.device, folder: Path) -> TrainingArguments:
    s = config.train
    each = s.batch_size // size()  # examples of an optimiser step for one process
    micro = min(config.runtime.micro_batch, each)
    if each * size() != s.batch_size or each % micro:
        of = f" over {size()} processes" if size() > 1 else ""
        raise LabError(
            f"--runtime.micro-batch: expected a divisor of --train.batch-size {s.batch_size}{of}, "
            f"found {config.runtime.micro_batch}."
        )
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=s.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=each // micro,
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
    # one GPU a process: several in one would go through DataParallel, past our loss
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


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
