"""No process of grading imports from the folder that it was started in, whatever lies there."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from distill_lab.course.grading import course
from distill_lab.course.grading.selftest import made_up

ROOT = Path(__file__).parent.parent.parent.parent
LABS = ROOT / "lab_notebooks"
# All that a grader, a watcher, a session and a kernel import, by its first name.
NAMES = """
import sys
before = {*sys.builtin_module_names, "__main__"}
import distill_lab.cli.main, distill_lab.course.grading.session.watch, distill_lab.course.grading.session.session, tqdm, psutil
import distill_lab.course.grading.handed_in.collect, distill_lab.course.grading.marks.output_folder, distill_lab.course.grading.sandbox.kernel
import distill_lab.course.grading.sandbox.kernel_side, distill_lab.course.grading.sandbox.output, ipykernel.kernelapp, torch, numpy
distill_lab.course.grading.session.session.load("lab5a")
print(*{name.partition(".")[0] for name in sys.modules} - before)
"""
# Each says that it was imported, and by what.
SHADOW = """
import os, sys
with open(os.path.join({marks!r}, __name__), "w") as file:
    file.write(repr(sys.argv))
"""
WAYS = {"script": [], "module": ["-m"], "safe module": ["-P", "-m"]}
BY_SCRIPT = "import sys; from distill_lab.cli.main import main; sys.exit(main())"


def of_python(folder: Path) -> set[str]:
    """What `python -m` looks for where it is started before any line of ours runs: it cannot be
    helped, and the script and `-P` do not."""
    (folder / "first.py").write_text("import sys; print(*sys.modules)")
    command = [sys.executable, "-m", "first"]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return {"distill_lab", *(name.partition(".")[0] for name in found.stdout.split())}


@pytest.fixture(scope="module")
def names() -> set[str]:
    command = [sys.executable, "-c", NAMES]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {*found.stdout.split(), "sitecustomize", "usercustomize", "conftest", "helpers"}


@pytest.mark.notebook
@pytest.mark.parametrize("way", WAYS)
def test_a_class_is_graded_in_a_folder_of_shadows_of_all_modules(way, names, tmp_path):
    if way == "safe module" and sys.version_info < (3, 11):
        pytest.skip("Python has -P from 3.11 on")
    shadowed = names - (of_python(tmp_path) if way == "module" else set())
    assert {"psutil", "json", "nbval", "ipykernel", "zmq", "IPython", "torch"} <= shadowed
    marks, handed_in = tmp_path / "marks", tmp_path / "class"
    marks.mkdir()
    handed_in.mkdir()
    for name in shadowed:
        (handed_in / f"{name}.py").write_text(SHADOW.format(marks=str(marks)))
    lab = course.find_lab("lab5a", LABS)
    (handed_in / "right.ipynb").write_bytes(made_up.right(lab, LABS).data)
    script = tmp_path / "distill-lab"  # in a folder of its own, as pip writes it
    script.write_text(BY_SCRIPT)
    started = [*WAYS[way], str(script) if way == "script" else "distill_lab"]
    command = [sys.executable, *started, "grade", "lab5a", ".", "--labs", str(LABS)]
    done = subprocess.run(command, cwd=handed_in, capture_output=True, text=True, timeout=300)
    assert {file.name: file.read_text() for file in marks.iterdir()} == {}
    assert done.returncode == 0, done.stderr
    with open(handed_in / "grades" / "grades.csv", encoding="utf-8") as file:
        row = next(row for row in csv.DictReader(file) if row["student"] == "right")
    assert (row["points"], row["review"]) == ("10", "0")


KEPT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
import distill_lab.safe_path
distill_lab.safe_path.keep()
print(json.dumps(sys.path))
"""


def test_what_is_kept_of_the_path(tmp_path):
    elsewhere = str(tmp_path.parent)
    path = ["", str(tmp_path), elsewhere, ".", "lib", str(ROOT), str(tmp_path / ".")]
    command = [sys.executable, "-c", KEPT, json.dumps(path)]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == [elsewhere, str(ROOT)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout)[-1] == str(ROOT)
    assert json.loads(found.stdout).count(str(ROOT)) == 1
