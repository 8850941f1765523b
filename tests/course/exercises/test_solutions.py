"""`solution(…)`: after two honest tries, from the solved notebook, and never while grading."""

from __future__ import annotations

import json
import subprocess
import sys
from email.message import Message
from pathlib import Path

import pytest

from distill_lab.course.exercises import check, find, solution, solutions
from distill_lab.run.records import LabError

NAME = "lab5a.pass_at_k"


@pytest.fixture(autouse=True)
def new_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    solutions._tries.clear()
    solutions._right.clear()


def stub(n: int, c: int, k: int) -> float:
    """The chance."""
    raise NotImplementedError


def first(n: int, c: int, k: int) -> float:
    return c / n


def commented(n: int, c: int, k: int) -> float:
    """Another docstring."""
    return c / n  # another comment


def second(n: int, c: int, k: int) -> float:
    return 1 - (1 - c / n) ** k


def test_it_is_shown_after_two_tries_that_differ(capsys):
    shown = []
    for function in (stub, first, commented, stub, second):
        check(NAME, function)
        capsys.readouterr()
        solution(NAME)
        shown.append(capsys.readouterr().out)
    assert "first 2 tries of your own" in shown[0]
    assert [text for text in shown[1:4] if "first one more try of your own" not in text] == []
    assert f"# exercise {NAME}\n" in shown[4]
    assert "math.comb(" in shown[4]
    assert "NotImplementedError" not in shown[4]


def test_a_check_says_that_there_is_a_solution_once_there_is(capsys):
    check(NAME, first)
    assert "solution(" not in capsys.readouterr().out
    check(NAME, second)
    out = capsys.readouterr().out
    assert f'from distill_lab.checks import solution; solution("{NAME}") shows ours.' in out
    check(NAME, stub)
    assert "solution(" not in capsys.readouterr().out


def test_a_right_answer_is_enough_and_counts_for_its_own_exercise_alone(capsys):
    check(NAME, find(NAME).ours)
    assert "solution(" not in capsys.readouterr().out
    solution(NAME)
    assert f"# exercise {NAME}" in capsys.readouterr().out
    solution("lab5a.soften")
    assert "first 2 tries" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("lambda x: x + 1", "lambda y: y + 1", True),  # another name is no other try
        ("lambda x: x + 1", "lambda x: x + 2", False),
        ("lambda x: x.sum()", "lambda x: x.mean()", False),
        ("lambda x: [y for y in x]", "lambda x: [y + 1 for y in x]", False),
    ],
)
def test_what_is_another_try(one, other, same):
    assert (solutions.code_of(eval(one)) == solutions.code_of(eval(other))) is same


def test_each_exercise_has_a_solution_that_the_checkout_shows():
    names = [
        cell["exercise"]
        for entry in solutions.manifests.read().values()
        for cell in entry["cells"]
        if cell["role"] == "exercise"
    ]
    assert len(names) >= 26
    for name in names:
        text = solutions.text_of(find(name))
        assert text.startswith(f"# exercise {name}\n"), name
        assert "NotImplementedError" not in text, name


def test_nothing_is_shown_while_marks_are_given(capsys, monkeypatch):
    monkeypatch.setattr(solutions, "is_grading", True)
    for function in (first, second):
        check(NAME, function)
    assert "solution(" not in capsys.readouterr().out
    solution(NAME)
    assert capsys.readouterr().out == "pass_at_k: no solution is shown while marks are given.\n"


def test_the_graders_kernel_knows_that_marks_are_given(tmp_path: Path):
    """Its own start, up to where it would put up its fences and wait for cells."""
    (tmp_path / "refusals").touch()
    limits = {"lab": "lab5a", "home": str(tmp_path), "refusals": str(tmp_path / "refusals")}
    code = f"""
import distill_lab.course.grading.sandbox.kernel as kernel
from distill_lab.course.grading.sandbox import linux_fence
class Reached(Exception): pass
def fence(*_): raise Reached
linux_fence.put_up = fence
try:
    kernel._start({json.dumps(limits)})
except Reached:
    from distill_lab.checks import solution
    solution("{NAME}")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert "no solution is shown while marks are given" in done.stdout, done.stderr


# --- where it is read -----------------------------------------------------------------------------


def _installed(*pages: str) -> Message:
    """What an installed package says of itself."""
    message = Message()
    for page in pages:
        message["Project-URL"] = page
    return message


RAW = "https://raw.githubusercontent.com"


@pytest.mark.parametrize(
    ("pages", "origin", "address"),
    [
        (["Repository, https://github.com/o/n"], "", f"{RAW}/o/n/main"),
        (
            ["Changelog, https://github.com/x/y", "Repository, https://github.com/o/n.git"],
            '{"url": "file:///home/me/n", "dir_info": {"editable": true}}',
            f"{RAW}/o/n/main",
        ),
        (
            ["Repository, https://github.com/o/n"],
            '{"url": "https://github.com/fork/n.git", "vcs_info": {"commit_id": "abc123"}}',
            f"{RAW}/fork/n/abc123",
        ),
    ],
)
def test_it_is_the_repository_and_commit_that_were_installed(pages, origin, address):
    assert solutions.raw_address(_installed(*pages), origin) == address  # type: ignore[arg-type]


def test_a_repository_elsewhere_is_named_in_a_sentence():
    with pytest.raises(LabError, match=r"found https://gitlab.com/o/n. Clone the repository"):
        solutions.raw_address(_installed("Repository, https://gitlab.com/o/n"), "{}")  # type: ignore[arg-type]


def test_what_is_fetched_is_what_lies_there_and_nothing_is_a_sentence(tmp_path: Path):
    (tmp_path / "here.ipynb").write_text("π", encoding="utf-8")
    assert solutions.fetched((tmp_path / "here.ipynb").as_uri()) == "π"
    with pytest.raises(LabError, match="clone the repository: it has the solved notebooks in"):
        solutions.fetched((tmp_path / "not.ipynb").as_uri())
