"""What instructors are told is true: commands exist, and so do the columns, limits and remarks."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from test_pins import project

from distill_lab.cli.commands import COMMANDS
from distill_lab.cli.parsing import read
from distill_lab.course.exercises import find, manifests
from distill_lab.course.grading import NEEDED, Grade
from distill_lab.course.grading.handed_in import archives, collected
from distill_lab.course.grading.handed_in.lms_names import sender
from distill_lab.course.grading.marks import marks, output_folder, return_feedback, tables
from distill_lab.course.grading.run_submission.limits import Limits
from distill_lab.run.records import LabError

ROOT = Path(__file__).parent.parent.parent
LABS = ROOT / "lab_notebooks"
PAGE = (LABS / "INSTRUCTORS.md").read_text(encoding="utf-8")
WORKFLOW = (LABS / "grade.yml").read_text(encoding="utf-8")
TOLD = ("lab_notebooks/INSTRUCTORS.md", "lab_notebooks/grade.yml", "lab_notebooks/README.md")
GRADED = {name: entry for name, entry in manifests.read().items() if entry["points"]}


def commands(text: str) -> list[str]:
    """What stands behind `distill-lab`, in a code span or a line of a script."""
    found = re.findall(r"distill-lab ((?:grade|notebooks|doctor|run) [^`\n]+)", text)
    return sorted({line.strip() for line in found})


EVERY = [(place, one) for place in TOLD for one in commands((ROOT / place).read_text("utf-8"))]


def read_only(command: str) -> None:
    """Reads a command as the program does, and does not run it. LabError where it has a mistake."""
    command = re.sub(r"\$\w+", "1", command.removesuffix("--help"))  # a script's variables
    read("distill-lab", COMMANDS, shlex.split(command, comments=True))


@pytest.mark.parametrize(("place", "command"), EVERY)
def test_every_command_that_is_told_has_flags_that_exist(place, command):
    read_only(command)


def test_a_flag_that_does_not_exist_would_be_seen():
    with pytest.raises(LabError, match="did you mean --seed"):
        read_only("grade lab5a submissions --sed 3")


def test_the_page_and_the_workflow_grade():
    told = [command for place, command in EVERY if place in TOLD[:2]]
    assert sum(one.startswith("grade ") and "--out" in one for one in told) >= 2
    assert any("--self-test" in one for one in told)


# --- the page -------------------------------------------------------------------------------------


def test_the_points_are_the_manifests():
    table = dict(re.findall(r"`(Lab\d\w+)` \| (\d+)", PAGE))
    assert table == {name: str(entry["points"]) for name, entry in GRADED.items()}


def test_the_minutes_are_those_of_the_exercises():
    told = dict(re.findall(r"`(Lab\d\w+)` \| \d+ \| (\d+)", PAGE))
    for name, entry in GRADED.items():
        names = [cell["exercise"] for cell in entry["cells"] if cell["role"] == "exercise"]
        assert told[name] == str(sum(find(exercise).minutes for exercise in names)), name


def test_the_rows_of_the_rubric_are_those_that_students_read():
    source = (LABS / "source" / "Lab5f_Your_Own_Experiment.py").read_text("utf-8")
    told = source[source.index("what a reader looks for") :]
    rows = re.findall(r"^# \| (the \w+) \|", told, re.MULTILINE)
    assert len(rows) == 5
    rubric = PAGE[PAGE.index("## Lab 5f") :]
    assert re.findall(r"^\| (the \w+) \|", rubric, re.MULTILINE) == rows
    assert f"up to 2 points, {2 * len(rows)} in all" in " ".join(rubric.split())


def test_the_columns_are_those_of_the_csv():
    mark = marks.Mark("lab5a.soften", "right", 3, 3)
    head = tables.to_csv([marks.Result("ada", "lab5a", "a", "", 1, (mark,))]).split("\n")[0]
    row = next(line for line in PAGE.splitlines() if line.startswith("| `grades.csv`"))
    assert [name for name in head.split(",") if f"`{name}`" not in row] == ["lab5a.soften"]


def test_the_limits_are_those_that_hold():
    limits = Grade().limits
    assert limits == Limits()
    told = (
        f"statement has {limits.cell_seconds:g} seconds, a call of a function "
        f"{limits.call_seconds:g}, a submission {limits.seconds} and "
        f"{limits.memory_bytes / 1e9:g} GB"
    )
    assert told in " ".join(PAGE.split())


def test_the_remarks_that_are_explained_are_those_that_grading_writes():
    table = PAGE[PAGE.index("| the remark |") : PAGE.index("**Points by hand**")]
    rows = [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:] if line]
    grading = ROOT / "distill_lab" / "course" / "grading"
    code = "".join(file.read_text("utf-8") for file in grading.rglob("*.py"))
    code = re.sub(r'"\s+f?"', "", code)  # a text over two lines
    assert len(rows) >= 7
    for row in rows:
        assert row.strip("… ").rstrip(":") in code, row


def test_points_by_hand_are_in_all_files_after_step_4(tmp_path: Path):
    submission = collected.Submission("NAME", tmp_path / "NAME.ipynb")
    submission.path.write_text("{}", "utf-8")
    mark = marks.Mark("lab5a.soften", "void", 0, 3, said="This exercise waits for a look.")
    out = tmp_path / "grades"
    output_folder.claim_output_folder(out, {})
    digest = submission.digest()
    output_folder.write_student(
        out, marks.Result("NAME", "lab5a", "NAME.ipynb", digest, 1, (mark,))
    )
    file = out / "students" / "NAME.json"
    changed = json.loads(file.read_text("utf-8"))
    changed["marks"][0] |= {"points": 2, "state": "partly right", "said": ""}
    file.write_text(json.dumps(changed), "utf-8")
    assert output_folder.is_graded(out, submission)
    output_folder.write_class(out, collected.Collected((submission,)))
    assert "2 of 3 points" in file.with_suffix(".html").read_text("utf-8")
    assert 'value="2"' in file.with_suffix(".xml").read_text("utf-8")
    assert json.loads(file.read_text("utf-8"))["points"] == 2
    assert "NAME,2,3,2," in (out / "grades.csv").read_text("utf-8")


def test_the_classs_files_are_written_from_what_containers_left(tmp_path: Path):
    """The last command of the page, as it stands there; it runs nothing, whatever a mark says."""
    (tmp_path / "submissions").mkdir()
    (tmp_path / "submissions" / "ada.ipynb").write_text("{}", "utf-8")
    mark = marks.Mark("lab5a.soften", "partly right", 2, 3)
    output_folder.claim_output_folder(tmp_path / "grades", {})
    forged = marks.Result("ada", "lab5a", "ada.ipynb", "another digest", 1, (mark,))
    output_folder.write_student(tmp_path / "grades", forged)
    [line] = re.findall(r"^python (-c '.*)$", PAGE, re.MULTILINE)
    command = [sys.executable, *shlex.split(line)]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True)
    assert "ada,2,3,2," in (tmp_path / "grades" / "grades.csv").read_text("utf-8")
    assert (tmp_path / "grades" / "class.html").exists()


def test_students_are_called_as_the_table_of_the_lms_has_it():
    rows = re.findall(
        r"^\| (Canvas|Moodle): `(.+?)` \| `(.+?)` \| (?:Participant )?(\d+) \|$", PAGE, re.M
    )
    assert len(rows) == 2
    for lms, name, student, number in rows:
        found = sender(name.partition("/")[0])
        assert (found.lms, found.name, found.id) == (lms.lower(), student, number)


def test_what_an_archive_may_hold_and_what_comes_out_is_told():
    most = archives.OF_A_STUDENT
    assert f"more than {most.files:,} notebooks or {most.bytes / 1e6:g} MB" in " ".join(
        PAGE.split()
    )
    for name in (return_feedback.FEEDBACK, return_feedback.CANVAS, return_feedback.MOODLE):
        assert f"`{name}`" in PAGE
        assert f"`grades/{name}`" in PAGE


def test_the_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (LABS / link).exists(), link


# --- the extra ------------------------------------------------------------------------------------


def test_the_extra_has_what_grading_asks_for_and_so_has_dev():
    extras = project()["project"]["optional-dependencies"]
    assert {Requirement(line).name for line in extras["grading"]} == set(NEEDED)
    assert set(extras["grading"]) <= set(extras["dev"])
    for text in (PAGE, WORKFLOW):
        assert re.findall(r"\[(\w+)\]\"", text)[0] in extras


# --- the workflow ---------------------------------------------------------------------------------


def workflow() -> dict[Any, Any]:
    """YAML 1.1 reads the key `on` as True."""
    return yaml.safe_load(WORKFLOW)


def steps() -> list[dict[str, Any]]:
    return workflow()["jobs"]["grade"]["steps"]


def test_the_workflow_starts_by_hand_and_with_a_push_of_submissions():
    starts = workflow()[True]
    assert starts["push"] == {"paths": ["submissions/**"]}
    inputs = starts["workflow_dispatch"]["inputs"]
    labs = [name.partition("_")[0].lower() for name in GRADED]
    assert inputs["lab"]["options"] == ["all", *labs]
    assert set(inputs) == {"lab", "seed", "self_test"}


def test_the_workflow_may_read_and_no_more_and_ends():
    assert workflow()["permissions"] == {"contents": "read"}
    assert 0 < workflow()["jobs"]["grade"]["timeout-minutes"] <= 360
    assert "permissions" not in workflow()["jobs"]["grade"]


def test_no_token_lies_on_the_disk_while_students_code_runs():
    checkouts = [one for one in steps() if one.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == 2
    assert all(one["with"]["persist-credentials"] is False for one in checkouts)


def test_no_input_becomes_a_part_of_a_script():
    scripts = [one["run"] for one in steps() if "run" in one]
    assert scripts
    assert not [script for script in scripts if "${{" in script]


def test_the_workflows_script_grades_the_folder_of_each_lab_that_is_asked_for(tmp_path: Path):
    """The script as it stands there, with a command that writes down what it is given."""
    script = next(one["run"] for one in steps() if one.get("name") == "Grade")
    for name in ("lab5a", "lab5c"):
        (tmp_path / "submissions" / name).mkdir(parents=True)
    spy = tmp_path / "distill-lab"
    spy.write_text('#!/bin/sh\necho "$@"\n', "utf-8")
    spy.chmod(0o755)

    def graded(lab: str) -> str:
        env = {"PATH": f"{tmp_path}:/bin:/usr/bin", "LAB": lab, "SEED": "7; echo no"}
        command = ["bash", "-e", "-c", script]
        return subprocess.run(
            command, cwd=tmp_path, env=env, check=True, capture_output=True, text=True
        ).stdout

    line = (
        "grade {0} submissions/{0} --out grades/{0} --seed 7; echo no --labs course/lab_notebooks\n"
    )
    assert graded("all") == line.format("lab5a") + line.format("lab5c")
    assert graded("lab5c") == line.format("lab5c")


def test_what_is_kept_is_what_was_written():
    [kept] = [one for one in steps() if one.get("uses", "").startswith("actions/upload-artifact@")]
    assert kept["with"]["path"] == "grades/"
    assert kept["with"]["if-no-files-found"] == "error"


def test_the_workflows_python_is_one_that_the_package_takes():
    [setup] = [one for one in steps() if one.get("uses", "").startswith("actions/setup-python@")]
    requires = Requirement(f"python{project()['project']['requires-python']}")
    assert requires.specifier.contains(setup["with"]["python-version"])
    assert setup["with"]["cache-dependency-path"] == "course/constraints.txt"
