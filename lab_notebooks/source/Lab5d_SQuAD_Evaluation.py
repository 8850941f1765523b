# %% [markdown] id="title"
# # Lab 5d. SQuAD evaluation
#
# {badge}
#
# *How much of the teacher arrived, and how sure are we?*
#
# The pipeline ends with a table of four models' scores. This part takes that table apart: what one score counts, how far
# chance may have moved it, what share of the way from base to teacher it stands for, and whether it may be compared with
# the paper's scores.
#
# **Afterwards you can**
# - compute SQuAD's EM and F1 by hand, as the official script does;
# - put an interval on a score, and say which differences {tiny.n} questions cannot show;
# - say how much of the gap between base and teacher a student closed, and when that share means nothing;
# - split a score by kind of question, and read a student's errors beside its teacher's answers;
# - say which comparisons with the DeepSeek-R1 paper are honest, and which are not.
#
# | profile | runs on | this part takes |
# |---|---|---|
# | `tiny` | any computer, no network | about {times.lab5d.minutes} minutes on two idle cores; seconds if the run exists already |
# | `cpu` | a laptop with {setting:6} GB of free memory | about {times.cpu.minutes} minutes; seconds if the run exists already |
# | `colab` | a free T4 in Colab | about an hour: predicted, not measured |
# | `cluster` | several GPUs | hours: predicted, not measured |

# %% id="install" role="install"
# the install cell

# %% [markdown] id="about-setup"
# To use another profile, name it here: `begin("cpu")`. This cell runs all stages; what an earlier part made is not made
# again. (tiny, from the beginning: about {times.lab5d.minutes} minutes on two idle cores, at most {times.train.gb} GB of
# memory.)

# %% id="setup" role="setup"
# NBVAL_IGNORE_OUTPUT
from distill_lab.checks import check, hint, or_ours
from distill_lab.notebook import begin, show, table

lab = begin()
lab.run("data", "generate", "reject", "train", "evaluate", "report")

# %% [markdown] id="about-normalize"
# ## 1. When are two answers the same?
#
# "The Nile." and "nile" are the same answer, and a score that disagrees measures typing. So SQuAD normalises both texts
# before it compares them: lower case, no punctuation, no articles, single spaces. **The order matters.**
#
# **Your guess:** what does `a.m.` become, and what does `The-end`? What would they become in another order?
#
# {exercise} Write `normalize`. `hint("lab5d.normalize")` gives a first hint,
# `hint("lab5d.normalize", 2)` a second.

# %% id="normalize" role="exercise"
import re
import string


def normalize(text: str) -> str:
    """Lower case; then no character of `string.punctuation`; then none of the words a, an, the; then
    single spaces, none at the ends.
    """
    ### BEGIN SOLUTION
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())
    ### END SOLUTION


# %% id="check-normalize" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5d.normalize", normalize)

# %% [markdown] id="stretch-normalize"
# <details><summary>Stretch goal, without points</summary>
#
# Find two answers that every reader would call the same and your function does not (think of numbers, units, plurals).
# If you changed the rule for them, what would become of all scores that were ever published?
# </details>

# %% [markdown] id="about-f1"
# (Your guesses: `am` and `theend`. With the articles taken out first they would be `m` and `end`.)
#
# ## 2. Partly right
#
# EM gives all points or none. F1 gives part of the points for part of the words. It combines the *precision* $p$, the share
# of the prediction's words that are in the reference, and the *recall* $r$, the share of the reference's words that are in
# the prediction:
#
# $$F_1 = \frac{2 p r}{p + r}$$
#
# The words are those of the normalised texts; a repeated word counts as often as it occurs in both. SQuAD 2.0 also has
# questions without an answer: there the reference is empty, and only an empty prediction is right.
#
# {exercise} Write `f1`. Its result is {setting:0} to {setting:100}, as SQuAD prints it.

# %% id="f1" role="exercise"
from collections import Counter

from distill_lab.squad_scores import normalize_answer


def f1(prediction: str, reference: str) -> float:
    """F1 over words, 0 to 100, repeated words included; both texts are normalised first.

    Where one of the two is empty then: 100 if the other is empty too, else 0.
    """
    ### BEGIN SOLUTION
    found, wanted = normalize_answer(prediction).split(), normalize_answer(reference).split()
    if not found or not wanted:
        return 100.0 * (found == wanted)
    shared = (Counter(found) & Counter(wanted)).total()
    if shared == 0:
        return 0.0
    precision, recall = shared / len(found), shared / len(wanted)
    return 100 * 2 * precision * recall / (precision + recall)
    ### END SOLUTION


# %% id="check-f1" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5d.f1", f1)

# %% [markdown] id="stretch-f1"
# <details><summary>Stretch goal, without points</summary>
#
# Write an F1 that counts letters instead of words. For which predictions of `sft` do the two differ most, and which of
# them is fairer?
# </details>

# %% [markdown] id="guess-by-hand"
# Below are four predictions for one reference, the tower's full name. **Your guess:** which F1 does each get?

# %% id="by-hand"
# NBVAL_IGNORE_OUTPUT
normalize = or_ours("lab5d.normalize", normalize)
f1 = or_ours("lab5d.f1", f1)
reference = "the Eiffel Tower"
for prediction in ("Eiffel tower.", "the tower", "It is the Eiffel Tower in Paris", "Notre-Dame"):
    print(
        f"{f1(prediction, reference):5.1f}  {normalize(prediction)!r} for {normalize(reference)!r}"
    )

# %% [markdown] id="about-bootstrap"
# The third prediction is right, and loses half of its points for being polite. This is why a chat model that answers in
# whole sentences looks bad on SQuAD, and why a student that merely learns to *answer briefly* gains a lot. Such a gain is
# real, but it is a gain in form and not in knowledge.
#
# ## 3. How sure are we?
#
# {tiny.n} questions are a sample. Other questions would have given another mean. How different? The bootstrap (Efron 1979)
# asks the sample itself: draw as many scores from it as it has, **with replacement**, and take their mean; repeat this a
# thousand times. The middle {setting:95} percent of those means are the interval.
#
# {exercise} Write `bootstrap_interval`. `np.random.default_rng(seed)` makes a random number generator.

# %% id="bootstrap-interval" role="exercise"
import random
import statistics
from collections.abc import Sequence

import numpy as np


def bootstrap_interval(scores: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """(low, high): the 95 % percentile interval of the mean, from 1,000 resamples.

    The same seed gives the same interval, another seed a slightly other one.
    """
    ### BEGIN SOLUTION
    rng, n = np.random.default_rng(seed), len(scores)
    means = [np.mean(rng.choice(scores, size=n)) for _ in range(1000)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
    ### END SOLUTION


# %% id="check-bootstrap-interval" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5d.bootstrap_interval", bootstrap_interval)

# %% [markdown] id="stretch-bootstrap-interval"
# <details><summary>Stretch goal, without points</summary>
#
# Several questions have the same passage. Draw *passages*, each with all its questions, instead of questions. Does the
# interval become wider? Why may it have to?
# </details>

# %% [markdown] id="guess-bootstrap"
# The picture shows the thousand means of the `sft` student's EM. **Your guess:** how many points wide is the interval that
# holds {setting:95} percent of them? And with four times as many questions?

# %% id="bootstrap"
# NBVAL_IGNORE_OUTPUT
from distill_lab import bootstrap_means, in_order

models = ("base", "sft", "kd", "teacher")
scores = {who: in_order(lab.eval_questions, lab.predictions(who), "em") for who in models}
show(bootstrap_means(scores["sft"], "EM"))

# %% [markdown] id="about-four"
# It reaches about six points to each side. Four times as many questions would halve that: the width falls with the square
# root of their number.
#
# Now we look at all four models. The last two rows are *differences on the same questions*: each question's score of one
# model minus its score of the other. Hard questions are hard for both models, and this part of chance cancels. Two
# intervals may overlap although the difference is certain; so look at the interval of the difference.
#
# **Your guess:** is kd better than sft, worse, or can nobody tell?

# %% id="four-models"
# NBVAL_IGNORE_OUTPUT
from statistics import fmean

bootstrap_interval = or_ours("lab5d.bootstrap_interval", bootstrap_interval)
rows = dict(scores)
for better, worse in (("sft", "base"), ("kd", "sft")):
    pairs = zip(scores[better], scores[worse], strict=True)
    rows[f"{better} minus {worse}"] = [above - below for above, below in pairs]
intervals = {name: bootstrap_interval(values, 0) for name, values in rows.items()}
table([(name, f"{fmean(values):.1f}", f"{intervals[name][0]:.1f} to {intervals[name][1]:.1f}")
       for name, values in rows.items()], ("model", "EM", "95 % interval"))  # fmt: skip

# %% [markdown] id="about-gap"
# Read the last row before you tell anybody that softened targets help: on `tiny` it is {tiny.kd_minus_sft.em} points, with an
# interval of {tiny.kd_minus_sft.em_low} to {tiny.kd_minus_sft.em_high}. The row above leaves no doubt that distillation helps
# at all.
#
# One thing is in none of these intervals: both students were trained once, with one seed. Another seed would give another
# student. How different? In the study of part 5b, what the filter gained was {found.filter-tiny.least} points with one seed and
# {found.filter-tiny.most} with another, on {setting:1,000} questions each time. So a difference that was measured with one seed
# needs more than its interval before anybody should believe it.
#
# And `kd` minus `sft`? The studies of part 5c find {found.kd-kept} points ({found.kd-kept.low} to {found.kd-kept.high}) where each of
# {setting:400} questions was answered once, {found.samples-4} ({found.samples-4.low} to {found.samples-4.high}) where it was answered four
# times, and {found.examples-50} ({found.examples-50.low} to {found.examples-50.high}) with only {setting:50} questions. A method is worth
# something *somewhere*: say where.
#
# ## 4. How much of the way?
#
# {tiny.sft.em:.0f} points: is that good? It depends on where the student began and where its teacher is.
#
# {exercise} Write `gap_closed`: the share of the way from base to teacher.


# %% id="gap-closed" role="exercise"
def gap_closed(base: float, student: float, teacher: float) -> float | None:
    """0 if the student is where base is, 1 if it is where the teacher is; negative behind the base,
    above 1 beyond the teacher. None where the teacher is not above base: no way to go.
    """
    ### BEGIN SOLUTION
    if teacher <= base:
        return None
    return (student - base) / (teacher - base)
    ### END SOLUTION


# %% id="check-gap-closed" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5d.gap_closed", gap_closed)

# %% [markdown] id="stretch-gap-closed"
# <details><summary>Stretch goal, without points</summary>
#
# Give the gap an interval: draw the same questions for base, student and teacher, a thousand times. What happens to
# your number in draws in which the teacher is hardly above the base?
# </details>

# %% [markdown] id="guess-gap"
# Two shares are often confused: the *gap closed*, and the share of the teacher *kept* (student / teacher). **Your guess:**
# which of the two is larger? Always? When are they equal?

# %% id="gap"
# NBVAL_IGNORE_OUTPUT
from distill_lab import percent

gap_closed = or_ours("lab5d.gap_closed", gap_closed)
base, sft, kd, teacher = (fmean(scores[who]) for who in models)
rows = [(who, gap_closed(base, mean, teacher), mean / teacher if teacher else None)
        for who, mean in (("sft", sft), ("kd", kd))]  # fmt: skip
table([(who, percent(gap), percent(kept)) for who, gap, kept in rows], ("student", "gap", "kept"))

# %% [markdown] id="about-errors"
# Kept is larger as long as the student is below its teacher and base scores above zero, because kept also counts what base
# could do already. If base is at zero, the two are equal; if a student passes its teacher, the gap closed is larger. With
# a strong base, kept looks splendid after no training at all. The gap closed is stricter, and needs a score of the base.
#
# The gap closed has a weakness of its own: if the teacher is hardly above base, it divides by nearly nothing. With a teacher
# that was only shown three worked examples of SQuAD, one sft student closed {few_shot.sft.gap_em} % of the EM gap: it learnt
# from the few right samples, while its teacher, scored on one greedy answer, reached only {few_shot.teacher.em}. Such a
# share says nothing.
#
# ## 5. What arrived, and what did not
#
# A mean hides what it averages over. The bundled questions are of two kinds: one fact of the passage answers them, or it
# takes two, of which the second is found through the first ("Where does the builder of the mill live?"). SQuAD itself does
# not mark kinds.
#
# A score does not say *what* went wrong either. Below the scores by kind you see ten answers of `sft` that are not an exact
# match, beside the teacher's. For each, say whether the student found the wrong fact, copied the fact wrongly, or broke the
# format.
#
# **Your guess:** `sft` answers … percent of the two-fact questions, its teacher … percent.

# %% id="errors"
# NBVAL_IGNORE_OUTPUT
rows = [(kind, of["sft"]["n"], *(f"{of[who]['em']:.1f}" for who in models))
        for kind, of in lab.report.get("scores_by_kind", {}).items()]  # fmt: skip
table(rows, ("kind", "questions", *models))
teacher_said = {prediction.question_id: prediction for prediction in lab.predictions("teacher")}
questions = {question.id: question for question in lab.eval_questions}
errors = [prediction for prediction in lab.predictions("sft") if prediction.em < 100][:10]
rows = [(questions[e.question_id].question, questions[e.question_id].answers[0], e.completion,
         teacher_said[e.question_id].completion) for e in errors]  # fmt: skip
table(rows, ("question", "reference", "sft said", "the teacher said"))

# %% [markdown] id="about-paper"
# On `tiny` the teacher can do both kinds: {tiny.teacher.one-fact.em} % and {tiny.teacher.two-fact.em} %. The base, which never
# saw a thought, answers {tiny.base.one-fact.em} % and {tiny.base.two-fact.em} %. `sft` answers {tiny.sft.one-fact.em} % of the
# {tiny.n.one-fact} one-fact questions and {tiny.sft.two-fact.em} % of the {tiny.n.two-fact} two-fact questions; `kd` answers
# {tiny.kd.one-fact.em} % and {tiny.kd.two-fact.em} %. So one mean stands for two skills: of the EM points by which `sft` trails
# its teacher, {tiny.lost.one-fact} come from one-fact questions and {tiny.lost.two-fact} from two-fact questions. **The student
# learned to chain two facts, which no text but the teacher's showed it, and it still does so less surely than to look up one.**
#
# If you read all {tiny.errors} errors of `sft` on `tiny`, you find several different things. {tiny.errors.two-fact} are on
# two-fact questions, and {tiny.errors.two-fact.early} of these stop one step early: asked for the job of the school's
# builder, the student finds the builder and answers with *his name*, in perfect form. With these, {tiny.errors.two-fact.read}
# give words of the passage. {tiny.errors.one-fact} are on one-fact questions, and {tiny.errors.one-fact.read} of these give
# other words of the passage: somebody else's fact, or another fact about the answer. About one wrong answer in five is not in
# the passage at all, and a few of these break the format, as they repeat themselves without end. EM counts all of these alike;
# that is why one reads errors. But ten errors are a sample too, and the most striking story is not the most frequent one:
# count before you write "most".
#
# ## 6. Beside the paper
#
# DeepSeek-R1 never saw SQuAD. Its students were measured on mathematics, science and code, with up to {paper.responses}
# samples per question and no interval. So most numbers may not be compared at all; two *shapes* may. Cover the last
# two columns, and decide for each row yourself.

# %% id="comparisons"
# NBVAL_IGNORE_OUTPUT
from distill_lab import comparisons

rows = [
    (line.topic, line.paper, ours, line.compare, line.why) for line, ours in comparisons(lab.report)
]
table(rows, ("", "paper", "this run", "may it be compared?", "why"))

# %% [markdown] id="guess-retention"
# One reading of the paper's tables needs no run of ours: how much of R1 does each student of table 5 keep? **Your guess:**
# the 1.5B student keeps … percent of R1's MATH-500, and … percent of its AIME 2024.

# %% id="retention"
# NBVAL_IGNORE_OUTPUT
from distill_lab import retention_by_size

show(retention_by_size())

# %% [markdown] id="explain-retention"
# Among the Qwen students the bigger ones keep more, on each of these benchmarks. Across the two families this does not hold:
# the 70B Llama keeps {kept.Llama-70B.aime_pass1:.0f} percent of AIME 2024, the 32B Qwen
# {kept.Qwen-32B.aime_pass1:.0f}; the 8B Llama keeps {kept.Llama-8B.aime_pass1:.0f}, the 7B Qwen
# {kept.Qwen-7B.aime_pass1:.0f}. How much a student keeps also depends on the benchmark: of MATH-500 even the smallest keeps
# {kept.Qwen-1.5B.math500:.0f} percent, and looks finished; of LiveCodeBench the same student keeps
# {kept.Qwen-1.5B.livecodebench:.0f}. A share on one benchmark is not a property of a student. The students also differ in
# more than size: the two smallest Qwen students started from Qwen2.5-**Math**, and the open points started from Llama.
# What base knew already is not subtracted, because the paper has no scores of the bases: this is *kept*, not *gap closed*.
#
# ## 7. What a mean cannot tell: fool it
#
# A score says how often a model is right on questions like these. What it goes by, a single question can tell, if it was
# made for that. None of the bundled passages has a negation, a sister or an "until last year"; each trap below has one of
# these. **Your guess:** which trap catches the teacher? Which only its students?

# %% id="traps"
# NBVAL_IGNORE_OUTPUT
from distill_lab import TRAPS

for trap in TRAPS:
    lab.ask(trap.context, trap.question)

# %% [markdown] id="summary"
# On `tiny` the sister and *until last year* catch all four models. *Not* catches `kd` and breaks `sft`; the teacher passes.
#
# Now write one that fools it: `lab.ask("your passage", "your question")`. Say beforehand which word will mislead the model;
# then change only that word and ask again. If the answer becomes right, you have shown what the model goes by. If it stays
# wrong, it was something else. One passage is an anecdote, though: for a claim, write {setting:20} that differ in nothing else, and
# count, with an interval.
#
# ## Summary
# - EM and F1 compare normalised words; the order of the normalising steps is part of the definition.
# - A score without an interval is half a result. Compare two models by their difference on the same questions.
# - Gap closed says how much of the teacher arrived; it needs a base, and a teacher that is above it.
# - A mean over kinds of questions may be much of one skill and little of another: split it where the data allow.
# - Take shapes from the paper: distillation by plain fine-tuning helps, and within one family the larger students keep
#   more. Do not take its numbers.
#
# ## Three questions to test yourself
#
# <details><summary>1. A student answers every question with the whole passage. What are its EM and F1?</summary>
#
# EM is `0`. F1 is low but not `0`: recall is `1`, and precision is the share of the passage's words that are the answer, so F1
# is about twice that share.
# </details>
#
# <details><summary>2. sft has {tiny.sft.em_low:.0f} to {tiny.sft.em_high:.0f}, kd {tiny.kd.em_low:.0f} to {tiny.kd.em_high:.0f}. May you write "kd is better"?</summary>
#
# No. Nor may you write "they are equal". Compute the interval of the difference on the same questions. If it contains zero,
# say that this run does not show which is better, and how large a difference it could have shown.
# </details>
#
# <details><summary>3. "Our student keeps {tiny.sft.kept_em:.0f} % of its teacher, the paper's 1.5B only {kept.Qwen-1.5B.aime_pass1:.0f} %: ours is the better method."
# What is wrong?</summary>
#
# Everything but the arithmetic: another benchmark, other models, another way to measure, no base subtracted, and no
# interval. Moreover, the paper's students are plain sft, so the method is the same.
# </details>
#
# **Next:** the companion text on DeepSeek-R1 in the folder `reading`, then Lab 5e: why distil, if a small model could learn by itself?
# Lab 5f is a template for an experiment of your own.

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
