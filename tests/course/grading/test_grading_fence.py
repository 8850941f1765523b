"""Linux's own wall around a student's kernel: what it refuses, to C code as well."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from distill_lab.course.grading.sandbox import fence
from distill_lab.course.grading.session import grade_submission, watch
from distill_lab.course.grading.session.limits import Limits

BEHIND = """
import ctypes, sys, os
from pathlib import Path
from distill_lab.course.grading.sandbox import fence, guard
home = Path(sys.argv[1])
assert fence.put_up(home, guard.readable(Path(fence.__file__).parent.parent))
C = ctypes.CDLL(None, use_errno=True)
shared = {"x86_64": (29, 64, 68), "aarch64": (194, 190, 186)}[os.uname().machine]
def refused(what):
    try:
        what()
    except PermissionError:
        return True
    return False
"""


def behind(home, code):
    argv = [sys.executable, "-c", BEHIND + code, str(home)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60).stderr


@pytest.mark.skipif(not fence.stands(), reason="no Landlock on this machine")
@pytest.mark.parametrize(
    "code",
    [
        "(home / 'mine').write_text('x'); (home / 'd').mkdir(); (home / 'mine').unlink()",
        "import json, decimal, sqlite3; open(os.devnull, 'w').write('x')",
        "assert refused(lambda: (home.parent / 'other').write_text('x'))",
        "assert refused(lambda: (home.parent / 'theirs').read_text())",
        "assert refused(lambda: os.listdir(home.parent))",
        "assert refused(lambda: os.posix_spawn(sys.executable, [sys.executable], {}))",
        "assert C.fork() == -1 and refused(os.fork)",
        "assert [C.syscall(n, 0, 4096, 0o1600) for n in shared] == [-1] * 3",
        "assert refused(lambda: (home / '/dev/shm/mine').touch())",
        "import threading; t = threading.Thread(target=os.getpid); t.start(); t.join()",
        "import zmq; zmq.Context().socket(zmq.PUB).close()",  # the kernel's own threads
        "import resource as r; assert refused(lambda: r.prlimit(os.getppid(), r.RLIMIT_CORE))",
        "import resource as r; r.setrlimit(r.RLIMIT_CORE, (0, 0)); r.prlimit(0, r.RLIMIT_CORE)",
        "assert refused(lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19))",
        "assert refused(lambda: os.sched_setaffinity(os.getppid(), {0})); os.sched_setaffinity(0, "
        "os.sched_getaffinity(0))",
        "import signal as s; assert refused(lambda: s.pidfd_send_signal(os.pidfd_open(os.getpid()),"
        " 0))",
        "assert C.open(str(home.parent / 'other').encode(), 65, 0o600) == -1",
        "os.symlink('..', home / 'up'); assert refused(lambda: (home / 'up/theirs').read_text())",
    ],
)
def test_the_own_folder_is_free_and_the_rest_is_not(tmp_path, code):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "theirs").write_text("x")
    assert behind(home, code) == ""
    assert {path.name for path in tmp_path.iterdir()} == {"home", "theirs"}


def test_a_folder_goes_with_all_in_it_however_deep(tmp_path, monkeypatch):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "kept").touch()
    with grade_submission._folder() as place:
        monkeypatch.chdir(place)
        (place / "link").symlink_to(theirs)
        (place / "closed").mkdir(0)
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        monkeypatch.chdir(tmp_path)
    assert not place.exists()
    assert (theirs / "kept").exists()


def test_empty_files_count_and_one_that_vanishes_hides_no_other(tmp_path, monkeypatch):
    for n in range(50):
        (tmp_path / f"{n}").touch()
    assert watch._size(tmp_path) == 50 * watch.LEAST
    entries = watch._entries

    def vanishing(folder):
        found = entries(folder)
        os.unlink(found[0].path)
        return found

    monkeypatch.setattr(watch, "_entries", vanishing)
    assert watch._size(tmp_path) == 49 * watch.LEAST


@pytest.mark.parametrize("error", [PermissionError(13, "closed"), OSError(36, "too deep")])
def test_a_folder_that_hides_what_is_in_it_is_beyond_the_limits(tmp_path, monkeypatch, error):
    def closed(_):
        raise error

    monkeypatch.setattr(os, "scandir", closed)
    assert "cannot be looked into" in watch._limit_passed(0, tmp_path, Limits())
    monkeypatch.setattr(os, "scandir", lambda folder: (_ for _ in ()).throw(FileNotFoundError))
    assert watch._limit_passed(0, tmp_path, Limits(memory_bytes=10**15, processes=10**6)) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says which files are open")
def test_files_without_a_name_count_once(tmp_path):
    me = [psutil.Process()]
    before = watch._nameless(me)
    with (tmp_path / "deleted").open("wb") as file, (tmp_path / "kept").open("wb") as kept:
        in_memory = os.memfd_create("mine")
        again = os.dup(in_memory)
        (tmp_path / "deleted").unlink()
        for descriptor in (file.fileno(), kept.fileno(), in_memory):
            os.write(descriptor, b"0" * 1_000_000)
        assert 2_000_000 <= watch._nameless(me) - before < 3_000_000
    os.close(in_memory)
    os.close(again)
    assert watch._nameless(me) - before < 1_000_000
