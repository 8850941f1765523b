# %% [markdown] id="title"
# # Lab 5. Distilling a reasoner
#
# {badge}
#
# *What did DeepSeek-R1 distil, and what do we distil?*
#
# A large model has learnt to think before it answers. A small one has not. In this lab the large model writes its
# thoughts down, we keep the good ones, and the small model learns from them. This notebook goes the whole way once, from
# questions to results; parts 5a to 5d then look at each step closely.
#
# **Afterwards you can**
# - say what DeepSeek-R1 distilled, into which students, and with which objective;
# - name the five steps from a question to a score, and the files that each step writes;
# - read a score together with its interval, and say what the score does not show;
# - compare a small experiment with a paper's tables, and say which numbers may not be compared.
#
# | profile | runs on | the whole notebook takes |
# |---|---|---|
# | `tiny` | any computer, no network | {times.lab5.from} to {times.lab5.to} minutes on two cores |
# | `cpu` | a laptop with {setting:6} GB of free memory | about {times.cpu.minutes} minutes on two cores |
# | `colab` | a free T4 in Colab | {rough:20} minutes to {rough:2.5} hours: predicted, not measured |
# | `cluster` | several GPUs | hours: predicted, not measured |
#
# [A companion text](reading/DeepSeek_R1.md) explains the paper in ten minutes. Read it before this notebook or after.

# %% id="install" role="install"
# the install cell

# %% [markdown] id="about-setup"
# ## Begin
#
# `begin()` looks at this machine, chooses a profile and says why. To use another profile, name it here and nowhere else:
# `begin("cpu")`. All parts of the lab then use it. Everything is written to one folder, so you may stop at any time and
# continue later. Colab deletes its disk some time after you disconnect; `begin(drive=True)` copies each finished stage to
# your Google Drive and restores it from there.

# %% id="setup" role="setup"
# NBVAL_IGNORE_OUTPUT
from distill_lab import page, paper
from distill_lab.notebook import begin, show, table

lab = begin()

# %% [markdown] id="what-r1-is"
# ## What R1 is
#
# *DeepSeek-R1-Zero* is a large base model trained by reinforcement learning alone: it is rewarded for right answers in a
# fixed format, and learns by itself to write long chains of thought. Its thoughts are good but hard to read.
# *DeepSeek-R1* therefore starts from a few thousand readable examples and alternates between reinforcement learning and
# fine-tuning; it reasons well and is readable. Then comes the step that this lab is about (section 2.4). With R1's help
# some {paper.samples} samples are collected; those that show reasoning are collected by **rejection sampling**, which
# keeps only what is correct and readable. Six smaller models, Qwen and Llama of {cited:1.5} to {cited:70} billion
# parameters, are **fine-tuned on that text, and that is all**: no logits of the teacher, no KL divergence between the
# two, no reinforcement learning. (The paper does have a KL term: in the reinforcement learning that made R1 itself, it
# keeps the model close to an earlier state. It plays no part in training the students.)
#
# ## The whole pipeline
#
# ```
#  questions ──> N traces each ──> a verdict each ──> examples ──> student ──> predictions ──> report
#    data           generate           reject                       train       evaluate
#                      ▲                                              ▲
#                   teacher ─────── (kd only: its softened targets) ──┘
# ```
#
# | step | the paper | this lab | its files |
# |---|---|---|---|
# | questions | mathematics, code, science, and more | reading comprehension (SQuAD, or a small set made for the course) | `questions.train.jsonl`, `questions.eval.jsonl` |
# | traces | several per question, from R1 or a checkpoint on the way to it | `n_samples` per question, from a teacher that fits your machine | `traces.jsonl` |
# | verdict | right answer; no mixed languages, long paragraphs or code blocks | the same, and a few rules about the format | `verdicts.jsonl`, `examples.jsonl` |
# | student `sft` | cross-entropy on the kept text | **the same** | `students/sft/` |
# | student `kd` | *none* | cross-entropy and a softened KL (Hinton et al. 2015): our extension | `students/kd/` |
# | score | AIME, MATH-500, GPQA …, sampled | exact match (EM) and F1, greedy, with intervals | `predictions/`, `report.html` |
#
# Keep three differences in mind when you read our result: the task is another one, the scale is smaller (hundreds or
# thousands of samples instead of hundreds of thousands), and we train one student that the paper does not have.

# %% [markdown] id="about-questions"
# ## 1. Questions
#
# Each question comes with a passage, and with its answer as the passage words it. (tiny: a second.)

# %% id="questions"
# NBVAL_IGNORE_OUTPUT
lab.run("data")
rows = [(q.context, q.question, " / ".join(q.answers)) for q in lab.questions[:3]]
table(rows, ["passage", "question", "answer"])

# %% [markdown] id="about-traces"
# ## 2. The teacher thinks aloud
#
# The teacher answers every question several times. What it writes is called a *trace*: a thought, then an answer, each
# between tags. (tiny: about {times.generate.seconds} seconds and {times.generate.gb} GB of memory on two idle cores.)

# %% id="traces"
# NBVAL_IGNORE_OUTPUT
lab.run("generate")
first = [trace for trace in lab.traces if trace.question_id == lab.questions[0].id]
table([(t.sample, t.n_tokens, t.completion) for t in first], ["sample", "tokens", "trace"])

# %% [markdown] id="guess-kept"
# ## 3. What is kept
#
# *Before you run it:* of {setting:100} traces, how many are right and well formed?
#
# Your guess: … of {setting:100}

# %% id="funnel"
# NBVAL_IGNORE_OUTPUT
lab.run("reject")
lab.show("funnel")

# %% [markdown] id="guess-winner"
# Read the picture from the top: each rule refuses some of the traces that the rules above it let through. Every refused
# trace has a reason, and every reason has a count. How far off was your guess, and in which direction?
#
# ## 4. Two students
#
# Both students start from the same small model, learn from the same examples, and train for the same number of steps.
# `sft` learns from the text, as in the paper. `kd` learns from the text and also from the probabilities that the teacher
# gave to all other tokens at each position.
#
# *Before you run it:* which of the two ends closer to the teacher? How far do they get, if the untrained student is
# at {setting:0} % and the teacher at {setting:100} %?
#
# Your guess: `sft` … %, `kd` … %
#
# (tiny: about a minute and {times.train.gb} GB of memory on two idle cores. If it is stopped, run the cell again: it
# resumes where it stopped.) Each line that begins with `train` shows what the student answers to three questions at that step:
# nonsense at first.

# %% id="train"
# NBVAL_IGNORE_OUTPUT
lab.run("train")
lab.show("curves")

# %% [markdown] id="about-scores"
# The upper panel shows the cross-entropy of the text, the lower one the distance from the teacher (KL). These are different
# quantities: never compare a point of one with a point of the other. Lines are training (dashed for `kd`), diamonds are
# answers held out of it. `sft` has only diamonds below, because its training computes no KL. Part 5c goes on from here.
#
# ## 5. How much of the teacher arrived?
#
# Four models answer questions that none of them was trained on. EM is the share of answers that equal a reference; F1 counts
# the words that the two have in common. Answers of one word make them equal. (tiny: about {times.evaluate.seconds} seconds and
# {times.train.gb} GB.)

# %% id="scores"
# NBVAL_IGNORE_OUTPUT
lab.run("evaluate", "report")
lab.show("scores")
lab.show("gap")
lab.show("difference")

# %% [markdown] id="explain-scores"
# The dots are means, the lines are {setting:95} % intervals: the range in which the true value may well lie, given so few
# questions. The last picture has the difference of the two students on the same questions: where its line crosses zero, the run
# does not show which is better. Now explain, in one sentence each: Did distillation help? Does this run show that `kd` is better than `sft`?
#
# Your sentences: …
#
# Texts tell more than means. Here are two questions, one for each of the two most frequent outcomes, and what each model
# wrote. Where a student is wrong, find the word at which it goes wrong. Where a model is right, read its thought too: is that
# right?

# %% id="answers"
# NBVAL_IGNORE_OUTPUT
predictions = {who: lab.predictions(who) for who in ("base", "sft", "kd", "teacher")}
patterns = page.answers({q.id: q for q in lab.eval_questions}, predictions)
for pattern in patterns[:2]:
    question = pattern["question"]
    print(f"{pattern['same']} of {len(lab.eval_questions)} questions went like this one:")
    print(question.context, question.question, sep="\n")
    rows = [(who, given.completion, f"{given.em:.0f}") for who, given in pattern["answers"].items()]
    table(rows, ["model", "wrote", "EM"])

# %% [markdown] id="about-table-5"
# ## 6. The paper's tables
#
# This is table 5 of the paper: other models first, then the six students. The numbers are percentages, except
# Codeforces, which is a rating.

# %% id="table-5"
# NBVAL_CHECK_OUTPUT
columns = ["model", *(benchmark.title for benchmark in paper.BENCHMARKS)]
rows = [[r.model, *(r.score(b.key) for b in paper.BENCHMARKS)] for r in paper.TABLE_5]
table(rows, columns)

# %% [markdown] id="guess-kept-share"
# The teacher itself scores {paper.DeepSeek-R1.aime_pass1} on AIME 2024 (table 4). *Before you run the next cell:* what
# share of that score does the smallest student keep, and what share does the 32B student keep?
#
# Your guess: … % and … %

# %% id="kept"
# NBVAL_CHECK_OUTPUT
kept = [[r.model, r.base, paper.retention(r.model, "aime_pass1")] for r in paper.STUDENTS]
kept = [[model, base, page.percent(share)] for model, base, share in kept]
table(kept, ["student", "started from", "share of R1's AIME 2024 pass@1"])

# %% [markdown] id="about-rl"
# Among the Qwen students, a bigger one keeps more. Over all six students this does not hold: the 70B Llama keeps less
# ({kept.Llama-70B.aime_pass1:.0f} %) than the 32B Qwen ({kept.Qwen-32B.aime_pass1:.0f} %), and the 8B Llama keeps less
# ({kept.Llama-8B.aime_pass1:.0f} %) than the 7B Qwen ({kept.Qwen-7B.aime_pass1:.0f} %). Also, two of the six started from
# models made for mathematics, one from an instruct model, and three from plain base models: size is never the only
# difference.
#
# Would the small model have got there on its own, by the reinforcement learning that made R1-Zero? The paper tried this
# with a 32B model:

# %% id="table-6"
# NBVAL_CHECK_OUTPUT
rows = [[r.model, *(r.score(b.key) for b in paper.PERCENTS)] for r in paper.TABLE_6]
table(rows, ["model", *(benchmark.title for benchmark in paper.PERCENTS)])

# %% [markdown] id="about-compare"
# At this size and with this much training, learning from a strong teacher beat learning by trial and error. It is one
# run of each, and the paper does not claim that longer trial and error would still lose.
#
# ## 7. May our result be compared with theirs?
#
# Some of it may, in its shape. This table is made from your run:

# %% id="compare"
# NBVAL_IGNORE_OUTPUT
lines = list(page.comparisons(lab.report))
table(
    [(line.topic, line.paper, ours, line.compare, line.why) for line, ours in lines],
    ["topic", "the paper", "this run", "may it be compared?", "why"],
)

# %% [markdown] id="about-unsloth"
# ## 8. The same on a T4: Unsloth
#
# The lab has Unsloth in its name, and nothing of it was to be seen: it needs a CUDA GPU, and `tiny` needs none. No cell of this
# notebook changes for it. On the free T4 in Colab the same two lines,
#
# ```python
# lab = begin()
# lab.run("data", "generate", "reject", "train", "evaluate", "report")
# ```
#
# choose the profile `colab`, and become something else:
#
# | | `tiny`, anywhere | `colab`, on a T4 |
# |---|---|---|
# | teacher | a bundled model, 32-bit weights | Qwen2.5-7B-Instruct, its linear layers in {setting:4} bits |
# | student | a bundled model, all weights are trained | Qwen2.5-0.5B-Instruct, and only LoRA layers of rank {setting:16} are trained |
# | numbers | float32 | float16, as a T4 has no bfloat16 |
# | loads and computes | transformers | Unsloth |
#
# The next cell predicts what that takes: the memory of each stage and what it is for, whether a T4 has room for it, and the
# time. It is what `distill-lab doctor --profile colab --gpu t4` prints; it needs no GPU and no network. It is a prediction: we
# had no T4. Skip the block `own arms`: it belongs to Lab 5e.
#
# *Your guess:* in {setting:16} bits the teacher's {setting:7.6} billion weights would take {arithmetic:15.2} GB, and the T4 has
# {setting:14.7}. In {setting:4} bits they take … GB. Which stage needs the most memory, and is it the training?

# %% id="on-a-t4"
# NBVAL_IGNORE_OUTPUT
from distill_lab import prediction, profile

print(*prediction(profile("colab"), "t4"), sep="\n")

# %% [markdown] id="about-patches"
# A quarter of {arithmetic:15.2} GB would be {arithmetic:3.8}; it is {cells.t4.teacher} GB, because the embedding and the head stay
# in {setting:16} bits. And training is not the largest stage: the teacher is gone by then (`kd` reads its distributions from a
# cache), and LoRA has few gradients. Most of what is left is activations; the prediction keeps all of them, and Unsloth, which
# computes most of them again, needs less. Evaluating the teacher takes the most, {cells.t4.evaluate} GB: look there first if
# memory is short.
#
# **What Unsloth changes, and what we keep in our own hands:**
#
# | Unsloth | so we |
# |---|---|
# | replaces the forward passes of transformers' models by its own, with kernels in Triton, at the moment when it is imported | import it before transformers: `begin()` does so |
# | loads in {setting:4} bits, adds LoRA, computes activations again in the backward pass | take all three |
# | computes the loss itself once it is given `labels`, and returns an empty object in the place of the logits | give it no labels. The KL needs the logits of *both* models at the same tokens: **the loss is ours** |
# | leaves the attention mask out in training, except for rows padded on the right; rows padded on the left give NaN | pad on the right, and say so in the call: **the collator is ours** |
# | cuts rows that are too long inside the forward pass, with a warning | cut before, where it is counted |
# | keeps the keys of the last call where one token is read at a time | read on through its decoder, with a cache of our own |
#
# The cell shows whose code computes the student on *this* machine: on a GPU with Unsloth, the right column says `unsloth`.

# %% id="whose-code"
# NBVAL_IGNORE_OUTPUT
from distill_lab import choose_backend

backend = choose_backend(lab.config.runtime, lab.config.models.lora_rank)
print(f"{backend.name} on {backend.device}, {backend.dtype}, because: {backend.reason}")
decoder = lab.model("base").lm.model
block = decoder.layers[0]
rows = [
    (type(part).__name__, type(part).forward.__module__)
    for part in (decoder, block, block.self_attn, block.mlp)
]
table(rows, ["part of the student", "the code of its forward pass"])

# %% [markdown] id="about-asking"
# ## 9. Ask it yourself
#
# So far all questions were somebody else's. `lab.ask` puts a passage and a question of yours to the four models, and shows
# what they think and answer, word by word. (`distill-lab chat` does the same in a terminal.)
#
# Here are three traps, and the cell asks the first. *Before you run it:* which of the models fall into it? And will the
# thought show where it goes wrong?
#
# Your guess: …

# %% id="ask"
# NBVAL_IGNORE_OUTPUT
from distill_lab import TRAPS

table([(trap.id, trap.context, trap.question) for trap in TRAPS], ["trap", "passage", "question"])
lab.ask(TRAPS[0].context, TRAPS[0].question)

# %% [markdown] id="about-fooling"
# Read the thoughts beside the passage: does each sentence of a thought stand there? A thought can be fluent, have the right
# form, and quote a fact that nobody wrote: rejection sampling looks at the answer and at the form, not at whether a thought
# is true.
#
# Now **write a passage that fools it**. Try the other two traps first, `lab.ask(TRAPS[1].context, TRAPS[1].question)`: all
# three were found by trying, on the models of `tiny`; a larger model may see through them. Stay near to what the models
# know (look at `lab.questions[0]`), so that it is your trick that misleads them and not a strange word. A good trap is one
# word away from a passage that the model reads rightly: change that word, ask again, and you know what the model goes by.

# %% [markdown] id="way"
# ## The parts that follow
#
# | part | its question | you write |
# |---|---|---|
# | [5a, teacher generation](Lab5a_Teacher_Generation.ipynb) | What does sampling buy? | a parser, a softmax with a temperature, pass@k |
# | [5b, rejection sampling](Lab5b_Rejection_Sampling.ipynb) | What is thrown away, and what does that do to the student? | a rule, a majority vote, a policy for what to keep |
# | [5c, student training](Lab5c_Student_Training.ipynb) | What do soft targets carry that text does not? | labels, the KD loss, and the repair of five published bugs |
# | [5d, evaluation](Lab5d_SQuAD_Evaluation.ipynb) | How much of the teacher arrived, and how sure are we? | F1, an interval, the gap closed |
# | [5e, distillation against RL](Lab5e_Distillation_vs_RL.ipynb) | Could the small model learn alone? | a reward, advantages, two losses, a budget |
# | [5f, your own experiment](Lab5f_Your_Own_Experiment.ipynb) | What do you want to know? | an experiment of your own |
#
# All but 5f use the folder that you have just filled. Labs 6 and 7 then make a model smaller in other ways: by pruning and by
# quantization.
#
# ## Summary
#
# - R1's distillation is fine-tuning on about {paper.samples} samples, {paper.reasoning} of them kept reasoning. Its objective
#   is the cross-entropy of the text; it uses no KL.
# - The pipeline has five steps: choose questions, sample, refuse, learn, score. Each step writes a file that you can read.
# - Our `sft` is the paper's method on a small scale; our `kd` is an extension that the paper does not have.
# - What each method adds, studies with several seeds tell: the filter {found.filter-tiny} points (part 5b); softened targets
#   {found.kd-kept} where each question was answered once, and {found.examples-50} where there were few questions (part 5c).
# - A score without an interval and a number of questions is half a score.
# - Our absolute scores and theirs cannot be compared; the shapes may be.

# %% [markdown] id="questions-to-oneself"
# ## Three questions to test yourself
#
# 1. A blog says: "DeepSeek minimised the KL divergence between R1 and its students." What is wrong?
# 2. In the pictures above, `sft` and `kd` differ by a few points. May you say which is better?
# 3. Why does the paper's table 6 compare *the same* 32B model twice, and what would be lost if the one trained by RL
#    were smaller?
#
# <details><summary>Answers</summary>
#
# 1. The students learnt from text, by supervised fine-tuning (section 2.4). No distribution of the teacher was used.
#    A softened KL comes from Hinton et al. 2015, and in this lab it is our own extension.
# 2. Not from overlapping intervals alone, in either direction. Compute the difference question by question, and the
#    interval of that difference: if it holds {setting:0}, this run does not show which is better. The report's first
#    lines say so.
# 3. So that only one thing differs: how the model was trained. With a smaller model, size and training would differ
#    together, and either could explain the difference.
#
# </details>
