"""`distill-lab study`: each mistake is one line and exit 2, and is said before torch is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from distill_lab.cli.main import main
from distill_lab.cli.study import StudyRun, definition_of
from distill_lab.studies.definition import Definition
from distill_lab.studies.running.definition_file import toml_text

AXIS = "--axis train.alpha=0.1,0.5"
MISTAKES = (
    ("", "Expected a study's FILE, or --axis SETTING=VALUE,VALUE, found neither"),
    ("--axis train.alhpa=0.1", "Unknown setting 'train.alhpa'; did you mean train.alpha?"),
    ("--axis train.alpha", "--axis: expected SETTING=VALUE, found 'train.alpha'."),
    ("--axis train.alpha=", "train.alpha: expected at least one value, found an empty grid."),
    ("--axis train.alpha=0.5,2", "train.alpha: expected 0 to 1, found '2'."),
    ("--axis train.alpha=x", "train.alpha: expected a number, found 'x'."),
    (f"{AXIS} --axis train.alpha=1", "train.alpha: expected it in one place, found it in two."),
    (f"{AXIS} --setting train.steps=-1", "train.steps: expected 0 or more, found '-1'."),
    (f"{AXIS} --students dk", "Unknown student 'dk'"),
    (f"{AXIS} --measures accuracies", "Unknown measure 'accuracies'"),
    (f"{AXIS} --profile tinny", "expected one of tiny, cpu, colab, cluster; found 'tinny'."),
    (f"{AXIS} --jobs x", "--jobs: expected a whole number, found 'x'."),
    (f"{AXIS} --job 2", "Unknown flag --job; did you mean --jobs?"),
    (f"{AXIS} --jobs 0", "--jobs: expected 1 or more, found 0."),
    (f"{AXIS} --seeds -1", "--seeds: expected 0 or more, found -1."),
    ("none.toml", "none.toml: expected a study's definition, found none that can be read"),
)


@pytest.mark.parametrize(("line", "says"), MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(line, says, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["study", "run", *line.split()])
    stderr = capfd.readouterr().err
    assert ended.value.code == 2
    assert stderr.startswith("distill-lab: ")
    assert says in stderr
    assert stderr.count("\n") == 1
    assert not [*tmp_path.iterdir()]


def test_a_folder_without_a_study_cannot_be_checked(tmp_path, capfd):
    with pytest.raises(SystemExit) as ended:
        main(["study", "check", str(tmp_path)])
    assert ended.value.code == 2
    assert capfd.readouterr().err.count("\n") == 1


def settings(line: str, folder: Path) -> Definition:
    from distill_lab.cli.commands import COMMANDS
    from distill_lab.cli.parsing import read

    words = ["study", "run", *line.split(), "--out", str(folder)]
    asked = read("distill-lab", COMMANDS, words).args[0]
    assert isinstance(asked, StudyRun)
    return definition_of(asked)


def test_flags_alone_make_a_grid(tmp_path):
    line = f"{AXIS} --axis train.cache-k=8,16 --seeds 2 --setting train.steps=7 --students kd"
    made = settings(line, tmp_path / "grid")
    assert made.name == "grid"
    assert made.axes == ({"train.alpha": (0.1, 0.5)}, {"train.cache_k": (8, 16)})
    assert (made.seeds, made.students, made.settings) == (2, ("kd",), {"train.steps": 7})


def test_flags_come_before_the_file_and_without_either_a_study_goes_on(tmp_path):
    whole = settings(f"{AXIS} --setting train.steps=7 --students kd", tmp_path)
    (tmp_path / "study.toml").write_text(toml_text(whole))
    assert settings("", tmp_path) == whole
    more = settings(f"{tmp_path / 'study.toml'} --seeds 9 --setting train.epochs=2", tmp_path / "o")
    assert (more.seeds, more.students, more.axes) == (9, ("kd",), whole.axes)
    assert more.settings == {"train.steps": 7, "train.epochs": 2}


def test_mistakes_and_help_load_neither_torch_nor_transformers(tmp_path):
    code = (
        "import sys\nfrom distill_lab.cli.main import main\n"
        "for words in (['study', 'run', '--help'], ['study', 'run', '--axis', 'train.alpha=2']):\n"
        "    try: main(words)\n    except SystemExit: pass\n"
        "print('loaded:', *{'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "loaded:"


ARMS = """
question = "?"
seeds = 1
students = STUDENTS
choose = ""
[settings]
"data.n_train" = 4
"data.n_eval" = 2
"generate.n_samples" = 1
"train.steps" = 1
"train.batch_size" = 4
"own.group" = 2
"own.max_new_tokens" = 4
"""
OF_ARMS = (  # a student, what is changed, and the one line that says it
    ("grpo", '"own.group" = 1', "Group size: expected at least 2 completions a prompt, found 1."),
    ("rft", '"own.group" = 3', "Batch size: expected a multiple of the group size 3"),
)


@pytest.mark.parametrize(("student", "group", "says"), OF_ARMS)
def test_groups_that_cannot_be_are_said_before_anything_is_run(
    student, group, says, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    text = ARMS.replace("STUDENTS", f'["{student}"]').replace('"own.group" = 2', group)
    Path("bad.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["study", "run", "bad.toml", "--out", "out"])
    stderr = capfd.readouterr().err
    assert (ended.value.code, stderr.count("\n")) == (2, 1)
    assert says in stderr
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("students", "code"),
    [('["rft"]', 2), pytest.param('["sft", "rft"]', 1, marks=pytest.mark.slow)],
)
def test_where_nobody_is_ever_rewarded_it_is_said_in_one_line(
    students, code, tmp_path, monkeypatch, capfd
):
    """The base cannot be right in four tokens. Where nothing else came of the study the status is
    that of a mistake; where another student was trained, that of a cell that failed."""
    monkeypatch.chdir(tmp_path)
    Path("arms.toml").write_text(ARMS.replace("STUDENTS", students), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["study", "run", "arms.toml", "--out", "out"])
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("Failed")]
    assert ended.value.code == code
    assert len(said) == 1
    assert "Reward: expected a group whose completions differ in it, found none" in said[0]
    assert "Begin with a student that is right now and then" in said[0]
