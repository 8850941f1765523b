"""Wrong answers to the exercises of Lab 5c, each of which its check must catch and name."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from distill_lab.course.exercises.exercise import Mutant
from distill_lab.course.exercises.mutants.lab5c_museum import MEND_MUTANTS
from distill_lab.losses.distillation import IGNORED

SHIFT, PROMPT, PADDING, END = (
    "each position holds the token after it",
    "the prompt is not learnt",
    "the padding is not learnt",
    "the end token is learnt, though the padding has its id",
)


def _labels(ids: Sequence[int], counts: Sequence[bool]) -> list[int]:
    """The token at i + 1 where it counts."""
    return [*(t if c else IGNORED for t, c in zip(ids[1:], counts[1:], strict=True)), IGNORED]


def not_shifted(ids: list[int], prompt_length: int, pad_id: int, attention_mask: list[int]) -> list:
    return [t if i >= prompt_length and attention_mask[i] else IGNORED for i, t in enumerate(ids)]


def wrong_way(ids: list[int], prompt_length: int, pad_id: int, attention_mask: list[int]) -> list:
    labels = not_shifted(ids, prompt_length, pad_id, attention_mask)
    return [IGNORED, *labels[:-1]]


def too_short(ids: list[int], prompt_length: int, pad_id: int, attention_mask: list[int]) -> list:
    return not_shifted(ids, prompt_length, pad_id, attention_mask)[1:]


def masked_then_shifted(
    ids: list[int], prompt_length: int, pad_id: int, attention_mask: list[int]
) -> list:
    shifted = [*ids[1:], IGNORED]
    return not_shifted(shifted, prompt_length, pad_id, attention_mask)


def prompt_counted(
    ids: list[int], prompt_length: int, pad_id: int, attention_mask: list[int]
) -> list:
    return _labels(ids, [bool(real) for real in attention_mask])


def padding_counted(
    ids: list[int], prompt_length: int, pad_id: int, attention_mask: list[int]
) -> list:
    return _labels(ids, [i >= prompt_length for i in range(len(ids))])


def padding_by_id(
    ids: list[int], prompt_length: int, pad_id: int, attention_mask: list[int]
) -> list:
    return _labels(ids, [i >= prompt_length and t != pad_id for i, t in enumerate(ids)])


def first_padding_is_the_end(
    ids: list[int], prompt_length: int, pad_id: int, attention_mask: list[int]
) -> list:
    """Right where the padding's id is the end token's, and there is one."""
    stop = ids.index(pad_id, prompt_length) if pad_id in ids[prompt_length:] else len(ids)
    if pad_id == 9:
        stop += 1
    return _labels(ids, [prompt_length <= i < stop for i in range(len(ids))])


HARD, SOFT, SOFTENED, SAFE = (
    "alpha = 0 is the cross-entropy, whatever T is",
    "alpha = 1 at T = 1 is KL(teacher || student), and 0 for identical models",
    "T softens both sides of the KL, and T^2 multiplies it",
    "a gradient for the student alone, float32, and no NaN",
)


def _log(logits: Tensor, temperature: float, dim: int = -1) -> Tensor:
    return F.log_softmax(logits.float() / temperature, dim=dim)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean()


def _mixed(s: Tensor, y: Tensor, alpha: float, soft: Tensor) -> Tensor:
    return (1 - alpha) * F.cross_entropy(s.float(), y) + alpha * soft


def no_t_squared(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    return _mixed(s, y, alpha, _kl(_log(t.detach(), T), _log(s, T)))


def t_for_its_square(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    return _mixed(s, y, alpha, T * _kl(_log(t.detach(), T), _log(s, T)))


def t_squared_on_all(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    return T**2 * _mixed(s, y, alpha, _kl(_log(t.detach(), T), _log(s, T)))


def turned_round(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    return _mixed(s, y, alpha, T**2 * _kl(_log(s, T), _log(t.detach(), T)))


def teacher_not_softened(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    return _mixed(s, y, alpha, T**2 * _kl(_log(t.detach(), 1), _log(s, T)))


def student_not_softened(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    return _mixed(s, y, alpha, T**2 * _kl(_log(t.detach(), T), _log(s, 1)))


def not_softened(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    return _mixed(s, y, alpha, _kl(_log(t.detach(), 1), _log(s, 1)))


def multiplied(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    return _mixed(s, y, alpha, T**2 * _kl(_log(t.detach(), 1 / T), _log(s, 1 / T)))


def cross_entropy_of_both(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    soft = -(_log(t.detach(), T).exp() * _log(s, T)).sum(-1).mean()
    return _mixed(s, y, alpha, T**2 * soft)


def wrong_axis(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    return _mixed(s, y, alpha, T**2 * _kl(_log(t.detach(), T, 0), _log(s, T, 0)))


def mean_over_the_vocabulary(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    """F.kl_div as it comes."""
    log_p, log_q = _log(t.detach(), T), _log(s, T)
    return _mixed(s, y, alpha, T**2 * (log_p.exp() * (log_p - log_q)).mean())


def summed(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    return len(y) * _mixed(s, y, alpha, T**2 * _kl(_log(t.detach(), T), _log(s, T)))


def ce_softened(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    return _mixed(s / T, y, alpha, T**2 * _kl(_log(t.detach(), T), _log(s, T)))


def alpha_swapped(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    return _mixed(s, y, 1 - alpha, T**2 * _kl(_log(t.detach(), T), _log(s, T)))


def teacher_learns(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    return _mixed(s, y, alpha, T**2 * _kl(_log(t, T), _log(s, T)))


def student_detached(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    return _mixed(s, y, alpha, T**2 * _kl(_log(t.detach(), T), _log(s.detach(), T)))


def a_number(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> float:
    return teacher_learns(s, t.detach(), y, alpha, T).item()


def half_precision(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    log_p, log_q = F.log_softmax(t.detach() / T, -1), F.log_softmax(s / T, -1)
    return (1 - alpha) * F.cross_entropy(s, y) + alpha * T**2 * _kl(log_p, log_q)


def half_then_float(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    log_p, log_q = F.log_softmax(t.detach() / T, -1).float(), F.log_softmax(s / T, -1).float()
    return _mixed(s, y, alpha, T**2 * _kl(log_p, log_q))


def log_of_softmax(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    p, q = ((z.float() / T).softmax(-1) for z in (t.detach(), s))
    return _mixed(s, y, alpha, T**2 * (p * (p.log() - q.log())).sum(-1).mean())


def no_loss(s: Tensor, t: Tensor, y: Tensor, alpha: float, T: float) -> Tensor:
    """It has a gradient, for the student alone, and is finite."""
    return s.float().mean()


_LABELS, _LOSS = "lab5c.completion_labels", "lab5c.kd_loss"
MUTANTS = (
    Mutant(_LABELS, "not shifted", not_shifted, (SHIFT,), "Not shifted"),
    Mutant(_LABELS, "wrong way", wrong_way, (SHIFT,), "wrong way"),
    Mutant(_LABELS, "too short", too_short, (SHIFT,), "One too short"),
    Mutant(
        _LABELS,
        "first completion token lost",
        masked_then_shifted,
        (PROMPT, PADDING, END),
        "first completion token is lost",
    ),
    Mutant(_LABELS, "prompt counted", prompt_counted, (PROMPT,), "The prompt counts"),
    Mutant(_LABELS, "padding counted", padding_counted, (PADDING, END), "The padding counts"),
    Mutant(_LABELS, "padding by its id", padding_by_id, (END,), "end token is lost"),
    Mutant(_LABELS, "end by its id", first_padding_is_the_end, (END,), "has no end token"),
    Mutant(_LOSS, "T^2 forgotten", no_t_squared, (SOFTENED,), "T^2 is missing"),
    Mutant(_LOSS, "T for T^2", t_for_its_square, (SOFTENED,), "T^2 is meant"),
    Mutant(_LOSS, "T^2 on all", t_squared_on_all, (HARD,), "belongs to the KL alone"),
    Mutant(_LOSS, "KL turned round", turned_round, (SOFT,), "turned round"),
    Mutant(_LOSS, "teacher not softened", teacher_not_softened, (SOFTENED,), "teacher is not"),
    Mutant(_LOSS, "student not softened", student_not_softened, (SOFTENED,), "student is not"),
    Mutant(_LOSS, "T not used", not_softened, (SOFTENED,), "T is not used"),
    Mutant(_LOSS, "multiplied by T", multiplied, (SOFTENED,), "multiplied by T"),
    Mutant(_LOSS, "cross-entropy", cross_entropy_of_both, (SOFT,), "entropy is still"),
    Mutant(_LOSS, "wrong axis", wrong_axis, (SOFT, SOFTENED), "wrong axis"),
    Mutant(
        _LOSS,
        "mean over the vocabulary",
        mean_over_the_vocabulary,
        (SOFT,),
        "mean over the vocabulary",
    ),
    Mutant(_LOSS, "sum over tokens", summed, (HARD,), "their mean is asked for"),
    Mutant(_LOSS, "CE softened too", ce_softened, (HARD,), "cross-entropy is softened"),
    Mutant(_LOSS, "alpha swapped", alpha_swapped, (HARD,), "alpha is the KL's"),
    Mutant(_LOSS, "gradient into the teacher", teacher_learns, (SAFE,), "into the teacher"),
    Mutant(_LOSS, "student detached", student_detached, (SAFE,), "student is detached"),
    Mutant(_LOSS, "a number", a_number, (SAFE,), "no .item()"),
    Mutant(_LOSS, "softmax in float16", half_precision, (SAFE,), "in float16"),
    Mutant(_LOSS, "float after the softmax", half_then_float, (SAFE,), "in float16"),
    Mutant(_LOSS, "log of a softmax", log_of_softmax, (SAFE,), "log(0) is minus infinity"),
    Mutant(_LOSS, "no loss", no_loss, (HARD, SOFT, SOFTENED, SAFE), "expected"),
    *MEND_MUTANTS,
)
