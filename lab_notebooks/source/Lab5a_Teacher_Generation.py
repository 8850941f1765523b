# %% [markdown] id="title"
# # Lab 5a. Teacher generation
#
# {badge}
#
# *What does sampling buy?*
#
# If you ask a teacher once, you get one answer. If you ask it eight times and let chance play a part, you get eight, and
# at least one of them is more often right. This part is about that chance: where it enters, what the temperature does to
# it, and what it buys. The paper samples "multiple responses" for each prompt (section 2.3.3) and evaluates at
# temperature {paper.temperature}.
#
# **Afterwards you can**
# - read the prompt that the teacher sees, and parse its completions strictly;
# - say what a temperature does to the next token, and compute it without overflow;
# - estimate pass@k from n samples without bias;
# - choose a temperature for evaluation, and say what pass@k leaves open about one for rejection sampling.
#
# | profile | runs on | this part takes |
# |---|---|---|
# | `tiny` | any computer, no network | about a minute on two idle cores |
# | `cpu` | a laptop with {setting:6} GB of free memory | about {rough:20} minutes, nearly all of it for traces: an estimate |
# | `colab` | a free T4 in Colab | {rough:20} minutes to {rough:2} hours: predicted, not measured |
# | `cluster` | several GPUs | hours: predicted, not measured |

# %% id="install" role="install"
# the install cell

# %% [markdown] id="about-setup"
# To use another profile, name it here: `begin("cpu")`. In Colab, `begin(drive=True)` keeps a copy of the run in your
# Google Drive.

# %% id="setup" role="setup"
# NBVAL_IGNORE_OUTPUT
from distill_lab.checks import check, hint, or_ours
from distill_lab.notebook import begin, show, table

lab = begin()

# %% [markdown] id="about-prompt"
# ## 1. One prompt by hand
#
# A language model does not answer questions; it continues text. So we put the question into a template: an instruction
# that asks for a thought and an answer, then the passage, then the question. (The teacher of `tiny` was trained for this
# one task alone, and its template leaves the instruction out.) The teacher continues the text, token by token. Here it
# is *greedy*: it takes the likeliest token each time, so it would write the same text again. (tiny: a few seconds.)

# %% id="by-hand"
# NBVAL_IGNORE_OUTPUT
lab.run("data")
teacher = lab.model("teacher")
from distill_lab import Sampling, complete, complete_all, jobs_for

question = lab.questions[0]
[job] = jobs_for([question], teacher.tokenizer, lab.config.models.teacher_shots)
[(_, [greedy])] = complete(teacher, [job], Sampling())
print(job.prompt)
print(greedy.text)
print(f"{greedy.n_tokens} tokens; right would be {question.answers}")

# %% [markdown] id="about-extract"
# ## 2. Reading the answer
#
# Everything that follows depends on parsing these completions. There are thousands, and nobody looks at them. A lenient
# parser accepts what it should not: half an answer, two answers, a thought that never ended. What it accepts, the
# student learns to write. So be strict.
#
# {exercise} Write `extract_answer`. `hint("lab5a.extract_answer")` gives a first hint,
# `hint("lab5a.extract_answer", 2)` a second. After two tries of your own, the check says how to see our answer.

# %% id="extract-answer" role="exercise"
import re


def extract_answer(completion: str) -> str | None:
    """What stands between the answer's tags, without spaces at its ends.

    None unless the completion is exactly one `<think>…</think>` and then one `<answer>…</answer>`,
    with nothing but white space between and around them. A thought may have several lines; an
    answer may be empty, and is "" then.
    """
    ### BEGIN SOLUTION
    tag = r"</?(?:think|answer)>"
    form = r"\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*"
    match = re.fullmatch(form, completion, re.DOTALL)
    if match is None or re.search(tag, match[1]) or re.search(tag, match[2]):
        return None
    return match[2].strip()
    ### END SOLUTION


# %% id="check-extract-answer" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5a.extract_answer", extract_answer)

# %% [markdown] id="stretch-extract-answer"
# <details><summary>Stretch goal, without points</summary>
#
# Write a parser that forgives: it takes the first answer that it finds, closed or not. Once `lab.traces` is there
# (section 5), count what only the forgiving one reads. How much of that is right?
# </details>

# %% id="use-extract-answer" role="run"
# NBVAL_IGNORE_OUTPUT
extract_answer = or_ours("lab5a.extract_answer", extract_answer)

# %% [markdown] id="about-soften"
# ## 3. Temperature
#
# For each next token the model gives every token of its vocabulary a number, the *logit* $z_i$. A softmax turns the
# logits into probabilities, and a temperature $T$ decides how much their differences count:
#
# $$p_i = \frac{\exp(z_i / T)}{\sum_j \exp(z_j / T)}$$
#
# At $T = 1$ these are the model's own probabilities. Below {setting:1} the likeliest token gains, and as $T$ approaches
# {setting:0} it takes everything; above {setting:1} all tokens become more equal. The same formula returns in part 5c,
# where it softens what a student learns from.
#
# {exercise} Write `soften`. Logits can be large: $\exp(1000)$ overflows to infinity, and infinity
# divided by infinity is not a probability. `torch.softmax` would do it; it is worth doing once by hand.

# %% id="soften" role="exercise"
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def soften(logits: Tensor, temperature: float) -> Tensor:
    """softmax(logits / temperature) over the last axis: chances, of the same shape as the logits.

    `logits` has the shape (V) or (N, V): V words, and N rows that know nothing of each other. The
    temperature is above 0.
    """
    ### BEGIN SOLUTION
    z = logits.float() / temperature
    z = z - z.max(dim=-1, keepdim=True).values  # nothing changes, and nothing overflows
    e = z.exp()
    return e / e.sum(dim=-1, keepdim=True)
    ### END SOLUTION


# %% id="check-soften" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5a.soften", soften)

# %% [markdown] id="stretch-soften"
# <details><summary>Stretch goal, without points</summary>
#
# Entropy says how unsure a distribution is. At which T does the teacher hesitate as much as somebody who has to choose
# between two names? Look for it with the logits that the next cells show.
# </details>

# %% id="use-soften" role="run"
# NBVAL_IGNORE_OUTPUT
soften = or_ours("lab5a.soften", soften)

# %% [markdown] id="guess-next-token"
# Look at two places in the greedy answer above: right after `<think>`, where the teacher chooses how to begin, and in
# the middle of a fact that it copies from the passage. *Before you run it:* at which of the two does a temperature of
# {setting:2} do more harm?
#
# Your guess: …

# %% id="next-token"
# NBVAL_IGNORE_OUTPUT
import torch

from distill_lab import encode, next_logits, next_token

for start in ("<think>", greedy.text.partition(" in ")[0] + " in"):
    prompt = encode(teacher.tokenizer, job.prompt.removesuffix("<think>"))
    more = teacher.tokenizer(start, add_special_tokens=False, return_tensors="pt").input_ids
    ids = torch.cat([torch.tensor([prompt]), more], 1).to(teacher.lm.device)
    logits = next_logits(teacher.lm, ids, torch.ones_like(ids), None)[0].detach().float().cpu()
    top = logits[0].topk(5).indices
    chances = {t: soften(logits, t)[0, top].tolist() for t in (0.3, 1.0, 2.0)}
    show(next_token(chances, [teacher.tokenizer.decode(i) for i in top]))

# %% [markdown] id="explain-next-token"
# How to begin is a matter of taste, and the teacher knows several ways: "The question is about …", "I look for …", or the fact
# at once. At $T = 2$ the first two have {cells.begin.the} % and {cells.begin.i} % of the probability, and about a third has gone
# to hundreds of tokens with which no thought begins, a little to each. At the fact only one token is right. It has
# {cells.fact.right_1} % at $T = 1$ and {cells.fact.right} % at $T = 2$; the runner-up, with {cells.fact.rival} %, begins the
# name of *somebody else's* town. So a high temperature costs something at both places; it costs more where only one token is
# right, and there it spoils the answer. *Top-p* keeps the fewest of the likeliest tokens that together hold, say,
# {setting:95} %. At $T = 1$ that drops nearly all stray tokens. At $T = 2$ they hold a third or more, and keep most of it. Nor
# does it drop a runner-up with {cells.fact.rival} %.
#
# ## 4. The same question, eight times
#
# Now we sample at temperature {setting:1}, with nothing cut off. *Before you run it:* how many of the eight traces are
# right? Are the right ones alike?
#
# Your guess: … of {setting:8}

# %% id="eight"
# NBVAL_IGNORE_OUTPUT
from distill_lab.squad_scores import em

[(_, eight)] = complete(teacher, [job], Sampling(n=8, temperature=1.0))
answers = [extract_answer(sample.text) for sample in eight]
right = ["yes" if em(answer or "", question.answers) else "no" for answer in answers]
rows = [(n, d.n_tokens, d.text, right[n]) for n, d in enumerate(eight)]
table(rows, ["sample", "tokens", "trace", "right"])

# %% [markdown] id="about-generate"
# Read a wrong trace closely: where does it leave the passage? Often one token is wrong, and the rest follows from it
# consistently. A thought that is written down can be checked; that is half of why it is worth learning from.
#
# ## 5. All questions
#
# Now the teacher answers every training question, at the profile's own temperature, and each trace gets a verdict
# (part 5b explains verdicts). Traces that exist are not made again. (tiny: about {times.generate.seconds} seconds and
# {times.generate.gb} GB of memory on two idle cores.)
#
# *Before you run it:* are wrong traces shorter than right ones, longer, or the same?
#
# Your guess: …

# %% id="generate"
# NBVAL_IGNORE_OUTPUT
lab.run("generate", "reject")
from distill_lab import lengths

pairs = lab.judged  # each trace with its own verdict, whatever order the two files are in
show(
    lengths(
        [trace.n_tokens for trace, verdict in pairs if verdict.em == 100],
        [trace.n_tokens for trace, verdict in pairs if verdict.em < 100],
    )
)

# %% [markdown] id="about-pass"
# On `tiny` the wrong traces are longer: their median is {tiny.wrong.tokens:.0f} tokens, and {tiny.right.tokens:.0f} for
# the right ones. Do long thoughts go wrong, then? Before you believe that, ask what else changes with length. The bundled
# questions are of two kinds: about half of them need one fact of the passage; the others need two, and the second is found
# through the first.
#
# *Before you run it:* within one kind, are wrong traces still longer than right ones?
#
# Your guess: …

# %% id="by-kind"
# NBVAL_IGNORE_OUTPUT
from statistics import fmean

kind_of = {question.id: question.kind for question in lab.questions}
rows = []
for kind in sorted(set(kind_of.values()), key=str):
    ems = [(t.n_tokens, v.em) for t, v in pairs if kind_of[t.question_id] == kind]
    tokens = {right: [n for n, em in ems if (em == 100) == right] for right in (True, False)}
    means = [f"{fmean(counts):.1f}" if counts else None for counts in tokens.values()]
    rows.append((kind, len(ems), f"{100 * len(tokens[False]) / len(ems):.1f} %", *means))
table(rows, ("questions", "traces", "wrong", "tokens of a right one", "of a wrong one"))

# %% [markdown] id="about-kinds"
# Questions that need two facts have longer traces (a mean of {tiny.two-fact.tokens:.1f} tokens, against
# {tiny.one-fact.tokens:.1f} for one fact), *and* they are answered wrongly more often
# ({tiny.two-fact.wrong_percent:.1f} % of them, {tiny.one-fact.wrong_percent:.1f} % of the others). So there are more long
# traces among the wrong ones, although within one kind right and wrong traces differ by less than a token. The kind of
# question is a **confounder**: it affects both length and mistakes, and whoever looks at these two alone takes one for
# the cause of the other. R1-Zero's thoughts grew longer while it got better; there too, growing together does not show
# which caused which.
#
# (We join verdicts to traces by question *and* sample, never by their position in the file: traces are stored in the
# order in which batches finished. This course once joined them by position; the picture above was then wrong, and looked
# plausible.)
#
# ## 6. pass@k
#
# Of $n$ traces of a question, $c$ are right. Had we drawn only $k$ of them, how likely is it that at least one is right?
# Turn the question round: there are $\binom{n}{k}$ ways to draw $k$ of $n$, and $\binom{n-c}{k}$ of them contain only
# wrong traces.
#
# $$\text{pass@}k = 1 - \binom{n-c}{k} \Big/ \binom{n}{k}$$
#
# This estimate is unbiased (Chen et al. 2021). The formula that first comes to mind, $1 - (1 - c/n)^k$, puts every trace
# back before the next draw, and is too low.
#
# {exercise} Write `pass_at_k`.

# %% id="pass-at-k" role="exercise"
import math
from itertools import combinations

import numpy as np


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance (0 to 1) that at least one of k traces is right, drawn without putting back from n
    of which c are right; 0 <= c <= n and 1 <= k <= n.
    """
    ### BEGIN SOLUTION
    return 1 - math.comb(n - c, k) / math.comb(n, k)
    ### END SOLUTION


# %% id="check-pass-at-k" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5a.pass_at_k", pass_at_k)

# %% [markdown] id="stretch-pass-at-k"
# <details><summary>Stretch goal, without points</summary>
#
# Estimate the same chance by drawing: take k of the n traces a thousand times, and put none back. How far is the mean
# from your formula, and what do ten times as many draws change?
# </details>

# %% [markdown] id="guess-temperature"
# ## 7. Which temperature?
#
# We take up to {setting:40} questions of which the teacher got at least one trace wrong (on the others, all temperatures
# look the same), and sample eight traces at each of four temperatures. (tiny: about {times.temperatures.seconds} seconds
# on two idle cores, {times.generate.gb} GB.)
#
# *Before you run it:* which temperature is best for **one** trace (k = 1)? Which for **eight** (k = 8)?
#
# Your guess: k = 1: T = …, k = 8: T = …

# %% id="temperatures"
# NBVAL_IGNORE_OUTPUT
from dataclasses import replace

from distill_lab import teacher_sampling

wrong = {verdict.question_id for verdict in lab.verdicts if verdict.em < 100}
hard = [q for q in lab.questions if q.id in wrong][:40] or lab.questions[:40]
jobs = jobs_for(hard, teacher.tokenizer, lab.config.models.teacher_shots)
samples_at = {}
for t in (0.3, 0.6, 1.0, 1.5):
    sampling = replace(teacher_sampling(lab.config), n=8, temperature=t, top_p=1.0, seed=1)
    batches = complete_all(
        teacher, jobs, sampling, lab.config.runtime.sample_batch, set(), f"T = {t}"
    )
    samples_at[t] = {job.question_id: samples for batch in batches for job, samples in batch}

# %% id="curves"
# NBVAL_IGNORE_OUTPUT
from distill_lab import passes

pass_at_k = or_ours("lab5a.pass_at_k", pass_at_k)
curves = {}
for t, samples in samples_at.items():
    texts = {q: [extract_answer(sample.text) or "" for sample in samples[q.id]] for q in hard}
    right = [sum(em(text, q.answers) == 100 for text in texts[q]) for q in hard]
    curves[f"T = {t}"] = [100 * fmean(pass_at_k(8, c, k) for c in right) for k in range(1, 9)]
show(passes(curves))

# %% [markdown] id="explain-curves"
# On `tiny` the coolest line begins high and soon flattens: its eight traces are nearly one trace. A temperature of {setting:1}
# loses points with a single trace and has the most with eight; a still higher one loses more than it gains. Rejection sampling
# *can* use the right end, because it throws wrong traces away. But at k = 8 the lines of T = 0.6 and T = 1 differ by about one
# question, and a curve is no student: in part 5b students of filtered traces drawn at T = 0.6 beat those drawn at T = 1. An
# evaluation by pass@1 depends on the left end. The paper evaluates at {paper.temperature} with top-p {paper.top-p:.2f}, and not
# greedily, because long greedy answers repeat themselves more. Explain in one sentence why the hottest line starts so low and yet
# climbs so steeply.
#
# Your sentence: …
#
# With forty questions, a difference of a few percent may be chance. Part 5d gives you the tool to tell: an interval.
#
# ## Summary
#
# - A prompt puts a question into a template; a strict parser keeps the pipeline honest.
# - A temperature divides the logits before the softmax. It flattens certain choices as well as open ones.
# - pass@k counts draws without replacement. It rises with k for any teacher: it says what *sampling* buys, not how good
#   one answer is.
# - Evaluation wants a low temperature. Collecting can afford a higher one, as a filter stands behind it; how high pays, only a
#   trained student tells (part 5b: there the coolest, T = 0.6, was best).

# %% [markdown] id="questions-to-oneself"
# ## Three questions to test yourself
#
# 1. A teacher is right in {setting:30} % of its traces. What would pass@8 be if every question were equally hard and its
#    traces independent? Why is it lower in practice?
# 2. The same teacher at $T = 0$: what is its pass@8?
# 3. The paper reports pass@1 from up to {paper.responses} samples per question, and cons@64. What does cons@64 need that
#    pass@64 does not, and which of the two could you use without an answer key?
#
# <details><summary>Answers</summary>
#
# 1. $1 - 0.7^8 = 94\,\%$. In practice some questions are always missed and others never: the same {setting:30} % on
#    average, spread unevenly, gives less.
# 2. The same as its pass@1: eight greedy traces are one trace eight times.
# 3. cons@64 needs the *majority's* answer to be right; pass@64 needs only one right answer among {paper.responses}, and
#    somebody must know which one it is. The vote chooses without an answer key; pass@64 does not.
#
# </details>

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
