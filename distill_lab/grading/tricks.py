"""Code that a student may put behind a wrong answer to get points for it, or to do harm, and what
must be said of it."""

from __future__ import annotations

import sys

from distill_lab.grading import fence

LOOK = "Its answer reaches"
VOID = "must fail did not fail as in an untouched kernel"
REFUSED = "was refused"
STOPPED = "Grading was stopped"

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
import distill_lab.checks
distill_lab.checks.check = lambda name, function, seed=0: print({claim!r})
sys.modules["distill_lab.checks.exercise"].judge = lambda *arguments: None
""",
    ),
    (
        "replaces the judge",
        VOID,
        """
import distill_lab.checks
from distill_lab.checks.exercise import Outcome
def judge(exercise, function, seed=0):
    return Outcome("right", (None,) * len(exercise.steps), exercise.points)
distill_lab.checks.judge = judge
""",
    ),
    (
        "replaces what crosses",
        VOID,
        """
import distill_lab.grading.inside as inside, base64
inside.call = lambda function, sent: base64.b64encode(b'{{"value": 1}}').decode()
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
        "reads what is expected",
        "outside of it the same check finds",
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
    (
        "a torch of its own for the next kernel",
        "ended the process",
        """
import os
with open("torch.py", "w") as file:
    file.write("import os; open(os.path.join(os.sep, 'tmp', 'mine'), 'w')")
if not os.path.exists("once"):
    open("once", "w").close()
    os._exit(0)
""",
    ),
    (
        "writes by C code",
        "ermission denied" if fence.stands() else "",
        """
import torch
torch.save([1], "../mine.pt")
""",
    ),
    (
        "folders in folders",
        "",
        """
import os
for n in range(1100):
    os.mkdir("d")
    os.chdir("d")
""",
    ),
    ("NBVAL_SKIP", "has no effect", "# NBVAL_SKIP\n"),
    ("endless loop", "A statement of its code took too long", "while True:\n    pass\n"),
    (
        "endless loop that cannot be interrupted",
        "ended the process",
        """
def {function}(*arguments):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
""",
    ),
    (
        "endless output",
        "A statement of its code took too long",
        "while True:\n    print('x' * 1000)\n",
    ),
    ("fork bomb", REFUSED, "import os\nwhile True:\n    os.fork()\n"),
    (
        "processes past the guard",
        LOOK if fence.stands() else STOPPED,
        """
import ctypes, time
for _ in range(40):
    if ctypes.CDLL(None).fork() == 0:
        time.sleep(600)
time.sleep(20)
""",
    ),
    (
        "takes the list of the guard away",
        REFUSED,
        "import os\nimport distill_lab.grading.guard as g\ng._PROCESSES = ()\nos.fork()\n",
    ),
    (
        "or_ours",
        "",
        "from distill_lab.checks import or_ours\n{function} = or_ours('{name}', {function})\n",
    ),
    (
        "our answer in a thread that was there before",
        LOOK,
        """
from concurrent.futures import ThreadPoolExecutor
import distill_lab.checks as c
pool = ThreadPoolExecutor(1)
pool.submit(int).result()
def {function}(*arguments):
    return pool.submit(c.find('{name}').ours, *arguments).result()
""",
    ),
    (
        "our answer in a table",
        LOOK,
        """
import distill_lab.checks as c
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
    (
        "erases what was noted",
        REFUSED,
        """
import os
try:
    os.fork()
except PermissionError:
    pass
for n in range(3, 40):
    try:
        if os.readlink('/proc/self/fd/' + str(n)).endswith('refusals'):
            os.dup2(os.open('mine', os.O_CREAT | os.O_RDWR), n)
    except OSError:
        pass
""",
    ),
    ("starts a program", REFUSED, "import subprocess\nsubprocess.run(['true'])\n"),
    (
        "fills the disk",
        STOPPED,
        """
n = 0
while True:
    n += 1
    with open(f"{{n}}.bin", "wb") as file:
        file.write(b"0" * 50_000_000)
""",
    ),
    ("one huge file", "File too large", "open('x', 'wb').write(b'0' * 200_000_000)\n"),
    ("takes all memory", "MemoryError", "x = bytearray(10**11)\n"),
    (
        "reads other submissions",
        REFUSED,
        "import pathlib\nfor f in pathlib.Path('/tmp').rglob('*.ipynb'):\n    f.read_text()\n",
    ),
    ("reads the seed", REFUSED, "open('../result.json').read()\n"),
    (
        "reads the solutions",
        REFUSED,
        """
import distill_lab, pathlib
place = pathlib.Path(distill_lab.__file__).parent.parent / "lab_notebooks"
texts = [file.read_text() for file in (place / "solutions").iterdir()]
""",
    ),
    (
        "writes over the grader",
        REFUSED,
        "import distill_lab.checks as c\nopen(c.__file__, 'a').write('# mine')\n",
    ),
    ("asks the network", REFUSED, "import socket\nsocket.create_connection(('192.0.2.1', 80))\n"),
    ("ends the grader", REFUSED, "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n"),
    (
        "ends it by a limit",
        "limit of another process",
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))\n",
    ),
    (
        "ends it by a signal of a file",
        REFUSED,
        "import fcntl, os\nfcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())\n",
    ),
    (
        "memory that is a file",
        STOPPED if sys.platform == "linux" else "",
        """
import os, time
for n in range(8):
    file = os.memfd_create("mine")
    for _ in range(9):
        os.write(file, b"0" * 10_000_000)
time.sleep(20)
""",
    ),
)
