"""Wrong answers to Lab 5e as students write them, as in `wrong_answers`: the exercise, what they
did, the function, and words of what they must be told. The checks' own mutants are others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from wrong_answers import collector

from distill_lab.squad_scores import em, normalize_answer
from distill_lab.tasks.prompts import parse

WRONG, wrong = collector()


# -- reward


@wrong("lab5e.reward", "no return", "Each call gave None")
def _(completion, answers, ended):
    parsed = parse(completion)
    print(1.0 if ended and parsed and em(parsed.answer, answers) else 0.0, end="")


@wrong("lab5e.reward", "parse not asked for None", "Something is None here")
def _(completion, answers, ended):
    return 1.0 if ended and em(parse(completion).answer, answers) == 100 else 0.0  # pyright: ignore


@wrong("lab5e.reward", "em's percent", "not 100")
def _(completion, answers, ended):
    parsed = parse(completion)
    return em(parsed.answer, answers) if parsed and ended else 0.0


@wrong("lab5e.reward", "normalised in", "only contains the right one")
def _(completion, answers, ended):
    parsed = parse(completion)
    if not (parsed and ended):
        return 0.0
    said = normalize_answer(parsed.answer)
    return float(any(normalize_answer(answer) in said for answer in answers))


@wrong("lab5e.reward", "ended forgotten", "what was cut is worth nothing")
def _(completion, answers, ended):
    parsed = parse(completion)
    return float(parsed is not None and em(parsed.answer, answers) > 0)


@wrong("lab5e.reward", "the last tag alone", "the form is not")
def _(completion, answers, ended):
    said = completion.rpartition("<answer>")[2].partition("</answer>")[0]
    return float(ended and em(said, answers) == 100)


@wrong("lab5e.reward", "a text", "One number is asked for")
def _(completion, answers, ended):
    return "right"


# -- group_advantages


@wrong("lab5e.group_advantages", "no return", "Each call gave None")
def _(rewards):
    rewards - rewards.mean(1, keepdim=True)  # pyright: ignore


@wrong("lab5e.group_advantages", "no keepdim", "raised")
def _(rewards):
    return (rewards - rewards.mean(1)) / (rewards.std(1) + 1e-4)


@wrong("lab5e.group_advantages", "NaN to 0 alone", "Nearly 0 is not 0")
def _(rewards):
    centred = rewards - rewards.mean(1, keepdim=True)
    return (centred / rewards.std(1, keepdim=True)).nan_to_num(0.0)


@wrong("lab5e.group_advantages", "a fixed number for dead groups", "Nearly 0 is not 0")
def _(rewards):
    std = rewards.std(1, keepdim=True)
    return (rewards - rewards.mean(1, keepdim=True)) / torch.where(std > 0, std, 1.0)


@wrong("lab5e.group_advantages", "clamped at 0", "expected")
def _(rewards):
    scaled = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    return scaled.clamp(min=0)


@wrong("lab5e.group_advantages", "the largest for the mean", "expected")
def _(rewards):
    return (rewards - rewards.amax(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)


@wrong("lab5e.group_advantages", "PPO's habit", "of the whole batch")
def _(rewards):
    return (rewards - rewards.mean()) / (rewards.std() + 1e-8)


@wrong("lab5e.group_advantages", "one number", "A tensor of numbers is asked for")
def _(rewards):
    return 0.0


# -- policy_loss


@wrong("lab5e.policy_loss", "no return", "Each call gave None")
def _(log_p, old_log_p, advantages, mask):
    (log_p - old_log_p).exp() * advantages[:, None]  # pyright: ignore


@wrong("lab5e.policy_loss", "advantages of rows", "advantages[:, None]")
def _(log_p, old_log_p, advantages, mask):
    ratio = (log_p - old_log_p).exp()
    gain = torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    return -(gain * mask).sum() / mask.sum()


@wrong("lab5e.policy_loss", "the gain", "The sign is turned")
def _(log_p, old_log_p, advantages, mask):
    ratio, a = (log_p - old_log_p).exp(), advantages[:, None]
    return (torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a) * mask).sum() / mask.sum()


@wrong("lab5e.policy_loss", "DeepSeek's mean", "the mean over completions")
def _(log_p, old_log_p, advantages, mask):
    ratio, a = (log_p - old_log_p).exp(), advantages[:, None]
    gain = torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a) * mask
    return -(gain.sum(1) / mask.sum(1)).mean()


@wrong("lab5e.policy_loss", "clipped with a maximum", "above 1.2 alone")
def _(log_p, old_log_p, advantages, mask):
    ratio, a = (log_p - old_log_p).exp(), advantages[:, None]
    gain = torch.min(ratio * a, torch.clamp(ratio, max=1.2) * a)
    return -(gain * mask).sum() / mask.sum()


@wrong("lab5e.policy_loss", "the logs clipped", "expected")
def _(log_p, old_log_p, advantages, mask):
    difference, a = log_p - old_log_p, advantages[:, None]
    gain = torch.min(difference.exp() * a, difference.clamp(-0.2, 0.2).exp() * a)
    return -(gain * mask).sum() / mask.sum()


@wrong("lab5e.policy_loss", "one for each completion", "A tensor with one number is asked for")
def _(log_p, old_log_p, advantages, mask):
    ratio, a = (log_p - old_log_p).exp(), advantages[:, None]
    return -(torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a) * mask).sum(1) / mask.sum(1)


@wrong("lab5e.policy_loss", "detached", "The loss carries no gradient")
def _(log_p, old_log_p, advantages, mask):
    ratio, a = (log_p - old_log_p).exp().detach(), advantages[:, None]
    return -(torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a) * mask).sum() / mask.sum()


# -- reverse_kl


@wrong("lab5e.reverse_kl", "no return", "Each call gave None")
def _(student, teacher):
    student.softmax(-1) * (student.log_softmax(-1) - teacher.log_softmax(-1))  # pyright: ignore


@wrong("lab5e.reverse_kl", "F.kl_div as in Lab 5c", "the forward KL")
def _(student, teacher):
    p = teacher.detach().softmax(-1)
    return F.kl_div(student.log_softmax(-1), p, reduction="batchmean")


@wrong("lab5e.reverse_kl", "the mean of all", "mean over the vocabulary")
def _(student, teacher):
    log_q, log_p = student.log_softmax(-1), teacher.detach().log_softmax(-1)
    return (log_q.exp() * (log_q - log_p)).mean()


@wrong("lab5e.reverse_kl", "no sum at all", "one number is asked for")
def _(student, teacher):
    log_q, log_p = student.log_softmax(-1), teacher.detach().log_softmax(-1)
    return (log_q.exp() * (log_q - log_p)).sum(-1)


@wrong("lab5e.reverse_kl", "the cross-entropy", "entropy is missing")
def _(student, teacher):
    return -(student.softmax(-1) * teacher.detach().log_softmax(-1)).sum(-1).mean()


@wrong("lab5e.reverse_kl", "the student without a gradient", "no .item()")
def _(student, teacher):
    with torch.no_grad():
        log_q, log_p = student.log_softmax(-1), teacher.log_softmax(-1)
        return (log_q.exp() * (log_q - log_p)).sum(-1).mean()


@wrong("lab5e.reverse_kl", "logits for logarithms", "log_softmax first")
def _(student, teacher):
    return (student.softmax(-1) * (student - teacher.detach())).sum(-1).mean()


# -- budget


@wrong("lab5e.budget", "no return", "Each call gave None")
def _(teacher, student, tokens, tries):
    print(end="")


@wrong("lab5e.budget", "sampling is free", "samples are not charged")
def _(teacher, student, tokens, tries):
    return tries * (6 * student * tokens["trained"] + 2 * teacher * tokens["teacher_wrote"])


@wrong("lab5e.budget", "prompts forgotten", "What the teacher read is left out")
def _(teacher, student, tokens, tries):
    wrote = 2 * teacher * tokens["teacher_wrote"] + 2 * student * tokens["student_wrote"]
    return tries * (wrote + 2 * student * tokens["student_read"] + 6 * student * tokens["trained"])


@wrong("lab5e.budget", "two for all", "6 for each parameter, not 2")
def _(teacher, student, tokens, tries):
    of_teacher = tokens["teacher_wrote"] + tokens["teacher_read"]
    of_student = tokens["student_wrote"] + tokens["student_read"] + tokens["trained"]
    return 2 * tries * (teacher * of_teacher + student * of_student)


@wrong("lab5e.budget", "a name that there is not", "KeyError")
def _(teacher, student, tokens, tries):
    return tries * 2 * teacher * tokens["teacher"]


@wrong("lab5e.budget", "a try more", "Each setting that was tried")
def _(teacher, student, tokens, tries):
    of_teacher = 2 * teacher * (tokens["teacher_wrote"] + tokens["teacher_read"])
    of_student = 2 * student * (tokens["student_wrote"] + tokens["student_read"])
    return of_teacher + of_student + 6 * student * tokens["trained"] * tries
