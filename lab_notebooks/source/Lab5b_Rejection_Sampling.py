# %% [markdown] id="title"
# # Lab 5b. Rejection sampling
#
# {badge}
#
# *What is thrown away, and what does that do to the student?*
#
# A teacher that is sampled says right things and wrong ones. The student believes all of it. So between the two
# stands a judge: section 2.3.3 of the paper keeps only correct responses, and filters out chains of thought with
# mixed languages, long paragraphs and code blocks. It is the cheapest part of the whole pipeline, and the part that
# decides what the student will be.
#
# **Afterwards you can**
# - judge a trace by hand, and say which rule refused it;
# - write a rule that counts what it means to count;
# - say what more samples buy, and what they cannot;
# - choose what to keep of several right traces, and say what that teaches;
# - say what happens to a student without the filter, and when that matters.
#
# | profile | runs on | this part takes |
# |---|---|---|
# | `tiny` | any computer, no network | about {times.lab5b.minutes} minutes on two idle cores, most of it in the last section |
# | `cpu` | a laptop with {setting:6} GB to spare | about {times.lab5b.cpu.minutes} minutes |
# | `colab` | a free T4 in Colab | {rough:1} to {rough:3} hours: predicted, not measured |
# | `cluster` | several GPUs | hours: predicted, not measured |

# %% id="install" role="install"
# the install cell

# %% [markdown] id="about-setup"
# To take another profile, name it here: `begin("cpu")`. What an earlier part has made is not made again.

# %% id="setup" role="setup"
# NBVAL_IGNORE_OUTPUT
from distill_lab.checks import check, hint, or_ours
from distill_lab.notebook import begin, show, table
from distill_lab.squad_scores import em

lab = begin()

# %% [markdown] id="about-by-hand"
# ## 1. You are the judge
#
# Below is one question with all its traces, and no verdict. (tiny: half a minute where the traces are not there yet,
# half a gigabyte of memory.) Read the passage, then each trace. For each, write down whether you would show it to a
# student.
#
# **Your guess:** sample 0 … , sample 1 … , sample 2 … , sample 3 …

# %% id="by-hand"
# NBVAL_IGNORE_OUTPUT
from distill_lab import parse

lab.run("data", "generate")
questions = {question.id: question for question in lab.questions}
traces = sorted(lab.traces, key=lambda trace: (trace.question_id, trace.sample))
said = {name: [] for name in questions}
for trace in traces:
    parsed = parse(trace.completion)  # None unless it is well-formed
    said[trace.question_id].append(parsed.answer if parsed else None)
right = {name: [em(a or "", questions[name].answers) for a in said[name]] for name in said}
chosen = next(name for name in said if len(set(right[name])) == 2)
print(questions[chosen].context, "\n\n" + questions[chosen].question)
table([(t.sample, t.completion) for t in traces if t.question_id == chosen], ("sample", "trace"))

# %% [markdown] id="about-verdicts"
# Now the pipeline's judge. It asks nine rules in order, and the first that refuses a trace gives the verdict its
# name; a trace that none refuses is `ok`. Nothing disappears: each trace keeps its verdict in `verdicts.jsonl`.

# %% id="verdicts"
# NBVAL_IGNORE_OUTPUT
lab.run("reject")
rows = [(v.sample, v.reason, v.em, v.f1) for v in lab.verdicts if v.question_id == chosen]
table(rows, ("sample", "verdict", "EM", "F1"))
print("The reference answer:", questions[chosen].answers[0])

# %% [markdown] id="look-verdicts"
# Where did you differ? Two things surprise most people. A `duplicate`, should there be one, is right, and refused all
# the same: word for word it says what an earlier trace of the question said, and would only count that one twice. And
# the judge reads the *answer*, not the thought: a trace that reasons badly and lands on the right word is `ok`. Any
# judge that compares answers alone has that blind spot.
#
# ## 2. The funnel
#
# **Your guess:** of {setting:100} traces … are kept, and of those refused most are …

# %% id="funnel"
# NBVAL_IGNORE_OUTPUT
from distill_lab import plots, summary

show(plots.funnel(summary(lab.verdicts, len(lab.examples))))

# %% [markdown] id="about-refused"
# The bundled teacher was made for this task: it never breaks the form and knows one language, so two rules do all
# the work. A real small teacher looks otherwise. Of {cpu.traces} traces of SmolLM2-135M on real SQuAD (profile `cpu`)
# {cpu.accepted} came through.
#
# Read five refused ones aloud, each with its reason. For each say: what would a student learn from it?

# %% id="refused"
# NBVAL_IGNORE_OUTPUT
import random

from distill_lab import all_reasons, refused

mixed = random.Random(0).sample(lab.verdicts, len(lab.verdicts))
for found in refused(traces, mixed, all_reasons(mixed), questions):
    print(found["verdict"].reason.upper())
    print("asked:   ", found["question"].question)
    print("expected:", *found["question"].answers)
    print("said:    ", found["trace"].completion, "\n")

# %% [markdown] id="about-mixed"
# Often a wrong trace is wrong in one word: the sentence is well built, its fact belongs to somebody else. That is
# what makes it dangerous. A student that learns from it learns to be fluent about the wrong name.
#
# ## 3. Write a rule
#
# The paper's R1 mixed languages when it thought, so mixed chains are refused. Here is a simple version of the rule:
# a text is mixed if more than a tenth of its **letters** are of another script than the Latin one.
#
# Three traps: figures and punctuation are no letters and belong to no script; `é` and `Ł` are Latin; and Chinese is
# not the only other script. `unicodedata.name(letter)` tells.
#
# **Exercise 1 (4 points).** `hint("lab5b.mixed_language")` helps, and again with `, 2`.

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

# %% [markdown] id="about-stray"
# Beside your rule the pipeline's own: `foreign_words` names each word of another script that the passage does not
# have, and one is enough. **Your guess:** on which line do the two differ?

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
# The third: two stray characters in a long thought are far below a tenth. Of {r1_outputs.outputs} real outputs of
# R1-Distill-Qwen-1.5B (of a public research repository; counted with `foreign_words`) {r1_outputs.chinese} hold some
# Chinese, {r1_outputs.five_or_fewer} of these in five stretches or fewer; a tenth of the letters is reached by none. So a share asks too little here. But a rule without any mercy would refuse the passage's own names.
# Each rule draws a line somewhere: write it down, and count what it costs.
#
# ## 4. What do more samples buy?
#
# **Your guess:** with four samples instead of one there are … times as many examples, of … percent more questions.

# %% id="yield"
# NBVAL_IGNORE_OUTPUT
from distill_lab import yield_against_n

show(yield_against_n(lab.verdicts))

# %% [markdown] id="about-majority"
# Examples grow nearly in step with N, a little less each time, for more and more are duplicates. Questions cannot grow
# much: on `tiny` the first sample misses {tiny.first_missed} of them, and {tiny.right_later} of these a later sample
# answers. The hardest stay out, and those that are answered once in four tries bring one example where others bring
# four. So **the filter also chooses what is easy**.
#
# ## 5. Without a reference: the majority
#
# Here each question has a reference answer. Where there is none, samples can judge each other: the answer that most
# of them agree on. That is the paper's *cons@64*. Answers that SQuAD would take for the same must count together.
#
# **Exercise 2 (4 points).** `Counter` helps.

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

# %% [markdown] id="guess-majority"
# **Your guess:** one trace is right for … percent of the questions, the majority of four for … , at least one of
# four for … .

# %% id="majority"
# NBVAL_IGNORE_OUTPUT
from statistics import fmean

majority_answer = or_ours("lab5b.majority_answer", majority_answer)
scores = []
for name, answers in said.items():
    agreed = majority_answer(answers) or ""
    scores.append((right[name][0], em(agreed, questions[name].answers), max(right[name])))
columns = zip(("the first", "the majority", "the best"), zip(*scores, strict=True), strict=True)
table([(who, f"{fmean(column):.1f}") for who, column in columns], ("trace", "EM"))

# %% [markdown] id="about-keep"
# The majority costs nothing, and here it buys hardly anything: what this teacher gets wrong, it mostly gets wrong the
# same way again. Look back at the question of section 1: what would the majority have kept? The best of all needs
# the reference, and that is what rejection sampling uses.
#
# ## 6. What to keep of several right ones
#
# `all` of them, the `first`, at most two, or the `shortest`. A student writes what it has read: short traces make a
# student that answers quickly; many make one that has seen more ways to say it.
#
# **Exercise 3 (4 points).** Write `keep_shortest`. Mind that traces and verdicts need not stand in the same order:
# a verdict belongs to a question *and* a sample.

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
# `--reject.keep` chooses on the command line; a run that is there already is not changed by it.
#
# ## 7. And with no filter?
#
# The question of this part. Four students, the same base, the same number of examples, the same steps:
# - `sft` learns from the kept traces (it is the run's own);
# - `unfiltered` learns from as many traces drawn without a look at their verdicts;
# - `wrong-only` learns from the traces with a wrong answer alone, again and again until there are as many;
# - `right-only` is the **control** of `wrong-only`: as many right traces of as many questions, repeated as often. The two
#   differ in one thing, whether the answers are right.
#
# **Your guess:** EM of sft … , unfiltered … , wrong-only … , right-only … .
#
# (tiny: about {times.students.minutes} minutes on two idle cores, below {rough:1} GB of memory; the run's `kd` student, of part 5c, is trained along.
# Stopped in the middle it goes on where it was.)

# %% id="no-filter"
# NBVAL_IGNORE_OUTPUT
from distill_lab import compared, in_order, student_of

lab.run("train", "evaluate")
answers = {"sft": lab.predictions("sft")}
for kind in ("unfiltered", "wrong-only", "right-only"):
    answers[kind] = student_of(kind, lab.config, lab.out)
asked = lab.eval_questions
show(compared({name: in_order(asked, found, "em") for name, found in answers.items()}, "EM"))

# %% [markdown] id="look-no-filter"
# On `tiny` one run gave {tiny.sft.em} for sft, {tiny.unfiltered.em} for unfiltered, {tiny.wrong-only.em} for wrong-only
# and {tiny.right-only.em} for right-only (base is at {tiny.base.em}).
#
# *Unfiltered* hardly differs: of this teacher's traces {tiny.wrong_percent:.0f} in {setting:100} are wrong, and
# {arithmetic:93} right ones speak louder. **What the filter is worth depends on what it filters.** On the profile `cpu`
# {cpu.refused_percent:.0f} of {setting:100} are refused; there, no filter would mean a student of mistakes.
#
# *Wrong-only* is far below both. Did it learn wrong facts, in a firm voice? It looks so, until one looks at its control.
# *Right-only*, in which every answer is right, is no better: wrong-only is {tiny.wrong_minus_right.em} points above it,
# and the {setting:95} % interval of that difference, {tiny.wrong_minus_right.em_low} to {tiny.wrong_minus_right.em_high},
# holds zero. What these two have in common is that they are *few*: {tiny.few.traces} traces of {tiny.few.questions}
# questions, each about {arithmetic:12} times. And right-only and sft have all in common but that. **It is the lack of
# diversity that cost the points; that wrong answers cost any beside it, this run does not show.** The names in a trace are
# of no use elsewhere, right or wrong, for no evaluation passage has them; what a student can take along is how to find a
# fact in a passage that it has not seen, and for that it must see many. Both are above base all the same: how an answer
# looks can be learnt from few. (One run with one seed: part 5d says what that is worth.)
#
# Two lessons. A filter that keeps few traces of few questions can do more harm than the mistakes that it takes out. And a
# comparison without its control tells a story, mostly the one that was expected: this course told the first for a while.
#
# ## Summary
# - A trace is kept or refused for the first rule that it breaks; every verdict is written down.
# - The judge reads the answer. What it cannot see, a lucky thought or an easy set of questions, it lets through.
# - More samples bring more examples of the same questions, and few new questions.
# - A rule is worth what the teacher's mistakes are worth: look at the funnel before tuning one.
# - Different questions are worth more than faultless traces of a few: count questions, not examples.
#
# ## Three questions to test yourself
#
# <details><summary>1. Why is a duplicate refused although it is right?</summary>
#
# It teaches nothing that its twin does not, and weighs that one sentence double. Easy questions, whose samples agree,
# would fill the training set.
# </details>
#
# <details><summary>2. A trace reasons wrongly and ends with the right answer. What becomes of it?</summary>
#
# It is kept: only the answer is compared. With few possible answers (yes or no) that happens often, and a judge of the
# thought itself, a reward model or a second reader, is worth its price.
# </details>
#
# <details><summary>3. Your funnel says: {setting:70} % truncated. What do you change first?</summary>
#
# The budget of tokens (`--generate.max-new-tokens`), not the rules. A truncated trace was never judged for what it
# says.
# </details>
#
# **Next:** Lab 5c, where the student learns from what was kept.

# %% [markdown] id="about-before-submitting"
# ## Before you hand in
#
# Save the notebook first (Ctrl+S or ⌘S): in Jupyter the file is looked at, as it was saved last. This cell says what
# would be lost: an exercise that is missing or not begun, a check that was changed, results that are older than their
# code.

# %% id="before-submitting"
# NBVAL_IGNORE_OUTPUT
from distill_lab.checks import before_submitting

before_submitting()
