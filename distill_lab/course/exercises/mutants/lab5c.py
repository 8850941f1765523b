"""Wrong answers to the exercises of Lab 5c, each of which its check must catch and name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from distill_lab.course.exercises.exercise import Function, mutants_of
from distill_lab.course.exercises.lab5c import COMPLETION_LABELS, KD_LOSS
from distill_lab.course.exercises.mutants.lab5c_museum import MEND_MUTANTS
from distill_lab.losses.distillation import IGNORED

SHIFT, PROMPT, PADDING, END = (step.title for step in COMPLETION_LABELS.steps)
HARD, SOFT, SOFTENED, SAFE = (step.title for step in KD_LOSS.steps)


def _labels(ids: Sequence[int], counts: Sequence[object]) -> list[int]:
    """The token at i + 1 where it counts."""
    return [*(t if c else IGNORED for t, c in zip(ids[1:], counts[1:], strict=True)), IGNORED]


def not_shifted(ids: list[int], prompt_length: int, pad_id: int, attention_mask: list[int]) -> list:
    return [t if i >= prompt_length and attention_mask[i] else IGNORED for i, t in enumerate(ids)]


def first_padding_is_the_end(ids: list[int], n: int, pad_id: int, mask: list[int]) -> list:
    """Right where the padding's id is the end token's, and there is one."""
    stop = ids.index(pad_id, n) if pad_id in ids[n:] else len(ids)
    if pad_id == 9:
        stop += 1
    return _labels(ids, [n <= i < stop for i in range(len(ids))])


def _log(logits: Tensor, temperature: float, dim: int = -1) -> Tensor:
    return F.log_softmax(logits.float() / temperature, dim=dim)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean()


def _mixed(s: Tensor, y: Tensor, alpha: float, soft: Tensor | float) -> Tensor:
    return (1 - alpha) * F.cross_entropy(s.float(), y) + alpha * soft


def _with_soft(soft: Callable[[Tensor, Tensor, float], Tensor | float]) -> Function:
    """The loss with another soft part, T^2 included: soft(student, teacher, T)."""

    def kd_loss(s: Tensor, t: Tensor, y: Tensor, alpha: float, temperature: float) -> Tensor:
        return _mixed(s, y, alpha, soft(s, t.detach(), temperature))

    return kd_loss


def _right(s: Tensor, t: Tensor, T: float) -> Tensor:
    return T**2 * _kl(_log(t, T), _log(s, T))


def cross_entropy_of_both(s: Tensor, t: Tensor, T: float) -> Tensor:
    return -(T**2) * (_log(t, T).exp() * _log(s, T)).sum(-1).mean()


def mean_over_the_vocabulary(s: Tensor, t: Tensor, T: float) -> Tensor:
    """F.kl_div as it comes."""
    log_p, log_q = _log(t, T), _log(s, T)
    return T**2 * (log_p.exp() * (log_p - log_q)).mean()


def log_of_softmax(s: Tensor, t: Tensor, T: float) -> Tensor:
    p, q = ((z.float() / T).softmax(-1) for z in (t, s))
    return T**2 * (p * (p.log() - q.log())).sum(-1).mean()


def half_then_float(s: Tensor, t: Tensor, T: float) -> Tensor:
    log_p, log_q = F.log_softmax(t / T, -1).float(), F.log_softmax(s / T, -1).float()
    return T**2 * _kl(log_p, log_q)


def half_precision(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    log_p, log_q = F.log_softmax(t.detach() / T, -1), F.log_softmax(s / T, -1)
    return (1 - alpha) * F.cross_entropy(s, y) + alpha * T**2 * _kl(log_p, log_q)


MUTANTS = (
    *mutants_of(
        "lab5c.completion_labels",
        ("not shifted", not_shifted, (SHIFT,), "Not shifted"),
        ("wrong way", lambda *row: [IGNORED, *not_shifted(*row)[:-1]], (SHIFT,), "wrong way"),
        ("too short", lambda *row: not_shifted(*row)[1:], (SHIFT,), "One too short"),
        ("first completion token lost",
         lambda ids, *rest: not_shifted([*ids[1:], IGNORED], *rest),
         (PROMPT, PADDING, END), "first completion token is lost"),
        ("prompt counted", lambda ids, n, pad_id, mask: _labels(ids, mask), (PROMPT,),
         "The prompt counts"),
        ("padding counted",
         lambda ids, n, pad_id, mask: _labels(ids, [i >= n for i in range(len(ids))]),
         (PADDING, END), "The padding counts"),
        ("padding by its id",
         lambda ids, n, pad_id, mask: _labels(
             ids, [i >= n and t != pad_id for i, t in enumerate(ids)]),
         (END,), "end token is lost"),
        ("end by its id", first_padding_is_the_end, (END,), "has no end token"),
    ),
    *mutants_of(
        "lab5c.kd_loss",
        ("T^2 forgotten", _with_soft(lambda s, t, T: _kl(_log(t, T), _log(s, T))), (SOFTENED,),
         "T^2 is missing"),
        ("T for T^2", _with_soft(lambda s, t, T: T * _kl(_log(t, T), _log(s, T))), (SOFTENED,),
         "T^2 is meant"),
        ("T^2 on all",
         lambda s, t, y, alpha, T: T**2 * _mixed(s, y, alpha, _right(s, t.detach(), T) / T**2),
         (HARD,), "belongs to the KL alone"),
        ("KL turned round", _with_soft(lambda s, t, T: _right(t, s, T)), (SOFT,), "turned round"),
        ("teacher not softened",
         _with_soft(lambda s, t, T: T**2 * _kl(_log(t, 1), _log(s, T))),
         (SOFTENED,), "teacher is not"),
        ("student not softened",
         _with_soft(lambda s, t, T: T**2 * _kl(_log(t, T), _log(s, 1))),
         (SOFTENED,), "student is not"),
        ("T not used", _with_soft(lambda s, t, T: _right(s, t, 1)), (SOFTENED,), "T is not used"),
        ("multiplied by T", _with_soft(lambda s, t, T: T**4 * _right(s, t, 1 / T)), (SOFTENED,),
         "multiplied by T"),
        ("cross-entropy", _with_soft(cross_entropy_of_both), (SOFT,), "entropy is still"),
        ("wrong axis", _with_soft(lambda s, t, T: T**2 * _kl(_log(t, T, 0), _log(s, T, 0))),
         (SOFT, SOFTENED), "wrong axis"),
        ("mean over the vocabulary", _with_soft(mean_over_the_vocabulary), (SOFT,),
         "mean over the vocabulary"),
        ("sum over tokens",
         lambda s, t, y, alpha, T: len(y) * _mixed(s, y, alpha, _right(s, t.detach(), T)),
         (HARD,), "their mean is asked for"),
        ("CE softened too",
         lambda s, t, y, alpha, T: _mixed(s / T, y, alpha, _right(s, t.detach(), T)),
         (HARD,), "cross-entropy is softened"),
        ("alpha swapped",
         lambda s, t, y, alpha, T: _mixed(s, y, 1 - alpha, _right(s, t.detach(), T)),
         (HARD,), "alpha is the KL's"),
        ("gradient into the teacher",
         lambda s, t, y, alpha, T: _mixed(s, y, alpha, _right(s, t, T)),
         (SAFE,), "into the teacher"),
        ("student detached", _with_soft(lambda s, t, T: _right(s.detach(), t, T)), (SAFE,),
         "student is detached"),
        ("a number",
         lambda s, t, y, alpha, T: _mixed(s, y, alpha, _right(s, t, T)).item(),
         (SAFE,), "no .item()"),
        ("softmax in float16", half_precision, (SAFE,), "in float16"),
        ("float after the softmax", _with_soft(half_then_float), (SAFE,), "in float16"),
        ("log of a softmax", _with_soft(log_of_softmax), (SAFE,), "log(0) is minus infinity"),
        # with a gradient, for the student alone, and finite
        ("no loss", lambda s, *rest: s.float().mean(), (HARD, SOFT, SOFTENED, SAFE), "expected"),
    ),
    *MEND_MUTANTS,
)  # fmt: skip
