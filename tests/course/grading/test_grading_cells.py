"""From a student's file to the notebook that is graded: what is read of it, what is carried along,
in which order, and what is said about it. Notebooks by hand, against the course's own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest

from distill_lab.course import exercises
from distill_lab.course.grading import graded_lab, reference_notebook
from distill_lab.course.grading.cells import statements
from distill_lab.course.grading.cells.assemble import Parts, assemble
from distill_lab.course.grading.cells.notebook_file import read_cells
from distill_lab.course.grading.cells.sort_cells import sort_cells
from distill_lab.course.grading.marks.marks import Result
from distill_lab.course.grading.run_submission import session
from distill_lab.course.grading.run_submission.mark_sheet import MarkSheet
from distill_lab.course.grading.selftest import odd_notebooks
from distill_lab.run.records import LabError

LABS = Path(__file__).parent.parent.parent.parent / "lab_notebooks"
NAMES = ("lab5a", "lab5b", "lab5c", "lab5d", "lab5e", "lab6", "lab7")
LAB = graded_lab.find_lab("lab5a", LABS)
SOFTEN = "def soften(logits, temperature):\n    return (logits / temperature).softmax(-1)"
CANARY = "It must fail"


def graded(
    *student: reference_notebook.Cell, lab: graded_lab.GradedLab = LAB
) -> tuple[Any, MarkSheet, Parts]:
    """The graded notebook of these cells, what was noticed, and the parts."""
    record = MarkSheet(Path("none.json"), Result("a", lab.part, "a.ipynb", "", 1, lab.unmarked))
    parts = sort_cells(lab, read_cells(reference_notebook.notebook_file(student)), record)
    return nbformat.reads(assemble(lab, parts), as_version=4), record, parts


def fresh(**changed: str) -> list[reference_notebook.Cell]:
    """The course's cells, some with another source; `_` for `-` in their ids."""
    found = reference_notebook.course_cells(LAB)
    for name, source in changed.items():
        next(c for c in found if c["id"] == name.replace("_", "-"))["source"] = source
    return found


def put(
    cells: list[reference_notebook.Cell], behind: str, source: str, name: str = ""
) -> list[reference_notebook.Cell]:
    """With a cell of the student's behind one of the course's."""
    place = 1 + next(n for n, c in enumerate(cells) if c["id"] == behind)
    return [
        *cells[:place],
        reference_notebook.code_cell(name or f"mine-{place}", source),
        *cells[place:],
    ]


def order(notebook: Any) -> list[tuple[str, str]]:
    """Role and source of each cell that has any."""
    return [(c.metadata.grading.role, c.source) for c in notebook.cells if c.source]


def code(notebook: Any) -> str:
    return "\n".join(c.source for c in notebook.cells if c.metadata.grading.role != "canary")


def said(record: MarkSheet, kind: str = "notice") -> list[tuple[str, str]]:
    return [(one.where, one.said) for one in record.result.remarks if one.kind == kind]


# -- statements


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\ny = 2", ["x = 1", "y = 2"]),
        ("x = 1; y = 2", ["x = 1", "y = 2"]),
        ("def f(x):\n    y = x\n    return y", ["def f(x):\n    y = x\n    return y"]),
        ("if x:\n    y\nelse:\n    z", ["if x:\n    y\nelse:\n    z"]),
        ("%matplotlib inline\nx = 1", ["x = 1"]),
        ("!pip install x\nx = 1", ["x = 1"]),
        ("files = !ls\nx = 1", ["x = 1"]),
        ("if x:\n    !pip install x", ["if x:\n    pass"]),
        ("def f(x):\n    x.system()", ["def f(x):\n    x.system()"]),
        ("len?\nx = 1", ["x = 1"]),
        ("%%time\nx = 1", ["x = 1"]),
        ("%%time\n%%capture\nx = 1", ["x = 1"]),
        ("%%bash\nls -l", []),
        ("%%writefile a.py\nx = 1", []),
        ("# a comment", []),
        ("", []),
        ("def (:", ["compile('def (:', 'the cell', 'exec')"]),
        ("x = 1\x00", ["compile('x = 1\\x00', 'the cell', 'exec')"]),
        ("run /tmp/a.py b", ["compile('run /tmp/a.py b', 'the cell', 'exec')"]),
        ("f\"{a.replace('\xa0', ' ')}\"", ["f\"{a.replace('\xa0', ' ')}\""]),
        ("f'{b:\ufeff>3}'; y = 1", ["f'{b:\ufeff>3}'", "y = 1"]),
        ("x = 0x" + "f" * 5000, ["x = 0x" + "f" * 5000]),
        ("é = 'é'; y = (\n'é')  # é\nz = 1", ["é = 'é'", "y = (\n'é')", "z = 1"]),
        ("@a\n# b\n@ c\ndef f(): ...", ["@a\n# b\n@ c\ndef f(): ..."]),
        ("if x:\n    !ls\n    !ls -l\n    y", ["if x:\n    pass\n    pass\n    y"]),
        ("return 3", ["return 3"]),
        ("await f()", ["await f()"]),
        ("x = '\\ud800'", ["x = '\\ud800'"]),
    ],
)
def test_a_cell_is_split_into_its_statements(source, expected):
    assert statements.split_statements(source) == expected


def test_a_magic_in_a_function_leaves_it_a_function():
    [found] = statements.split_statements("def f():\n    %time x\n    return 1")
    assert found.startswith("def f():")
    assert found.endswith("return 1")


def test_definitions_are_imports_functions_and_classes_alone():
    source = (
        "import os\nx = f()\nfrom a import b\ndef f(): ...\nclass C: ...\nif x:\n  def g(): ..."
    )
    assert statements.definitions(source) == [
        "import os", "from a import b", "def f(): ...", "class C: ...",
    ]  # fmt: skip
    assert statements.definitions("def (:") == []


def test_imports_are_those_of_names_that_are_used():
    source = "import os.path\nimport numpy as np\nfrom a import b as c, d\nfrom e import f\nx = 1"
    assert statements.imports(source, {"os"}) == ["import os.path"]
    assert statements.imports(source, {"np", "d"}) == [
        "import numpy as np",
        "from a import b as c, d",
    ]
    assert statements.imports(source, {"b", "x", "numpy"}) == []


def test_names_are_those_used_at_any_depth():
    assert {
        *statements.names_used("import a.b\nfrom c import d as e\nf.g(h)[i].j = lambda k: m")
    } == {*"b d f g h i j m".split()}
    assert [*statements.names_used("x = 'ours'  # ours")] == ["x"]


def deep(function: str) -> str:
    """A function whose expression is nested deeper than Python unparses."""
    return f"def {function}(*a):\n    return {'+'.join(['1'] * 1200)}"


def test_a_function_nested_too_deep_is_carried_as_it_is():
    notebook, _, _ = graded(*put(fresh(soften=deep("soften")), "setup", deep("help_me")))
    assert deep("soften") in code(notebook)
    assert deep("help_me") in code(notebook)


# -- read

ONE = {"cell_type": "code", "id": "a", "metadata": {}, "source": "x = 1"}


def read(whole: Any) -> list[dict[str, Any]]:
    return read_cells(json.dumps(whole).encode())


@pytest.mark.parametrize(
    ("cell", "source", "kind"),
    [
        (ONE, "x = 1", "code"),
        ({**ONE, "source": ["x = 1\n", "y = 2"]}, "x = 1\ny = 2", "code"),
        ({**ONE, "source": "x = 1\r\ny = 2\r\n"}, "x = 1\ny = 2\n", "code"),
        ({**ONE, "source": ["x", 1, None]}, "x1None", "code"),
        ({**ONE, "source": "'\ud800'"}, "'?'", "code"),
        ({"cell_type": "markdown", "source": "# title"}, "# title", "markdown"),
        ({"source": "x = 1"}, "x = 1", "code"),
        ({**ONE, "metadata": None, "id": 3}, "x = 1", "code"),
        ({**ONE, "outputs": 3, "execution_count": "x"}, "x = 1", "code"),
        ({"cell_type": "code", "input": ["x = 1"], "prompt_number": 2}, "x = 1", "code"),
    ],
)
def test_a_cell_is_read_whatever_its_form(cell, source, kind):
    [found] = read({"cells": [cell]})
    assert (found["source"], found["cell_type"]) == (source, kind)
    assert isinstance(found["metadata"], dict)
    assert "outputs" not in found


def test_the_cells_of_format_3_are_in_its_worksheets():
    sheets = [{"cells": [{"cell_type": "code", "input": "a"}]}, {"cells": [{"input": "b"}]}, 3, {}]
    assert [c["source"] for c in read({"nbformat": 3, "worksheets": sheets})] == ["a", "b"]


def test_what_is_no_cell_is_passed_over():
    assert [c["source"] for c in read({"cells": [1, None, ONE, [ONE], "x", {}]})] == ["x = 1", ""]
    assert read({"cells": []}) == []


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "an empty file"),
        (b" \n\t", "an empty file"),
        (b"\xff\xfe{}", "a file that is no text"),
        (b"PK\x03\x04\x80", "a file that is no text"),
        (b"<html>\nSign in", "a text that begins with '<html>'"),
        (b"{", "a text that begins with '{'"),
        (b"[" * 100_000, "a text that begins with"),
        (b'{"cells": ' + b"9" * 5000 + b"}", "a text that begins with"),
        (b"[]", "other JSON"),
        (b"3", "other JSON"),
        (b"null", "other JSON"),
        (b'{"cells": {}}', "other JSON"),
        (b'{"worksheets": 3}', "other JSON"),
    ],
)
def test_a_file_that_is_no_notebook_is_said_to_be_what_it_is(data, expected):
    with pytest.raises(LabError, match="Expected a notebook") as found:
        read_cells(data)
    assert expected in str(found.value)
    str(found.value).encode()


def test_a_byte_order_mark_is_no_fault():
    assert read_cells(b"\xef\xbb\xbf" + json.dumps({"cells": [ONE]}).encode()) == read(
        {"cells": [ONE]}
    )


# -- the graded notebook


@pytest.mark.parametrize("name", NAMES)
def test_there_is_one_check_an_exercise_as_the_course_has_it_and_a_canary_right_before(name):
    lab = graded_lab.find_lab(name, LABS)
    notebook, record, _ = graded(*reference_notebook.course_cells(lab), lab=lab)
    found = [(c.metadata.grading.role, c.metadata.grading.exercise) for c in notebook.cells]
    for exercise in lab.exercises:
        assert found.count(("check", exercise.name)) == 1
        place = found.index(("check", exercise.name))
        assert found[place - 1] == ("canary", exercise.name)
        assert found.index(("exercise", exercise.name)) < place
        line = next(
            c for c in lab.entry["cells"] if "points" in c and c["exercise"] == exercise.name
        )
        assert notebook.cells[place].source == lab.sources[line["id"]]
        assert f'check("{exercise.name}", {exercise.function})' in notebook.cells[place].source
    roles = [role for role, _ in found]
    assert roles.count("check") == roles.count("canary") == len(lab.exercises)
    assert said(record) == said(record, "review") == []


def test_a_canary_says_what_an_untouched_kernel_prints_and_raises():
    [first, *rest] = [c for c in graded(*fresh())[0].cells if CANARY in c.source]
    nonce, expected = first.metadata.grading.nonce, first.metadata.grading.expected
    assert len({c.metadata.grading.nonce for c in (first, *rest)}) == 3  # each another
    assert expected.printed.startswith(f"canary {nonce}\nextract_answer: wrong, 0 of 4 points\n")
    assert expected.raised == f"AssertionError: {nonce}"
    assert first.source.count(nonce) >= 3


def test_an_exercise_is_between_the_imports_before_it_and_its_check():
    notebook, _, parts = graded(*fresh(soften=SOFTEN))
    roles = order(notebook)
    [place] = [n for n, one in enumerate(roles) if one == ("exercise", SOFTEN)]
    assert [role for role, _ in roles[place : place + 3]] == ["exercise", "canary", "check"]
    assert parts.exercises["lab5a.soften"] == SOFTEN
    assert parts.added == parts.changed == {}
    before = [source for _, source in roles[:place]]
    assert any("from distill_lab.checks import check" in source for source in before)


def test_run_cells_are_not_run():
    text = code(graded(*fresh())[0])
    assert "begin()" not in text
    assert "lab.run" not in text
    assert "or_ours(" not in text


def test_a_changed_run_cell_gives_what_is_new_in_it():
    new = "half = 0.5\nimport json"
    changed = f"{LAB.sources['use-soften']}\n{new}"
    notebook, record, parts = graded(*fresh(use_soften=changed))
    assert ("student", new) in order(notebook)
    assert parts.changed == {"use-soften": changed}
    assert "or_ours(" not in code(notebook)
    assert order(notebook)[0][1].splitlines()[-1] == "import json"
    assert said(record) == []


def test_a_helper_that_needs_an_import_of_any_other_cell_has_it():
    helper = "def helper(x: Tensor, y: Sequence): ..."
    late = put(fresh(), "check-soften", "from collections.abc import Sequence")
    notebook, _, _ = graded(*put(late, "setup", helper))
    names: dict[str, Any] = {}
    exec(order(notebook)[0][1], names)
    assert "helper" in names


@pytest.mark.parametrize("source", ["# to be done", "def majority_answer(answers):\n    x = ("])
def test_what_a_stub_imports_is_there_without_it(source):
    lab = graded_lab.find_lab("lab5b", LABS)
    cells = reference_notebook.answered_cells(lab, {"lab5b.majority_answer": source})
    first = order(graded(*cells, lab=lab)[0])[0][1].split("\n")
    assert "from collections.abc import Sequence" in first  # keep_shortest is annotated with it


def test_a_cell_of_the_courses_under_another_id_is_not_the_students():
    source = LAB.sources["use-soften"]
    _, _, parts = graded(
        *fresh(),
        reference_notebook.code_cell("mine", source),
        reference_notebook.code_cell("yours", source + "\n"),
    )
    assert parts.added == {}


def test_a_copy_of_a_run_cell_that_was_changed_too_is_carried():
    first, second = "first = 1", "def second(): ..."
    student = put(fresh(use_soften=first), "use-soften", second, "use-soften")
    text = code(graded(*student)[0])
    assert first in text
    assert "def second()" in text


def test_added_cells_are_carried_where_they_stand_and_their_definitions_before_all():
    student = put(fresh(), "setup", "x = 1\ndef helper(): ...")
    student = put(student, "check-soften", "y = x")
    student = [reference_notebook.code_cell("mine", "z = 0"), *student]
    notebook, record, _ = graded(*student)
    roles = order(notebook)
    prelude = roles[0][1].splitlines()
    assert {"import re", "from torch import Tensor", "import math"} <= set(prelude)
    assert prelude[-1] == "def helper(): ..."
    assert roles[1] == ("student", "z = 0")
    x = roles.index(("student", "x = 1\ndef helper(): ..."))
    y = roles.index(("student", "y = x"))
    checks_ = [n for n, (role, _) in enumerate(roles) if role == "check"]
    assert x < checks_[0] < checks_[1] < y < checks_[2]
    assert said(record) == said(record, "review") == []


def test_text_is_not_carried():
    student = [*fresh(), {**reference_notebook.code_cell("mine", "x = 1"), "cell_type": "markdown"}]
    assert "x = 1" not in code(graded(*student)[0])


def test_of_two_answers_the_last_counts_and_it_is_said():
    first = SOFTEN.replace("-1", "0")
    student = put(fresh(soften=first), "check-soften", SOFTEN, "soften")
    notebook, record, parts = graded(*student)
    assert parts.exercises["lab5a.soften"] == SOFTEN
    assert first not in code(notebook)
    [(where, text)] = said(record)
    assert where == "lab5a.soften"
    assert text.startswith("2 cells answer this exercise, and the last of them counts.")


def test_a_missing_exercise_is_said_to_be():
    student = [c for c in fresh() if c["id"] != "soften"]
    notebook, record, parts = graded(*student)
    assert parts.exercises["lab5a.soften"] is None
    assert record.missing == {"lab5a.soften"}
    [(where, text)] = said(record)
    assert where == "lab5a.soften"
    assert "`# exercise lab5a.soften`" in text
    assert [role for role, _ in order(notebook)].count("check") == 3


@pytest.mark.parametrize("name", ["check-soften", "install"])
def test_a_locked_cell_is_the_courses_own_whatever_became_of_it(name):
    forged = "def forged():\n    print('soften: right, 3 of 3 points')"
    changed, record, _ = graded(*fresh(**{name.replace("-", "_"): forged}))
    kind = name.split("-")[0]
    assert [where for where, _ in said(record)] == [name]
    assert said(record)[0][1].startswith(f"This {kind} cell was changed.")
    assert forged not in code(changed)
    deleted, record, _ = graded(*(c for c in fresh() if c["id"] != name))
    assert said(record)[0][1].startswith(f"This {kind} cell was deleted.")
    assert code(deleted) == code(changed) == code(graded(*fresh())[0])
    copied, record, _ = graded(*put(fresh(), "soften", forged, name))
    assert forged not in code(copied)


def test_nothing_but_sources_comes_from_the_student():
    printed = {"output_type": "stream", "name": "stdout", "text": "PASTED"}
    student = fresh(soften=SOFTEN)
    for one in student:
        one["outputs"], one["execution_count"] = [printed], 77
        one["metadata"] |= {"tags": ["nbval-skip", "TAG"], "grading": {"role": "FORGED"}}
    whole = json.loads(reference_notebook.notebook_file(student))
    whole["metadata"] = {"kernelspec": {"name": "KERNEL"}, "language_info": {"name": "KERNEL"}}
    whole["cells"].append(
        {**reference_notebook.code_cell("x", "x = 1"), "attachments": {"KERNEL": 1}}
    )
    record = MarkSheet(Path("none.json"), Result("a", "lab5a", "a", "", 1, LAB.unmarked))
    text = assemble(LAB, sort_cells(LAB, read_cells(json.dumps(whole).encode()), record))
    assert not [word for word in "PASTED nbval-skip TAG FORGED KERNEL".split() if word in text]
    found = nbformat.reads(text, as_version=4)
    assert found.metadata == {}
    assert all(c.outputs == [] and c.execution_count is None for c in found.cells)
    assert all([*c.metadata] == ["grading"] for c in found.cells)
    nbformat.validate(found)
    assert len({c.id for c in found.cells}) == len(found.cells)


def test_ids_that_are_the_students_own_do_not_matter():
    student = put(fresh(), "setup", "x = 1", "definitions")
    student = put(student, "setup", "y = 1", "a" * 300)
    notebook, _, _ = graded(*student, reference_notebook.code_cell("\ud800", "z = 1"))
    assert len({c.id for c in notebook.cells}) == len(notebook.cells)
    nbformat.validate(notebook)


def test_no_notebook_is_too_odd_to_be_put_together():
    for form in (*odd_notebooks.odd_but_right(LAB, LABS), *odd_notebooks.unreadable(LAB)):
        record = MarkSheet(Path("none.json"), Result("a", "lab5a", "a", "", 1, LAB.unmarked))
        if len(form.data) > 10_000_000:  # the slow tests read it
            continue
        try:
            found = read_cells(form.data)
        except LabError:
            continue
        notebook = nbformat.reads(assemble(LAB, sort_cells(LAB, found, record)), as_version=4)
        assert [role for role, _ in order(notebook)].count("check") == 3, form.name


# -- what is said of a student's code


@pytest.mark.parametrize("name", NAMES)
def test_a_solved_notebook_has_nothing_said_of_it(name):
    lab = graded_lab.find_lab(name, LABS)
    data = (LABS / "solutions" / f"{lab.notebook}.ipynb").read_bytes()
    record = MarkSheet(Path("none.json"), Result("a", name, "a", "", 1, lab.unmarked))
    parts = sort_cells(lab, read_cells(data), record)
    assert record.result.remarks == ()
    assert record.voided == {}
    assert parts.added == {}
    assert all(parts.exercises.values())
    for exercise in lab.exercises:
        assert f"def {exercise.function}(" in (parts.exercises[exercise.name] or "")


@pytest.mark.parametrize("magic", ["writefile", "file", "writefile -a"])
def test_a_file_that_a_cell_writes_is_there_before_what_imports_it(magic):
    file = f"%%{magic} helpers.py\nhalf = 0.5\n"
    student = [
        reference_notebook.code_cell("mine", file),
        *fresh(soften=f"from helpers import half\n{SOFTEN}"),
    ]
    first = order(graded(*student)[0])[0][1]
    assert first.index(file) < first.index("from helpers import half")


@pytest.mark.parametrize(
    ("source", "review"),
    [("x = 1\n" * 4000, False), ("x = 1\n" * 6000, True), (f"x = '{'a' * 3000}'", False),
     (f"x = 0x{'f' * 5000}", True)],
    ids=["4,000 lines", "6,000 lines", "3,000 characters", "5,000 digits"],
)  # fmt: skip
def test_a_cell_that_nobody_writes_so_long_is_to_be_read(source, review):
    for student in (put(fresh(), "setup", source), fresh(soften=f"{SOFTEN}\n{source}")):
        assert any("read it" in text for _, text in said(graded(*student)[1], "review")) == review


HARD = {
    "lines": "\n" * 200_000,
    "lines and a magic": "\n" * 200_000 + "!ls\n",
    "blanks": f"{' ' * 900_000}\n!ls",
    "magics": "!ls\n" * 50_000,
    "magics that are assigned": "x = !ls\n" * 19 + "\n" * 300_000,
    "a comment of blanks": f"#{' ' * 900_000}x",
    "digits": f"x = {'9' * 5000}",
    "digits in hexadecimal": f"x = 0x{'f' * 500_000}",
    "brackets": f"x = {'[' * 100_000}{']' * 100_000}",
    "signs": f"x = {'-' * 100_000}1",
    "a sum": f"x = {'+'.join(['1'] * 100_000)}",
    "names": "\n".join(f"n{n} = n{n + 1}" for n in range(10_000)),
    "names that change each other": "x.y = z(x)\nz = x\n" * 10_000,
}


@pytest.mark.parametrize("source", HARD.values(), ids=HARD.keys())
def test_no_cell_takes_long_to_read(source):
    student = fresh(pass_at_k=f"def pass_at_k(n, c, k):\n    return 0\n{source}")
    begun = time.process_time()
    graded(*student)
    assert time.process_time() - begun < 10


def test_what_takes_too_long_to_read_ends_in_a_reason():
    def compute(seconds):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    with pytest.raises(LabError, match=r"more than 0\.2 seconds"), session.cpu_seconds(0.2):
        compute(5)
    with session.cpu_seconds(0.2):
        pass
    compute(0.4)  # it is over


@pytest.mark.parametrize("n", [(10_001, 1), (101, 10_000)])
def test_a_notebook_of_too_much_code_is_refused_with_a_reason(n):
    many = [reference_notebook.code_cell(f"c{i}", "x" * n[1]) for i in range(n[0])]
    with pytest.raises(LabError, match="Data belongs in a file"):
        read_cells(reference_notebook.notebook_file(many))
    assert len(read_cells(reference_notebook.notebook_file(many[:100]))) == 100


def test_a_mark_for_nbval_has_no_effect_and_it_is_said():
    _, record, _ = graded(*fresh(soften=f"# NBVAL_SKIP\n{SOFTEN}"))
    [(where, text)] = said(record)
    assert (where, text[:14]) == ("lab5a.soften", "`# NBVAL_SKIP`")


# -- the course


def test_a_lab_is_found_by_its_part_and_by_its_notebook():
    assert (
        graded_lab.find_lab("LAB5A", LABS)
        == graded_lab.find_lab("Lab5a_Teacher_Generation", LABS)
        == LAB
    )
    assert (LAB.part, LAB.notebook) == ("lab5a", "Lab5a_Teacher_Generation")
    assert [one.name for one in LAB.exercises] == [
        "lab5a.extract_answer", "lab5a.soften", "lab5a.pass_at_k",
    ]  # fmt: skip
    assert [(m.state, m.points, m.of) for m in LAB.unmarked] == [
        ("missing", 0, 4), ("missing", 0, 3), ("missing", 0, 3),
    ]  # fmt: skip
    assert LAB.cell_of("lab5a.pass_at_k") == "pass-at-k"
    assert LAB.exercises[1] is exercises.find("lab5a.soften")


def test_a_lab_without_exercises_or_of_another_name_is_refused():
    for name in ("lab5f", "", "Lab5_Distillation_Unsloth_SQuAD"):
        with pytest.raises(
            LabError,
            match="Expected a lab, one of lab5a, lab5b, lab5c, lab5d, lab5e, lab6, lab7; f",
        ):
            graded_lab.find_lab(name, LABS)
