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


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return distillation.divergence(p, q, Objective()).mean()


def instead(case: Case) -> dict[str, Tensor]:
    """What is often written for the loss, and its result."""
    student, teacher, targets, alpha, t = case
    soften = distillation.soften
    p, q = soften(teacher, t), soften(student, t)
    ce, kl = F.cross_entropy(student, targets), _kl(p, q)

    def mixed(hard: Tensor, soft: Tensor) -> Tensor:
        return (1 - alpha) * hard + alpha * t**2 * soft

    given = (p.exp() * (p - q.exp())).sum(-1).mean()  # F.kl_div given q, not log q
    takes = "F.kl_div takes the student's logarithms (log_softmax) first, then probabilities."
    words = student.shape[-1]
    columns = [(z / t).log_softmax(0) for z in (teacher, student)]
    return {
        "T^2 is missing: the gradient of the KL falls as 1 / T^2, and T^2 puts it back.": (
            mixed(ce, kl / t**2)
        ),
        "The KL is multiplied by T, and T^2 is meant.": mixed(ce, kl / t),
        "T^2 belongs to the KL alone, not to the cross-entropy.": t**2 * ((1 - alpha) * ce)
        + alpha * t**2 * kl,
        TURNED: mixed(ce, _kl(q, p)),
        "The teacher is not softened: both sides are divided by T.": mixed(
            ce, _kl(soften(teacher, 1), q)
        ),
        "The student is not softened: both sides are divided by T.": mixed(
            ce, _kl(p, soften(student, 1))
        ),
        "T is not used in the softmax.": mixed(ce, _kl(soften(teacher, 1), soften(student, 1))),
        "T is not used.": (1 - alpha) * ce + alpha * _kl(soften(teacher, 1), soften(student, 1)),
        "The logits are multiplied by T: dividing makes them softer.": mixed(
            ce, _kl(soften(teacher, 1 / t), soften(student, 1 / t))
        ),
        ENTROPY: mixed(ce, -(p.exp() * q).sum(-1).mean()),
        "The softmax runs over the wrong axis: over the tokens of the text instead of the "
        "vocabulary.": mixed(ce, _kl(*columns)),
        MEAN: mixed(ce, kl / student.shape[-1]),
        "The cross-entropy is softened too: it is that of the student at T = 1.": mixed(
            F.cross_entropy(student / t, targets), kl
        ),
        SWAPPED: alpha * ce + (1 - alpha) * t**2 * kl,
        SUM: len(targets) * mixed(ce, kl),
        f"{SUM} (It is the KL's.)": mixed(ce, len(targets) * kl),
        takes: mixed(ce, given),
        f"{takes} T^2 is missing besides.": mixed(ce, given / t**2),
        f"{takes} And its default is the mean of all: reduction='batchmean'.": mixed(
            ce, given / words
        ),
        f"{takes} Of logarithms on both sides it wants log_target=True.": mixed(
            ce, torch.tensor(math.nan)
        ),
        "The mean over the vocabulary, and T^2 is missing: the KL is a sum over it.": mixed(
            ce, kl / words / t**2
        ),
        "T * 2 is not T ** 2.": mixed(ce, 2 * kl / t),
        "The KL's sign is turned: it is never below 0.": mixed(ce, -kl),
        "The cross-entropy has the weight 1 - alpha, and is gone at alpha = 1.": ce
        + alpha * t**2 * kl,
        "The KL has the weight alpha, and is gone at alpha = 0.": (1 - alpha) * ce + t**2 * kl,
        "That is the squared difference of the logits, not a KL.": mixed(
            ce, F.mse_loss(student, teacher)
        ),
        "That is the squared difference of the probabilities, not a KL.": mixed(
            ce, F.mse_loss(q.exp(), p.exp())
        ),
        "F.cross_entropy takes logits: the softmax is in it already.": mixed(
            F.cross_entropy(student.softmax(-1), targets), kl
        ),
        "F.nll_loss takes logarithms, not logits: F.cross_entropy has the softmax in it.": mixed(
            F.nll_loss(student, targets), kl
        ),
        "The text's tokens are the targets, not the teacher's likeliest ones.": mixed(
            F.cross_entropy(student, teacher.argmax(-1)), kl
        ),
    }
