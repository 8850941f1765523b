# %% [markdown] id="title"
# # Lab 5. Distilling a reasoner
#
# {badge}
#
# *What did DeepSeek-R1 distil, and what shall we?*
#
# A large model has learnt to think before it answers. A small one has not. In this lab the large one writes its
# thoughts down, the good ones are kept, and the small one learns from them. You will see the whole way once, from
# question to result, before the parts 5a to 5d take it to pieces.
#
# **Afterwards you can**
# - say what DeepSeek-R1 distilled, into which students, and with which objective;
# - name the five steps from a question to a score, and the file that each leaves behind;
# - read a score together with its interval, and say what it does not show;
# - hold a small experiment beside a paper's tables, and leave alone what may not be compared.
#
# | profile | runs on | the whole notebook takes |
# |---|---|---|
# | `tiny` | any computer, no network | {times.lab5.from} to {times.lab5.to} minutes on two cores |
# | `cpu` | a laptop with {setting:6} GB to spare | about {times.cpu.minutes} minutes on two cores |
# | `colab` | a free T4 in Colab | {rough:20} minutes to {rough:2.5} hours: predicted, not measured |
# | `cluster` | several GPUs | hours: predicted, not measured |
#
# Three numbers to remember come from [the companion reading](reading/DeepSeek_R1.md). Ten minutes with it pay off,
# before this notebook or after.

# %% id="install" role="install"
# the install cell

# %% [markdown] id="about-setup"
# ## Begin
#
# `begin()` looks at this machine, chooses a profile and says why. To take another, name it here, `begin("cpu")`, and
# nowhere else: all parts of the lab go by it. Everything is written to one folder, so that you may stop whenever you
# like and go on later. Colab forgets its disk some time after a disconnect: `begin(drive=True)` keeps a copy of each
# finished stage in your Google Drive, and brings it back.

# %% id="setup" role="setup"
# NBVAL_IGNORE_OUTPUT
from distill_lab import page, paper
from distill_lab.notebook import begin, show, table

lab = begin()

# %% [markdown] id="what-r1-is"
# ## What R1 is, in five sentences
#
# *DeepSeek-R1-Zero* is a large base model trained by reinforcement learning alone: it is paid for right answers in a
# fixed format, and long chains of thought grow by themselves. They are good and hard to read. *DeepSeek-R1* therefore
# starts from a few thousand readable examples, takes turns between reinforcement learning and fine-tuning, and
# becomes both able and readable. Then comes what this lab is about (section 2.4): with R1's help some {paper.samples} samples
# are collected, those of reasoning by **rejection sampling**, which keeps only what is correct and readable. Six
# smaller models, Qwen and Llama of {cited:1.5} to {cited:70} billion parameters, are **fine-tuned on that text, and that is all**: no
# logits of the teacher, no KL divergence between the two, no reinforcement learning. (There is a KL in the paper: in
# the reinforcement learning that made R1 itself, it keeps the model near to where it was. No student has to do with it.)
#
# ## The way on one page
#
# ```
#  questions ──> N traces each ──> a verdict each ──> examples ──> student ──> predictions ──> report
#    data           generate           reject                       train       evaluate
#                      ▲                                              ▲
#                   teacher ─────── (kd only: its softened targets) ──┘
# ```
#
# | step | the paper | this lab |
# |---|---|---|
# | questions | mathematics, code, science, and more | reading comprehension (SQuAD, or a small set made for the course) |
# | traces | several a question, from R1 or a checkpoint on the way to it | `n_samples` a question, from a teacher that fits your machine |
# | verdict | right answer; no mixed languages, long paragraphs, code blocks | the same, and a few rules of form |
# | student `sft` | cross-entropy on the kept text | **the same** |
# | student `kd` | *there is none* | cross-entropy and a softened KL (Hinton et al. 2015): our extension |
# | score | AIME, MATH-500, GPQA …, sampled | exact match (EM) and F1, greedy, with intervals |
#
# Three differences matter when you read our result: another task, another scale (thousands of samples for hundreds of
# thousands), and one more student than the paper has.

# %% [markdown] id="about-questions"
# ## 1. Questions
#
# Each is a passage, a question, and the answer as it stands in the passage. (tiny: a second.)

# %% id="questions"
# NBVAL_IGNORE_OUTPUT
lab.run("data")
rows = [(q.context, q.question, " / ".join(q.answers)) for q in lab.questions[:3]]
table(rows, ["passage", "question", "answer"])

# %% [markdown] id="about-traces"
# ## 2. The teacher thinks aloud
#
# It answers every question several times. What it writes is a *trace*: a thought, then an answer, each in its tags.
# (tiny: about {times.generate.seconds} seconds and {times.generate.gb} GB of memory on two idle cores.)

# %% id="traces"
# NBVAL_IGNORE_OUTPUT
lab.run("generate")
first = [trace for trace in lab.traces if trace.question_id == lab.questions[0].id]
table([(t.sample, t.n_tokens, t.completion) for t in first], ["sample", "tokens", "trace"])

# %% [markdown] id="guess-kept"
# ## 3. What is kept
#
# *Before you run it:* of {setting:100} traces, how many will be right and well formed?
#
# Your guess: … of {setting:100}

# %% id="funnel"
# NBVAL_IGNORE_OUTPUT
lab.run("reject")
lab.show("funnel")

# %% [markdown] id="guess-winner"
# Read it from the top: each rule cuts its part off what the rules above have left. Nothing disappears without a
# reason, and every reason has a count. Was your guess far off, and in which direction?
#
# ## 4. Two students
#
# Both start from the same small model, learn from the same examples, and take the same number of steps. `sft` learns
# the text, as in the paper. `kd` learns the text and, at every token, how likely its teacher held all the others.
#
# *Before you run it:* which of the two ends nearer to the teacher? How far do they get, if the untrained student is
# at {setting:0} % and the teacher at {setting:100} %?
#
# Your guess: `sft` … %, `kd` … %
#
# (tiny: about a minute and {times.train.gb} GB of memory on two idle cores. Stopped in the middle, it goes on from there when you
# run the cell again.)

# %% id="train"
# NBVAL_IGNORE_OUTPUT
lab.run("train")
lab.show("curves")

# %% [markdown] id="about-scores"
# The upper curves are the price of the text (cross-entropy), the lower one the distance from the teacher (KL). They
# are different quantities: never compare a point of the one with a point of the other. Part 5c is about that picture.
#
# ## 5. How much of the teacher arrived?
#
# Four models answer questions that nobody was trained on. (tiny: about {times.evaluate.seconds} seconds and {times.train.gb} GB.)

# %% id="scores"
# NBVAL_IGNORE_OUTPUT
lab.run("evaluate", "report")
lab.show("scores")
lab.show("gap")

# %% [markdown] id="explain-scores"
# The dots are means, the lines {setting:95} % intervals: where the truth may well lie, given so few questions. Now explain, in
# a sentence each: Did distillation help? Does this run show that `kd` is better than `sft`?
#
# Your sentences: …
#
# Texts tell more than means. Here are two questions, one for each of the two commonest outcomes, and what each model
# made of them. Where a student goes wrong, find the word at which it does.

# %% id="answers"
# NBVAL_IGNORE_OUTPUT
predictions = {who: lab.predictions(who) for who in ("base", "sft", "kd", "teacher")}
patterns = page.answers({q.id: q for q in lab.eval_questions}, predictions)
for pattern in patterns[:2]:
    question = pattern["question"]
    print(f"As with this question it went with {pattern['same']} of {len(lab.eval_questions)}:")
    print(question.context, question.question, sep="\n")
    rows = [(who, said.completion, f"{said.em:.0f}") for who, said in pattern["answers"].items()]
    table(rows, ["model", "wrote", "EM"])

# %% [markdown] id="about-table-5"
# ## 6. The paper's tables
#
# Table 5 of the paper, all of it: other models first, then the six students. Percent, but for Codeforces, which is a
# rating.

# %% id="table-5"
# NBVAL_CHECK_OUTPUT
columns = ["model", *(benchmark.title for benchmark in paper.BENCHMARKS)]
rows = [[r.model, *(r.score(b.key) for b in paper.BENCHMARKS)] for r in paper.TABLE_5]
table(rows, columns)

# %% [markdown] id="guess-kept-share"
# The teacher itself scores {paper.DeepSeek-R1.aime_pass1} on AIME 2024 (table 4). *Before you run the next cell:* what share of that does the
# smallest student keep, and what share the one of 32B?
#
# Your guess: … % and … %

# %% id="kept"
# NBVAL_CHECK_OUTPUT
kept = [[r.model, r.base, paper.retention(r.model, "aime_pass1")] for r in paper.STUDENTS]
kept = [[model, base, page.percent(share)] for model, base, share in kept]
table(kept, ["student", "started from", "share of R1's AIME 2024 pass@1"])

# %% [markdown] id="about-rl"
# Among the Qwen students a bigger one keeps more. Over all six it is not so: the Llama of 70B keeps less
# ({kept.Llama-70B.aime_pass1:.0f} %) than the Qwen of 32B ({kept.Qwen-32B.aime_pass1:.0f} %), that of 8B less
# ({kept.Llama-8B.aime_pass1:.0f} %) than the Qwen of 7B ({kept.Qwen-7B.aime_pass1:.0f} %). And two of the six come from
# models that were made for mathematics, one from an instruct model, three from plain base models: size is never the only
# thing that differs.
#
# Would the small model have got there alone, by the reinforcement learning that made R1-Zero? The paper tried it with
# 32B:

# %% id="table-6"
# NBVAL_CHECK_OUTPUT
rows = [[r.model, *(r.score(b.key) for b in paper.BENCHMARKS)] for r in paper.TABLE_6]
table(rows, columns)

# %% [markdown] id="about-compare"
# Learning from a strong teacher beat learning by trial, at that size and with that much training. It is one run of
# each, and the paper does not say that trial with more patience would stay behind.
#
# ## 7. May our result be held beside theirs?
#
# Some of it, as a shape. This table is made from your run:

# %% id="compare"
# NBVAL_IGNORE_OUTPUT
lines = list(page.comparisons(lab.report))
table(
    [(line.topic, line.paper, ours, line.compare, line.why) for line, ours in lines],
    ["topic", "the paper", "this run", "may it be compared?", "why"],
)

# %% [markdown] id="way"
# ## The way through the parts
#
# | part | its question | you write |
# |---|---|---|
# | [5a, teacher generation](Lab5a_Teacher_Generation.ipynb) | What does sampling buy? | a parser, a softmax with a temperature, pass@k |
# | [5b, rejection sampling](Lab5b_Rejection_Sampling.ipynb) | What is thrown away, and what does that do to the student? | a rule, a majority vote, a policy |
# | [5c, student training](Lab5c_Student_Training.ipynb) | What do soft targets carry that text does not? | labels, the KD loss; and a museum of bugs |
# | [5d, evaluation](Lab5d_SQuAD_Evaluation.ipynb) | How much of the teacher arrived, and how sure are we? | F1, an interval, the gap closed |
#
# They go on from the folder that you have just filled. Labs 6 and 7 then make the student smaller in other ways: by
# pruning and by quantization.
#
# ## Summary
#
# - R1's distillation is fine-tuning on about {paper.samples} kept samples. Its objective is the cross-entropy on text; it
#   uses no KL.
# - The pipeline is: sample, refuse, learn, score. Each step leaves a file that you can read.
# - Our `sft` is the paper's method in small; our `kd` is an extension that the paper does not have.
# - A score without an interval and a number of questions is half a score.
# - Absolute scores of ours and theirs have nothing to say to each other; shapes may.

# %% [markdown] id="questions-to-oneself"
# ## Three questions to test yourself
#
# 1. A blog says: "DeepSeek minimised the KL divergence between R1 and its students." What is wrong?
# 2. In the table above, `sft` and `kd` differ by a point or so. May you say which is better?
# 3. Why does the paper's table 6 compare *the same* 32B model twice, and what would be lost if the one trained by RL
#    were smaller?
#
# <details><summary>Answers</summary>
#
# 1. The students learnt from text, by supervised fine-tuning (section 2.4). No distribution of the teacher was used.
#    A softened KL is Hinton et al. 2015, and in this lab our own extension.
# 2. Not from overlapping intervals alone, in either direction. Take the difference question by question and its
#    interval: if that holds {setting:0}, this run does not show it. The report's first lines say so.
# 3. So that one thing differs: how it was trained. With a smaller model, size and training would be mixed up, and the
#    difference could be put down to either.
#
# </details>
