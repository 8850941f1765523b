"""Linux's own wall around a student's kernel: what it refuses, to C code as well."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from distill_lab.grading import fence, one

BEHIND = """
import ctypes, sys, os
from pathlib import Path
from distill_lab.grading import fence, guard
home = Path(sys.argv[1])
assert fence.put_up(home, guard.readable(Path(fence.__file__).parent.parent))
C = ctypes.CDLL(None, use_errno=True)
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
        "import threading; t = threading.Thread(target=os.getpid); t.start(); t.join()",
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
    with one._folder() as place:
        monkeypatch.chdir(place)
        (place / "link").symlink_to(theirs)
        (place / "closed").mkdir(0)
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        monkeypatch.chdir(tmp_path)
    assert not place.exists()
    assert (theirs / "kept").exists()
