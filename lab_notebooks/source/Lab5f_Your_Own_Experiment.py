# %% [markdown] id="title"
# # Lab 5f. Your own experiment
#
# {badge}
#
# *What do you want to know?*
#
# So far the questions were ours. This notebook is a template for one of yours: you ask it, you say beforehand what will come
# out, you run it, and you report it in three sentences. `distill-lab study` does the work: it trains each student with several
# seeds, scores all of them on the same questions, and writes down the difference with its interval.
#
# **Afterwards you can**
#
# 1. turn a question into two students that differ in one thing;
# 2. say beforehand what would surprise you;
# 3. report a difference with its interval, its seeds and its limits.
#
# | profile | time |
# |---|---|
# | `tiny` | with the settings below {rough:one to two} minutes on two idle cores, no network |
#
# There is nothing here that checks itself, and a person reads what you hand in. What they look for stands at the end.

# %% id="install" role="install"
# the install cell stands here

# %% id="setup" role="setup"
# NBVAL_IGNORE_OUTPUT
import subprocess
import sys
from pathlib import Path

from distill_lab import results, study_pictures
from distill_lab.notebook import show, table

# %% [markdown] id="about-question"
# ## 1. Ask
#
# A question for an experiment has the form: *if I change this one thing, how much does that number change?* Our example goes on
# from Lab 5b: of the right traces of a question a student may read the `first`, or the `shortest`. Does it answer worse if all
# that it has ever read is short? Everything else is the same for both students, also **how many** examples they have. (Had we
# compared `shortest` with `all`, one student would have had more to read. Then we could not say what made the difference.)
#
# Replace it by a question of your own. Some to begin with (the studies of Labs 5b, 5c and 5e come near the first, third and fourth:
# look there before you predict):
#
# | change | on the axis below | mind |
# |---|---|---|
# | how hot the teacher is | `"generate.temperature" = [0.6, 1.2]` | a hot teacher is refused more often: fewer examples |
# | how many passes | `"train.steps" = [60, 120]` | nothing else, but twice the price: is it worth it? |
# | how large the steps are | `"train.learning_rate" = [0.001, 0.003]` | the best one for one student need not be that of another |
# | how soft the targets are | `"train.temperature" = [1.0, 4.0]`, and `students = ["kd"]` | T also changes the weight of the KL a little |
# | how strict the judge is | `"reject.min_f1" = [50.0, 100.0]` | a milder judge keeps more: that is a part of what you ask |
#
# `distill-lab run --help` lists all settings. First, what is the same for all students. More seeds, questions and steps make the
# answer surer and take longer. `students` are the ways of training (`sft`, `kd`), `measures` the scores. `choose` can name other
# questions, on which the best of several settings is chosen; nothing is chosen here, so it is empty.

# %% id="same"
# NBVAL_IGNORE_OUTPUT
same = """
question = "Does a student answer worse that has only read the shortest traces?"
seeds = 3
students = ["sft"]
measures = ["em"]
choose = ""

[settings]
"data.n_train" = 100
"data.n_eval" = 200
"train.steps" = 80
"""

# %% [markdown] id="about-varies"
# Now what differs (the *axis*, with its values), and which difference you will report (the *finding*, `plus` minus `minus`).

# %% id="varies"
# NBVAL_IGNORE_OUTPUT
varies = """
[[axes]]
"reject.keep" = ["first", "shortest"]

[[findings]]
id = "shortest"
contrast = "the shortest minus the first"
measure = "em"
plus = {student = "sft", "reject.keep" = "shortest"}
minus = {student = "sft", "reject.keep" = "first"}
"""

# %% [markdown] id="predict"
# ## 2. Predict
#
# Write this down **before** you run the next cell, and do not change it afterwards. Double-click this cell and fill in the dots.
#
# - The difference will be about … points of EM, because …
# - I would be surprised by a difference of … or of the other sign, because …
# - The interval will be about … points wide. (Lab 5d: with {tiny.n} questions and one student it was some eleven points. Here
#   two students answer the *same* questions, with three seeds each. Does that make it wider or narrower?)
#
# ## 3. Run
#
# This writes `study.toml` and calls `distill-lab study run`, as you would in a terminal. If it is stopped, run the cell again: it
# goes on where it stopped. For another question take another name, so that both stay.

# %% id="run-it"
# NBVAL_IGNORE_OUTPUT
name = "my_study"
folder = Path("runs", name)
folder.mkdir(parents=True, exist_ok=True)
(folder / "study.toml").write_text(same + varies, encoding="utf-8")
command = ["study", "run", f"{folder}/study.toml", "--out", f"{folder}"]
done = subprocess.run(
    [sys.executable, "-m", "distill_lab", *command], capture_output=True, text=True
)
print(done.stdout if done.returncode == 0 else done.stderr[-2000:])

# %% [markdown] id="about-finding"
# ## 4. Look
#
# The table has each finding's difference, its interval over passages, and what each seed found by itself. Look at the seeds
# first: if you had run only one of them, what would you have written?

# %% id="finding"
# NBVAL_IGNORE_OUTPUT
findings = results.read(folder).findings
rows = [
    (f.contrast, f.difference, f"{f.ci95[0]} to {f.ci95[1]}", f.by_seed, "no" if f.sure else "yes")
    for f in findings
]
table(rows, ("difference", "EM", "95 % interval", "each seed", "may it be chance?"))

# %% id="picture"
# NBVAL_IGNORE_OUTPUT
show(*study_pictures(folder))

# %% [markdown] id="about-cells"
# The difference alone does not say where the two students are. These are the means of all models, the base and the teacher
# among them: is there room between your students and the teacher? Are both far above the base? If not, the experiment is too
# small to show anything, and you have learnt what to change.

# %% id="cells"
# NBVAL_IGNORE_OUTPUT
rows = []
for line in results.read(folder).lines:
    setting = ", ".join(map(str, line.settings.values()))
    rows.append((line.student, setting or None, line.seed, f"{line.means['em']:.1f}"))
table(rows, ("model", "setting", "seed", "EM"))

# %% [markdown] id="about-check"
# The page has all of it in a form that you can hand in. The last command computes every number again from the single answers;
# whoever reads your report can do the same with your folder.

# %% id="page"
# NBVAL_IGNORE_OUTPUT
print("Open", folder / "page.html", "in a browser.")
check = [sys.executable, "-m", "distill_lab", "study", "check", str(folder)]
print(subprocess.run(check, capture_output=True, text=True).stdout)

# %% [markdown] id="report"
# ## 5. Report
#
# Three sentences, and no more. Double-click this cell and write them at its end:
#
# 1. **What was found**: the difference with its interval, how many seeds, how many questions. If the interval holds
#    {setting:0}, say that this study does not show a difference, and how large a one it could have missed.
# 2. **What it does not show**: other models, other texts, other settings; what else changed together with your one thing.
# 3. **Whether you were right**: your prediction beside the result, and what you would do next.
#
# A surprise is worth as much as a success, and "it may be chance" is a result. What costs points is a claim that the interval
# does not carry, or a prediction that was written afterwards.
#
# | what a reader looks for | full marks for |
# |---|---|
# | the question | one thing changes; what changes with it is named; both students have as much of everything else |
# | the prediction | a number and a reason, before the run; what would be a surprise |
# | the run | at least three seeds; `study.toml` can be run again, and `study check` agrees |
# | the finding | difference, interval and seeds, in words that say no more than they do |
# | the limits | what was not shown, and the next experiment that would show it |
#
# Hand in this notebook with its outputs, and a zip of `runs/my_study` without its folder `work`.
#
# **My three sentences:** …
