"""The notebooks that lie in the repository: in step with their sources, and all of them run.

The tests that run them are `notebook` tests; they share a folder, so that each stage runs once.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbval_run import nbval

from distill_lab.course import builder
from distill_lab.course.builder import execute

FOLDER = Path(__file__).parent.parent.parent / "lab_notebooks"
NAMES = sorted(file.stem for file in (FOLDER / "source").glob("*.py"))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.mark.skipif(not NAMES, reason="no sources yet")
def test_the_notebooks_are_in_step_with_their_sources():
    assert builder.check(builder.Check(FOLDER)) == []


@pytest.mark.notebook
@pytest.mark.parametrize("name", NAMES)
def test_nbval_finds_in_a_solved_notebook_what_is_stored_there(name, work):
    assert nbval(FOLDER / "solutions" / f"{name}.ipynb", work) == ""


@pytest.mark.notebook
@pytest.mark.enable_socket  # of this machine, between kernel and client
@pytest.mark.parametrize("name", NAMES)
def test_an_untouched_notebook_runs_to_its_end_and_no_exercise_is_attempted(name, work):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    execute.run(notebook, name, work)
    checks = [cell for cell in notebook.cells if cell.metadata["role"] == "check"]
    for cell in checks:
        text = "".join(output.get("text", "") for output in cell.outputs)
        assert re.match(r"\w+: not attempted\.", text), f"{cell.id}: {text}"
