"""Held-out traces: what the teacher writes about a half's questions, with its hidden states there,
so that a student's NLL and KL can be measured without the teacher."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from distill_lab.losses.distillation import DenseTeacher, Head
from distill_lab.models.loading import LanguageModel, head
from distill_lab.run.records import Example, LabError
from distill_lab.run.settings import Config
from distill_lab.sampling.decode import complete_all
from distill_lab.sampling.jobs import Completion, jobs_for
from distill_lab.sampling.nucleus import Sampling
from distill_lab.studies.halves import Half
from distill_lab.tasks.all_tasks import task_of
from distill_lab.training.batches import Encoded, encode_examples
from distill_lab.training.teacher_cache.forward import read_shared_prefix, teacher_states

NO_LIMIT = 2**31  # tokens: traces are measured whole, whatever training would cut
_FILE = "held_out.safetensors"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A trace a question, in the order of the half's questions: token ids, and of the teacher its
    hidden states (N, H_t) at all N completion tokens, one trace after the other, and its head."""

    examples: tuple[Encoded, ...]
    teacher: DenseTeacher

    def on(self, device: torch.device) -> DenseTeacher:
        """The teacher's part on the device of the model that is measured."""
        to_logits, states = self.teacher.head, self.teacher.states.to(device)
        if not isinstance(to_logits, Head):
            return DenseTeacher(states, to_logits)
        bias = None if to_logits.bias is None else to_logits.bias.to(device)
        moved = dataclasses.replace(to_logits, weight=to_logits.weight.to(device), bias=bias)
        return DenseTeacher(states, moved)

    def save(self, folder: Path) -> None:
        """Writes the traces to a folder; LabError where the teacher's head is no plain matrix."""
        to_logits = self.teacher.head
        if not isinstance(to_logits, Head):
            raise LabError(
                "kl and nll: expected a teacher in 16 or 32 bits, found one in 4. Leave these "
                "measures out, or load the teacher without --models.teacher-4bit."
            )
        tensors = {"states": self.teacher.states, "weight": to_logits.weight}
        tensors |= {} if to_logits.bias is None else {"bias": to_logits.bias}
        values = {
            "examples": [dataclasses.asdict(example) for example in self.examples],
            "head": {"scale": to_logits.scale, "cap": to_logits.cap},
        }
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{_FILE}.partial"  # has its name only once it is whole
        whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        save_file(whole, partial, {"held_out": json.dumps(values)})
        partial.replace(folder / _FILE)

    @staticmethod
    def is_saved(folder: Path) -> bool:
        return (folder / _FILE).exists()

    @staticmethod
    def load(folder: Path) -> HeldOut:
        """The traces that `save` wrote."""
        with safe_open(folder / _FILE, "pt") as file:
            values = json.loads(file.metadata()["held_out"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        to_logits = Head(tensors["weight"], tensors.get("bias"), **values["head"])
        examples = tuple(Encoded(**example) for example in values["examples"])
        return HeldOut(examples, DenseTeacher(tensors["states"], to_logits))


def make_held_out(
    teacher: LanguageModel, student: Any, half: Half, config: Config, title: str = "held-out traces"
) -> HeldOut:
    """The teacher answers each question of the half once, as `generate` samples it; `student` is
    the students' tokenizer, with which their prompts are written."""
    task, settings = task_of(config), config.generate
    sampling = Sampling(
        n=1,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        max_new_tokens=settings.max_new_tokens,
        seed=settings.seed,
    )
    shots = config.models.teacher_shots
    jobs = jobs_for(half.questions, teacher.tokenizer, shots, task)
    batches = complete_all(teacher, jobs, sampling, config.runtime.sample_batch, set(), title)
    traces = {job.question_id: made[0] for batch in batches for job, made in batch}
    texts = [Example(q.id, 0, task.user_text(q), traces[q.id].text) for q in half.questions]
    encoded = encode_examples(texts, student, NO_LIMIT, teacher.tokenizer, shots, task)
    examples = [_as_sampled(e, traces[id]) for e, id in zip(encoded, half.ids, strict=True)]
    states = states_of_teacher(teacher, examples, config.runtime.sample_batch)
    return HeldOut(tuple(examples), DenseTeacher(states, head(teacher.lm)))


def _as_sampled(example: Encoded, trace: Completion) -> Encoded:
    """The trace without the end token where the teacher did not come to its end."""
    if trace.finish == "stop" or len(example.completion) == 1:
        return example
    return dataclasses.replace(example, completion=example.completion[:-1])


@torch.no_grad()
def states_of_teacher(teacher: LanguageModel, examples: Sequence[Encoded], rows: int) -> Tensor:
    """The teacher's hidden states (N, H_t) at all completion tokens."""
    prefix = read_shared_prefix(teacher.lm, examples)
    parts = [
        teacher_states(teacher.lm, examples[start : start + rows], prefix)
        for start in range(0, len(examples), rows)
    ]
    return torch.cat(parts)
