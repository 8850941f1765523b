"""A small class graded by the command, each submission in a kernel of its own: side by side,
interrupted and resumed the same bytes as one after the other, and no process is left of any of it.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from distill_lab.course.grading import course, reference
from distill_lab.course.grading.marks.marks import from_json
from distill_lab.course.grading.selftest import forgeries, made_up, odd_notebooks

ROOT = Path(__file__).parent.parent.parent.parent
LABS = ROOT / "lab_notebooks"
LAB = course.find_lab("lab5a", LABS)

pytestmark = pytest.mark.notebook


WRONG, HONEST, BROKEN, FORGED = (
    list(made_up.mutants(LAB)),
    list(odd_notebooks.odd_but_right(LAB, LABS)),
    list(odd_notebooks.unreadable(LAB)),
    list(forgeries.forgeries(LAB)),
)


def named(some: list[made_up.MadeUp], *names: str) -> list[made_up.MadeUp]:
    return [form for form in some if form.name in names]


# One of each kind; and, with a link that leads nowhere, a class of thirty.
SMALL = [
    made_up.right(LAB, LABS), made_up.untouched(LAB), WRONG[1],
    *named(BROKEN, "no JSON"), *named(FORGED, "hides tracebacks"),
]  # fmt: skip
MORE = [made_up.reference(LAB), WRONG[0], *WRONG[2:11], *HONEST[:5], *named(BROKEN, "binary"),
        *named(FORGED, "drops assertions", "patches print", "replaces the checks", "leaves at once",
               "NBVAL_SKIP", "prints the expected line", "edits the checks")]  # fmt: skip


class Grading:
    """The command over a class. All processes that it starts have a mark in their environments: the
    folder for temporary files, in which theirs lie."""

    def __init__(self, submissions: Path, out: Path, *more: str) -> None:
        self.mark = uuid.uuid4().hex
        temporary = out.parent / self.mark
        temporary.mkdir()
        command = [sys.executable, "-m", "distill_lab", "grade", "lab5a", str(submissions)]
        self.process = subprocess.Popen(
            [*command, "--out", str(out), "--labs", str(LABS), *more],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # a shell without job control lets what it starts in the background ignore interrupts
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def left(self) -> list[str]:
        """The command lines of what it started and still runs."""
        found = []
        for one in psutil.process_iter():
            try:
                has_mark = any(self.mark in value for value in one.environ().values())
                if has_mark and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(one.cmdline()))
            except psutil.Error:
                continue
        return found

    def end(self) -> str:
        said, _ = self.process.communicate(timeout=400)
        assert self.process.returncode == 0, said
        assert self.left() == []
        return said


def files(out: Path) -> dict[str, bytes]:
    """What must be the same: the marks, and each student's."""
    found = [out / "grades.csv", out / "class.html", *sorted((out / "students").iterdir())]
    return {path.name: path.read_bytes() for path in found}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(SMALL, id="6"),
        pytest.param(SMALL + MORE, id="30", marks=pytest.mark.slow),
    ],
)
def a_class(request) -> list[made_up.MadeUp]:
    return request.param


@pytest.fixture(scope="module")
def submissions(a_class, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("class")
    for form in a_class:
        (folder / f"{form.name}.ipynb").write_bytes(form.data)
    (folder / "a link.ipynb").symlink_to("nothing")
    return folder


@pytest.fixture(scope="module")
def whole(submissions, a_class, tmp_path_factory) -> Path:
    """The class, graded one after the other."""
    out = tmp_path_factory.mktemp("whole") / "out"
    said = Grading(submissions, out, "--jobs", "1").end()
    odd = sum(row["review"] != "0" or row["failure"] != "" for row in rows(out))
    assert odd == 4 or a_class is not SMALL
    assert f"{len(a_class) + 1} submissions, of which {odd} to be looked at" in said
    return out


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "grades.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_gets_what_is_due_and_the_status_is_0_whatever_they_did(whole, a_class):
    marks = {row["student"]: row for row in rows(whole)}
    assert marks.keys() == {"a link", *(form.name for form in a_class)}
    for form in a_class:
        row = marks[form.name]
        assert tuple(int(row[one.name]) for one in LAB.exercises) == form.points, form.name
        assert int(row["points"]) == sum(form.points)
        assert not form.is_plain or row["review"] == "0", form.name
        said = (whole / "students" / f"{form.name}.json").read_text(encoding="utf-8")
        says = [json.dumps(text, ensure_ascii=False)[1:-1] for text in form.says]
        assert all(text in said for text in says), form.name
        assert (
            not form.right_steps
            or reference.points_of_right_steps(from_json(said)) == form.right_steps
        ), form.name
    assert marks["no JSON"]["failure"].startswith("Expected a notebook")
    assert int(marks["hides tracebacks"]["review"]) > 0
    broken = {"a link", *(form.name for form in a_class if form in BROKEN)}
    assert {name for name, row in marks.items() if row["failure"]} == broken


def test_twice_and_side_by_side_gives_the_same_bytes(whole, submissions, tmp_path):
    Grading(submissions, tmp_path / "out", "--jobs", "2").end()
    assert files(tmp_path / "out") == files(whole)


def wait_for(out: Path, more: int, grading: Grading) -> set[Path]:
    """Waits until so many students are done, and a kernel runs for the next; who is done."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        done = set((out / "students").glob("*.json"))
        if len(done) >= more and any("sandbox.kernel" in line for line in grading.left()):
            return done
        assert grading.process.poll() is None, "it was done before it could be interrupted"
        time.sleep(0.05)
    raise AssertionError("no student was written")


def gone(grading: Grading) -> bool:
    """Whether none of its processes is left, at once or soon: the watcher looks now and then."""
    end = time.monotonic() + 30
    while grading.left() and time.monotonic() < end:
        time.sleep(0.1)
    return not grading.left()


def test_interrupted_and_resumed_gives_the_same_bytes(whole, submissions, a_class, tmp_path):
    out, written = tmp_path / "out", {}
    ends = [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
    for how, status in ends:
        grading = Grading(submissions, out, "--jobs", "1")
        done = wait_for(out, len(written) + 1, grading)
        assert done > written.keys()
        grading.process.send_signal(how)
        said, _ = grading.process.communicate(timeout=100)
        assert grading.process.returncode == status, said
        assert gone(grading)
        assert how == signal.SIGKILL or list((tmp_path / grading.mark).iterdir()) == []
        assert not (out / "grades.csv").exists()
        assert {path: path.stat().st_mtime_ns for path in written} == written  # not graded again
        written = {path: path.stat().st_mtime_ns for path in (out / "students").glob("*.json")}
    said = Grading(submissions, out, "--jobs", "2").end()
    assert f"{len(written)} of {len(a_class) + 1} are graded already." in said
    assert files(out) == files(whole)
