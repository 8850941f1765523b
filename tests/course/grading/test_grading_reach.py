"""What an answer reaches, read in its text: forged and honest notebooks by hand."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import distill_lab
from distill_lab.course.grading import graded_lab, reference_notebook
from distill_lab.course.grading.cells import reach
from distill_lab.course.grading.cells.notebook_file import read_cells
from distill_lab.course.grading.cells.reach import reached
from distill_lab.course.grading.cells.sort_cells import sort_cells
from distill_lab.course.grading.marks.marks import Result
from distill_lab.course.grading.run_submission.mark_sheet import MarkSheet

pytestmark = pytest.mark.grading

LABS = Path(__file__).parent.parent.parent.parent / "lab_notebooks"
SOFTEN = "def soften(logits, temperature):\n    return (logits / temperature).softmax(-1)\n"


def things(*sources: str, exercise: str = "lab5a.soften") -> list[str]:
    """What the exercise reaches whose cell is the last of these; those before it are added cells,
    the first of which stands before all, the others behind all."""
    lab = graded_lab.find_lab(exercise.partition(".")[0], LABS)
    *added, answer = sources
    student = reference_notebook.answered_cells(lab, {exercise: answer})
    mine = [reference_notebook.code_cell(f"mine-{n}", source) for n, source in enumerate(added)]
    record = MarkSheet(Path("none.json"), Result("a", lab.part, "a", "", 1, lab.unmarked))
    parts = sort_cells(
        lab, read_cells(reference_notebook.notebook_file([*mine[:1], *student, *mine[1:]])), record
    )
    found = reached(lab, parts)
    assert {
        name: f"Its answer reaches {', '.join(of)}: read it." for name, of in found.items()
    } == (record.voided)
    return found.get(exercise, [])


def calling(what: str) -> str:
    return f"def soften(*a):\n    return {what}\n"


FORGED = {
    "by import": ["from distill_lab.losses.distillation import soften"],
    "under another name": ["from distill_lab.losses import distillation as l\n" + calling("l.soften(*a)")],
    "inside": ["def soften(*a):\n    from distill_lab.losses.distillation import soften\n    return soften(*a)"],
    "tried": ["try:\n    import distill_lab.losses.distillation as l\nexcept ImportError: pass\n"
              + calling("l.soften(*a)")],
    "imported in another cell": ["import distill_lab.losses.distillation as l", calling("l.soften(*a)")],
    "imported below": ["", "import distill_lab.losses.distillation as l", calling("l.soften(*a)")],
    "of a helper": ["import distill_lab.losses.distillation as l\ndef help(*a): return l.soften(*a)",
                    calling("help(*a)")],
    "of a helper's helper": ["import distill_lab.losses.distillation as l\ndef one(*a): return l.soften(*a)",
                             "def two(*a): return one(*a)", calling("two(*a)")],
    "imported by the course": ["import torch\n" + calling("next_logits(*a)")],
    "imported by the course with its name": [calling("or_ours.__globals__")],
    "a default value": ["import distill_lab.losses.distillation as l\ndef soften(*a, f=l.soften): return f(*a)"],
    "a decorator": ["import distill_lab.losses.distillation as l\n@l.same\n" + SOFTEN],
    "a class": ["import distill_lab.losses.distillation as l\nclass C:\n    f = l.soften\n" + calling("C.f(*a)")],
    "all names": ["from distill_lab.losses.distillation import *\n" + calling("kl(*a)")],
    "a table": ["import distill_lab.losses.distillation as l\nT = {n: l.soften(n) for n in range(3)}\n"
                + calling("T[a]")],
    "a table filled": ["import distill_lab.losses.distillation as l\nT = {}\nfor n in range(3):\n    "
                       "T[n] = l.soften(n)\n" + calling("T[a]")],
    "a table filled by a method": ["import distill_lab.losses.distillation as l\nT = {}\nT.update(f=l.soften)",
                                   calling("T['f'](*a)")],
    "a table filled by a function": ["import distill_lab.losses.distillation as l\nT = {}\ndef fill(f):\n    "
                                     "T[0] = f", "fill(l.soften)", calling("T[0](*a)")],
    "a table that a function is handed": ["import distill_lab.losses.distillation as l\nT = []",
                                          "list.append(T, l.soften)", calling("T[0](*a)")],
    "a name that a function sets": ["import distill_lab.losses.distillation as l\ndef set(f):\n    global W\n"
                                    "    W = f\nset(l.soften)", calling("W(*a)")],
    "an attribute of the function": ["import distill_lab.losses.distillation as l\ndef soften(*a):\n    return "
                                     "soften.f(*a)\nsoften.f = l.soften"],
    "an attribute of a module": ["import math, distill_lab.losses.distillation as l\nmath.f = l.soften",
                                 "import math\n" + calling("math.f(*a)")],
    "a thread pool": ["from concurrent.futures import ThreadPoolExecutor\n"
                      "import distill_lab.losses.distillation as l\npool = ThreadPoolExecutor(1)\n"
                      + calling("pool.submit(l.soften, *a).result()")],
    "a thread that waits": ["import queue, threading, distill_lab.losses.distillation as l\nq, r = queue.Queue(), "
                            "queue.Queue()\ndef work():\n    while True:\n        "
                            "r.put(l.soften(*q.get()))", "threading.Thread(target=work).start()",
                            "def soften(*a):\n    q.put(a)\n    return r.get()"],
    "by __import__": [calling("__import__('distill_lab.losses.distillation').loss.soften(*a)")],
    "by parts of its name": [calling("__import__('distill' + '_lab').loss.soften(*a)")],
    "by importlib": ["from importlib import import_module as i\n"
                     + calling("i('dis' + 'till_lab.loss').soften(*a)")],
    "by sys.modules": ["import sys\n" + calling("sys.modules['distill' '_lab.loss'].soften(*a)")],
    "by sys.modules that torch has": ["import torch\nm = torch.sys.modules\n" + calling("m[a]")],
    "by getattr": ["import sys\n" + calling("getattr(sys, 'mod' + 'ules')[a]")],
    "by getattr, plainly": ["import sys\n" + calling("getattr(sys, 'modules')[a]")],
    "by attrgetter": ["import sys, operator\n" + calling("operator.attrgetter('modules')(sys)[a]")],
    "by builtins": ["import builtins\n" + calling("builtins.__import__(a)")],
    "builtins that are set": ["import builtins, distill_lab.losses.distillation as l\nbuiltins.W = l.soften",
                              calling("W(*a)")],
    "by globals()": ["import distill_lab.losses.distillation as l\nglobals()['W'] = l.soften", calling("W(*a)")],
    "by globals().update": ["import distill_lab.losses.distillation as l\nglobals().update(W=l.soften)",
                            calling("W(*a)")],
    "by the shell": ["import distill_lab.losses.distillation as l\nget_ipython().push({'W': l.soften})",
                     calling("W(*a)")],
    "by setattr": ["import math, distill_lab.losses.distillation as l\nsetattr(math, 'f', l.soften)",
                   "import math\n" + calling("math.f(*a)")],
    "by exec": ["exec('import distill_lab.lo' + 'ss as l')", calling("l.soften(*a)")],
    "by eval": [calling("eval('l.so' + 'ften')(*a)")],
    "by what the shell remembers": ["import distill_lab.losses.distillation as l\nl.soften", calling("_(*a)")],
    "by pickle": ["import pickle\n" + calling("pickle.loads(b'...')(*a)")],
    "by an argument": [calling("type(a[0]).__init__.__globals__['sys'].f(*a)")],
    "by a file": ["import json, distill_lab.losses.distillation as l\njson.dump(l.soften(1), open('t', 'w'))",
                  "import json\n" + calling("json.load(open('t'))[a]")],
    "by the environment": ["import os, distill_lab.losses.distillation as l\nos.environ['T'] = str(l.soften(1))",
                           "import os\n" + calling("os.environ['T']")],
    "by a module that a cell writes": ["%%writefile h.py\nfrom distill_lab.losses.distillation import soften as f",
                                       "import h\n" + calling("h.f(*a)")],
    "by a module that two cells write": ["%%writefile 'h.py'\nx = 1", "%%writefile -a h.py\nfrom "
                                         "distill_lab.losses.distillation import soften as f",
                                         "import h\n" + calling("h.f(*a)")],
    "by a module that code writes": ["open('h.py', 'w').write('from distill_' 'lab.loss import *')",
                                     "import h\n" + calling("h.soften(*a)")],
    "bound anew elsewhere": ["import distill_lab.losses.distillation as l\nif l:\n    soften = l.soften", SOFTEN],
    "bound anew by a function": ["import distill_lab.losses.distillation as l\ndef f(g):\n    global soften\n    "
                                 "soften = g\nf(l.soften)", SOFTEN],
    "by the frame": ["import sys\n" + calling("sys._getframe().f_back.f_locals['expected']")],
    "by the frame's module": ["import inspect\n" + calling("inspect.stack()[1][0]")],
    "by gc": ["import gc\n" + calling("gc.get_objects()")],
    "by C": ["import ctypes\n" + SOFTEN],
    "by a trace": ["import sys\nsys.settrace(print)", SOFTEN],
}  # fmt: skip


@pytest.mark.parametrize("sources", FORGED.values(), ids=FORGED.keys())
def test_an_answer_that_is_not_the_students_is_found(sources):
    assert things(*sources)


HONEST = {
    "alone": [SOFTEN],
    "a name of ours": ["ours = {}\ndef f_back(): return ours", SOFTEN],
    "a helper of that name": ["ours = 2.0\ndef f_back(x): return x / ours\n"
                              + calling("f_back(a[0]).softmax(-1)")],
    "a look at Python": ["import inspect, sys\nprint(sys.getrecursionlimit())\n"
                         "frame = inspect.currentframe().f_back", SOFTEN],
    "an import that nothing uses": ["from distill_lab.tasks.prompts import encode\n" + SOFTEN],
    "a docstring": ["def soften(z, t):\n    '''As distill_lab.losses.distillation.soften.'''\n    "
                    "return (z / t).softmax(-1)"],
    "a comment": [SOFTEN + "# from distill_lab.losses.distillation import soften"],
    "compared with ours": ["", "import torch, distill_lab.losses.distillation as l\nx = torch.ones(2)\n"
                           "print(soften(x, 1), l.soften(x, 1))\nassert (soften(x, 1) == "
                           "l.soften(x, 1)).all()", SOFTEN],
    "compared with ours in its cell": [SOFTEN + "from distill_lab.losses.distillation import soften as theirs\n"
                                       "print(theirs, soften)"],
    "a run that is looked at": ["lab = begin()\nprint(lab.traces[0])\nshow(table(lab.questions))",
                                SOFTEN],
    "local names that are imported elsewhere": [
        "def soften(show, table):\n    loss, check = show / table, 1\n    return loss.softmax(-1)"],
    "names of the course, bound anew": ["def show(x): return x\n" + calling("show(a[0] / a[1])")],
    "a run's settings": ["from distill_lab.run.settings import PROFILES\nlab = begin()\n"
                         "lab.config = PROFILES['tiny']", SOFTEN],
    "a plot's settings": ["import distill_lab.reporting.plots as p\np.COLOR = 'red'", SOFTEN],
    "settings of other libraries": ["import os, matplotlib.pyplot as plt\nos.environ['X'] = '1'\n"
                                    "plt.rcParams['a'] = 1\nfrom distill_lab.reporting.plots import curves",
                                    SOFTEN],
    "in Colab or not": ["import sys\nC = 'google.colab' in sys.modules\n"
                        "D = 'lab' not in globals()\nE = 'zmq' in str(get_ipython())", SOFTEN],
    "a table of its own": ["T = {}\nfor t in (1, 2):\n    T[t] = 1 / t\n"
                           + calling("a[0] * T[a[1]]")],
    "a cache": ["T = {}\ndef soften(z, t):\n    if t not in T:\n        T[t] = 1 / t\n    "
                "return (z * T[t]).softmax(-1)", "import distill_lab.losses.distillation as l\n"
                "print(soften(l.x, 1), l.soften)", SOFTEN],
    "checked and handed on": [SOFTEN + "check('lab5a.soften', soften)\n"
                              "soften = or_ours('lab5a.soften', soften)"],
    "a module of its own": ["%%writefile h.py\ndef f(z): return z.softmax(-1)",
                            "from h import *\n" + calling("f(a[0] / a[1])")],
    "no Python": ["def (:\n" + SOFTEN],
    "a helper that is nowhere": [calling("helper(*a)")],
    "regular expressions": ["import re\nfrom re import compile\nR = re.compile('a')\nS = "
                            "compile('b')\n" + calling("R.sub('', S.sub('', a))")],
    "methods that sound odd": ["import torch\nm = torch.nn.Linear(1, 1).eval()\n"
                               + calling("list(m.modules())")],
}  # fmt: skip


@pytest.mark.parametrize("sources", HONEST.values(), ids=HONEST.keys())
def test_an_honest_answer_reaches_nothing_whatever_stands_around_it(sources):
    assert things(*sources) == []


@pytest.mark.parametrize("module", ["squad_scores", "tasks.squad.scores"])
def test_what_a_stub_imports_is_given_but_not_as_an_answer(module):
    """Lab 5d's f1 is given normalize_answer, which is the answer to normalize."""
    give = f"from distill_lab.{module} import normalize_answer as n\n"
    give += "def {0}(*a): return n(*a)"
    assert things(give.format("f1"), exercise="lab5d.f1") == []
    assert things(give.format("normalize"), exercise="lab5d.normalize") == [
        "distill_lab.tasks.squad.scores.normalize_answer"
    ]


MUSEUM = "distill_lab.course.exercises.lab5c.museum"
PATCHED = {
    "by the course's name": ["museum.mended = lambda *a: museum.right"],
    "with one's own loss": ["museum.mended = lambda *a: print"],
    "by another name": ["m = museum", "m.mended = lambda *a: print"],
    "by its own name": [f"import {MUSEUM} as m\nm.TESTS['x'] = 1"],
    "by its whole name": [f"import {MUSEUM}\n{MUSEUM}.right = print"],
    "in a function": ["def f():\n    museum.TESTS.clear = print"],
}


@pytest.mark.parametrize("sources", PATCHED.values(), ids=PATCHED.keys())
def test_who_changes_how_answers_are_checked_is_void(sources):
    mend = "def mend(bug):\n    return 'shift', 1, ''"
    assert things(*sources, mend, exercise="lab5c.mend")
    assert not things("museum.visit('shift')", mend, exercise="lab5c.mend")


def test_a_picture_may_be_given_another_colour():
    assert things("from distill_lab import plots\nplots.COLOR = 'red'", SOFTEN) == []


@pytest.mark.parametrize("name", distill_lab._MODULE_OF)
def test_where_a_public_name_is_defined_is_known_without_loading_it(name):
    value = getattr(distill_lab, name)
    if callable(value):
        assert reach._home(f"distill_lab.{name}") == f"{value.__module__}.{value.__name__}"


@pytest.mark.parametrize("face", reach._FACES)
def test_where_the_names_of_a_public_module_are_defined_is_known(face):
    module = importlib.import_module(f"distill_lab.{face}")
    for name in module.__all__:
        value = getattr(module, name)
        home = reach._home(f"distill_lab.{face}.{name}")
        assert getattr(importlib.import_module(home.rpartition(".")[0]), name) is value


def test_only_those_exercises_whose_answers_reach_it_are_void():
    helper = "import distill_lab.reporting.stats as s\ndef inner(*a): return s.pass_at_k(*a)"
    assert things(helper, "def pass_at_k(*a): return inner(*a)", exercise="lab5a.pass_at_k")
    assert not things(helper, "def pass_at_k(*a): return inner(*a)", SOFTEN)
