"""Lab 5c: what is often written for the distillation loss."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.course.exercises.lab5c.kd_loss_cases import Case
from distill_lab.losses import distillation
from distill_lab.losses.distillation import Objective

SWAPPED = "alpha is the KL's weight, and 1 - alpha the cross-entropy's."
SUM = "That is the sum over the N tokens: their mean is asked for."
TURNED = "The KL is turned round: the teacher's probabilities weigh the difference. (F.kl_div "
TURNED += "takes the student's logarithms first.)"
ENTROPY = "That is the cross-entropy with soft targets: the teacher's entropy is still in it, and "
ENTROPY += "identical models do not give 0."
MEAN = "That is the mean over the vocabulary too: the KL is a sum over it, and a mean over the N "
MEAN += "tokens alone. (F.kl_div's default is the mean of all.)"


_TAKES = "F.kl_div takes the student's logarithms (log_softmax) first, then probabilities."


def instead(case: Case) -> dict[str, Tensor]:
    """What is often written for the loss, and its result; of equal results the first is named."""
    student, teacher, targets, alpha, t = case
    ce = F.cross_entropy(student, targets)
    kl = _kl(*(distillation.soften(logits, t) for logits in (teacher, student)))

    def mixed(hard: Tensor, soft: Tensor) -> Tensor:
        return (1 - alpha) * hard + alpha * t**2 * soft

    return {
        **{says: mixed(ce, soft) for says, soft in _for_the_kl(student, teacher, t).items()},
        "T^2 belongs to the KL alone, not to the cross-entropy.": t**2 * mixed(ce, kl / t**2),
        SWAPPED: alpha * ce + (1 - alpha) * t**2 * kl,
        SUM: len(targets) * mixed(ce, kl),
        f"{SUM} (It is the KL's.)": mixed(ce, len(targets) * kl),
        "The cross-entropy has the weight 1 - alpha, and is gone at alpha = 1.": (
            ce + alpha * t**2 * kl
        ),
        "The KL has the weight alpha, and is gone at alpha = 0.": (1 - alpha) * ce + t**2 * kl,
        **{says: mixed(hard, kl) for says, hard in _for_the_cross_entropy(case).items()},
    }


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return distillation.divergence(log_p, log_q, Objective()).mean()


def _for_the_kl(student: Tensor, teacher: Tensor, t: float) -> dict[str, Tensor]:
    """What is written for the KL, before T^2 multiplies it."""
    soften = distillation.soften
    log_p, log_q = soften(teacher, t), soften(student, t)  # (N, V)
    plain_p, plain_q = soften(teacher, 1), soften(student, 1)
    kl, vocab_size = _kl(log_p, log_q), student.shape[-1]
    without_log = (log_p.exp() * (log_p - log_q.exp())).sum(-1).mean()  # F.kl_div given q
    columns = [(logits / t).log_softmax(0) for logits in (teacher, student)]
    return {
        "T^2 is missing: the gradient of the KL falls as 1 / T^2, and T^2 puts it back.": kl / t**2,
        "The KL is multiplied by T, and T^2 is meant.": kl / t,
        TURNED: _kl(log_q, log_p),
        "The teacher is not softened: both sides are divided by T.": _kl(plain_p, log_q),
        "The student is not softened: both sides are divided by T.": _kl(log_p, plain_q),
        "T is not used in the softmax.": _kl(plain_p, plain_q),
        "T is not used.": _kl(plain_p, plain_q) / t**2,
        "The logits are multiplied by T: dividing makes them softer.": (
            _kl(soften(teacher, 1 / t), soften(student, 1 / t))
        ),
        ENTROPY: -(log_p.exp() * log_q).sum(-1).mean(),
        "The softmax runs over the wrong axis: over the tokens of the text instead of the "
        "vocabulary.": _kl(*columns),
        MEAN: kl / vocab_size,
        _TAKES: without_log,
        f"{_TAKES} T^2 is missing besides.": without_log / t**2,
        f"{_TAKES} And its default is the mean of all: reduction='batchmean'.": (
            without_log / vocab_size
        ),
        f"{_TAKES} Of logarithms on both sides it wants log_target=True.": torch.tensor(math.nan),
        "The mean over the vocabulary, and T^2 is missing: the KL is a sum over it.": (
            kl / vocab_size / t**2
        ),
        "T * 2 is not T ** 2.": 2 * kl / t,
        "The KL's sign is turned: it is never below 0.": -kl,
        "That is the squared difference of the logits, not a KL.": F.mse_loss(student, teacher),
        "That is the squared difference of the probabilities, not a KL.": (
            F.mse_loss(log_q.exp(), log_p.exp())
        ),
    }


def _for_the_cross_entropy(case: Case) -> dict[str, Tensor]:
    student, teacher, targets, _, t = case
    return {
        "The cross-entropy is softened too: it is that of the student at T = 1.": (
            F.cross_entropy(student / t, targets)
        ),
        "F.cross_entropy takes logits: the softmax is in it already.": (
            F.cross_entropy(student.softmax(-1), targets)
        ),
        "F.nll_loss takes logarithms, not logits: F.cross_entropy has the softmax in it.": (
            F.nll_loss(student, targets)
        ),
        "The text's tokens are the targets, not the teacher's likeliest ones.": (
            F.cross_entropy(student, teacher.argmax(-1))
        ),
    }
