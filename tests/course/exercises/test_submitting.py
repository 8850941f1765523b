"""`before_submitting()`: notebooks by hand, each with one thing that is wrong, and honest ones."""

from __future__ import annotations

import copy
import datetime
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from distill_lab.course.exercises import before_submitting, manifests, submitting, this_notebook
from distill_lab.run.records import LabError

LAB = "Lab5a_Teacher_Generation"
FRESH = Path(__file__).parent.parent.parent.parent / "lab_notebooks" / f"{LAB}.ipynb"
ANSWERS = {
    "extract-answer": "# exercise lab5a.extract_answer\ndef extract_answer(text):\n    return text",
    "soften": "# exercise lab5a.soften\ndef soften(logits, temperature):\n    return logits",
    "pass-at-k": "# exercise lab5a.pass_at_k\ndef pass_at_k(n, c, k):\n    return 1.0",
}
GOOD = "all is there, 3 exercises, 10 points to gain."


@pytest.fixture
def book() -> dict[str, Any]:
    """An honest submission: all answered, run from top to bottom."""
    whole = json.loads(FRESH.read_text())
    count = 0
    for cell in whole["cells"]:
        cell["source"] = ANSWERS.get(cell["id"], "".join(cell["source"]))
        if cell["cell_type"] == "code":
            count += 1
            cell["execution_count"] = count
    return whole


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No notebook is open."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)


def cell(book: dict[str, Any], id: str) -> dict[str, Any]:
    return next(one for one in book["cells"] if one.get("id") == id)


def without(book: dict[str, Any], *ids: str) -> None:
    book["cells"] = [one for one in book["cells"] if one.get("id") not in ids]


def added(source: str, **more: Any) -> dict[str, Any]:
    return {"cell_type": "code", "id": "own", "metadata": {}, "source": source, **more}


def found(book: dict[str, Any], ran: dict[int, str] | None = None) -> list[str]:
    return list(submitting.findings(book["cells"], manifests.read()[LAB], ran))


def only(said: list[str]) -> str:
    assert len(said) == 1, said
    return said[0]


def save(book: dict[str, Any], path: Path) -> Path:
    path.write_text(json.dumps(book))
    return path


def said(capsys) -> str:
    return capsys.readouterr().out.strip()


# --- honest ones ----------------------------------------------------------------------------------


def as_in_colab(book):
    """It keeps the metadata's id alone, and the sources as lines."""
    for one in book["cells"]:
        del one["id"]
        one["source"] = one["source"].splitlines(keepends=True)


def saved_by_another_editor(book):
    """With new ids, and blanks at the ends of lines."""
    for n, one in enumerate(book["cells"]):
        one["id"] = f"c{n}"
        one["source"] = one["source"].replace("\n", " \r\n") + "\n"


def with_cells_of_ones_own(book):
    book["cells"][8:8] = [added("%matplotlib inline\n!ls\nsoften?\nprint(1)")]
    cell(book, "soften")["source"] = "%%time\n" + ANSWERS["soften"]


def with_no_ids_at_all(book):
    """The exercises are found by their first lines, locked cells by what stands in them."""
    for one in book["cells"]:
        one["metadata"] = {}
        del one["id"]


def asked_twice(book):
    """The cell that asks has the number of its last run."""
    book["cells"].append(added("before_submitting()", execution_count=1))


@pytest.mark.parametrize(
    "change",
    [
        lambda book: None,
        as_in_colab,
        saved_by_another_editor,
        with_cells_of_ones_own,
        with_no_ids_at_all,
        asked_twice,
    ],
)
def test_of_an_honest_notebook_one_line_is_said(change, book, capsys, tmp_path):
    change(book)
    before_submitting(save(book, tmp_path / "mine.ipynb"))
    assert said(capsys).endswith(GOOD)
    assert found(book, {1: "old", 99: "x"}) == []


def test_the_line_says_which_file_and_when_it_was_saved(book, capsys, tmp_path):
    file = save(book, tmp_path / "mine.ipynb")
    before_submitting(str(file))
    saved = datetime.datetime.fromtimestamp(file.stat().st_mtime)
    assert said(capsys) == f"mine.ipynb, as it was saved at {saved:%H:%M}: {GOOD}"
    then = datetime.datetime(2026, 3, 9, 14, 2).timestamp()
    os.utime(file, (then, then))
    before_submitting(file)
    assert "as it was saved on 2026-03-09 at 14:02: all is there" in said(capsys)


# --- one thing each -------------------------------------------------------------------------------


def test_a_fresh_notebook_has_all_its_points_to_gain(capsys):
    before_submitting(FRESH)
    head, *lines = said(capsys).splitlines()
    assert head.endswith("3 things to look at before you hand it in.")
    assert lines[1] == "- soften: not begun yet, 3 points to gain."


def test_a_missing_exercise(book):
    without(book, "soften")
    assert only(found(book)) == (
        "soften: its cell is missing, and with it 3 points. Copy it from a fresh notebook, with its"
        " first line `# exercise lab5a.soften`, and write your function there."
    )


def test_an_exercise_that_is_no_python(book):
    cell(book, "soften")["source"] += "\n    return ("
    assert "soften: its cell is no Python ('(' was never closed in line 4)" in only(found(book))


def test_an_exercise_whose_function_has_another_name(book):
    cell(book, "soften")["source"] = "def softer(logits, temperature): ..."
    assert "soften: its cell defines no function of that name" in only(found(book))


def test_two_cells_of_one_exercise(book):
    one = copy.deepcopy(cell(book, "soften")) | {"id": "copy"}
    book["cells"].insert(book["cells"].index(cell(book, "soften")) + 1, one)
    assert "soften: 2 cells have it, and the last one counts" in only(found(book))


def test_the_function_again_in_a_cell_that_does_not_count(book):
    book["cells"].insert(9, added("def soften(logits, temperature): ..."))
    assert "The one in the exercise's own cell counts (it has its id)" in only(found(book))
    with_no_ids_at_all(book)
    assert "(it has the first line `# exercise lab5a.soften`)" in only(found(book))


@pytest.mark.parametrize(
    ("id", "change", "says"),
    [
        ("check-soften", "check('lab5a.soften', lambda *_: 1)", "check cell of soften was changed"),
        ("install", "print('ready')", "The install cell was changed."),
    ],
)
def test_a_locked_cell(id, change, says, book):
    cell(book, id)["source"] = change
    line = only(found(book))
    assert says in line
    assert "No marks are lost" in line
    without(book, id)
    assert only(found(book)) == line.replace("changed", "deleted")


def test_no_effect_have_marks_that_skip_a_cell(book):
    cell(book, "soften")["source"] += "\n# NBVAL_SKIP"
    book["cells"].append(added("# NBVAL_RAISES_EXCEPTION\n'# NBVAL_SKIP'"))
    cell(book, "next-token")["metadata"]["tags"].append("raises-exception")
    assert only(found(book)) == (
        "`# NBVAL_SKIP`, `raises-exception`, `# NBVAL_RAISES_EXCEPTION`: has no effect, all checks "
        "are run. Take it out."
    )


# --- the order in which cells ran -----------------------------------------------------------------


def test_an_answer_that_was_changed_after_its_check_ran(book):
    cell(book, "soften")["execution_count"] = 90
    cell(book, "check-soften")["execution_count"] = 89
    assert only(found(book)).startswith("soften: not run, or changed after the check beside it ran")


def test_an_answer_that_was_never_run(book):
    cell(book, "soften")["execution_count"] = None
    del cell(book, "pass-at-k")["execution_count"]
    assert only(found(book)).startswith("soften, pass_at_k: not run, or changed after")


def test_an_answer_that_is_not_the_one_that_ran(book):
    soften = cell(book, "soften")
    assert found(book, {soften["execution_count"]: soften["source"] + "\n"}) == []
    assert only(found(book, {soften["execution_count"]: "x"})).startswith("soften: not run, or ch")


def test_cells_that_ran_out_of_order(book):
    cell(book, "setup")["execution_count"] = 99
    assert only(found(book)).startswith("Cells were not run from top to bottom")
    cell(book, "setup")["execution_count"] = None
    assert found(book) == []


# --- where the notebook is ------------------------------------------------------------------------


def test_the_only_one_of_the_course_in_the_folder(book, capsys, tmp_path):
    (tmp_path / "other.ipynb").write_text('{"cells": []}')
    (tmp_path / "broken.ipynb").write_text("")
    save(book, tmp_path / "mine.ipynb")
    before_submitting()
    assert said(capsys).startswith("mine.ipynb, as it was saved")


@pytest.mark.parametrize("n", [0, 2])
def test_where_there_is_no_telling_which_it_is_one_sentence_says_so(n, book, capsys, tmp_path):
    for number in range(n):
        save(book, tmp_path / f"{number}.ipynb")
    before_submitting()
    assert said(capsys) == (
        "Which notebook this is cannot be told from here. Save it and name it: "
        'before_submitting("NAME.ipynb").'
    )


@pytest.mark.parametrize("absolute", [True, False])
def test_the_one_that_jupyter_names(absolute, book, capsys, tmp_path, monkeypatch):
    for name in ("a.ipynb", "b.ipynb"):
        save(book, tmp_path / name)
    name = str(tmp_path / "b.ipynb") if absolute else "course/b.ipynb"  # of an older server
    monkeypatch.setenv("JPY_SESSION_NAME", name)
    before_submitting()
    assert said(capsys).startswith("b.ipynb, ")
    (tmp_path / "b.ipynb").unlink()  # renamed since the kernel began
    before_submitting()
    assert said(capsys).startswith("a.ipynb, ")


def test_the_one_that_vs_code_names_and_what_its_kernel_ran(book, capsys, tmp_path, monkeypatch):
    shell = InteractiveShell.instance()
    try:
        for name in ("a.ipynb", "b.ipynb"):
            save(book, tmp_path / name)
        monkeypatch.setitem(shell.user_ns, "__vsc_ipynb_file__", str(tmp_path / "b.ipynb"))
        before_submitting()
        assert said(capsys).endswith(GOOD)
        count = cell(book, "soften")["execution_count"]
        while shell.execution_count <= count:
            shell.run_cell("pass", store_history=True)
        before_submitting()
        assert "b.ipynb, " in (out := said(capsys))
        assert "soften: not run, or changed" in out
    finally:
        InteractiveShell.clear_instance()


@pytest.fixture
def colab(monkeypatch):
    """A Colab session: what its page answers can be set."""
    message = types.ModuleType("google.colab._message")
    package = types.ModuleType("google.colab")
    package._message = message  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab", package)
    monkeypatch.setitem(sys.modules, "google.colab._message", message)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")

    def answers(answer: Any) -> None:
        def blocking_request(request_type, request="", timeout_sec=5, parent=None):
            assert (request_type, request) == ("get_ipynb", "")
            return answer

        message.blocking_request = blocking_request  # type: ignore[attr-defined]

    return answers


def test_in_colab_the_page_is_asked(colab, book, capsys, tmp_path):
    save(book, tmp_path / "mine.ipynb")
    as_in_colab(book)
    colab({"ipynb": book})
    before_submitting()
    assert said(capsys) == f"This notebook: {GOOD}"


def test_where_colab_does_not_answer_it_says_so(colab, capsys):
    colab(None)
    before_submitting()
    first, second = said(capsys).splitlines()
    assert first.startswith("Colab did not hand the notebook over (TypeError")
    assert second.startswith("Which notebook this is cannot be told")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "mine.ipynb: expected your notebook, found no file. Save it first."),
        ("", "mine.ipynb: expected a notebook, found Expecting value"),
        ("[" * 100_000, "mine.ipynb: expected a notebook, found maximum recursion"),
        ("[1]", "mine.ipynb: expected a notebook with cells, found none"),
        ('{"worksheets": []}', "mine.ipynb: expected a notebook with cells, found none"),
        ('{"cells": [1, {}]}', "expected a notebook of this course with exercises, found none of"),
        (json.dumps({"cells": [added("x = 1", id="title")]}), f"Name one of {LAB}, Lab5b"),
    ],
)
def test_a_file_that_was_named_and_is_none(text, says, tmp_path):
    if text is not None:
        (tmp_path / "mine.ipynb").write_text(text)
    with pytest.raises(LabError) as error:
        before_submitting("mine.ipynb")
    assert says in str(error.value)


def test_the_lab_is_told_by_its_cells_and_else_by_its_name(book, tmp_path):
    books = manifests.read()
    file = save(book, tmp_path / "Lab5b_Rejection_Sampling.ipynb")
    assert this_notebook.of(file, books).book == LAB
    (tmp_path / f"{LAB}-me.ipynb").write_text('{"cells": []}')
    assert this_notebook.of(tmp_path / f"{LAB}-me.ipynb", books).book == LAB
