"""Code by which a student's notebook may do harm, and what must be said of it."""

from __future__ import annotations

import sys

from distill_lab.course.grading.sandbox import fence

REACHES = "Its answer reaches"
REFUSED = "was refused"
STOPPED = "Grading was stopped"

# as `attacks.CODE`
HARMFUL_CODE = (
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
        REACHES if fence.stands() else STOPPED,
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
        "import os\nimport distill_lab.course.grading.sandbox.guard as g\ng._PROCESSES = ()\nos.fork()\n",
    ),
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
        "import distill_lab.course.exercises as c\nopen(c.__file__, 'a').write('# mine')\n",
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
