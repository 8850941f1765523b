"""What students and instructors install: no attack code and no wrong answers, and grading works
without them."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="builds the package's wheel")
ROOT = Path(__file__).parent.parent.parent.parent
LABS = ROOT / "lab_notebooks"
CHECKOUT_ALONE = ("grading/selftest/", "exercises/mutants/")


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder of an unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def python(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in `folder` with the package of the wheel before that of the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_wheel_has_all_modules_but_those_for_the_checkout_alone(installed):
    in_checkout = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "distill_lab").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    alone = {file for file in in_checkout if any(part in file for part in CHECKOUT_ALONE)}
    files = {p.relative_to(installed).as_posix() for p in installed.rglob("*") if p.is_file()}
    assert {file.rpartition("/")[2] for file in alone} >= {"attacks.py", "lab5a.py", "lab5d.py"}
    assert files >= in_checkout - alone
    assert not [file for file in files if "selftest" in file or "mutants" in file]
    assert not [file for file in files if file.endswith((".ipynb", "solutions/"))]
    data = "distill_lab/data"
    assert files >= {f"{data}/mini_squad/make.py", f"{data}/tiny_models/teacher/model.safetensors"}


def test_each_module_of_the_course_is_imported_without_them(installed, tmp_path):
    course = installed / "distill_lab" / "course"
    names = [
        ".".join(file.relative_to(installed).with_suffix("").parts).removesuffix(".__init__")
        for file in sorted(course.glob("**/*.py"))
        if file.name != "__main__.py" and {"grading", "exercises"} & {*file.parts}
    ]
    assert len(names) > 50
    code = f"import distill_lab, {', '.join(names)}; print(distill_lab.__file__)"
    done = python(installed, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(installed)


def test_the_self_test_says_in_one_line_that_it_needs_a_checkout(installed, tmp_path):
    done = python(installed, tmp_path, "-m", "distill_lab", "grade", "--self-test", "lab5a")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Expected a checkout of the course, found an installed package" in done.stderr
    assert done.stderr.count("\n") == 1


GRADES_AND_LOOKS_FOR_A_FAULT = """
import sys
from pathlib import Path
from distill_lab.course import grading
from distill_lab.course.grading import graded_lab, grade_class
labs, submissions = Path(sys.argv[1]), Path(sys.argv[2])
settings = grading.Grade(labs=labs)
assert grading.grade("lab5a", submissions, settings) == 0
sys.exit(grade_class._status_of_faults(graded_lab.find_lab("lab5a", labs), settings, []))
"""


@pytest.mark.notebook
def test_an_installed_package_grades_and_sees_that_it_does(installed, tmp_path):
    """The right notebook has all points, and so have the package's own answers, by which grading
    tells a fault of its own from a student's."""
    submissions = tmp_path / "class"
    submissions.mkdir()
    data = (LABS / "solutions" / "Lab5a_Teacher_Generation.ipynb").read_bytes()
    (submissions / "ann.ipynb").write_bytes(data)
    code = ["-c", GRADES_AND_LOOKS_FOR_A_FAULT, str(LABS), str(submissions)]
    done = python(installed, tmp_path, *code)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "grades" / "grades.csv", encoding="utf-8", newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["points"], row["of"], row["review"]) == ("10", "10", "0")
