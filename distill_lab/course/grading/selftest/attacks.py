"""Code that a student may put behind a wrong answer to get points for it, and what must be said of
it; with it what may do harm."""

from __future__ import annotations

from distill_lab.course.grading.selftest.harmful_code import HARMFUL_CODE, REACHES

VOID = "must fail did not fail as in an untouched kernel"

# name, what must be said, and the code; {function} and {claim} are the first exercise's
CODE = (
    (
        "drops assertions",
        VOID,
        """
import ast
class Drop(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()
get_ipython().ast_transformers.append(Drop())
""",
    ),
    (
        "hides tracebacks",
        VOID,
        """
from IPython.core.interactiveshell import InteractiveShell
InteractiveShell.showtraceback = lambda *arguments, **named: None
""",
    ),
    (
        "patches print",
        VOID,
        """
import builtins
say = builtins.print
builtins.print = lambda *texts, **named: say({claim!r})
""",
    ),
    (
        "replaces the checks",
        VOID,
        """
import sys
import distill_lab.course.exercises
distill_lab.course.exercises.check = lambda name, function, seed=0: print({claim!r})
sys.modules["distill_lab.course.exercises.exercise"].judge = lambda *arguments: None
""",
    ),
    (
        "replaces the judge",
        VOID,
        """
import distill_lab.course.exercises
from distill_lab.course.exercises.exercise import Outcome
def judge(exercise, function, seed=0):
    return Outcome("right", (None,) * len(exercise.steps), exercise.points)
distill_lab.course.exercises.judge = judge
""",
    ),
    (
        "replaces what crosses",
        VOID,
        """
import distill_lab.course.grading.sandbox.inside_kernel as inside_kernel, base64
inside_kernel.call = lambda function, sent: base64.b64encode(b'{{"value": 1}}').decode()
""",
    ),
    ("leaves at once", "ended the process", "import os\nos._exit(0)\n"),
    (
        "leaves when it is called",
        "ended the process",
        "def {function}(*arguments):\n    import os\n    os._exit(0)\n",
    ),
    ("prints the expected line", "", "print({claim!r})\n"),
    (
        "prints it when it is called",
        "outside of it the same check finds",
        "def {function}(*arguments):\n    print({claim!r})\n    return 'forged'\n",
    ),
    (
        "equals everything",
        "yours:    <Same>",
        """
class Same:
    def __eq__(self, other):
        return True
    __hash__ = None
def {function}(*arguments):
    return Same()
""",
    ),
    (
        "reads what is expected",  # in some labs it finds an answer in the kernel, in others a text
        REACHES,
        """
import sys
def {function}(*arguments):
    frame = sys._getframe()
    while frame and "expected" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals["expected"] if frame else "forged"
""",
    ),
    (
        "raises half a character",
        "raised    ValueError",
        "def {function}(*arguments):\n    raise ValueError('\\ud800')\n",
    ),
    ("NBVAL_SKIP", "has no effect", "# NBVAL_SKIP\n"),
    (
        "or_ours",
        "",
        "from distill_lab.checks import or_ours\n{function} = or_ours('{name}', {function})\n",
    ),
    (
        "our answer in a thread that was there before",
        REACHES,
        """
from concurrent.futures import ThreadPoolExecutor
import distill_lab.course.exercises as c
pool = ThreadPoolExecutor(1)
pool.submit(int).result()
def {function}(*arguments):
    return pool.submit(c.find('{name}').ours, *arguments).result()
""",
    ),
    (
        "our answer in a table",
        REACHES,
        """
import distill_lab.course.exercises as c
TABLE = {{}}
TABLE['it'] = c.find('{name}').ours
def {function}(*arguments):
    return TABLE['it'](*arguments)
""",
    ),
    (
        "rows without end",
        "nothing that an untouched kernel sends",
        """
import torch
def {function}(*arguments):
    return torch.empty(10_000_000, 0)
""",
    ),
    ("lines without end", "lines, the longest of", "\n" * 200_000),
    ("a number of 5000 digits", "lines, the longest of", "X = 0x" + "f" * 5000 + "\n"),
    *HARMFUL_CODE,
)
