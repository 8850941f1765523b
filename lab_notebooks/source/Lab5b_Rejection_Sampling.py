# %% [markdown] id="title"
# # Lab 5b. Rejection sampling
#
# {badge}
#
# *What is thrown away, and what does that do to the student?*
#
# A sampled teacher writes right answers and wrong ones, and the student believes all of them. So a judge stands between
# the two: section 2.3.3 of the paper keeps only correct responses, and filters out chains of thought with mixed
# languages, long paragraphs and code blocks. This is the cheapest part of the whole pipeline, and a cheap way to a better
# student: section 8 measures how much.
#
# **Afterwards you can**
# - judge a trace by hand, and say which rule refused it;
# - write a rule that counts what it is meant to count;
# - say what more samples buy, and what they cannot buy;
# - choose which of several right traces to keep, and say what that teaches;
# - say what happens to a student without the filter, and when that matters.
#
# | profile | runs on | this part takes |
# |---|---|---|
# | `tiny` | any computer, no network | about {times.lab5b.minutes} minutes on two idle cores, most of it in the last section |
# | `cpu` | a laptop with {setting:6} GB of free memory | about {rough:90} minutes, as it trains five students: an estimate |
# | `colab` | a free T4 in Colab | {rough:1} to {rough:3} hours: predicted, not measured |
# | `cluster` | several GPUs | hours: predicted, not measured |

# %% id="install" role="install"
# the install cell

# %% [markdown] id="about-setup"
# To use another profile, name it here: `begin("cpu")`. What an earlier part made is not made again.

# %% id="setup" role="setup"
# NBVAL_IGNORE_OUTPUT
from distill_lab.checks import check, hint, or_ours
from distill_lab.notebook import begin, show, slider, table
from distill_lab.squad_scores import em

lab = begin()

# %% [markdown] id="about-by-hand"
# ## 1. You are the judge
#
# Below is one question with all its traces, without verdicts. (tiny: {times.generate.seconds} seconds on two idle cores if the
# traces have yet to be sampled, and {times.generate.gb} GB of memory.) Read the passage, then each trace. For each trace, write
# down whether you would show it to a student.
#
# **Your guess:** sample 0 … , sample 1 … , sample 2 … , sample 3 …

# %% id="by-hand"
# NBVAL_IGNORE_OUTPUT
from distill_lab import parse

lab.run("data", "generate")
questions = {question.id: question for question in lab.questions}
traces = sorted(lab.traces, key=lambda trace: (trace.question_id, trace.sample))
answers = {key: [] for key in questions}
for trace in traces:
    parsed = parse(trace.completion)  # None unless it is well-formed
    answers[trace.question_id].append(parsed.answer if parsed else None)
right = {key: [em(a or "", questions[key].answers) for a in answers[key]] for key in answers}
chosen = next(key for key in answers if len(set(right[key])) == 2)
print(questions[chosen].context, "\n\n" + questions[chosen].question)
table([(t.sample, t.completion) for t in traces if t.question_id == chosen], ("sample", "trace"))

# %% [markdown] id="about-verdicts"
# Now the pipeline judges. It asks nine rules in order, and the first rule that refuses a trace gives the verdict its
# name; a trace that no rule refuses is `ok`. The nine are `truncated`, `malformed`, `empty_answer`, `mixed_language`,
# `long_paragraph`, `code_block`, `repetition`, `wrong_answer` and `duplicate`. Nothing disappears: the verdict on each trace
# is kept in `verdicts.jsonl`.

# %% id="verdicts"
# NBVAL_IGNORE_OUTPUT
lab.run("reject")
rows = [(v.sample, v.reason, v.em, v.f1) for v in lab.verdicts if v.question_id == chosen]
table(rows, ("sample", "verdict", "EM", "F1"))
print("The reference answer:", questions[chosen].answers[0])

# %% [markdown] id="look-verdicts"
# Where did you differ? Two things surprise most people. First, a `duplicate` (if there is one) is right and refused all
# the same: it repeats an earlier trace of the question word for word, and would only count that trace twice. Second, the
# judge reads the *answer*, not the thought: a trace that reasons badly and arrives at the right word is `ok`. Every judge
# that compares only answers has this blind spot.
#
# ## 2. The funnel
#
# **Your guess:** of {setting:100} traces … are kept, and most of the refused ones are …
#
# Below the picture stand five refused traces, each with its reason. Read them aloud, and say for each what a student would
# learn from it.

# %% id="funnel"
# NBVAL_IGNORE_OUTPUT
import random

from distill_lab import all_reasons, plots, refused, summary

show(plots.funnel(summary(lab.verdicts, len(lab.examples))))
shuffled = random.Random(0).sample(lab.verdicts, len(lab.verdicts))
for example in refused(traces, shuffled, all_reasons(shuffled), questions):
    print(example["verdict"].reason.upper())
    print("question:", example["question"].question)
    print("expected:", *example["question"].answers)
    print("trace:   ", example["trace"].completion, "\n")

# %% [markdown] id="about-mixed"
# The bundled teacher was made for this task: it hardly ever breaks the format and knows only one language, so one rule does
# nearly all the work. A real small teacher is different. Of {cpu.traces} traces of a SmolLM2-135M that has learnt SQuAD (the teacher
# of the profile `cpu`), {cpu.accepted} were accepted.
#
# `truncated` also names a thought that was never closed, as in the trace above. Only a trace that was cut by the limit is
# helped by a higher limit.
#
# A wrong trace is mostly well built: every sentence is grammatical, and its fact stands in the passage, but it belongs to
# somebody else. That makes it dangerous. A student that learns from it learns to be fluent about the wrong name.
#
# ## 3. Write a rule
#
# The paper's R1 mixed languages in its thoughts, so mixed chains are refused. Here is a simple version of that rule: a
# text is mixed if more than a tenth of its **letters** belong to another script than the Latin one.
#
# There are three traps: digits and punctuation are not letters and belong to no script; `é` and `Ł` are Latin; and
# Chinese is not the only other script. `unicodedata.name(letter)` tells you the script.
#
# {exercise} `hint("lab5b.mixed_language")` gives a first hint, `hint("lab5b.mixed_language", 2)` a second.

# %% id="mixed-language" role="exercise"
import re
import unicodedata


def mixed_language(text: str, most: float = 0.1) -> bool:
    """Whether more than the share `most` (0 to 1) of the letters are of another script than the
    Latin one. A text without letters is not mixed.
    """
    ### BEGIN SOLUTION
    letters = [c for c in text if c.isalpha()]
    foreign = [c for c in letters if not unicodedata.name(c, "").startswith("LATIN")]
    return len(foreign) > most * len(letters)
    ### END SOLUTION


# %% id="check-mixed-language" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5b.mixed_language", mixed_language)

# %% [markdown] id="stretch-mixed-language"
# <details><summary>Stretch goal, without points</summary>
#
# Write a stricter rule: it refuses a text as soon as one whole *word* is in another script. About which traces do the
# two rules disagree, and which of them would you believe?
# </details>

# %% [markdown] id="about-stray"
# Compare your rule with the pipeline's own: `foreign_words` lists each word in another script that the passage does not
# contain, and one such word is enough to refuse a trace. **Your guess:** on which line do the two rules differ?

# %% id="stray"
# NBVAL_IGNORE_OUTPUT
from distill_lab import foreign_words

mixed_language = or_ours("lab5b.mixed_language", mixed_language)
thoughts = [
    "The passage says that Orgar plays the lute, so the answer is lute.",
    "Zoë was born in Łódź in 1899, at 5,199 metres (so it is said).",
    "So the answer is lute, 因为 the passage says that Orgar plays it, and nobody else does.",
    "因为老师说 the lute 所以 lute",
]
table(
    [(t, mixed_language(t), foreign_words(t)) for t in thoughts], ("text", "yours", "stray words")
)

# %% [markdown] id="look-stray"
# On the third: two stray characters in a long thought are far below a tenth. Of {r1_outputs.outputs} real outputs of
# R1-Distill-Qwen-1.5B (from a public research repository; counted with `foreign_words`), {r1_outputs.chinese} contain
# some Chinese, {r1_outputs.five_or_fewer} of these in five stretches or fewer; none reaches a tenth of its letters. So a
# rule that looks at the share refuses too little here. A rule that allows no foreign word at all would refuse the
# passage's own names. Every rule draws a line somewhere: write it down, and count what it costs.
#
# ## 4. What do more samples buy?
#
# **Your guess:** with four samples instead of one there are … times as many examples, from … percent of the questions
# instead of … percent.

# %% id="yield"
# NBVAL_IGNORE_OUTPUT
from distill_lab import yield_against_n

show(yield_against_n(lab.verdicts))

# %% [markdown] id="about-majority"
# The number of examples grows nearly in proportion to N; a few more traces are duplicates each time. The number of questions
# grows less: on `tiny` the first sample misses {tiny.first_missed} of {tiny.questions} questions, and a later sample
# answers {tiny.right_later} of these. What is never answered stays out, and a question that is answered once in four tries
# brings one example where others bring four. Two-fact questions are {tiny.two-fact.asked_percent:.0f} % of what the teacher
# was asked, and {tiny.two-fact.kept_percent:.0f} % of the examples. So **the filter also selects what is easy**.
#
# ## 5. Without a reference: the majority
#
# Here each question has a reference answer. Where there is none, the samples can judge each other: take the answer that
# most of them agree on. That is the paper's *cons@64*. Answers that SQuAD treats as the same must count together.
#
# {exercise} Write `majority_answer`. `Counter` helps.

# %% id="majority-answer" role="exercise"
from collections import Counter, defaultdict
from collections.abc import Sequence

from distill_lab.squad_scores import normalize_answer


def majority_answer(answers: Sequence[str | None]) -> str | None:
    """The answer with the most votes, as it was first spelt; of equal counts the one first seen.

    Answers are compared as `normalize_answer` makes them. None is a trace without a well-formed
    answer and has no vote; with no vote at all the result is None.
    """
    ### BEGIN SOLUTION
    spelt, votes = {}, Counter()
    for answer in answers:
        if answer is not None:
            spelt.setdefault(normalize_answer(answer), answer)
            votes[normalize_answer(answer)] += 1
    return spelt[votes.most_common(1)[0][0]] if votes else None
    ### END SOLUTION


# %% id="check-majority-answer" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5b.majority_answer", majority_answer)

# %% [markdown] id="stretch-majority-answer"
# <details><summary>Stretch goal, without points</summary>
#
# Give the votes weights: a short trace counts more than a long one. Is the weighted majority right more often than the
# plain one?
# </details>

# %% [markdown] id="guess-majority"
# **Your guess:** one trace is right for … percent of the questions, the majority of four for … , at least one of
# four for … .

# %% id="majority"
# NBVAL_IGNORE_OUTPUT
from statistics import fmean

majority_answer = or_ours("lab5b.majority_answer", majority_answer)
scores = []
for key, given in answers.items():
    agreed = majority_answer(given) or ""
    scores.append((right[key][0], em(agreed, questions[key].answers), max(right[key])))
columns = zip(("the first", "the majority", "the best"), zip(*scores, strict=True), strict=True)
table([(who, f"{fmean(column):.1f}") for who, column in columns], ("trace", "EM"))

# %% [markdown] id="about-votes"
# The votes can also be a **rule**: keep a trace only if at least so many samples of its question (itself included) agree with
# it. That needs no reference, and its threshold can be moved. The numbers in the picture are right traces (blue) plus wrong
# ones (orange).
#
# **Your guess:** if all four must agree, the rule keeps … percent of the traces, and … percent of these are wrong.

# %% id="move-votes"
# NBVAL_IGNORE_OUTPUT
from distill_lab import kept_by_votes

slider(kept_by_votes(lab.judged), "votes", [1, 2, 3, 4])

# %% [markdown] id="about-keep"
# A stricter rule lets fewer wrong traces through and throws more right ones away: no threshold spares you the choice. What
# stays wrong where all four agree is what the teacher is sure of and mistaken about, and no vote can find it.
#
# The majority costs nothing, and here it gains little: what this teacher gets wrong, it mostly gets wrong in the same way
# again. See the panel votes = 2: most of the wrong answers agree with another sample of their question. In section 1
# the vote was right, three to one; that is not always so. Choosing the best of all traces needs the reference, and rejection
# sampling uses it.
#
# ## 6. Which right traces to keep
#
# Keep `all` of them, the `first`, `at-most-k` (two, say), or the `shortest`. A student writes as it has read: short traces
# make a student that answers quickly; many traces make one that has seen more ways to say the same thing.
#
# {exercise} Write `keep_shortest`. Traces and verdicts need not be in the same order: a verdict belongs
# to a question *and* a sample.

# %% id="keep-shortest" role="exercise"
from collections import defaultdict
from collections.abc import Sequence

from distill_lab import Trace, Verdict


def keep_shortest(traces: Sequence[Trace], verdicts: Sequence[Verdict]) -> list[Trace]:
    """Of each question's right traces (reason `ok`) the one with the fewest tokens (`n_tokens`), of
    equals the first in `traces`. A question without a right trace has none.
    """
    ### BEGIN SOLUTION
    right = {(v.question_id, v.sample) for v in verdicts if v.reason == "ok"}
    best: dict[str, Trace] = {}
    for trace in traces:
        if (trace.question_id, trace.sample) in right:
            old = best.get(trace.question_id)
            if old is None or trace.n_tokens < old.n_tokens:
                best[trace.question_id] = trace
    return list(best.values())
    ### END SOLUTION


# %% id="check-keep-shortest" role="check"
# NBVAL_CHECK_OUTPUT
check("lab5b.keep_shortest", keep_shortest)

# %% [markdown] id="stretch-keep-shortest"
# <details><summary>Stretch goal, without points</summary>
#
# Write `keep_most_different`: of the right traces of a question it keeps the two that share the fewest words. How many
# different words do its examples have, and how many do those of `keep_shortest`?
# </details>

# %% id="policies"
# NBVAL_IGNORE_OUTPUT
from distill_lab import RejectSettings, choose_examples

keep_shortest = or_ours("lab5b.keep_shortest", keep_shortest)
policies = ("all", "at-most-k", "first")
kept = {name: choose_examples(traces, lab.verdicts, RejectSettings(keep=name)) for name in policies}
kept["shortest"] = keep_shortest(traces, lab.verdicts)
rows = [
    (name, len(group), f"{fmean(t.n_tokens for t in group):.1f}") for name, group in kept.items()
]
table(rows, ("policy", "examples", "tokens each"))

# %% [markdown] id="about-no-filter"
# `shortest` saves about four tokens a trace. Which policy makes the better student, no study of ours has measured; Lab 5f
# begins with that question. On the command line, `--reject.keep` chooses; it does not change a run that exists already.
#
# ## 7. And with no filter?
#
# This is the question of this part. We train four students from the same base, on the same number of examples, for the
# same number of steps:
# - `sft` learns from the kept traces (it is the run's own student);
# - `unfiltered` learns from as many traces, drawn without looking at their verdicts;
# - `wrong-only` learns only from traces with a wrong answer, repeated until there are as many;
# - `right-only` is the **control** of `wrong-only`: equally few right traces of equally few questions, repeated as often.
#   These two differ in one thing only, whether the answers are right.
#
# **Your guess:** EM of sft … , unfiltered … , wrong-only … , right-only … .
#
# (tiny: about {times.students.minutes} minutes on two idle cores, {times.train.gb} GB of memory. This also trains the
# run's `kd` student, for part 5c. If it is stopped, it resumes where it stopped.)

# %% id="no-filter"
# NBVAL_IGNORE_OUTPUT
from distill_lab import compared, in_order, student_of

lab.run("train", "evaluate")
predictions = {"sft": lab.predictions("sft")}
for arm in ("unfiltered", "wrong-only", "right-only"):
    predictions[arm] = student_of(arm, lab.config, lab.out)
ems = {arm: in_order(lab.eval_questions, p, "em") for arm, p in predictions.items()}
show(compared(ems, "EM"))

# %% [markdown] id="look-no-filter"
# On `tiny`, one run gave {tiny.sft.em} for sft, {tiny.unfiltered.em} for unfiltered, {tiny.wrong-only.em} for wrong-only
# and {tiny.right-only.em} for right-only (base is at {tiny.base.em}). That is one seed and {tiny.n} questions: kept minus
# unfiltered is {tiny.kept_minus_unfiltered.em} points, with a {setting:95} % interval of
# {tiny.kept_minus_unfiltered.em_low} to {tiny.kept_minus_unfiltered.em_high}. Right-only is even above sft: do you believe that?
#
# ## 8. Is that luck?
#
# So the same four students were trained again, with {found.filter-tiny.seeds} seeds (each draws other questions, other
# samples and another order), at three temperatures of the teacher, and scored on {setting:1,000} other questions. That took
# about half an hour on two cores and is not done here: the study comes with the course (`lab_notebooks/studies/filter`, its page has all
# numbers; `distill-lab study check` computes them again from the scores).
#
# In the second picture `sft` learns from kept traces, `sft:unfiltered` from as many that nobody judged, the others from traces
# that are all right or all wrong. **Your guess:** where is the filter worth most: with a cool teacher or with a hot one?

# %% id="study"
# NBVAL_IGNORE_OUTPUT
from distill_lab import study_pictures

show(*study_pictures("filter", "findings", "generate-temperature-em"))

# %% [markdown] id="look-study"
# Kept minus unfiltered, on as many examples and for as many steps, is {found.filter-cool} points at T = 0.6
# ({setting:95} % interval {found.filter-cool.low} to {found.filter-cool.high}), {found.filter-tiny} at T = 1
# ({found.filter-tiny.low} to {found.filter-tiny.high}) and {found.filter-hot} at T = 1.4 ({found.filter-hot.low} to
# {found.filter-hot.high}). It is not luck. **What the filter is worth depends on what it filters:** the hotter the teacher, the
# more of its traces are wrong. And this teacher's mistakes are no noise that averages out. It takes up somebody else's fact
# again and again, and a student can learn to do so.
#
# The unfiltered student is even the better imitator: at T = 1, other traces of the teacher surprise it less
# ({study.filter.sft-unfiltered.1.0.nll:.2f} nats a token) than the student of kept ones ({study.filter.sft.1.0.nll:.2f}), because
# it knows the mistakes, too. To be close to a teacher and to be right are two aims.
#
# Now look at the heights. With the filter, the student of the hot teacher ends at {study.filter.sft.1.4.em}, that of the cool one
# at {study.filter.sft.0.6.em}. (Part 5a's pass@k alone would have made us choose a higher T.) So the filter does not make up for
# bad samples: it can drop what is wrong, and cannot add a right trace of a question that was never answered.
#
# **Wrong-only** has its control, *right-only*: at T = 1 it is {found.filter-right-only} points below it
# ({found.filter-right-only.low} to {found.filter-right-only.high}). Without the control one would have compared it with sft,
# {study.filter.sft.1.0.em} against {study.filter.sft-wrong-only.1.0.em}, and put all of that down to the wrong answers. But
# right-only is below sft too, with {study.filter.sft-right-only.1.0.em}, although all its answers are right: few traces of few
# questions, repeated often, cost points of their own. Still, wrong-only is far above the base
# ({study.filter.base.em}): how a thought looks can be learnt from wrong ones.
#
# There are two lessons. A filter is worth what it removes, and may cost what it removes besides: count questions, not only
# examples. And a comparison without its control tells a story, mostly the one that was expected.
#
# ## Summary
# - A trace is kept, or refused for the first rule that it breaks; every verdict is written down.
# - The judge reads the answer. It lets through what it cannot see, such as a lucky thought or an easy set of questions.
# - More samples bring more examples of the same questions, and few new questions.
# - A rule is worth as much as the mistakes that it removes: look at the funnel before you tune a rule.
# - One run with one seed shows little: a difference needs an interval, several seeds, and a control.
#
# ## Three questions to test yourself
#
# <details><summary>1. Why is a duplicate refused although it is right?</summary>
#
# It teaches nothing that the first copy does not, and gives that one sentence double weight. Easy questions, whose samples
# agree, would fill the training set.
# </details>
#
# <details><summary>2. A trace reasons wrongly and ends with the right answer. What happens to it?</summary>
#
# It is kept, because only the answer is compared. If few answers are possible (yes or no), this happens often, and it pays
# to judge the thought itself, with a reward model or a second reader.
# </details>
#
# <details><summary>3. Your funnel says: {setting:70} % truncated. What do you change first?</summary>
#
# The token limit (`--generate.max-new-tokens`), not the rules. A truncated trace was never judged for what it says.
# </details>
#
# **Next:** Lab 5c, in which the student learns from what was kept.

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
