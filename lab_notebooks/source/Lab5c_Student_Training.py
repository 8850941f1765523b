# %% [markdown] id="title"
# # Lab 5c. Student training
#
# {badge}
#
# *What do soft targets carry that text does not?*
#
# The traces are kept; now two students learn from them. `sft` learns from their text alone, which is **what DeepSeek-R1
# did** (section 2.4). `kd` also learns from the teacher's probabilities, softened by a temperature: Hinton, Vinyals and
# Dean (2015), an extension that this course adds. R1's distillation used no KL. (The reinforcement learning that made R1
# did use one, to keep the model close to a reference policy: that is another KL, between another pair of models.)
#
# **Afterwards you can**
#
# 1. say what a softened distribution shows that its likeliest token hides;
# 2. write labels that are shifted and masked, and the distillation loss with its T²;
# 3. read CE and KL curves, and say what two students trained with the same budget allow you to conclude;
# 4. weigh what a cache of the teacher costs against what it loses;
# 5. name five bugs that were published in well-known libraries, and the test that catches each.
#
# | profile | time | memory |
# |---|---|---|
# | `tiny` | {times.lab5c.minutes} minutes, of which training takes one or two | {times.train.gb} GB |
# | `cpu` | about {times.cpu.minutes} minutes on two cores, the teacher's answers included | {times.cpu.gb} GB |
# | `colab`, `cluster` | `distill-lab doctor --profile colab` predicts both; we never ran them | one GPU, or more |

# %% id="install" role="install"
# the install cell stands here

# %% id="setup" role="setup"
# NBVAL_IGNORE_OUTPUT
import torch
import torch.nn.functional as F

from distill_lab import distillation, plots, softened
from distill_lab.checks import check, hint, museum, or_ours
from distill_lab.notebook import begin, show, slider, table

lab = begin()

# %% [markdown] id="dark"
# ## 1. Dark knowledge, on three words
#
# Something howls in the night. What is it? A teacher gives *wolf* the logit {setting:8}, *dog* {setting:4} and *car*
# {setting:0}. The text of its answer says "wolf", and nothing else. The text does not say that a dog would be a far better
# mistake than a car: Hinton calls this **dark knowledge**. Dividing the logits by a temperature T before the softmax makes
# it visible.
#
# *Your guess:* at T = 1 the dog has … %, at T = 4 it has … %.

# %% id="three-words"
# NBVAL_IGNORE_OUTPUT
logits = torch.tensor([8.0, 4.0, 0.0])
at = {T: distillation.soften(logits, T).exp().tolist() for T in (1, 2, 4, 8)}
show(softened(["wolf", "dog", "car"], at))

# %% [markdown] id="labels"
# The order never changes; the differences shrink. At T = 1, wolf and the other two share {arithmetic:98} to
# {arithmetic:2}, and a student that learns from this learns little more than "wolf". At T = 8 a car howls in one night out
# of five, which is not knowledge either. What we want lies in between. Was your guess right, and if not, why?
#
# ## 2. Which positions the student learns from
#
# A language model that has read positions `0` to `i` predicts the token at `i + 1`. So the labels of a row are its
# tokens, **shifted** by one. Only what the student is to write counts, so all other labels are **masked** with `-100`,
# which the cross-entropy leaves out:
#
# | position | {setting:0 | 1 | 2 | 3 | 4 | 5 | 6} |
# |---|---|---|---|---|---|---|---|
# | ids | prompt | prompt | Rome | `</answer>` | end | pad | pad |
# | label | `-100` | Rome | `</answer>` | end | `-100` | `-100` | `-100` |
#
# Note two things: the last *prompt* token predicts "Rome", and the end token **is** learnt (otherwise the student never
# stops).
#
# *Your guess:* many tokenizers have no padding token, so the end token serves as both. What goes wrong if the code
# recognises padding by its id?
#
# {exercise} Write `completion_labels`. (Stuck? Run `hint("lab5c.completion_labels")` in a cell of your own.)

# %% id="write-labels" role="exercise"
import numpy as np
import torch


def completion_labels(
    ids: list[int], prompt_length: int, pad_id: int, attention_mask: list[int]
) -> list[int]:
    """The labels of one row, a list as long as `ids`: at each position the token that comes next, and -100 where
    that token is none of the completion.

    ids: prompt, completion (with its end token, unless it was cut), padding. attention_mask: 1 on prompt and
    completion, 0 on padding. pad_id: what the padding holds; it may be the end token's id too.
    """
    ### BEGIN SOLUTION
    labels = []
    for i in range(1, len(ids)):
        in_completion = i >= prompt_length and attention_mask[i]
        labels.append(ids[i] if in_completion else -100)
    return [*labels, -100]  # nothing comes after the last position
    ### END SOLUTION


# %% id="check-labels" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5c.completion_labels", completion_labels)

# %% [markdown] id="stretch-labels"
# <details><summary>Stretch goal, without points</summary>
#
# Pack two examples into one row, one behind the other, as large trainings do. Which labels change, and what must the
# second example not be able to read?
# </details>

# %% [markdown] id="objective"
# ## 3. The loss
#
# $$L = (1-\alpha)\;\mathrm{CE}(y) \;+\; \alpha\,T^2\;\mathrm{KL}\big(\,\mathrm{softmax}(z_\mathrm{teacher}/T)\,\|\,\mathrm{softmax}(z_\mathrm{student}/T)\,\big)$$
#
# with $\mathrm{KL}(p\,\|\,q)=\sum_v p_v\,(\log p_v-\log q_v)$, a sum over the vocabulary, and the **mean** over the N
# tokens of the completion. CE is the student's ordinary one, without T; $y$ are the `targets`. α = 0 is the paper's SFT. The
# teacher is given and is not trained: no gradient may flow into it. A softmax over many thousand tokens needs float32, whatever
# type the logits have. Logits may be ±{setting:500}: no NaN.
#
# *Your guess:* teacher and student are identical, and α = 1. The loss is …
#
# {exercise} Write `kd_loss`.

# %% id="write-loss" role="exercise"
import torch
import torch.nn.functional as F


def kd_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    targets: torch.Tensor,
    alpha: float,
    temperature: float,
) -> torch.Tensor:
    """The distillation loss, a tensor with one number.

    student, teacher: logits (N, V), perhaps in float16. targets: the tokens (N) that the text has there.
    """
    ### BEGIN SOLUTION
    student, teacher = student.float(), teacher.detach().float()
    ce = F.cross_entropy(student, targets)
    log_p = F.log_softmax(teacher / temperature, dim=-1)  # (N, V)
    log_q = F.log_softmax(student / temperature, dim=-1)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1).mean()
    return (1 - alpha) * ce + alpha * temperature**2 * kl
    ### END SOLUTION


# %% id="check-loss" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5c.kd_loss", kd_loss)

# %% [markdown] id="stretch-loss"
# <details><summary>Stretch goal, without points</summary>
#
# Turn the KL round, so that the student's probabilities weigh it (reverse KL). After section 4: at which tokens of the
# teacher's traces do the two differ most?
# </details>

# %% id="use-loss"
# NBVAL_IGNORE_OUTPUT
kd_loss = or_ours("lab5c.kd_loss", kd_loss)

# %% [markdown] id="about-surface"
# What does α weigh? Take the three words again, with a less certain teacher (its logits are {setting:2}, {setting:1.2} and
# {setting:0}). A student's distribution over them is a point: to the right the share of *wolf*, upwards that of *dog*, and the
# car has what is left. The darker the blue, the lower **your** loss, for one token where the text says "wolf"; the dot is its
# lowest point, and the cross is where the teacher stands (at T = 1). Move α, or look at the four panels. (With `ipywidgets` there
# is a slider below; Colab has it.) The grid ends just before the corners, where one share is {setting:0}.
#
# *Your guess:* where is the lowest point at α = 0, and where at α = 1? Does it move in a straight line?

# %% id="move-alpha"
# NBVAL_IGNORE_OUTPUT
from distill_lab import loss_surface

of_teacher = torch.tensor([2.0, 1.2, 0.0])
surface = loss_surface(kd_loss, of_teacher, ["wolf", "dog", "car"])
slider(surface, "α", [0, 0.1, 0.25, 0.33, 0.5, 0.67, 0.75, 0.9, 1])

# %% [markdown] id="training"
# It does move in a straight line, from the corner "wolf" to the teacher, α of the way: up to a constant, the loss is the
# cross-entropy with the target $(1-\alpha)\cdot\mathrm{text}+\alpha\cdot\mathrm{teacher}$. (At T = 1. With a higher T the
# teacher's end is the same place, but on the way there the two terms pull with other strengths.)
#
# ## 4. Two students, one budget
#
# Both students start from the same base and see the same examples in the same order, for the same number of steps, at the
# same learning rate. On `tiny` this takes one to two minutes and {times.train.gb} GB. What Labs 5a and 5b made is not made
# again, and a run that was stopped resumes where it stopped.
#
# *Your guess:* which student ends with the lower cross-entropy on these examples: `sft`, which minimises nothing else, or
# `kd`?

# %% id="train"
# NBVAL_IGNORE_OUTPUT
lab.run("data", "generate", "reject", "train")

# %% [markdown] id="real-dark"
# Before we look at the students: does *our* teacher have dark knowledge? We let it read about {setting:16} of its own kept
# traces, take its probabilities at every token, and look at the token where it was least certain (a few seconds).
#
# *Your guess:* between how many tokens does the teacher hesitate?

# %% id="real-logits"
# NBVAL_IGNORE_OUTPUT
from distill_lab import completion_logits, encode_examples

teacher, base = lab.model("teacher"), lab.model("base")
examples = lab.examples[:: max(1, len(lab.examples) // 16)]
longest, shots = lab.config.train.max_length, lab.config.models.teacher_shots
encoded = encode_examples(examples, base.tokenizer, longest, teacher.tokenizer, shots)
z_base, z_teacher, targets = completion_logits(base, teacher, encoded)  # (N, V), (N, V), (N)
unsure = torch.special.entr(z_teacher.softmax(-1)).sum(-1).argmax()
top = z_teacher[unsure].topk(4).indices
p = {T: distillation.soften(z_teacher[unsure], T).exp()[top].tolist() for T in (1, 2)}
show(softened(teacher.tokenizer.batch_decode(top[:, None]), p))
print(teacher.tokenizer.decode(targets[max(0, unsure - 8) : unsure]), "▮")
print(f"of {len(targets)} tokens; here the text says {teacher.tokenizer.decode(targets[unsure])!r}")

# %% [markdown] id="about-moving"
# Now move T on this very token. The six likeliest tokens keep their order, and the orange bar takes the rest of the vocabulary
# together. *Your guess:* from which T on do the tokens that nobody would say have more than half?

# %% id="move-t"
# NBVAL_IGNORE_OUTPUT
from distill_lab import likeliest_tokens

at_token = likeliest_tokens(z_teacher[unsure], lambda token: teacher.tokenizer.decode([token]))
slider(at_token, "T", [0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12])

# %% [markdown] id="guess-hesitations"
# On `tiny` that is from just above T = 1.5 on. A KL at a high T asks a student to copy mostly how the teacher orders what it
# would hardly ever say. At this token even T = 2, at which `kd` trains, does so; at T = 1 the KL asks mostly for the choice
# between a few. (At most other tokens the teacher is far surer.)
#
# Is the hesitation an error? Mostly not. The question is who the mayor of Orstead is, and "Calna …", "the mayor of Orstead is …" and
# "Orstead …" may all go on rightly: taste, not error. Only from the fourth token on do names begin that are not asked for.
#
# The text had to choose one of them. A student that learns from text must see the other ways in other traces, and infer their
# shares; a student that learns from the distribution sees all of them at once.
#
# That was one token. Now all tokens of one trace: the higher the bar, the less sure the teacher was.
#
# *Your guess:* at how many tokens in a hundred is the teacher's likeliest token another one than the text has?

# %% id="hesitations"
# NBVAL_IGNORE_OUTPUT
from distill_lab import hesitations

entropies = torch.special.entr(z_teacher.softmax(-1)).sum(-1)  # nats
first = targets[: len(encoded[0].completion)]
tokens = [teacher.tokenizer.decode([token]) for token in first.tolist()]
show(hesitations(tokens, entropies[: len(first)].tolist()))
other = (z_teacher.argmax(-1) != targets).float().mean()
print(
    f"all traces: {entropies.mean():.2f} nats a token; text and likeliest token differ at {other:.1%}"
)

# %% [markdown] id="t-squared"
# On `tiny` text and likeliest token differ at {cells.hesitation.other} % of the tokens. The teacher hesitates in three sorts of places. How to begin
# or go on ("The", "I", "And") and how to word a fact ("was taught by", "learnt everything from") are matters of taste: every
# choice is right. *Whose* fact it is, is not; there the second choice is mostly another name of the passage, not one of the
# hundreds of names that are not in it. The text of a kept trace is silent about that: it has the right name. The distribution
# says how sure the teacher was, and with whom it confused the right one. Whether that helps a student or spoils it, no
# single run can tell. Everywhere else the teacher is nearly certain, and has nothing to add to the text.
#
# ## 5. Drop T², and see
#
# Softened distributions are closer to each other, so their KL pulls less: its gradient falls as $1/T^2$ (one $1/T$ comes
# from the chain rule, the other from the difference of the softened probabilities, once T is large). T² puts that back, so
# that α has about the same weight at high T as at low T. Only about, because T changes other quantities too, as you are
# about to see. Here we compute the gradient of your loss, with base as the student; without T² it is the same number
# divided by T².
#
# *Your guess:* from T = 1 to T = 32 the gradient without T² becomes … times smaller.

# %% id="gradient-norm"
# NBVAL_IGNORE_OUTPUT
from distill_lab import gradient_norms

temperatures, norms = [1, 2, 4, 8, 16, 32], []
for T in temperatures:
    z = z_base.clone().requires_grad_()
    kd_loss(z, z_teacher, targets, 1.0, T).backward()
    norms.append(z.grad.norm().item())
show(gradient_norms(temperatures, norms))

# %% [markdown] id="curves-text"
# On `tiny` the solid line is nearly flat from T = 8 on, as Hinton's limit of high temperatures predicts. Below T = 8 that limit
# does not hold yet, and the line first rises, then falls: from {cells.gradient.with_1:.3f} at T = 1 to
# {cells.gradient.with_32:.3f} at T = 32, by a factor of about eight, where the other line falls by thousands. So even with T²,
# the same α at another T is not the same weight. Without T², an α of {setting:0.5} at a high T is plain SFT in disguise, and a
# sweep over T is a sweep over α. (T² keeps the balance with CE. At α = 1 Adam hides a forgotten T², because it divides by the
# gradient's size.)
#
# ## 6. The result
#
# CE and KL have separate panels, because they are different quantities. The table then compares both students, and the
# base that they started from, on the traces of section 4: their cross-entropy, and how far they are from the teacher. The
# last row is the teacher on its own text, which surprises it a little too.
#
# *Your guess:* `sft` never saw the teacher's probabilities. Is it closer to the teacher than the base is?

# %% id="curves"
# NBVAL_IGNORE_OUTPUT
T = lab.config.train.temperature
show(plots.curves({arm: lab.log(arm) for arm in ("sft", "kd")}, T, lab.held_out_losses))
rows = []
for who in ("base", "sft", "kd", "teacher"):
    z = z_teacher if who == "teacher" else completion_logits(lab.model(who), teacher, encoded)[0]
    settings = ((0, 1), (1, 1), (1, T))  # alpha, temperature
    values = [kd_loss(z, z_teacher, targets, *setting).item() for setting in settings]
    rows.append([who, *(f"{value:.3f}" for value in values)])
table(rows, ("model", "CE", "KL at T = 1", f"T² KL at T = {T:g}"))

# %% [markdown] id="closer"
# On `tiny` both students came close to the teacher, and text alone did most of it: samples *are* draws from the teacher's
# distribution. `kd` comes closer still, because that is what it minimises. Both have trained on these traces. (The curves' KL
# is without T², and of the cache of section 8; the table's last column has T², and counts every token.)
#
# Your guess of section 4? In the table `kd` has the lower CE too, though `sft` minimises nothing else. On held-out answers (the
# diamonds) the lead is larger. That is one run; section 7 asks whether it helps.
#
# ## 7. Does the closer student answer better?
#
# One run with one seed cannot tell. Three studies that come with the course can: each setting has {found.kd-kept.seeds} seeds, every
# student answers {setting:1,000} questions, and nothing is trained here (`lab_notebooks/studies`).
#
# In the first study there is **one sample a question**. Its students `sft` and `kd` learn from the right ones, and two more
# from as many that nobody judged, right and wrong alike.
#
# *Your guess:* where do softened targets add more, with the judge or without?
#
# (In the pictures α is called alpha. Both are of the questions on which α and T were chosen; the numbers in the text below
# are of the others.)

# %% id="study-key"
# NBVAL_IGNORE_OUTPUT
from distill_lab import study_pictures

show(*study_pictures("answer-key", "train-alpha-em", "map-kd-kept"))

# %% [markdown] id="guess-samples"
# **Softened targets pay here, judged or not:** {found.kd-kept} points on kept traces ({setting:95} % interval {found.kd-kept.low} to
# {found.kd-kept.high}) and {found.kd-unfiltered} on unfiltered ones ({found.kd-unfiltered.low} to {found.kd-unfiltered.high}), each with the
# best of {found.kd-kept.tried} pairs of α and T, chosen on other questions: the map shows how. Why?
#
# A sample is **one draw**. Where the teacher hesitates, the text has one of its choices, and is silent about the others. From
# one draw a student cannot tell a rare choice from the rule; the distribution shows the shares of all. And where nobody
# judged, some draws are somebody else's fact, while the distribution says that the right one was likelier.
#
# So the judge and the distribution mend the same fault. For `sft` the judge is worth {found.key-sft} points ({found.key-sft.low}
# to {found.key-sft.high}; single seeds {found.key-sft.least} to {found.key-sft.most}). For a student of the distribution alone
# (α = {setting:1}, T = {setting:1}) it is worth {found.key-kd} ({found.key-kd.low} to {found.key-kd.high}), which may be chance:
# that student hardly reads which choice the text made. Whoever has no key to the answers can soften instead.
#
# So far the text was scarce. In the second study the teacher answers each of the {setting:400} questions several times.
#
# *Your guess:* with {setting:8} samples a question, is `kd` further ahead of `sft`, or less far? And with few questions?

# %% id="study-samples"
# NBVAL_IGNORE_OUTPUT
show(
    *study_pictures("samples", "generate-n_samples-em"),
    *study_pictures("examples", "data-n_train-em"),
)

# %% [markdown] id="cache-text"
# With one sample a question `kd` is {found.samples-1} points ahead, with two {found.samples-2}, with four {found.samples-4}
# ({found.samples-4.low} to {found.samples-4.high}: it may be chance), with eight {found.samples-8}. Text does replace the
# distribution in one respect: the KL of `sft` to its teacher falls from {study.samples.sft.1.kl:.2f} with one sample to
# {study.samples.sft.8.kl:.2f} with eight. What `kd` gains in EM does not fall as steadily. But only with one sample is an
# interval over the seeds clear of zero (with eight, single seeds give {found.samples-8.least} to {found.samples-8.most}), so the
# rise at eight may be chance. (All students take as many steps, so with eight samples each trace is read an eighth as often.)
#
# The other picture has four samples of each question, and more and more questions. With {setting:50} of them `kd` is
# {found.examples-50} points from `sft` ({found.examples-50.low} to {found.examples-50.high}): *behind* it, although on text that neither has
# seen it is closer to the teacher (KL {study.examples.kd.50.kl:.2f} nats a token, and {study.examples.sft.50.kl:.2f} for `sft`). **Closer is
# not better as such.** KL counts all tokens alike; EM asks about the few that name the answer. And questions help either
# student far more than any target: from {setting:50} to {setting:800} `sft` goes from {study.examples.sft.50.em} to {study.examples.sft.800.em}.
#
# And if only so many samples can be paid for? With {setting:800} of them, eight of each of {setting:100} questions or one of each of
# {setting:800} (study *budget*), both students want the many questions, `sft` by {found.budget-sft} points and `kd` by
# {found.budget-kd}; and what `kd` is ahead grows with them: {found.budget-100}, {found.budget-200}, {found.budget-400} and
# {found.budget-800} points with {setting:100}, {setting:200}, {setting:400} and {setting:800} questions. The fewer draws a question has,
# the more its distribution is worth.
#
# All of this is one pair of tiny models on one kind of text. On real SQuAD, with SmolLM2-135M as teacher and student
# ({found.cpu-kd-sft.seeds} seeds, study *cpu*), `kd` is closer to its teacher (KL {study.cpu.kd.kl:.3f}, and {study.cpu.sft.kl:.3f} for `sft`)
# **and answers worse**: {found.cpu-kd-sft} points ({found.cpu-kd-sft.low} to {found.cpu-kd-sft.high}). The student of unfiltered traces is
# closer, too ({study.cpu.sft-unfiltered.kl:.3f}), and loses {found.cpu-filter} points. Of this teacher's draws {cpu.refused_percent:.0f} % are
# refused: to be like it, whole, is mostly to be wrong. `sft` learns from the draws that were right; what the targets add is
# what the filter had taken away. (That fits both numbers. We did not test it by itself, and tried one α and one T.)
#
# ## 8. What the cache costs, and what it loses
#
# `kd` needs the teacher's distribution at every token, in every epoch. Running the teacher each time is slow; keeping all
# its logits takes much space. We keep the {setting:64} likeliest tokens of each position, and the exact total probability
# of all others *at this T*: the {setting:64} alone would only allow a guess of it.
#
# *Your guess:* for a vocabulary of {cited:151,936} tokens, the dense logits in float16 are … times as large as the cache.
#
# The picture shows, for each k, how far the KL from a cache is from the full KL: once with the top k, and once with k
# *draws* instead (arXiv 2503.16870). This takes about ten seconds.

# %% id="cache"
# NBVAL_IGNORE_OUTPUT
from distill_lab import RowFormat, measure, row_dtype

rows = []
for name, V in (("this run's teacher", z_teacher.shape[-1]), ("Qwen2.5", 151_936)):
    cached = row_dtype(RowFormat("topk", 64, (T,), V)).itemsize
    rows.append([name, f"{V:,}", cached, f"{2 * V:,}", f"{2 * V / cached:,.0f}"])
table(rows, ("teacher", "vocabulary", "cache, bytes a token", "dense float16", "times as large"))
show(plots.cached_teacher(measure(base, teacher, encoded[:4], T)))

# %% [markdown] id="museum-text"
# Upper panel: for a single token the top k is off by less. Lower panel: over many tokens the errors of draws cancel,
# because some are too high and some too low; the error of the top k remains, because tokens that are added up into one
# always look more alike than they do one by one. Here the student is still the base. For the trained `kd` on `tiny` the
# top {setting:64} are off by less, {kd_cache.trained} nats instead of {kd_cache.base}, but the KL itself has fallen
# further, from {kd_cache.kl_base} to {kd_cache.kl_trained}: a cache shows the last part of the way worst.
#
# *Your guess:* what does a student lose that learns from the cache, and not from the whole distribution?
#
# Nothing: in the study *divergence* ({found.none.seeds} seeds, {setting:1,000} questions, α = {setting:0.5}, T = {setting:2}) the student of the
# whole distribution is {found.none} points from that of the cache ({found.none.low} to {found.none.high}), and *behind* it. That fits what T
# does: it gives weight to hundreds of tokens that the teacher would hardly ever say. The whole KL asks the student to copy how
# they differ, the cache only what they have together.
#
# The same study asks which divergence. The **reverse KL** weighs each token by the student's own probability, and so leaves these
# tokens alone. Its student is {found.reverse-kl} points above that of the forward KL ({found.reverse-kl.low} to {found.reverse-kl.high}),
# and {found.kd-reverse-kl} above `sft` ({found.kd-reverse-kl.low} to {found.kd-reverse-kl.high}), on the same four samples of each of {setting:400}
# questions; and of its samples more are right too (pass@4 {found.reverse-kl-pass}). Jensen-Shannon gains nothing
# ({found.jsd}, may be chance). In `distill-lab`, `--train.divergence reverse-kl` chooses it.
#
# ## 9. The bug museum
#
# These five losses were published, in libraries that many people trust. In each, **one line** is wrong in the way that it
# was wrong there. The lines around it are ours, so that all five take the same arguments: logits (B, T, V) of student and
# teacher, labels that are not shifted yet, T, and the number of completion tokens of the whole optimiser step. Five tests
# go with them:
#
# | test | what must hold |
# |---|---|
# | `identical models` | a teacher and a student that are the same give {setting:0} |
# | `two temperatures` | T = 1 and T = 4 give different KLs |
# | `wider head` | rows of a head that stand for no token change nothing |
# | `positions` | the logits of the position *before* each completion token count, and no others |
# | `micro-batches` | one batch of two rows equals two batches of one |
#
# Look at all five. *Your guess* for each: which test does it fail?

# %% id="museum"
# NBVAL_CHECK_OUTPUT
museum.visit()

# %% [markdown] id="about-mend"
# {exercise} Write `mend`: for each exhibit the test that catches it, and its wrong line as it should read. Each of the five
# counts by itself, so begin with the one that you are surest of.


# %% id="write-mend" role="exercise"
def mend(bug: str) -> tuple[str, int, str] | None:
    """Of the exhibit `bug`: (the test that catches it, the number of its wrong line, that line as it should read).

    None for one that you leave out. Example of the form: ("positions", 3, "x = y + 1").
    """
    ### BEGIN SOLUTION
    divided = "log_q, log_p = (F.log_softmax(z / temperature, dim=-1) for z in (s, t))"
    shifted = "counts = F.pad(labels[:, 1:], (0, 1), value=IGNORED) != IGNORED"
    return {
        "temperature": ("two temperatures", 5, divided),
        "entropy": ("identical models", 6, "kl = F.kl_div(log_q, p, reduction='none').sum(-1)"),
        "vocabulary": ("wider head", 4, "t = t[:, : s.shape[-1]]"),
        "shift": ("positions", 6, shifted),
        "accumulation": ("micro-batches", 7, "return temperature**2 * kl.sum() / n_items"),
    }.get(bug)
    ### END SOLUTION


# %% id="check-mend" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5c.mend", mend)

# %% [markdown] id="stretch-mend"
# <details><summary>Stretch goal, without points</summary>
#
# Write a sixth bug, wrong in one line, that passes as many of the five tests as you can. Then write the test that
# catches it.
# </details>

# %% [markdown] id="matrix-text"
# Now we run all five tests on all five bugs. *Your guess:* how many tests does a published bug pass?

# %% id="matrix"
# NBVAL_IGNORE_OUTPUT
table(museum.matrix(), ("bug", *museum.TESTS))
for bug, kd in museum.EXHIBITS.items():
    finding = next(filter(None, (museum.finding(test, kd) for test in museum.TESTS)))
    print(f"\n{bug}: {finding}")

# %% [markdown] id="summary"
# ## Summary
#
# - Soft targets show what else the teacher might have chosen; T decides how much of that shows, and T² keeps its weight.
# - Labels are shifted, and masked by position, never by token id.
# - R1's students learnt from text alone. The text of many samples carries much of the distribution; the KL carries it
#   directly. Here it was worth most where each question was answered once and nobody judged the answer; with few questions
#   it cost.
# - A cache of {rough:300} bytes per token replaces {rough:300,000} (Qwen2.5's vocabulary), with an error that can be
#   measured.
# - Each published bug passed four of five tests: a loss needs a test for every property that it should have.
#
# ## Three questions to test yourself
#
# <details><summary>Two students, α = 0.5 and T = 8: one with T² in its loss, one without. Which of them is nearly <code>sft</code>?</summary>
#
# The one without: beside the gradient of the CE, the gradient of its KL is {arithmetic:64} times smaller than it should
# be. Its KL value is small because softened distributions are alike, not because the student has learnt.
# </details>
#
# <details><summary>Your loss is {setting:2.3} at the start of training, with a student that is a copy of its teacher (α = 1). What is it?</summary>
#
# It is the cross-entropy with soft targets: the teacher's entropy is still in it. A KL would be {setting:0}. The gradients
# are the same, but the number no longer says how far the student is from its teacher, and cannot be compared between
# temperatures.
# </details>
#
# <details><summary>A student never stops writing after its answer. Which line would you look at first?</summary>
#
# The line that makes the labels: the end token was masked together with the padding, which has the same id, so the student
# never learnt it.
# </details>
#
# **Next:** Lab 5d: how much of the teacher arrived, and how sure we are.

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
