"""A source notebook of the tests' own, with its checks: two exercises, a picture, a widget."""

from __future__ import annotations

from pathlib import Path

CHECKS = '''\
"""The demo's exercises: `distill_lab.course.exercises.demo` where this folder is on its path."""

from distill_lab.course.exercises.exercise import Exercise, Step, expect


def _double(function, rng):
    expect(function, (3,), 6)


def _third(function, rng):
    expect(function, (9, 3), 3.0)


EXERCISES = (
    Exercise("demo", "double", lambda x: 2 * x, (Step("doubles", 2, _double),), ("Twice.",),
             minutes=5, difficulty="easy"),
    Exercise("demo", "share", lambda a, b: a / b, (Step("shares", 3, _third),), ("Divide.",),
             minutes=15, difficulty="hard"),
)
'''
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
SOURCE = f'''\
# %% [markdown] id="title"
# # Demo
# {{badge}}
#
# $\\frac{{a}}{{b}}$, and the [repository]({{repository}}).

# %% id="install" role="install"
# the builder puts the install cell here

# %% id="setup" role="setup"
# NBVAL_IGNORE_OUTPUT
import base64
import distill_lab.course.exercises
from IPython.display import display
from distill_lab.notebook import show, table
from distill_lab.reporting.figures import Plot

distill_lab.course.exercises.__path__.append(".")
from distill_lab.checks import check, or_ours

# %% [markdown] id="about-double"
# {{exercise}} Write `double`.

# %% id="double" role="exercise"
def double(x: int) -> int:
    """Twice x."""
    ### BEGIN SOLUTION
    twice = x + x * 1 + 0
    return twice
    ### END SOLUTION

# %% id="double-check" role="check"
# NBVAL_CHECK_OUTPUT
check("demo.double", double)

# %% [markdown] id="stretch-double"
# <details><summary>Stretch goal, without points</summary>
#
# Double a text.
# </details>

# %% id="double-ours"
# NBVAL_IGNORE_OUTPUT
double = or_ours("demo.double", double)

# %% [markdown] id="about-share"
# {{exercise}} Write `share`.

# %% id="share" role="exercise"
def share(a: float, b: float) -> float:
    """a for each of b."""
    ### BEGIN SOLUTION
    return a / b
    ### END SOLUTION

# %% id="share-check" role="check"
# NBVAL_CHECK_OUTPUT
check("demo.share", share)

# %% [markdown] id="stretch-share"
# <details><summary>Stretch goal, without points</summary>
#
# Share among nobody.
# </details>

# %% id="share-ours"
# NBVAL_IGNORE_OUTPUT
share = or_ours("demo.share", share)

# %% id="picture"
# NBVAL_IGNORE_OUTPUT
show(Plot("dot", "One dot.", base64.b64decode("{PNG}")))

# %% id="widget"
# NBVAL_IGNORE_OUTPUT
kind = "application/vnd.jupyter.widget-view+json"
display({{kind: {{"model_id": "1"}}, "text/plain": "Slider()"}}, raw=True)

# %% id="unstable"
# NBVAL_IGNORE_OUTPUT
import os
import time

print(f"took {{time.perf_counter():.3f}} s in {{os.getcwd()}} at {{id(object()):#x}}")
print("10%\\r100%")

# %% [markdown] id="end"
# The end.
'''


def write(folder: Path) -> Path:
    """The demo in `folder`: lab_notebooks/source, and a work folder with its checks. The former."""
    (folder / "lab" / "source").mkdir(parents=True)
    (folder / "lab" / "source" / "Demo.py").write_text(SOURCE, encoding="utf-8")
    (folder / "work").mkdir()
    (folder / "work" / "demo.py").write_text(CHECKS, encoding="utf-8")
    return folder / "lab"
