# %% [markdown] id="title"
# # Lab 5e. Distillation against reinforcement learning
#
# {badge}
#
# *Why distil, if a small model could learn by itself?*
#
# DeepSeek-R1 learnt to reason by reinforcement learning (RL); its students learnt from R1's text. In table 6 the paper holds the
# two ways against each other on the same {setting:32}B model. This lab repeats that comparison in miniature, on one
# student, with an honest budget, and with two more ways that stand between the two:
#
# | arm | whose text does it learn from? | what does it hear about it? |
# |---|---|---|
# | `sft` | the teacher's, refused traces left out | the text itself |
# | `kd` | the same | the text, and the teacher's distribution at each token |
# | `rft` | its own, refused samples left out | the text itself; no teacher |
# | `grpo` | its own, all of it | one number for a whole sample; no teacher |
# | `on-policy` | its own, all of it | the teacher's distribution at each token |
#
# **Afterwards you can**
#
# 1. write a rule that rewards, and say what a student would do with a careless one;
# 2. say what a group teaches, and when it teaches nothing;
# 3. write GRPO's loss with its clip, and its average over tokens;
# 4. say what the reverse KL asks of a student, and what a reward leaves unsaid;
# 5. charge each arm for all that it took, and read table 6 with care.
#
# | profile | time |
# |---|---|
# | `tiny` | about {times.lab5e.minutes} minutes on two idle cores, no network |
# | `colab`, `cluster` | section 8 says what takes the place of what; we never ran them |
#
# [A companion text](reading/Reinforcement_Learning.md) says in ten minutes what RL means in R1, and what this lab leaves out.

# %% id="install" role="install"
# the install cell stands here

# %% id="setup" role="setup"
# NBVAL_IGNORE_OUTPUT
import torch
import torch.nn.functional as F

from distill_lab.checks import check, hint, or_ours
from distill_lab.notebook import begin, show, table

lab = begin()

# %% [markdown] id="about-table-6"
# ## 1. Table 6, and where we begin
#
# {paper.table-6}
#
# The second row was trained by RL alone, the third by SFT on R1's text. Both began as the same base model.
#
# *Your guess:* what would you have to know to say that the third row's way is also the cheaper one?
#
# RL learns from its own rewarded samples, so it must have some. The paper's base had, and began without help. Ours is right now
# and then, but hardly ever in the form: its rewards are {setting:0}, and nothing follows from them. So our student gets a **cold
# start**, as R1 did (for text that can be read, and a stable beginning): {setting:100} steps on the teacher's kept traces. All five arms
# begin with it, and it is charged to each. So `rft` and `grpo` have no teacher *after* the start; the RL of table 6 had none at all.

# %% id="start"
# NBVAL_IGNORE_OUTPUT
from distill_lab import own_samples, warmed_up

lab.run("data", "generate", "reject")
start, questions = warmed_up(lab), lab.questions[:16]
samples = own_samples(lab, start, questions, n=8)
print(questions[0].question, questions[0].answers, "", sep="\n")
for completion in samples[0][:3]:
    print(completion.finish, completion.text, "", sep="\n")

# %% [markdown] id="about-reward"
# ## 2. The reward
#
# For reasoning, R1's rewards are **rules**, for a learnt judge can be flattered (section 2.2.2): is the answer right, and is the form kept?
# A rule can be flattered too, if it is careless. A policy gradient makes likelier whatever is rewarded, and nobody reads along.
#
# So ours is the judge of rejection sampling: {setting:1} for what Lab 5b would keep, else {setting:0}. Three things must hold: the
# completion *ended* by itself; it is exactly one thought and one answer, with nothing around them; its answer is right. (The
# package asks a few more of its rules.)
#
# *Your guess:* if a completion that was cut off in the middle could be rewarded, what would the student learn?
#
# {exercise} Write `reward`.

# %% id="write-reward" role="exercise"
from distill_lab import parse
from distill_lab.squad_scores import em


def reward(completion: str, answers: list[str], ended: bool) -> float:
    """1.0 for a completion that ended, is well formed and has a right answer; else 0.0.

    parse(completion) is None where the form is broken; else its .answer is the text between the answer's tags.
    em(answer, answers) is 100 where it equals one of the answers as SQuAD compares them, else 0.
    """
    ### BEGIN SOLUTION
    parsed = parse(completion)
    if parsed is None or not ended:
        return 0.0
    return 1.0 if em(parsed.answer, answers) == 100 else 0.0
    ### END SOLUTION


# %% id="check-reward" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5e.reward", reward)

# %% [markdown] id="stretch-reward"
# <details><summary>Stretch goal, without points</summary>
#
# Write a reward as a careless author might, and the completion that gets the most out of it without reading the
# passage.
# </details>

# %% [markdown] id="about-groups"
# ## 3. Groups, and dead ones
#
# Is a reward of {setting:1} good? For a question that the student always answers, it is nothing new. So GRPO (*group relative
# policy optimisation*) samples each question several times, and holds a sample against its **group**:
#
# $$A_i = \frac{r_i - \mathrm{mean}(r)}{\mathrm{std}(r) + 10^{-4}}$$
#
# $A_i$ is the *advantage*. Where all rewards of a group are equal, there is nothing to be better than: all advantages are
# exactly {setting:0}, and the group is **dead**. It was paid for, and teaches nothing.
#
# *Your guess:* about a fifth of this student's samples are right. Of {setting:16} groups of {setting:8}, how many are dead?
#
# {exercise} Write `group_advantages`.

# %% id="write-advantages" role="exercise"
import torch


def group_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """The advantages (G, n) of rewards (G, n), a row for each group: (r - mean) / (std + 1e-4) over its row, and
    exactly 0 in a row whose rewards are all equal. The standard deviation is torch's default, by n - 1.
    """
    ### BEGIN SOLUTION
    centred = rewards - rewards.mean(1, keepdim=True)
    scaled = centred / (rewards.std(1, keepdim=True) + 1e-4)
    equal = rewards.amax(1, keepdim=True) == rewards.amin(1, keepdim=True)
    return scaled.masked_fill(equal, 0.0)
    ### END SOLUTION


# %% id="check-advantages" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5e.group_advantages", group_advantages)

# %% [markdown] id="stretch-advantages"
# <details><summary>Stretch goal, without points</summary>
#
# Leave out the division by the standard deviation, as the variant Dr. GRPO does. Which groups count for more
# than before: those that are nearly dead, or those that are half right?
# </details>

# %% id="groups"
# NBVAL_IGNORE_OUTPUT
from distill_lab import reward_groups

reward = or_ours("lab5e.reward", reward)
group_advantages = or_ours("lab5e.group_advantages", group_advantages)
rewards = [
    [reward(sample.text, list(question.answers), sample.finish == "stop") for sample in group]
    for question, group in zip(questions, samples, strict=True)
]
show(reward_groups(rewards))
advantages = group_advantages(torch.tensor(rewards))
print("advantages of the first group:", [round(a, 2) for a in advantages[0].tolist()])

# %% [markdown] id="about-policy-loss"
# If each sample of each question were right with a chance of one in five, {arithmetic:17} % of the groups of {setting:8} would be dead:
# all wrong, $0.8^8$. Questions differ, and on average that can only make it more ({setting:16} groups are few): one that is never
# answered is dead each time, however large its group.
#
# ## 4. The loss
#
# What is better than its group is to become likelier, token by token. The samples were drawn a moment ago, and several steps may
# be taken on them; so each token is weighed by the **ratio** of its probability now to that when it was drawn, and the
# ratio is *clipped*:
#
# $$L = -\frac{1}{N}\sum_{i,t} \min\big(\rho_{i,t}\,A_i,\; \mathrm{clip}(\rho_{i,t},\, 0.8,\, 1.2)\,A_i\big), \qquad \rho_{i,t} = \frac{p_\mathrm{now}}{p_\mathrm{then}}$$
#
# The minimum is pessimistic: the gradient ends where the ratio has already moved as A wants it, and only there. N counts the
# tokens of **all** completions: the mean over tokens (DAPO, arXiv 2503.14476). DeepSeek's own GRPO takes the mean of each
# completion first, so that a token of a long completion counts less, and long wrong ones get off lightly.
#
# *Your guess:* in the first step, `log_p` equals `old_log_p`. What is the loss of a group, and is its gradient {setting:0} too?
#
# {exercise} Write `policy_loss`.

# %% id="write-policy-loss" role="exercise"
import torch


def policy_loss(
    log_p: torch.Tensor, old_log_p: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """GRPO's clipped loss, a tensor with one number: a mean over all tokens of the batch.

    log_p, old_log_p: log-probabilities of the sampled tokens (B, T), now and when they were sampled. advantages: (B).
    mask: (B, T), 1 at a completion's tokens, its end token included, 0 at padding. The ratio is clipped to 0.8 and 1.2.
    """
    ### BEGIN SOLUTION
    ratio = (log_p - old_log_p).exp()  # (B, T)
    a = advantages[:, None]  # (B, 1)
    gain = torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a)
    return -(gain * mask).sum() / mask.sum()
    ### END SOLUTION


# %% id="check-policy-loss" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5e.policy_loss", policy_loss)

# %% [markdown] id="stretch-policy-loss"
# <details><summary>Stretch goal, without points</summary>
#
# Take the mean of each completion first, as DeepSeek's GRPO does, and give both losses a batch with one long wrong
# completion. Whose gradient at its tokens is larger?
# </details>

# %% id="clip"
# NBVAL_IGNORE_OUTPUT
from distill_lab import clipped_losses

policy_loss = or_ours("lab5e.policy_loss", policy_loss)
ratios, one = [r / 50 for r in range(20, 81)], torch.ones(1, 1)
better, worse = (
    [policy_loss((r * one).log(), 0 * one, a * one[0], one).item() for r in ratios] for a in (1, -1)
)
show(clipped_losses(ratios, better, worse))

# %% [markdown] id="about-live"
# "The loss is {setting:0}, nothing is learnt" is often said of GRPO. At ratio {setting:1} the loss of a group whose completions are
# equally long is {setting:0}, because its advantages add up to {setting:0}; with a mean over tokens, unequal lengths move it a little, either
# way. Its gradient is not {setting:0}. Watch the reward, never the loss. (Below, and in the study, each sample is trained on once: the
# ratio is {setting:1}, and nothing is clipped.)
#
# ## 5. Live: your three functions train a student
#
# {setting:12} optimiser steps, {setting:8} questions a step, {setting:8} samples of each.
#
# *Your guess:* does the reward rise? What share of the groups is dead?

# %% id="live"
# NBVAL_IGNORE_OUTPUT
from distill_lab import grpo_with, live_steps

student = warmed_up(lab)  # the same start again: training changes a model
steps = grpo_with(reward, group_advantages, policy_loss, lab, student, steps=12)
show(live_steps(steps))
sampled, dead = (sum(row[name] for row in steps) for name in ("sampled", "dead"))
print(f"{sampled:,.0f} tokens sampled; {dead / len(steps):.0%} of all groups were dead")

# %% [markdown] id="about-before-after"
# On `tiny` {cells.grpo.dead} % of the groups were dead, where a fifth for each question would make {arithmetic:17} %. They cost as much as
# the others.
#
# Each dot is {setting:64} samples of other questions than the dot before it: most of what you see is chance. So ask both models the
# same held-out questions.
#
# *Your guess:* will the interval of the *difference*, question by question, hold {setting:0}?

# %% id="before-after"
# NBVAL_IGNORE_OUTPUT
from distill_lab import bootstrap_interval, compared

held_out, right = lab.eval_questions[:60], {}
for name, model in (("the start", start), ("after 12 steps", student)):
    right[name] = [
        100 * sum(reward(s.text, list(q.answers), s.finish == "stop") for s in group) / len(group)
        for q, group in zip(held_out, own_samples(lab, model, held_out, n=4), strict=True)
    ]
show(compared(right, "samples that are rewarded, percent"))
minus = [after - before for before, after in zip(*right.values(), strict=True)]
low, high = bootstrap_interval(minus)
print(f"the difference: {sum(minus) / len(minus):+.1f} ({low:+.1f} to {high:+.1f}, 95 % interval)")

# %% [markdown] id="about-dense"
# Whatever you see here is one seed, few steps and one learning rate, and allows no conclusion about GRPO. Section 7 has more of
# all three.
#
# ## 6. What a reward leaves unsaid
#
# A reward says *right* or *wrong*: one number for a whole sample. Which of its tokens was to blame, it does not say. A teacher
# can: it reads the student's own sample, and has a distribution at each token. **On-policy distillation** (Agarwal et al. 2024;
# Thinking Machines 2025) pulls the student towards it there, usually by the **reverse KL**:
#
# $$\mathrm{KL}(q\,\|\,p) = \sum_v q_v\,(\log q_v - \log p_v), \qquad q: \text{student}, \; p: \text{teacher}$$
#
# The student's own probabilities weigh it, for it is the student who writes.
#
# *Your guess:* the student wrote a wrong answer. At which of its tokens is the reverse KL large?
#
# {exercise} Write `reverse_kl`.

# %% id="write-reverse-kl" role="exercise"
import torch


def reverse_kl(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """KL(student || teacher), a tensor with one number: a sum over the vocabulary, and a mean over the N tokens.

    student, teacher: logits (N, V). The teacher is given: no gradient may flow into it.
    """
    ### BEGIN SOLUTION
    log_q = student.log_softmax(-1)
    log_p = teacher.detach().log_softmax(-1)
    return (log_q.exp() * (log_q - log_p)).sum(-1).mean()
    ### END SOLUTION


# %% id="check-reverse-kl" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5e.reverse_kl", reverse_kl)

# %% [markdown] id="stretch-reverse-kl"
# <details><summary>Stretch goal, without points</summary>
#
# Nobody needs the whole vocabulary: take, at each sampled token, the difference of the two log-probabilities. How far
# is its mean from your number for one sample, and how far for many?
# </details>

# %% id="blame"
# NBVAL_IGNORE_OUTPUT
from distill_lab import blamed_tokens, hesitations, parse

reverse_kl = or_ours("lab5e.reverse_kl", reverse_kl)
wrong = next(
    (question, sample)
    for question, group, given in zip(questions, samples, rewards, strict=True)
    for sample, r in zip(group, given, strict=True) if r == 0 and parse(sample.text)
)  # fmt: skip
tokens, z_student, z_teacher = blamed_tokens(lab, start, *wrong)  # (N), (N, V), (N, V)
kls = [reverse_kl(z_student[[i]], z_teacher[[i]]).item() for i in range(len(tokens))]
show(hesitations(tokens, kls, what="the reverse KL"))
print("right:", wrong[0].answers[0], "   reward: 0")

# %% [markdown] id="about-modes"
# A reward of {setting:0} blames all of these tokens alike. The KL blames those at which the teacher would have gone on
# otherwise, and says how.
#
# Why *reverse*? Here a student that can only have one bump is fitted to a teacher that has two, once by each KL; both begin at the
# same place.
#
# *Your guess:* where does each put its bump?

# %% id="modes"
# NBVAL_IGNORE_OUTPUT
from distill_lab import fitted, fitted_bump

v = torch.arange(14.0)
teacher = torch.logaddexp(0.4 - (v - 3) ** 2 / 1.5, -((v - 10) ** 2) / 1.5)[None]  # logits (1, V)


def forward_kl(student, teacher):
    return F.kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction="batchmean")


bumps = {"forward KL": fitted_bump(teacher, forward_kl)}
bumps["reverse KL"] = fitted_bump(teacher, reverse_kl)
show(fitted(teacher.softmax(-1)[0].tolist(), bumps))

# %% [markdown] id="about-budget"
# The forward KL asks for something wherever the teacher has something; so a student that is too small for that also says what
# lies between. The reverse KL asks only that what the *student* says be likely for the teacher: better one way well than two
# half. (Which of the two it takes depends on where it begins.)
#
# ## 7. What did it take, and what did it bring?
#
# Table 6 says nothing of what its two rows cost. We charge each arm for all tokens, as is usual (arXiv 2001.08361): a token
# that goes forward through N parameters costs $2N$ operations, one that is trained on $6N$, forward and backward. Who samples
# pays for that, also for the teacher, also for prompts; and who tried several settings pays for each.
#
# *Your guess:* which arm pays most for sampling, for each token that it trains on?
#
# {exercise} Write `budget`.


# %% id="write-budget" role="exercise"
def budget(teacher: int, student: int, tokens: dict[str, int], tries: int) -> float:
    """Floating-point operations of an arm, all tries together.

    teacher, student: parameters of the two models. tokens, of one try: teacher_wrote, teacher_read (its prompts, and
    what it scores), student_wrote, student_read (its prompts), trained. A token that is written or read costs 2 for
    each parameter of the model that does so; a token that the student is trained on costs 6. tries: how many settings
    were tried; each took the same again.
    """
    ### BEGIN SOLUTION
    of_teacher = 2 * teacher * (tokens["teacher_wrote"] + tokens["teacher_read"])
    of_student = 2 * student * (tokens["student_wrote"] + tokens["student_read"])
    return tries * (of_teacher + of_student + 6 * student * tokens["trained"])
    ### END SOLUTION


# %% id="check-budget" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5e.budget", budget)

# %% [markdown] id="stretch-budget"
# <details><summary>Stretch goal, without points</summary>
#
# Charge the arms that have a teacher for the teacher's own training. How many students must share it until distillation
# is the cheaper way again?
# </details>

# %% [markdown] id="guess-study"
# Now the long comparison, a study that comes with the course: all five arms from one start, the same questions, judge and
# decoder, {found.compare-sft-grpo.seeds} seeds, {setting:1,000} held-out questions. How many steps each arm takes was set so that
# all take about as many operations, and each arm's learning rate was chosen on other questions, from {setting:5} for each and with one
# seed (the study `compare-rates`); nothing else was tuned. The table charges the last try alone, and all {setting:5} take about five times as
# much. Seconds are those of one machine that did other things too: do not compare them.
#
# Your function charges them again: the last column holds what it says over what the study says, and is {arithmetic:1.00} if both
# agree. *Trained* counts all tokens of a text, its prompt too; and each row contains the start (its traces, and its {setting:100} steps).
#
# *Your guess:* the order of the five arms in EM, and whether any is below the start.

# %% id="study-budgets"
# NBVAL_IGNORE_OUTPUT
from distill_lab import bundled_sizes, study_means

budget, rows = or_ours("lab5e.budget", budget), []
print("parameters of teacher and student:", *(f"{n:,}" for n in bundled_sizes()))
counts = "teacher_wrote teacher_read student_wrote student_read trained".split()
for arm, mean in study_means("compare").items():
    if "trained" not in mean:
        continue  # the start, the base and the teacher
    tokens = {name: round(mean[name]) for name in counts}
    flops = budget(*bundled_sizes(), tokens, 1)
    shown = [f"{tokens[name] / 1000:,.0f}" for name in counts]
    rows.append((arm, *shown, f"{flops:.2e}", f"{flops / mean['flops']:.2f}"))
table(rows, ("arm, thousand tokens", *(n.replace("_", " ") for n in counts), "operations", "check"))

# %% id="study-pictures"
# NBVAL_IGNORE_OUTPUT
from distill_lab import study_pictures

names = ("em", "em:one-fact", "em:two-fact", "pass@1", "pass@4")
rows = [
    (who, *(f"{mean[name]:.1f}" if name in mean else None for name in names))
    for who, mean in study_means("compare").items()
]
table(rows, ("model", "EM, greedy", "one fact", "two facts", "pass@1", "pass@4"))
show(*study_pictures("compare", "findings", "budgets"))

# %% [markdown] id="about-findings"
# For each token that it trains on, `rft` pays most for sampling; if you count the teacher's scoring too, `on-policy` does.
#
# What was found, in points of EM. The interval is over passages, with the {found.compare-grpo-start.seeds} seeds averaged; one that contains
# {setting:0} says that it may be chance. Seeds are few, and the small marks in the picture are they: `grpo` minus the start goes from
# {found.compare-grpo-start.least} to {found.compare-grpo-start.most}, and the best of these is the seed with which the rates were chosen. All seeds share one start.
#
# | | difference | {setting:95} % interval |
# |---|---|---|
# | `sft` minus the start | {found.compare-sft-start} | {found.compare-sft-start.low} to {found.compare-sft-start.high} |
# | `kd` minus the start | {found.compare-kd-start} | {found.compare-kd-start.low} to {found.compare-kd-start.high} |
# | `rft` minus the start | {found.compare-rft-start} | {found.compare-rft-start.low} to {found.compare-rft-start.high} |
# | `grpo` minus the start | {found.compare-grpo-start} | {found.compare-grpo-start.low} to {found.compare-grpo-start.high} |
# | `on-policy` minus the start | {found.compare-on-policy-start} | {found.compare-on-policy-start.low} to {found.compare-on-policy-start.high} |
# | `sft` minus `grpo`: table 6 in miniature | {found.compare-sft-grpo} | {found.compare-sft-grpo.low} to {found.compare-sft-grpo.high} |
# | `on-policy` minus `grpo`: own samples in both, dense or sparse | {found.compare-on-policy-grpo} | {found.compare-on-policy-grpo.low} to {found.compare-on-policy-grpo.high} |
# | `on-policy` minus `sft`: a teacher in both, own samples or its | {found.compare-on-policy-sft} | {found.compare-on-policy-sft.low} to {found.compare-on-policy-sft.high} |
# | `rft` minus `grpo`: no teacher in either after the start, right samples alone or all against their group | {found.compare-rft-grpo} | {found.compare-rft-grpo.low} to {found.compare-rft-grpo.high} |
#
# Read it row by row. No row changes one thing alone: for about as many operations the arms took {setting:280} (`sft`), {setting:245}
# (`kd`), {setting:190} (`rft`), {setting:68} (`grpo`) and {setting:45} (`on-policy`) steps, each at its own learning rate, and `sft` and
# `kd` read {setting:16} texts a step, the others {setting:64}. A row says who came further here, and not why. Was your order right?
#
# The mean hides two movements. On questions of one fact and of two, the start has {study.compare.start.em-one-fact} and
# {study.compare.start.em-two-fact} EM, `grpo` {study.compare.grpo.em-one-fact} and {study.compare.grpo.em-two-fact}, `on-policy` {study.compare.on-policy.em-one-fact} and {study.compare.on-policy.em-two-fact}:
# one gave up part of what it could for what it could not, the other became better at what it could.
#
# EM is of greedy answers. With sampled ones, pass@1 is how many of them are right, and pass@4 how many questions have a right one
# among four. Whoever only makes likelier what was likely already gains in pass@1 more than in pass@4. The converse does not hold:
# `sft` too gains more in pass@1, and has clearly learnt something new.
#
# | minus the start | pass@1 | pass@4 |
# |---|---|---|
# | `sft` | {found.compare-sft-pass1} ({found.compare-sft-pass1.low} to {found.compare-sft-pass1.high}) | {found.compare-sft-pass4} ({found.compare-sft-pass4.low} to {found.compare-sft-pass4.high}) |
# | `rft` | {found.compare-rft-pass1} ({found.compare-rft-pass1.low} to {found.compare-rft-pass1.high}) | {found.compare-rft-pass4} ({found.compare-rft-pass4.low} to {found.compare-rft-pass4.high}) |
# | `grpo` | {found.compare-grpo-pass1} ({found.compare-grpo-pass1.low} to {found.compare-grpo-pass1.high}) | {found.compare-grpo-pass4} ({found.compare-grpo-pass4.low} to {found.compare-grpo-pass4.high}) |
# | `on-policy` | {found.compare-on-policy-pass1} ({found.compare-on-policy-pass1.low} to {found.compare-on-policy-pass1.high}) | {found.compare-on-policy-pass4} ({found.compare-on-policy-pass4.low} to {found.compare-on-policy-pass4.high}) |
#
# `on-policy` is such a case: what it gains with four samples may be chance. `grpo` is none, it gains in both.
#
# On the *teacher's* held-out text the forward KL of `on-policy` to the teacher changed by {found.compare-on-policy-kl:.2f} nats a token
# ({found.compare-on-policy-kl.low:.2f} to {found.compare-on-policy-kl.high:.2f}): it grew. A reverse KL allows that, as your bump shows. But it is not proven to be the
# cause: from {study.compare.start.kl:.2f} at the start, `rft` and `grpo`, which know no KL, came to {study.compare.rft.kl:.2f} and {study.compare.grpo.kl:.2f}. All three learn from their own
# text.
#
# **What may be held against table 6?**
#
# | | the paper | here | may it be compared? |
# |---|---|---|---|
# | which is ahead, SFT or RL | SFT, on all four benchmarks of which both have a score | the row *table 6 in miniature* | yes, as a direction |
# | where RL begins | at the base | at {setting:100} steps on the teacher's traces | no |
# | by how much | {paper.R1-Zero-Qwen-32B.aime_pass1} and {paper.Qwen-32B.aime_pass1} (AIME) | points of EM | no: other tasks, other models |
# | the budget | not given: over {cited:10,000} steps of RL, {paper.samples} traces for SFT | about the same operations | no: the paper's are unequal |
# | the teacher | R1, far larger than its students, and its own training not charged | not charged either | both count it as given |
# | settings tried | not given | as many for each arm | no |
# | seeds, intervals | none | in the pictures | no |
#
# One pair of tiny models says nothing about what RL can do for a large one. What each has to learn from differs: a teacher's text
# holds a right answer for nearly every question, and a reward is silent wherever the student is never right. That alone is not the
# gap: `rft` hears the same reward, and comes further than `grpo`.
#
# ## 8. With TRL, and on a GPU
#
# You wrote about twenty lines. This is the same arm with TRL's trainer; `training/trl_grpo.py` of the package sets what its defaults
# would spoil, and its losses equal ours:
#
# ```python
# from trl import GRPOConfig, GRPOTrainer
#
# args = GRPOConfig(
#     num_generations=8, max_completion_length=96, temperature=1.0,
#     loss_type="dapo",        # the mean over tokens; "grpo" averages completions, "dr_grpo" divides by the longest that is allowed
#     scale_rewards="group",   # "none" for Dr. GRPO: dr_grpo alone does not switch it off
#     epsilon=0.2, beta=0.0,   # beta > 0 adds a KL to the start, and keeps a second model
#     learning_rate=3e-4, per_device_train_batch_size=64, max_steps=12,
#     bf16=False, gradient_checkpointing=False, use_cpu=True,  # on a CPU: its defaults are a GPU's
# )
# GRPOTrainer(model, reward_funcs=[reward_of_each], args=args, train_dataset=prompts, processing_class=tokenizer).train()
# ```
#
# Three traps: TRL decodes completions without special tokens, so tags must be ordinary ones or every form is broken; its
# `frac_reward_zero_std` misses dead groups at rewards such as {setting:0.2}, the float trap of your exercise; and its end is an
# end token alone, so that text after `</answer>` belongs to the completion.
#
# On a free T4, Unsloth loads the student in {setting:4} bits, with vLLM beside it on the same card (*colocated*) to do the sampling:
#
# ```python
# from unsloth import FastLanguageModel  # before trl and transformers
#
# model, tokenizer = FastLanguageModel.from_pretrained(
#     "unsloth/Qwen2.5-0.5B-Instruct", max_seq_length=1024, load_in_4bit=True,
#     fast_inference=True,  # vLLM, colocated
#     max_lora_rank=16, gpu_memory_utilization=0.5,
# )
# model = FastLanguageModel.get_peft_model(model, r=16, lora_alpha=16, use_gradient_checkpointing="unsloth")
# ```
#
# and then the same `GRPOTrainer`, without the line for CPUs, with `fp16=True` (a T4 has no bfloat16) and a learning rate of
# about `5e-6`. We checked each keyword against the released sources, and never ran it: we had no GPU.

# %% [markdown] id="summary"
# ## Summary
#
# - A reward is a rule that will be exploited wherever it is careless: ended, well formed, right, and nothing for a part of it.
# - A group whose rewards are all alike teaches nothing, and was paid for. Count the dead ones by the rewards themselves.
# - The clip is pessimistic, its mean runs over tokens, and a loss of {setting:0} says nothing: watch the reward.
# - A reward is one number for a sample; a teacher's distribution is a thousand for each token. On-policy distillation has the
#   teacher's word on the student's own text.
# - A comparison needs one start, one judge, one budget with everything charged, as many tries for each arm, and intervals.
#
# ## Three questions to test yourself
#
# <details><summary>Your student's reward rises steadily, and its EM on held-out questions falls. What would you look at first?</summary>
#
# The samples. The reward pays for something that the evaluation does not: the form alone, answers that list every name, text that
# was cut. Read ten of them.
# </details>
#
# <details><summary>All groups of your first fifty steps are dead. What can you change?</summary>
#
# The start (a few worked examples), or the questions (those that are answered now and then). A larger learning rate changes nothing:
# a gradient of {setting:0} stays {setting:0}.
# </details>
#
# <details><summary>A paper says: RL with {setting:8} tuned settings beats SFT with one, at equal FLOPs of the final runs. Which two things are missing?</summary>
#
# The other {arithmetic:7} runs of RL, which were paid for; and {arithmetic:7} other settings of SFT, which nobody tried.
# </details>
#
# **Next:** Lab 6: which weights does nobody miss?

# %% [markdown] id="about-before-submitting"
# ## Before you hand in
#
# Save the notebook first (Ctrl+S or ⌘S): in Jupyter, this cell reads the file as you last saved it. It lists what you
# should look at first: an exercise that is missing or not begun, a check that was changed, results that are older than
# their code.

# %% id="before-submitting"
# NBVAL_IGNORE_OUTPUT
from distill_lab.checks import before_submitting

before_submitting()
