"""The bug museum: five losses that were published, each with a line that is wrong, and five tests.

Each exhibit is the softened KL of a batch, T^2 included, over `n_items` completion tokens: those of
the whole optimiser step, which may be more than the batch has. The bug is as it was published, the
lines around it are ours, so that all five take the same arguments and each test can be tried on
each. `SIGNS` says who and where; `TESTS` are the properties that a right loss has.

student (B, T, V) and teacher (B, T, V_t) are logits; labels (B, T) are the completion's tokens at
their own places, IGNORED elsewhere.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.course.exercises.comparing import alike, brief
from distill_lab.course.exercises.exercise import WrongError, difference
from distill_lab.losses.distillation import IGNORED, DenseTeacher, Objective, divergence

Loss = Callable[[Tensor, Tensor, Tensor, float, int], Tensor]
_BUILTINS = (len, zip, range, sum, min, max, float, int, abs, enumerate, list, tuple, __import__)

# -- the exhibits: what is wrong stands on one line of each


def temperature(student, teacher, labels, temperature, n_items):  # noqa: ANN001, ANN201
    predicts = labels[:, 1:] != IGNORED
    vocab_size = min(student.shape[-1], teacher.shape[-1])
    s, t = (z[:, :-1, :vocab_size][predicts] for z in (student, teacher))
    log_q, log_p = (F.log_softmax(z, dim=-1) for z in (s, t))
    kl = F.kl_div(log_q, log_p, reduction="sum", log_target=True)
    return temperature**2 * kl / n_items


def entropy(student, teacher, labels, temperature, n_items):  # noqa: ANN001, ANN201
    predicts = labels[:, 1:] != IGNORED
    vocab_size = min(student.shape[-1], teacher.shape[-1])
    p = F.softmax(teacher[:, :-1, :vocab_size] / temperature, dim=-1)
    log_q = F.log_softmax(student[:, :-1, :vocab_size] / temperature, dim=-1)
    kl = -(p * log_q).sum(-1)
    return temperature**2 * kl[predicts].sum() / n_items


def vocabulary(student, teacher, labels, temperature, n_items):  # noqa: ANN001, ANN201
    predicts = labels[:, 1:] != IGNORED
    s, t = student[:, :-1][predicts], teacher[:, :-1][predicts]
    s = F.pad(s, (0, t.shape[-1] - s.shape[-1]))
    log_q, log_p = (F.log_softmax(z / temperature, dim=-1) for z in (s, t))
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)
    return temperature**2 * kl.sum() / n_items


def shift(student, teacher, labels, temperature, n_items):  # noqa: ANN001, ANN201
    vocab_size = min(student.shape[-1], teacher.shape[-1])
    log_q = F.log_softmax(student[..., :vocab_size] / temperature, dim=-1)
    log_p = F.log_softmax(teacher[..., :vocab_size] / temperature, dim=-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)
    counts = labels != IGNORED
    return temperature**2 * (kl * counts).sum() / n_items


def accumulation(student, teacher, labels, temperature, n_items):  # noqa: ANN001, ANN201
    predicts = labels[:, 1:] != IGNORED
    vocab_size = min(student.shape[-1], teacher.shape[-1])
    s, t = (z[:, :-1, :vocab_size][predicts] / temperature for z in (student, teacher))
    log_q, log_p = s.log_softmax(-1), t.log_softmax(-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)
    return temperature**2 * kl.mean()


EXHIBITS: dict[str, Loss] = {
    "temperature": temperature,
    "entropy": entropy,
    "vocabulary": vocabulary,
    "shift": shift,
    "accumulation": accumulation,
}

SIGNS = {
    "temperature": "TRL, GKDTrainer: `temperature` is the one that samples are drawn at; its loss "
    "is called without one, and takes T = 1 whatever was set. (In huggingface/trl#5731 the path "
    "through Liger had been given that sampling temperature, and so trained on another loss than "
    "the other path.)",
    "entropy": "torchtune, ForwardKLLoss: its forward KL gave 48.1 where the KL was 1.1.",
    "vocabulary": "Liger, distillation losses: Qwen2.5-0.5B has 151,936 rows, 7B has 152,064; the "
    "loss of a model and its padded self was 0.043.",
    "shift": "DistillKit, and ms-swift (modelscope/ms-swift#8436).",
    "accumulation": "torchtune's distillation recipes, and transformers' Trainer "
    "for a year and more (huggingface/transformers#24725).",
}


def right(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, n_items: int
) -> Tensor:
    """What all five mean to compute, from the package's own parts."""
    predicts = labels[:, 1:] != IGNORED  # position i is scored against token i + 1
    s, t = student[:, :-1][predicts], teacher[:, :-1][predicts]  # (N, V), (N, V_t)
    log_p, log_q = DenseTeacher(t, lambda z: z).outcomes(s, temperature)
    return temperature**2 * divergence(log_p, log_q, Objective()).sum() / n_items


# -- the tests, each on the smallest case that shows it


@dataclass(frozen=True, slots=True)
class Test:
    """A property of a right loss; `test` raises WrongError with the case where it fails."""

    says: str
    test: Callable[[Loss], None]


def _same(call: str, yours: Tensor, expected: Tensor | float) -> None:
    if not alike(yours, expected, 1e-5):
        raise difference(call, brief(yours), brief(expected))


def _logits(*odds: float) -> Tensor:
    """A position's logits from the odds of its tokens: 4, 1 is 80 and 20 percent at T = 1."""
    return torch.tensor(odds).log()


# one row: a prompt token, two tokens of a completion, padding; positions 0 and 1 predict the two
_LABELS = torch.tensor([[IGNORED, 1, 0, IGNORED]])
_STUDENT, _TEACHER = (_logits(*odds).expand(1, 4, 2) for odds in ((9, 1), (4, 1)))


def _identical(kd: Loss) -> None:
    _same("a teacher and a student that are the same", kd(_TEACHER, _TEACHER, _LABELS, 1.0, 2), 0.0)


def _two_temperatures(kd: Loss) -> None:
    at_1, at_4 = (kd(_STUDENT, _TEACHER, _LABELS, t, 2) / t**2 for t in (1.0, 4.0))
    if alike(at_1, at_4, 1e-5):
        raise difference(
            "teacher 4 : 1, student 9 : 1; the loss without its T^2, at T = 1 and at T = 4",
            f"{brief(at_1)} and {brief(at_4)}",
            "two numbers: softened, the two models are nearer to each other",
        )


def _wider_head(kd: Loss) -> None:
    wide = torch.cat([_TEACHER, torch.tensor([3.0]).expand(1, 4, 1)], -1)
    _same(
        "a teacher whose head has one row more than there are tokens, else the same as the student",
        kd(_TEACHER, wide, _LABELS, 1.0, 2),
        kd(_TEACHER, _TEACHER, _LABELS, 1.0, 2),
    )


def _positions(kd: Loss) -> None:
    before = kd(_STUDENT, _TEACHER, _LABELS, 1.0, 2)
    for position, counts in ((2, False), (0, True), (1, True), (3, False)):
        student = _STUDENT.clone()
        student[:, position] = _logits(1, 1)
        moved = not alike(kd(student, _TEACHER, _LABELS, 1.0, 2), before, 1e-5)
        if moved != counts:
            role = "the last prompt token", "a completion token", "the end token", "padding"
            raise difference(
                f"a row: prompt, token, end token, padding; the student's logits changed at "
                f"position {position}, which reads {role[position]}",
                f"the loss {'changes' if moved else 'stays'}",
                f"the loss {'changes' if counts else 'stays'}",
            )


def _micro_batches(kd: Loss) -> None:
    labels = torch.tensor([[IGNORED, 1, IGNORED, IGNORED], [IGNORED, 1, 0, 1]])  # 1 and 3 tokens
    student = torch.stack([_STUDENT[0], _logits(1, 1).expand(4, 2)])
    teacher = _TEACHER.expand(2, 4, 2)
    whole = kd(student, teacher, labels, 1.0, 4)
    parts = [kd(student[i : i + 1], teacher[i : i + 1], labels[i : i + 1], 1.0, 4) for i in (0, 1)]
    _same(
        "two rows of 1 and 3 completion tokens, n_items = 4: one micro-batch each, and added up",
        parts[0] + parts[1],
        whole,
    )


TESTS = {
    "identical models": Test("a teacher and a student that are the same give 0", _identical),
    "two temperatures": Test("T = 1 and T = 4 give different KLs", _two_temperatures),
    "wider head": Test("rows of a head that stand for no token change nothing", _wider_head),
    "positions": Test(
        "the logits of the position before each completion token count, and no others", _positions
    ),
    "micro-batches": Test("one batch of two rows equals two batches of one", _micro_batches),
}

# -- what the notebook and the check do with them


def source(bug: str) -> str:
    """An exhibit's lines, as they can be read and run."""
    return inspect.getsource(EXHIBITS[bug]).replace("  # noqa: ANN001, ANN201", "").rstrip()


def visit(*bugs: str) -> None:
    """Prints exhibits with their signs, their lines numbered."""
    for bug in bugs or EXHIBITS:
        print(f"{bug}: {SIGNS[bug]}")
        for number, line in enumerate(source(bug).splitlines(), 1):
            print(f"{number:3}  {line}")
        print()


def finding(test: str, kd: Loss) -> WrongError | None:
    """What this test finds wrong with a loss; None where it passes."""
    try:
        TESTS[test].test(kd)
    except WrongError as wrong:
        return wrong
    return None


def mended_source(bug: str, line: int, text: str) -> str:
    """The text of an exhibit with one of its lines (from 1) replaced by others."""
    lines = source(bug).splitlines()
    indent = lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip())]
    lines[line - 1] = "\n".join(indent + part.strip() for part in text.strip().splitlines())
    return "\n".join(lines)


@functools.lru_cache(maxsize=32)  # its check calls it a dozen times
def mended(bug: str, line: int, text: str) -> Loss:
    """The exhibit with one of its lines (from 1) replaced. SyntaxError where that is no Python.

    The text is run as it is, so this is called where the student's code runs, and nowhere else. It
    finds torch, F, math and a few builtins; torch itself may import, by `__import__`.
    """
    names: dict[str, Any] = {"torch": torch, "F": F, "math": math, "IGNORED": IGNORED}
    names["__builtins__"] = {function.__name__: function for function in _BUILTINS}
    try:
        exec(compile(mended_source(bug, line, text), f"<{bug}, mended>", "exec"), names)
    except ValueError as error:  # a null byte, half a character
        raise SyntaxError(str(error)) from None
    loss: Loss = names[bug]
    return loss


def with_mended_losses(mend: Callable[[str], Any]) -> Callable[..., Any]:
    """`mend` as its check calls it: given a bug, its answer; given a bug, a line's number, its text
    and a loss's arguments, the loss of the exhibit that is mended so."""

    def called(bug: str, *mending: Any) -> Any:
        if not mending:
            return mend(bug)
        line, text, student, teacher, labels, temperature, n_items = mending
        copies = student.clone(), teacher.clone(), labels.clone()  # it may change them in place
        return mended(bug, line, text)(*copies, temperature, n_items)

    return called


def matrix() -> list[list[str]]:
    """Which test catches which exhibit: a row each."""
    return [
        [bug, *("caught" if finding(test, kd) else "passes" for test in TESTS)]
        for bug, kd in EXHIBITS.items()
    ]
