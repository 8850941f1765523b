"""Which cell is which exercise's: notebooks by hand, as JSON has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from distill_lab.course.exercises import manifests, matching
from distill_lab.course.exercises.matching import exercise_cells

STUB = "# exercise demo.double\ndef double(x):\n    raise NotImplementedError  # your code here"
ENTRY: Mapping[str, Any] = {
    "points": 5,
    "cells": [
        {"id": "title", "role": "text"},
        {
            "id": "double",
            "role": "exercise",
            "exercise": "demo.double",
            "sha256": manifests.digest(STUB),
        },
        {"id": "double-check", "role": "check", "exercise": "demo.double", "points": 2},
        {"id": "share", "role": "exercise", "exercise": "demo.share"},
    ],
}
RIGHT = "def double(x):\n    return 2 * x"
MARKED = f"# exercise demo.double\n{RIGHT}"


def cell(source: str, id: str = "", inner: str = "", kind: str = "code") -> dict[str, Any]:
    """`id` is the cell's, `inner` the one in its metadata."""
    made: dict[str, Any] = {"cell_type": kind, "source": source, "metadata": {}}
    made |= {"id": id} if id else {}
    made["metadata"] |= {"id": inner} if inner else {}
    return made


def match(*cells: dict[str, Any]) -> matching.Match:
    return exercise_cells(cells, ENTRY)["demo.double"]


@pytest.mark.parametrize(
    ("one", "how"),
    [
        (cell(RIGHT, "double", "double"), "id"),
        (cell(RIGHT, "double"), "id"),
        (cell(RIGHT, "", "double"), "id"),  # Colab
        (cell(RIGHT, "3f2a", "double"), "id"),  # Colab, then saved in Jupyter
        (cell("x = (", "double"), "id"),
        (cell("", "double"), "id"),
        (cell(MARKED), "first line"),
        (cell(MARKED, "3f2a", "9c1"), "first line"),
        (cell(f"\n\n{MARKED}"), "first line"),
        (cell(f"%%time\n{MARKED}"), "first line"),
        (cell("#exercise  demo.double \nx = ("), "first line"),
        (cell(RIGHT), "function name"),
        (cell(f"import math\n\n\n@print\n{RIGHT}"), "function name"),
        (cell("async def double(x): ..."), "function name"),
        (cell(f"%%time\n{RIGHT}"), "function name"),
        (cell(f"%matplotlib inline\n!pip list\nfiles = !ls\n{RIGHT}\ndouble?"), "function name"),
        (cell(f"if True:\n    !pip list\n{RIGHT}"), "function name"),
        (cell(f"x = (7\n % 3)\n{RIGHT}"), "function name"),
        (cell(RIGHT.replace("\n", "\r\n")), "function name"),
        (cell(STUB, "double"), "id"),
        (cell(STUB), "first line"),
    ],
)
def test_the_way_that_finds_a_cell(one, how):
    found = match(cell("# Title", "title", kind="markdown"), one, cell("print(1)", "a"))
    assert found.how == how
    assert found.cell is one


@pytest.mark.parametrize(
    "one",
    [
        cell(f'"""\n{MARKED}\n"""'),
        cell(f"text = '''\n{RIGHT}\n'''"),
        cell(f"x = 1\n# exercise demo.double\n{RIGHT}".replace("def double", "def other")),
        cell("# exercise demo.doubles\nx = 1"),
        cell("# exercise demo.double is hard\nx = 1"),
        cell(MARKED.replace("double", "share")),
        cell("class A:\n    def double(self): ..."),
        cell("def outer():\n    def double(x): ..."),
        cell("double = 2"),
        cell(f"%%bash\n{RIGHT}"),
        cell(f"%%writefile x.py\n{MARKED}"),
        cell(f"{RIGHT}\nx = ("),
        cell(f"{RIGHT}\0"),
        cell("double-check", "double-check"),
        cell(MARKED, "double", kind="markdown"),
        cell(RIGHT, kind="raw"),
    ],
)
def test_what_is_no_cell_of_it(one):
    assert match(one) == matching.Match(None, "", (), (), ())
    assert match(one).source is None
    assert match() == match(one)


def test_of_each_exercise_its_own():
    share = cell("# exercise demo.share\ndef share(a, b): return a / b")
    found = exercise_cells([share, cell(RIGHT)], ENTRY)
    assert list(found) == ["demo.double", "demo.share"]
    assert (found["demo.double"].how, found["demo.share"].cell) == ("function name", share)


def test_lines_in_a_list_are_a_text():
    one = cell("") | {"source": ["def double(x):\r\n", "    return 2 * x"]}
    assert match(one).source == RIGHT


# --- several --------------------------------------------------------------------------------------


def test_of_two_answers_the_last_counts():
    first, last = cell(RIGHT, "double"), cell(RIGHT.replace("2", "3"), "7a", "double")
    found = match(first, cell("x"), last)
    assert (found.cell, found.answers, found.cells) == (last, (first, last), (first, last))


@pytest.mark.parametrize("stub_last", [False, True])
@pytest.mark.parametrize(
    ("answer", "stub"),
    [
        (cell(RIGHT, "double"), cell(STUB, "7a", "double")),
        (cell(MARKED), cell(STUB)),
        (cell(RIGHT), cell(STUB.partition("\n")[2])),
        (cell(RIGHT), cell(STUB, "double")),  # the answer in a cell of one's own
        (cell(MARKED), cell(STUB, "double")),
        (cell(RIGHT, "double"), cell(STUB)),
    ],
)
def test_an_untouched_stub_never_counts_before_an_answer(answer, stub, stub_last):
    cells = (answer, stub) if stub_last else (stub, answer)
    found = match(*cells)
    assert found.cell is answer
    assert (found.answers, found.cells, found.others) == ((answer,), cells, ())
    assert not found.untouched


def test_the_id_goes_before_the_first_line_and_that_before_the_name():
    by_id, by_line, by_name = cell(RIGHT, "double"), cell(MARKED), cell(RIGHT)
    found = match(by_id, by_line, by_name)
    assert (found.cell, found.cells, found.others) == (by_id, (by_id,), (by_line, by_name))
    found = match(by_name, by_line)
    assert (found.cell, found.others) == (by_line, (by_name,))


def test_a_copy_of_the_cell_with_tries_in_it_does_not_count():
    answer, tries = cell(RIGHT, "double"), cell("double(2)\nprint(double(3))", "7a", "double")
    assert match(answer, tries).cell is answer
    broken = cell("def double(x)\n    return", "7b", "double")
    assert match(answer, tries, broken).cell is broken
    assert match(tries).cell is tries


def test_stubs_alone_are_untouched():
    found = match(cell(STUB, "double"), cell(STUB))
    assert found.untouched
    assert (found.how, found.source) == ("id", STUB)
    assert not match().untouched


@pytest.mark.parametrize(
    ("source", "stub"),
    [
        (STUB, True),
        (f"\n{STUB}  \n", True),
        (STUB.replace("\n", "\r\n"), True),
        (STUB.partition("\n")[2], True),
        ("import re\n\n\ndef double(x):\n    'Twice.'\n    raise NotImplementedError()", True),
        (RIGHT, False),
        ("def double(x):\n    y = 2\n    raise NotImplementedError", False),
        ("def double(x):\n    raise NotImplementedError(x)", False),
        (f"{STUB}\n\n{RIGHT}", False),
        ("def double(x):\n    'Twice.'", False),
        ("", False),
    ],
)
def test_an_untouched_stub(source, stub):
    [line] = [line for line in ENTRY["cells"] if line["id"] == "double"]
    assert matching.is_stub(source, line) == stub


# --- a cell ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (RIGHT, ""),
        (f"%%time\n%matplotlib inline\n{RIGHT}", ""),
        ("x = (", "'(' was never closed in line 1"),
        ("%%time\n\nx = (", "'(' was never closed in line 3"),
        ("!ls\nx = )", "unmatched ')' in line 2"),
    ],
)
def test_why_a_cell_is_no_python(source, fault):
    assert matching.fault(source) == fault


def test_a_stub_is_told_without_taking_apart_what_is_nested_deep():
    deep = cell(f"def double(x):\n    return {500 * '-'}1", "double")
    assert not match(deep).untouched


@pytest.mark.parametrize("source", ["\0", "(" * 5000, "-" * 20_000 + "1", "\ud800", "%%", "%", "?"])
def test_no_text_is_too_odd(source):
    assert match(cell(source, "double")).source == source
    assert matching.functions(source) == set()
    matching.fault(source)


def test_the_id_of_a_cell():
    assert matching.id_of(cell("", "a", "b")) == "b"
    assert matching.id_of(cell("", "a")) == "a"
    assert matching.id_of({"metadata": None}) == ""
