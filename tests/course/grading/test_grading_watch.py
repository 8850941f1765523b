"""What keeps a submission in bounds: the watcher, on small processes of its own; the guard and the
kernel's limits, each in a process that ends with its test."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from distill_lab.course.grading.run_submission.limits import Limits
from distill_lab.course.grading.sandbox import blocked

ROOT = Path(__file__).parent.parent.parent.parent
PATIENT = Limits(seconds=60, memory_bytes=10**12, folder_bytes=10**12, processes=1000)
WATCH = """
import json, os, sys
from pathlib import Path
from distill_lab.course.grading.run_submission import watcher
from distill_lab.course.grading.sandbox import blocked
from distill_lab.course.grading.run_submission.limits import Limits
watcher._adopt_orphans()
folder, command, limits, grader = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])
print(json.dumps(watcher.run(os.execv, (command[0], command), folder, Limits(**limits), grader)))
"""
# A grandchild in a session of its own, whose parent has ended: it says that it is there.
DAEMON = """
import os, sys, time
def daemon(name):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        open(name, "w").write(str(os.getpid()))
        time.sleep(300)
    while not os.path.exists(name):
        time.sleep(0.01)
daemon("one")
daemon("two")
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="orphans are found on Linux alone")


def start(folder: Path, code: str, mark: str, grader: int | None = None, **limits: float):
    """The watcher over a process that runs `code`, all of them marked in their environment."""
    command = json.dumps([sys.executable, "-c", code])
    asked = json.dumps(dataclasses.asdict(dataclasses.replace(PATIENT, **limits)))
    me = json.dumps(os.getpid() if grader is None else grader)
    return subprocess.Popen(
        [sys.executable, "-c", WATCH, str(folder), command, asked, me],
        cwd=ROOT,
        env={**os.environ, "GRADING_TEST": mark},
        stdout=subprocess.PIPE,
        text=True,
    )


def left(mark: str) -> list[int]:
    """The processes with this mark that still run."""
    found = []
    for one in psutil.process_iter():
        try:
            if one.status() != psutil.STATUS_ZOMBIE and one.environ().get("GRADING_TEST") == mark:
                found.append(one.pid)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def mark():
    """A mark of this test; whatever has it when the test ends is ended."""
    text = uuid.uuid4().hex
    yield text
    for pid in left(text):
        psutil.Process(pid).kill()


def wait(folder: Path, *names: str) -> None:
    end = time.monotonic() + 60
    while not all((folder / name).exists() for name in names):
        assert time.monotonic() < end, "the processes did not start"
        time.sleep(0.02)


def test_a_process_within_its_limits_ends_by_itself(tmp_path, mark):
    code = "import sys; print('said'); sys.stderr.write('told'); sys.exit(3)"
    out, _ = start(tmp_path, code, mark).communicate(timeout=60)
    assert json.loads(out) == [3, "", []]
    assert sorted((tmp_path / "log.txt").read_text().split()) == ["said", "told"]


def test_what_it_left_behind_is_ended_too(tmp_path, mark):
    out, _ = start(tmp_path, DAEMON, mark).communicate(timeout=60)
    assert json.loads(out) == [0, "", []]
    assert left(mark) == []
    assert not psutil.pid_exists(int((tmp_path / "one").read_text()))


MORE = "import subprocess, sys\nfor _ in range(9): subprocess.Popen(['sleep', '300'])\n"


@pytest.mark.parametrize(
    ("does", "limits", "why"),
    [
        ("", {"seconds": 2}, "it ran longer than 2 seconds"),
        (MORE, {"processes": 8}, "it had more than 8 processes"),
        ("x = b'x' * 300_000_000\n", {"memory_bytes": 200_000_000}, "it took more than 0.2 GB"),
        (
            "import os\nfor n in range(9):\n    with open(str(n), 'wb') as f:\n"
            "        f.write(os.urandom(1_000_000)); f.flush(); os.fsync(f.fileno())\n",
            {"folder_bytes": 5_000_000},
            "it wrote more than 5 MB",
        ),
    ],
    ids=["seconds", "processes", "memory", "folder"],
)
def test_beyond_a_limit_all_of_it_is_ended(does, limits, why, tmp_path, mark):
    code = f"{DAEMON}\n{does}\nimport signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    begun = time.monotonic()
    out, _ = start(tmp_path, f"{code}time.sleep(300)", mark, **limits).communicate(timeout=100)
    assert json.loads(out)[1].startswith(why)
    assert left(mark) == []
    assert time.monotonic() - begun < 90


def test_a_process_that_starts_others_again_and_again_is_ended(tmp_path, mark):
    code = "import os, time\nwhile True:\n    if os.fork():\n        time.sleep(0.02)\n    else:\n"
    code += (
        "        time.sleep(0.2)\n        os.fork()\n        time.sleep(0.5)\n        os._exit(0)\n"
    )
    out, _ = start(tmp_path, code, mark, processes=20).communicate(timeout=100)
    assert json.loads(out)[1] == "it had more than 20 processes"
    assert left(mark) == []


def test_when_the_grader_has_ended_all_of_it_is_ended(tmp_path, mark):
    out, _ = start(tmp_path, f"{DAEMON}time.sleep(300)", mark, grader=1).communicate(timeout=60)
    assert json.loads(out)[1] == "the grader has ended"
    assert left(mark) == []


def watching(folder: Path, mark: str, grader: int) -> subprocess.Popen[str]:
    """`watch.main` with a session that waits: the plan of one, whose submission is a pipe."""
    os.mkfifo(folder / "submission")
    plan = {
        "unmarked": {
            **dict.fromkeys(("student", "file", "sha256", "failure"), ""),
            **{"lab": "lab5a", "seed": 1, "marks": [], "remarks": []},
        },
        "submission": str(folder / "submission"),
        "labs": str(ROOT / "lab_notebooks"),
        "folder": str(folder),
        "limits": dataclasses.asdict(PATIENT),
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    watcher = subprocess.Popen(
        [sys.executable, "-m", "distill_lab.course.grading.run_submission.watcher", str(grader), "lab5b"],
        cwd=ROOT, stdin=subprocess.PIPE, text=True,
        env={**os.environ, "GRADING_TEST": mark, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert watcher.stdin
    watcher.stdin.write(f"{folder / 'plan.json'}\n")
    watcher.stdin.flush()
    return watcher


def test_a_watcher_that_is_told_to_end_ends_all_of_it_first(tmp_path, mark):
    watcher = watching(tmp_path, mark, os.getpid())
    wait(tmp_path, "log.txt")
    assert len(left(mark)) >= 1
    watcher.terminate()
    assert watcher.wait(60) == 1
    assert left(mark) == []
    assert not (tmp_path / "outcome.json").exists()


def test_a_watcher_whose_grader_was_killed_leaves_no_file(tmp_path, mark):
    (tmp_path / "grading").mkdir()
    watcher = watching(tmp_path / "grading", mark, 1)
    assert watcher.wait(60) == 0
    assert left(mark) == []
    assert [*tmp_path.iterdir()] == []


# -- the guard

GUARD = """
import json, os, sys
from pathlib import Path
import multiprocessing.shared_memory
import distill_lab, torch, socket, subprocess, multiprocessing, shutil, sqlite3, glob, tempfile
from distill_lab.course.grading.sandbox import python_guard
home, package = Path(sys.argv[1]), Path(distill_lab.__file__).parent
root, other = package.parent, Path(sys.argv[2])
os.chdir(home)
notes = []
python_guard.install(home, python_guard.readable(package), notes.append)
for number, action in enumerate(json.loads(sys.argv[3])):
    try:
        exec(action)
        became = "allowed"
    except PermissionError as error:
        became = "refused" if "Grading refuses this" in str(error) else repr(error)
    except BaseException as error:
        became = repr(error)
    print(json.dumps([became, notes]))
    notes.clear()
"""
ALLOWED = """
open(python_guard.__file__).read()
open("my_answers.py", "w").close(); open("my_answers.py").read()
open(torch.__file__).read()
(root / "constraints.txt").read_text()
os.listdir(root / "data")
open("mine.txt", "w").write("a")
open("mine.txt", "r+").write("b")
os.mkdir("folder")
os.rename("mine.txt", "folder/yours.txt")
open(home / "folder" / "yours.txt").read()
os.remove("folder/yours.txt")
shutil.rmtree("folder")
tempfile.tempdir = str(home); tempfile.TemporaryFile().write(b"a")
open(os.devnull, "w").write("a")
open("/etc/hosts").read()
open("/proc/self/status").read()
open("/proc/cpuinfo").read()
sqlite3.connect(":memory:")
import xml.dom.minidom, distill_lab.course.plots.lab5a
torch.save(torch.ones(1), "a.pt"); torch.load("a.pt")
os.environ["MINE"] = "1"
list(Path(".").iterdir()), glob.glob("*")
import tqdm; list(tqdm.tqdm([1], file=open(os.devnull, "w")))
"""
REFUSED = """
(root / "lab_notebooks" / "solutions" / "Lab5a_Teacher_Generation.ipynb").read_text() # reading
os.listdir(root / "lab_notebooks" / "solutions")                             # reading
(root / "tests" / "conftest.py").read_text()                                 # reading
(package / ".." / "tests" / "conftest.py").read_text()                       # reading
(package / "course/exercises/lab5c/museum_answers.py").read_text()            # reading
open(os.fsencode(other / "b.ipynb"))                                         # reading
os.open(other / "b.ipynb", os.O_RDONLY)                                      # reading
os.listdir(other)                                                            # reading
list(os.scandir(other))                                                      # reading
os.chdir(other)                                                              # reading
open(other / "b\\n.ipynb")                                                   # reading
open(os.fsdecode(b"/tmp/a\\xff"))                                            # reading
open(f"/proc/{os.getppid()}/environ")                                        # reading
open("../x", "w")                                                            # writing
open("/tmp/x", "w")                                                          # writing
open(other / "b.ipynb", "a")                                                 # writing
open(python_guard.__file__, "r+")                                                   # writing
os.open(python_guard.__file__, os.O_RDWR)                                           # writing
os.open("/tmp/x", os.O_CREAT)                                                # writing
os.remove(other / "b.ipynb")                                                 # changing
os.rename(other / "b.ipynb", "b")                                            # changing
os.rename("a.pt", other / "c")                                               # changing
os.symlink(other, "there")                                                   # changing
os.link(other / "b.ipynb", "c")                                              # changing
os.chmod(other / "b.ipynb", 0)                                               # changing
os.truncate(other / "b.ipynb", 0)                                            # changing
os.mkdir("/tmp/folder-of-grading")                                           # changing
shutil.rmtree(other)                                                         # changing
sqlite3.connect("/tmp/x.db")                                                 # changing
subprocess.run(["true"])                                                     # starting a process
os.system("true")                                                            # starting a process
os.popen("true")                                                             # starting a process
os.fork()                                                                    # starting a process
os.execv("/bin/true", ["true"])                                              # starting a process
os.posix_spawn("/bin/true", ["true"], {})                                    # starting a process
import pty; pty.spawn("true")                                                # starting a process
multiprocessing.get_context("fork").Process(target=print).start()            # starting a process
multiprocessing.get_context("spawn").Process(target=print).start()           # starting a process
multiprocessing.get_context("forkserver").Process(target=print).start()      # starting a process
os.kill(os.getppid(), 0)                                                     # a signal
os.killpg(0, 0)                                                              # a signal
multiprocessing.shared_memory.SharedMemory(create=True, size=9)               # shared memory
multiprocessing.shared_memory.SharedMemory("other")                          # shared memory
socket.create_connection(("127.0.0.1", 9), 1)                                # the network
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"a", ("127.0.0.1", 9))  # the network
socket.getaddrinfo("example.org", 80)                                        # the network
socket.gethostbyname("example.org")                                          # the network
"""


@pytest.fixture(scope="module")
def became(tmp_path_factory):
    """What became of each action, and what was noted; all of them in one process."""
    home, other = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("other")
    (other / "b.ipynb").write_text("{}")
    lines = [line for line in (ALLOWED + REFUSED).splitlines() if line]
    done = subprocess.run(
        [sys.executable, "-c", GUARD, str(home), str(other), json.dumps(lines)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (other / "b.ipynb").read_text() == "{}"
    assert [path.name for path in other.iterdir()] == ["b.ipynb"]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip(lines, found, strict=True))


def test_a_students_code_may_do_what_it_needs(became):
    wrong = {line: became[line] for line in ALLOWED.splitlines() if line}
    assert {line: found for line, found in wrong.items() if found != ["allowed", []]} == {}


@pytest.mark.parametrize("line", [line for line in REFUSED.splitlines() if line])
def test_what_it_may_not_do_is_refused_and_noted(line, became):
    what = line.rpartition("#")[2].strip()
    found, notes = became[line]
    assert found == "refused"
    [note] = notes if notes else ["(noted before)"]  # each is noted once
    assert note.startswith(what) or note == "(noted before)"
    assert note.isprintable()


def test_each_kind_of_attempt_is_noted(became):
    said = {note.split()[0] for _, notes in became.values() for note in notes}
    assert said == {"reading", "writing", "changing", "starting", "a", "the", "shared"}
    notes = [note for _, notes in became.values() for note in notes]
    assert "reading solutions/Lab5a_Teacher_Generation.ipynb" in notes
    assert len(notes) == len(set(notes))


# -- what was noted of it

KERNEL = """
import os, signal, sys
from pathlib import Path
from distill_lab.course.grading.sandbox import blocked
note = blocked.writer(blocked.pipe(Path.cwd()))
[end] = [int(n) for n in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + n)
         and os.readlink("/proc/self/fd/" + n).endswith("/refusals")]
note("first")
{does}
note("second")
"""
TAMPERING = {
    "none": ("", ["first", "second"], 0),
    "half a character": (r"note('\ud800')", ["first", "?", "second"], 0),
    "closes it": ("os.close(end)", ["first"], 1),
    "puts another in its place": ("os.dup2(os.open('mine', os.O_CREAT | os.O_RDWR), end)",
                                  ["first"], 1),
    "leaves": ("os.kill(os.getpid(), signal.SIGKILL)", ["first"], -9),
    "cuts it": ("import contextlib\nwith contextlib.suppress(OSError):\n    os.ftruncate(end, 0)",
                ["first", "second"], 0),
    "writes into it": (r"os.write(end, b'\xff\n')", ["first", "\ufffd", "second"], 0),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERING)
def test_what_was_refused_stays_noted_whatever_the_kernel_does(name, tmp_path, mark):
    does, noted, status = TAMPERING[name]
    code = KERNEL.replace("{does}", does)
    out, _ = start(tmp_path, code, mark).communicate(timeout=60)
    assert json.loads(out) == [status, "", noted], (tmp_path / "log.txt").read_text()


def test_notes_without_end_are_cut(tmp_path, mark):
    code = KERNEL.replace("{does}", "for n in range(10_000): note('x' * 100)")
    out, _ = start(tmp_path, code, mark).communicate(timeout=60)
    status, beyond, noted = json.loads(out)
    assert (status, beyond, len(noted), noted[0]) == (0, "", blocked.MOST, "first")


# -- the kernel's limits

LIMITED = """
import json, resource, sys
from distill_lab.course.grading.sandbox import kernel
kernel._limit(json.loads(sys.argv[1]))
found = {name: resource.getrlimit(getattr(resource, name)) for name in
         ("RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_DATA")}
print(json.dumps(found))
try:
    bytearray(900_000_000)
except MemoryError:
    print("MemoryError")
try:
    with open(sys.argv[2], "wb") as file:
        file.write(bytes(2_000_000))
except OSError as error:
    print(error.strerror)
"""


def test_a_kernel_is_behind_its_limits(tmp_path):
    limits = {"seconds": 7, "file_bytes": 1_000_000, "memory_bytes": 800_000_000}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, json.dumps(limits), str(tmp_path / "x")],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found, *said = done.stdout.splitlines()
    seconds = 7 * (os.cpu_count() or 1)
    assert json.loads(found) == {
        "RLIMIT_CPU": [seconds] * 2, "RLIMIT_FSIZE": [1_000_000] * 2,
        "RLIMIT_CORE": [0, 0], "RLIMIT_DATA": [800_000_000] * 2,
    }  # fmt: skip
    assert said == ["MemoryError", "File too large"]
    assert (tmp_path / "x").stat().st_size <= 1_000_000
