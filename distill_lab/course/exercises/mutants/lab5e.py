"""Wrong answers to the exercises of Lab 5e, each of which its check must catch and name."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.course.exercises.exercise import Function, mutants_of
from distill_lab.course.exercises.lab5e import (
    BUDGET,
    GROUP_ADVANTAGES,
    POLICY_LOSS,
    REVERSE_KL,
    REWARD,
)
from distill_lab.tasks.prompts import answer_text, parse
from distill_lab.tasks.squad.scores import em, f1

RIGHT, FORM, CUT = (step.title for step in REWARD.steps)
FORMULA, GROUP, DEAD = (step.title for step in GROUP_ADVANTAGES.steps)
RATIO, CLIP, MEAN, GRADIENT = (step.title for step in POLICY_LOSS.steps)
WAY, OVER, ALONE = (step.title for step in REVERSE_KL.steps)
TRAINED, STUDENT, TEACHER, TRIES = (step.title for step in BUDGET.steps)


def _reward(right: Callable[[str, list[str]], object]) -> Function:
    """Of a completion that ended and is well formed: whether right(its answer, answers)."""

    def reward(completion: str, answers: list[str], ended: bool) -> float:
        parsed = parse(completion)
        return float(right(parsed.answer, answers)) if ended and parsed else 0.0  # type: ignore[arg-type]

    return reward


def truncated_rewarded(completion: str, answers: list[str], ended: bool) -> float:
    parsed = parse(completion)
    return float(parsed is not None and em(parsed.answer, answers) == 100)


def ended_by_its_text(completion: str, answers: list[str], ended: bool) -> float:
    return truncated_rewarded(completion, answers, ended) * completion.endswith("</answer>")


def without_form(completion: str, answers: list[str], ended: bool) -> float:
    return float(ended and em(answer_text(completion), answers) == 100)


def for_the_form(completion: str, answers: list[str], ended: bool) -> float:
    return float(ended and parse(completion) is not None)


def partly_for_the_form(completion: str, answers: list[str], ended: bool) -> float:
    parsed = parse(completion)
    right = parsed is not None and em(parsed.answer, answers) == 100
    return (0.2 * (parsed is not None) + 0.8 * right) * ended


def of_the_whole_text(completion: str, answers: list[str], ended: bool) -> float:
    return float(ended and any(answer in completion for answer in answers))


def punishing(completion: str, answers: list[str], ended: bool) -> float:
    return (
        1.0 if _reward(lambda said, of: em(said, of) == 100)(completion, answers, ended) else -1.0
    )


def _advantages(centre: Callable[[Tensor], Tensor], spread: Callable[[Tensor], Tensor]) -> Function:
    """(r - centre) / spread, and 0 where all rewards of a row are equal."""

    def group_advantages(rewards: Tensor) -> Tensor:
        equal = rewards.amax(1, keepdim=True) == rewards.amin(1, keepdim=True)
        return ((rewards - centre(rewards)) / spread(rewards)).masked_fill(equal, 0.0)

    return group_advantages


def _row_mean(rewards: Tensor) -> Tensor:
    return rewards.mean(1, keepdim=True)


def _row_std(rewards: Tensor) -> Tensor:
    return rewards.std(1, keepdim=True) + 1e-4


def without_guard(rewards: Tensor) -> Tensor:
    return (rewards - _row_mean(rewards)) / rewards.std(1, keepdim=True)


def guarded_alone(rewards: Tensor) -> Tensor:
    return (rewards - _row_mean(rewards)) / _row_std(rewards)


def of_the_batch(rewards: Tensor) -> Tensor:
    return (rewards - rewards.mean()) / (rewards.std() + 1e-4)


def of_columns(rewards: Tensor) -> Tensor:
    if len(rewards) == 1:
        return _advantages(_row_mean, _row_std)(rewards)
    return (rewards - rewards.mean(0)) / (rewards.std(0) + 1e-4)


def _policy(
    gain: Callable[[Tensor, Tensor], Tensor], mean: Callable[[Tensor, Tensor], Tensor] | None = None
) -> Function:
    """The loss with another gain(ratio, a), or another mean(gain, mask)."""

    def policy_loss(log_p: Tensor, old: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
        each = gain((log_p - old).exp(), advantages[:, None])
        return -(mean or over_tokens)(each, mask)

    return policy_loss


def over_tokens(gain: Tensor, mask: Tensor) -> Tensor:
    return (gain * mask).sum() / mask.sum()


def _clipped(ratio: Tensor, a: Tensor) -> Tensor:
    return torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a)


def without_end(gain: Tensor, mask: Tensor) -> Tensor:
    """As where the mask is that of the labels without the end token."""
    last = mask.cumsum(1) == mask.sum(1, keepdim=True)
    kept = mask * ~last
    return (gain * kept).sum() / kept.sum().clamp(min=1)


def logs_for_ratio(log_p: Tensor, old: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    return -over_tokens((log_p - old) * advantages[:, None], mask)


def reinforce(log_p: Tensor, old: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    return -over_tokens(log_p * advantages[:, None], mask)


def upside_down(log_p: Tensor, old: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    return _policy(_clipped)(old, log_p, advantages, mask)


def of_rows(log_p: Tensor, old: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    ratio = (log_p - old).exp()
    return -over_tokens(torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages), mask)


def _kl(weight: Tensor, log_a: Tensor, log_b: Tensor) -> Tensor:
    return (weight * (log_a - log_b)).sum(-1).mean()


def _logs(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    return student.log_softmax(-1), teacher.detach().log_softmax(-1)


def forward_kl(student: Tensor, teacher: Tensor) -> Tensor:
    log_q, log_p = _logs(student, teacher)
    return _kl(log_p.exp(), log_p, log_q)


def by_kl_div(student: Tensor, teacher: Tensor) -> Tensor:
    """F.kl_div's arguments in the order in which distillation writes them."""
    log_q, log_p = _logs(student, teacher)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def _reverse(student: Tensor, teacher: Tensor) -> Tensor:
    log_q, log_p = _logs(student, teacher)
    return _kl(log_q.exp(), log_q, log_p)


def into_the_teacher(student: Tensor, teacher: Tensor) -> Tensor:
    log_q = student.log_softmax(-1)
    return _kl(log_q.exp(), log_q, teacher.log_softmax(-1))


def weights_detached(student: Tensor, teacher: Tensor) -> Tensor:
    log_q, log_p = _logs(student, teacher)
    return _kl(log_q.exp().detach(), log_q, log_p)


def without_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    log_q, log_p = _logs(student, teacher)
    return -(log_q.exp() * log_p).sum(-1).mean()


def over_the_text(student: Tensor, teacher: Tensor) -> Tensor:
    log_q, log_p = student.log_softmax(0), teacher.detach().log_softmax(0)
    return _kl(log_q.exp(), log_q, log_p)


def _budget(
    wrote: int = 2, read: int = 2, said: int = 2, asked: int = 2, trained: int = 6
) -> Function:
    """The budget with these costs of a token, for each parameter."""

    def budget(teacher: int, student: int, tokens: dict[str, int], tries: int) -> float:
        of_teacher = wrote * tokens["teacher_wrote"] + read * tokens["teacher_read"]
        of_student = said * tokens["student_wrote"] + asked * tokens["student_read"]
        return tries * (teacher * of_teacher + student * (of_student + trained * tokens["trained"]))

    return budget


def one_try(teacher: int, student: int, tokens: dict[str, int], tries: int) -> float:
    return _budget()(teacher, student, tokens, 1)


def tries_to_train(teacher: int, student: int, tokens: dict[str, int], tries: int) -> float:
    sampled = _budget(trained=0)(teacher, student, tokens, 1)
    return sampled + tries * 6 * student * tokens["trained"]


def students_size(teacher: int, student: int, tokens: dict[str, int], tries: int) -> float:
    return _budget()(student, student, tokens, tries)


def teachers_size(teacher: int, student: int, tokens: dict[str, int], tries: int) -> float:
    return _budget()(teacher, teacher, tokens, tries)


def tokens_alone(teacher: int, student: int, tokens: dict[str, int], tries: int) -> float:
    return tries * sum(tokens.values())


MUTANTS = (
    *mutants_of(
        "lab5e.reward",
        ("truncated trace rewarded", truncated_rewarded, (CUT,), "what was cut is worth nothing"),
        ("ended by its text", ended_by_its_text, (CUT,), "what was cut is worth nothing"),
        ("no form asked for", without_form, (FORM,), "the form is not"),
        ("the form alone", for_the_form, (RIGHT,), "The form alone"),
        ("a part for the form", partly_for_the_form, (RIGHT,), "expected: 0.0"),
        ("EM on the whole text", of_the_whole_text, (RIGHT, FORM), "The whole text was searched"),
        ("contains it", _reward(lambda said, of: any(a.lower() in said.lower() for a in of)),
         (RIGHT,), "only contains the right one"),
        ("letter by letter", _reward(lambda said, of: said in of), (RIGHT,), "letter by letter"),
        ("the first answer alone", _reward(lambda said, of: em(said, of[:1]) == 100), (RIGHT,),
         "not the first one alone"),
        ("F1", _reward(lambda said, of: f1(said, of) / 100), (RIGHT,), "a part for a part"),
        ("percent", _reward(em), (RIGHT,), "not 100"),
        ("punishing", punishing, (RIGHT,), "worth 0, not less"),
    ),
    *mutants_of(
        "lab5e.group_advantages",
        ("no guard", without_guard, (DEAD,), "0 divided by 0"),
        ("nearly 0", guarded_alone, (DEAD,), "Nearly 0 is not 0"),
        ("over the batch", of_the_batch, (GROUP, DEAD), "of the whole batch"),
        ("along the wrong axis", of_columns, (GROUP, DEAD), "axis is turned"),
        ("not divided", _advantages(_row_mean, torch.ones_like), (FORMULA, GROUP), "Dr. GRPO"),
        ("the variance", _advantages(_row_mean, lambda r: r.var(1, keepdim=True) + 1e-4),
         (FORMULA, GROUP), "The variance divides"),
        ("divided by n",
         _advantages(_row_mean, lambda r: r.std(1, keepdim=True, unbiased=False) + 1e-4),
         (FORMULA, GROUP), "divided by n"),
        ("not centred", _advantages(torch.zeros_like, _row_std), (FORMULA, GROUP),
         "mean is not taken off"),
        ("the batch's deviation", _advantages(_row_mean, lambda r: r.std() + 1e-4), (GROUP,),
         "of the batch the deviation"),
        ("sign", lambda r: -_advantages(_row_mean, _row_std)(r), (FORMULA,), "sign is turned"),
    ),
    *mutants_of(
        "lab5e.policy_loss",
        ("not clipped", _policy(lambda ratio, a: ratio * a), (CLIP,), "Nothing is clipped"),
        ("not clipped from below",
         _policy(lambda ratio, a: torch.min(ratio * a, ratio.clamp(max=1.2) * a)), (CLIP,),
         "above 1.2 alone"),
        ("not clipped from above",
         _policy(lambda ratio, a: torch.min(ratio * a, ratio.clamp(min=0.8) * a)), (CLIP,),
         "below 0.8 alone"),
        ("the min missing", _policy(lambda ratio, a: ratio.clamp(0.8, 1.2) * a), (CLIP,),
         "The minimum is missing"),
        ("the max", _policy(lambda ratio, a: torch.max(ratio * a, ratio.clamp(0.8, 1.2) * a)),
         (CLIP,), "The maximum is taken"),
        ("sign", lambda *case: -_policy(_clipped)(*case), (RATIO,), "sign is turned"),
        ("upside down", upside_down, (RATIO, CLIP, MEAN, GRADIENT), "upside down"),
        ("a logarithm", logs_for_ratio, (RATIO, CLIP, MEAN), "ratio's logarithm"),
        ("REINFORCE", reinforce, (RATIO, CLIP, MEAN), "REINFORCE"),
        ("mean over completions",
         _policy(_clipped, lambda g, mask: ((g * mask).sum(1) / mask.sum(1)).mean()), (MEAN,),
         "the mean over completions"),
        ("the sum", _policy(_clipped, lambda g, mask: (g * mask).sum()), (RATIO,),
         "the sum over the tokens"),
        ("divided by completions", _policy(_clipped, lambda g, mask: (g * mask).sum() / len(mask)),
         (RATIO, MEAN), "the number of completions"),
        ("padding counted", _policy(_clipped, lambda g, mask: g.mean()), (MEAN,),
         "The padding counts"),
        ("padding divided by", _policy(_clipped, lambda g, mask: (g * mask).mean()), (MEAN,),
         "still counted"),
        ("end token outside the mask", _policy(_clipped, without_end), (RATIO, CLIP, MEAN),
         "The last token"),
        ("rows for columns", of_rows, (RATIO, CLIP, MEAN, GRADIENT), "advantages[:, None]"),
        ("a number", lambda *case: _policy(_clipped)(*case).item(), (GRADIENT,), "no .item()"),
    ),
    *mutants_of(
        "lab5e.reverse_kl",
        ("forward", forward_kl, (WAY,), "the forward KL"),
        ("F.kl_div's order", by_kl_div, (WAY,), "the forward KL"),
        ("gradient into the teacher", into_the_teacher, (ALONE,), "into the teacher"),
        ("weights detached", weights_detached, (ALONE,), "the weights, are detached"),
        ("a number", lambda *case: _reverse(*case).item(), (ALONE,), "no .item()"),
        ("mean over the vocabulary", lambda s, t: _reverse(s, t) / s.shape[-1], (OVER,),
         "mean over the vocabulary"),
        ("sum over tokens", lambda s, t: _reverse(s, t) * len(s), (OVER,), "their mean is asked"),
        ("no entropy", without_entropy, (WAY, OVER), "entropy is missing"),
        ("wrong axis", over_the_text, (WAY, OVER), "expected"),
        ("sign", lambda *case: -_reverse(*case), (WAY, OVER), "The sign is turned"),
    ),
    *mutants_of(
        "lab5e.budget",
        ("2N for 6N", _budget(trained=2), (TRAINED,), "6 for each parameter, not 2"),
        ("backward alone", _budget(trained=4), (TRAINED,), "The backward pass alone"),
        ("teacher's tokens left out", _budget(wrote=0, read=0), (TEACHER,), "is not charged"),
        ("teacher's prompts left out", _budget(read=0), (TEACHER,), "What the teacher read"),
        ("student's prompts left out", _budget(asked=0), (STUDENT,), "What the student read"),
        ("own samples left out", _budget(said=0), (STUDENT,), "own samples are not charged"),
        ("tries not counted", one_try, (TRIES,), "Each setting that was tried"),
        ("tries to train alone", tries_to_train, (TRIES,), "Each setting that was tried"),
        ("the student's size", students_size, (TEACHER,), "each model has its own"),
        ("the teacher's size", teachers_size, (TRAINED, STUDENT), "trained on nothing"),
        ("six for all", _budget(6, 6, 6, 6), (STUDENT, TEACHER), "not 6"),
        ("one for two", _budget(1, 1, 1, 1), (STUDENT, TEACHER), "not 1"),
        ("tokens alone", tokens_alone, (TRAINED, STUDENT, TEACHER), "Tokens are counted here"),
    ),
)  # fmt: skip
