"""`distill-lab notebooks`: what is built from a source, and what the check finds, on a demo."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import nbformat
import notebook_demo
import pytest
from nbval_run import nbval

import distill_lab.course.exercises
from distill_lab.cli import main
from distill_lab.course import builder
from distill_lab.course.builder import execute, leaks, make, outputs, rules, source
from distill_lab.course.exercises import manifests
from distill_lab.run.records import LabError

pytestmark = pytest.mark.enable_socket  # of this machine, between kernel and client


@pytest.fixture(scope="module", autouse=True)
def built(tmp_path_factory: pytest.TempPathFactory):
    """The demo, built once: its folder, beside its work folder."""
    lab = notebook_demo.write(tmp_path_factory.mktemp("demo"))
    distill_lab.course.exercises.__path__.append(str(lab.parent / "work"))
    assert builder.build(builder.Build(folder=lab, work=lab.parent / "work")) == []
    yield lab
    distill_lab.course.exercises.__path__.pop()
    sys.modules.pop("distill_lab.course.exercises.demo", None)


@pytest.fixture
def lab(built: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    shutil.copytree(built.parent, tmp_path / "copy")
    return tmp_path / "copy" / "lab"


def read(file: Path):
    return nbformat.read(file, as_version=nbformat.NO_CONVERT)


def cells(file: Path) -> dict:
    return {cell.id: cell for cell in read(file).cells}


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def findings(lab: Path) -> list[str]:
    return builder.check(builder.Check(lab))


def only(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


# --- what is built --------------------------------------------------------------------------------


def test_the_students_notebook_has_stubs_and_no_outputs(built):
    notebook = read(built / "Demo.ipynb")
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert "widgets" not in notebook.metadata
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(c.outputs, c.execution_count) for c in code] == [([], None)] * len(code)
    assert cells(built / "Demo.ipynb")["double"].source == (
        '# exercise demo.double\ndef double(x: int) -> int:\n    """Twice x."""\n'
        "    raise NotImplementedError  # your code here"
    )
    assert "SOLUTION" not in (built / "Demo.ipynb").read_text()


def test_cells_carry_ids_roles_and_what_may_be_changed(built):
    there = cells(built / "Demo.ipynb")
    free = {"editable": None, "deletable": None}
    for id, role, locks in [
        ("double-check", "check", {"editable": False, "deletable": False}),
        ("install", "install", {"editable": False, "deletable": False}),
        ("double", "exercise", {"editable": None, "deletable": False}),
        ("picture", "run", free),
        ("end", "text", free),
    ]:
        metadata = there[id].metadata
        assert (metadata["id"], metadata["role"], metadata["tags"][0]) == (id, role, role)
        assert {name: metadata.get(name) for name in locks} == locks


def test_the_solved_notebook_keeps_what_the_next_run_shows_again(built):
    there = cells(built / "solutions" / "Demo.ipynb")
    assert "twice = x + x * 1 + 0\n    return twice" in there["double"].source
    assert there["double-check"].outputs[0].text == "double: right, 2 of 2 points\n"
    assert there["unstable"].outputs[0].text == "took … s in . at 0x…\n100%\n"
    picture, words = there["picture"].outputs
    assert picture.metadata["image/png"]["alt"] == picture.data["text/plain"] == "One dot."
    assert "One dot." in words.data["text/html"]  # folded, for viewers that show no other
    assert there["widget"].outputs == []


def test_the_manifest_says_what_the_grader_needs(built):
    whole = json.loads((built / "manifest.json").read_text())
    book = whole["notebooks"]["Demo"]
    assert (whole["repository"], book["points"]) == (None, 5)
    lines = {line.pop("id"): line for line in book["cells"]}
    stub = cells(built / "Demo.ipynb")["share"].source
    assert lines["share"] == {
        "role": "exercise",
        "exercise": "demo.share",
        "sha256": manifests.digest(stub),
    }
    assert lines["share-check"]["points"] == 3
    assert {id for id, line in lines.items() if "sha256" in line} == {
        *("install", "double", "double-check", "share", "share-check")
    }


def test_an_exercise_is_announced_with_its_number_and_what_it_takes(built):
    there = cells(built / "Demo.ipynb")
    first = "**Exercise 1 (2 points, about 5 minutes, easy).** Write `double`."
    assert there["about-double"].source == first
    second = "**Exercise 2 (3 points, about 15 minutes, hard).** Write `share`."
    assert there["about-share"].source == second


def test_an_exercise_begins_with_its_name_solved_or_not(built):
    for path in ("Demo.ipynb", "solutions/Demo.ipynb"):
        for name in ("double", "share"):
            text = cells(built / path)[name].source
            assert text.startswith(f"{manifests.marker(f'demo.{name}')}\ndef {name}(")
        assert sum(c.source.startswith("# exercise") for c in cells(built / path).values()) == 2
    assert "# exercise" not in (built / "source" / "Demo.py").read_text()


def test_the_manifest_is_read_as_it_was_written(built, tmp_path):
    written = json.loads((built / "manifest.json").read_text())["notebooks"]
    assert manifests.read(built / "manifest.json") == written
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(LabError, match=r"other.json, found KeyError: 'notebooks'. Install"):
        manifests.read(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("took 12.3 s, then 4 minutes", "took … s, then … minutes"),
        ("1.0 to 2.5 minutes, at most 1.2 GB", "… minutes, at most 1.2 GB"),
        ("1,234 tokens/s and 56.7 traces a second", "… tokens/s and … traces a second"),
        ("3 sets of 5 samples, 2 students, 16 hints", "3 sets of 5 samples, 2 students, 16 hints"),
        ("in /some/folder/runs/tiny", "in ./runs/tiny"),
    ],
)
def test_what_differs_from_run_to_run_is_left_out_of_what_was_printed(text, kept):
    assert outputs.stable(text, Path("/some/folder")) == kept


@pytest.mark.notebook
def test_another_build_gives_the_same_bytes(lab):
    before = {file: file.read_bytes() for file in lab.rglob("*.*") if file.is_file()}
    work = lab.parent / "another" / "place"
    work.mkdir(parents=True)
    shutil.copy(lab.parent / "work" / "demo.py", work)
    assert builder.build(builder.Build(folder=lab, work=work)) == []
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.notebook
def test_a_cell_that_fails_is_named_and_nothing_is_written(lab):
    before = (lab / "Demo.ipynb").read_bytes(), (lab / "solutions" / "Demo.ipynb").read_bytes()
    replace(lab / "source" / "Demo.py", 'print("10%', '1 / 0\nprint("10%')
    with pytest.raises(LabError, match=r"Demo, cell unstable: .* ZeroDivisionError"):
        builder.build(builder.Build(folder=lab, work=lab.parent / "work"))
    after = (lab / "Demo.ipynb").read_bytes(), (lab / "solutions" / "Demo.ipynb").read_bytes()
    assert after == before


@pytest.mark.notebook
def test_a_cell_that_hangs_is_named_and_so_is_the_time_that_it_had(lab, monkeypatch):
    replace(lab / "source" / "Demo.py", 'print("10%', 'time.sleep(60)\nprint("10%')
    monkeypatch.setattr(execute, "SECONDS_A_CELL", 8)
    with pytest.raises(LabError, match=r"Demo, cell unstable: .* timed out .* 8 seconds\. Run"):
        builder.build(builder.Build(folder=lab, work=lab.parent / "work"))


# --- a fork ---------------------------------------------------------------------------------------


def test_a_fork_is_one_command_that_runs_nothing_again(lab):
    shutil.rmtree(lab.parent / "work")  # the kernel could not import the checks
    build = builder.Build(folder=lab, repository="someone/fork@v2", keep=True)
    assert builder.build(build) == []
    for path in ("Demo.ipynb", "solutions/Demo.ipynb"):
        there = cells(lab / path)
        link = f"https://colab.research.google.com/github/someone/fork/blob/v2/lab_notebooks/{path}"
        assert f"({link})" in there["title"].source
        assert "[repository](https://github.com/someone/fork)" in there["title"].source
        assert 'SOURCE = "git+https://github.com/someone/fork@v2"' in there["install"].source
    assert there["unstable"].outputs  # kept
    assert findings(lab) == []


def test_where_colab_cannot_open_a_notebook_there_is_no_badge():
    assert make.Address("https://example.org/a/b").badge("Demo.ipynb") == ""
    assert "/a/b/blob/main/" in make.Address("https://github.com/a/b.git").badge("Demo.ipynb")


@pytest.mark.notebook
def test_code_that_has_changed_does_not_keep_its_outputs(lab):
    replace(lab / "source" / "Demo.py", 'print("10%', '1 / 0\nprint("10%')
    with pytest.raises(LabError, match="ZeroDivisionError"):
        builder.build(builder.Build(folder=lab, work=lab.parent / "work", keep=True))


# --- in step --------------------------------------------------------------------------------------


def test_check_ends_with_0_or_with_2_and_a_line_for_each_finding(lab, capsys):
    with pytest.raises(SystemExit, match="0"):
        main.main(["notebooks", "check", "--folder", str(lab)])
    assert capsys.readouterr().out == "The notebooks are in step with their sources.\n"
    (lab / "Demo.ipynb").unlink()
    (lab / "manifest.json").write_text("{}")
    with pytest.raises(SystemExit, match="2"):
        main.main(["notebooks", "check", "--folder", str(lab)])
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_source_that_was_changed_is_newer_than_its_notebooks(lab):
    replace(lab / "source" / "Demo.py", "# The end.", "# The very end.")
    student, solved = findings(lab)
    assert student.startswith("Demo.ipynb: expected what its source says")
    assert solved.startswith("solutions/Demo.ipynb: expected what its source says")


@pytest.mark.parametrize(
    ("path", "old", "new", "says"),
    [
        ("Demo.ipynb", '"The end."', '"The  end."', "Demo.ipynb: expected what its source"),
        ("Demo.ipynb", '"id": "end"', '"id": "End"', "Demo.ipynb: expected what its source"),
        ("Demo.ipynb", '"deletable": false', '"deletable": true', "expected what its source"),
        (
            "solutions/Demo.ipynb",
            "return a / b",
            "return b / a",
            "expected what its source says",
        ),
        ("solutions/Demo.ipynb", "share: right", "share: wrong", "that its solution is right"),
        (
            "solutions/Demo.ipynb",
            '"execution_count": 8',
            '"execution_count": null',
            "all cells run",
        ),
        ("solutions/Demo.ipynb", '"name": "stdout"', '"name": "stderr"', "nothing on stderr"),
        ("solutions/Demo.ipynb", '"alt": "One dot."', '"alt": ""', "picture with a text"),
        ("manifest.json", '"points": 5', '"points": 6', "manifest.json: expected what the sources"),
    ],
)
def test_a_file_that_was_edited_by_hand_is_found(lab, path, old, new, says):
    replace(lab / path, old, new)
    assert says in findings(lab)[0]


def test_outputs_that_were_stripped_are_found(lab):
    file = lab / "solutions" / "Demo.ipynb"
    notebook = read(file)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    file.write_text(make.text_of(notebook))
    assert [line.partition(":")[0] for line in findings(lab)] == [
        "solutions/Demo.ipynb, cell double-check",
        "solutions/Demo.ipynb, cell share-check",
    ]


def test_a_state_of_widgets_that_colab_left_is_found(lab):
    file = lab / "solutions" / "Demo.ipynb"
    notebook = read(file)
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    file.write_text(make.text_of(notebook))
    assert "solutions/Demo.ipynb: expected" in only(findings(lab))


def test_a_notebook_without_a_source_is_found(lab):
    shutil.copy(lab / "Demo.ipynb", lab / "Old.ipynb")
    assert "Old.ipynb: expected source/Old.py" in only(findings(lab))


@pytest.mark.parametrize("name", ["Demo.ipynb", "solutions/Demo.ipynb"])
def test_a_notebook_that_is_too_large_is_found(lab, name):
    replace(lab / name, "The end.", 300_000 * "x")
    assert any("expected at most 300 KB" in line for line in findings(lab))


# --- leaks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# The end.", "# Psst: `twice = x + x * 1 + 0`"),
        ("import os\n", "import os\n\nx = 1\ntwice = x + x*1  +  0\n"),
    ],
)
def test_a_line_of_a_solution_elsewhere_is_a_leak(lab, old, new):
    file = lab / "source" / "Demo.py"
    replace(file, old, new)
    student = make.notebook(source.read(file), make.Address(), solved=False)
    (lab / "Demo.ipynb").write_text(make.text_of(student), encoding="utf-8")
    said = [line for line in findings(lab) if "Demo.ipynb, cell" in line]
    assert "nothing of the solution of double (Demo), found `twice = x + x * 1 + 0`" in only(said)


def test_a_leak_that_was_typed_into_the_students_notebook_is_found_too(lab):
    replace(lab / "Demo.ipynb", '"The end."', '"twice = x + x * 1 + 0"')
    leak = findings(lab)[1]
    assert "nothing of the solution of double" in leak


@pytest.mark.parametrize(
    ("line", "telling"),
    [
        ("    return x", False),
        ("    return total", False),
        ("    total = 0", False),
        ("    for trace in traces:", False),
        ("    if not text:", False),
        ("    else:", False),
        ("    # divide by the temperature before the softmax", False),
        ("", False),
        ("    x = logits / temperature", True),
        ("    return weights / weights.sum(-1, keepdim=True)", True),
        ("    return 1 - math.comb(n - c, k) / math.comb(n, k)", True),
        ("    counts[normalize(answer)] += 1", True),
    ],
)
def test_only_a_line_that_says_how_is_telling(line, telling):
    assert leaks.is_telling(line) == telling


@pytest.mark.parametrize(
    ("text", "private"),
    [
        ("login('hf_" + "a" * 30 + "')", "token"),
        ("open('/home/ann/x.json')", "absolute path"),
        ("in /tmp/tmp12ab/runs", "absolute path"),
        (r"C:\Users\ann", "absolute path"),
        ("copy it to /content/drive/MyDrive", None),
        ("https://example.org/home/x and lab/tmp/x", None),
        ("and/or, 1/2, runs/tiny", None),
    ],
)
def test_secrets_and_paths_are_found_and_nothing_else_is(text, private):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    said = list(leaks.private(notebook))
    assert [f"expected no {private}," in line for line in said] == [True] * (private is not None)
    assert "a" * 20 not in "".join(said)


# --- the form of a source, and its rules ----------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('id="end"', 'id="title"', "each id once, found 'title' again"),
        ('# %% [markdown] id="end"', "# %% [markdown]", "expected id="),
        ('id="end"', 'id="the end"', "expected id="),
        ('role="setup"', 'role="set-up"', "expected a role of install"),
        (
            '    ### END SOLUTION\n\n# %% id="double-check"',
            '\n# %% id="double-check"',
            "found ### BEGIN",
        ),
        (
            "import os\n",
            "### BEGIN SOLUTION\nimport os\n### END SOLUTION\n",
            "no solution in a cell",
        ),
    ],
)
def test_a_source_of_the_wrong_form_is_refused(lab, old, new, says):
    replace(lab / "source" / "Demo.py", old, new)
    with pytest.raises(LabError, match=says) as error:
        findings(lab)
    assert "Demo.py" in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("import os\n", 13 * "x = 1\n", "cell unstable: expected at most 12 lines, found 16"),
        (
            "import os\n",
            "def normalize_answer(x):\n    return x\n",
            "an import of normalize_answer",
        ),
        ("import os\n", "soften = lambda x: x\nif True\n", "expected Python, found"),
        ("import os\n", "zip(lab.traces, lab.verdicts, strict=True)\n", "Take lab.judged"),
        ('# NBVAL_CHECK_OUTPUT\ncheck("demo.share"', 'check("demo.share"', "as its first line"),
        ("# The end.", "# ![](picture.png)", "cell end: expected a picture with a text"),
        ('check("demo.share", share)', "print(1)", "cell share: expected a check cell behind it"),
        (
            'check("demo.share", share)',
            'check("demo.double", double)',
            "check(…, share), found demo.d",
        ),
        (
            'check("demo.share", share)',
            'check("demos.share", share)',
            "cell share: Expected an exerc",
        ),
        (
            "    return a / b\n",
            16 * "    a = a\n",
            "expected at most 15 lines of solution, found 16",
        ),
        ("# {exercise} Write `share`.", "# Write.", "cell share: expected {exercise} once in the"),
        ("# {exercise} Write", "# {exercise} {exercise} Write", "above it, found it 2 times"),
        ("# Share among nobody.\n", "", "cell share: expected a stretch goal in the text"),
    ],
)
def test_a_source_keeps_to_the_rules(lab, old, new, says):
    file = lab / "source" / "Demo.py"
    replace(file, old, new)
    assert any(says in line for line in rules.findings(source.read(file))), says


def test_the_number_of_code_cells_has_bounds(built):
    demo = source.read(built / "source" / "Demo.py")
    assert list(rules.findings(demo)) == []
    more = [source.Cell(f"more-{n}", "run", "# NBVAL_IGNORE_OUTPUT") for n in range(12)]
    many = dataclasses.replace(demo, cells=(*demo.cells, *more))
    few = dataclasses.replace(demo, cells=demo.cells[:13])
    assert "4 to 16 code cells beside setup and exercises, found 17" in only(
        list(rules.findings(many))
    )
    assert "found 2" in only(list(rules.findings(few)))


# --- run ------------------------------------------------------------------------------------------


@pytest.mark.notebook
def test_nbval_passes_the_solved_demo_and_finds_another_output(lab):
    file, work = lab / "solutions" / "Demo.ipynb", lab.parent / "work"
    assert nbval(file, work) == ""
    replace(file, "3 of 3 points", "2 of 3 points")
    assert "2 of 3 points" in nbval(file, work)


@pytest.mark.notebook
def test_the_untouched_demo_runs_to_its_end(lab):
    notebook = read(lab / "Demo.ipynb")
    execute.run(notebook, "Demo", lab.parent / "work")
    there = {cell.id: cell for cell in notebook.cells}
    for name in ("double", "share"):
        assert there[f"{name}-check"].outputs[0].text.startswith(f"{name}: not attempted.")
        assert "the package's own is used below" in there[f"{name}-ours"].outputs[0].text
