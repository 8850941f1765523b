"""Made-up submissions of students who did nothing wrong, however odd their notebooks look, and of
those whose file did not survive the way here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from distill_lab.course.grading.cells.notebook_file import read_cells
from distill_lab.course.grading.cells.statements import definitions, imports, names_used
from distill_lab.course.grading.course import GradedLab
from distill_lab.course.grading.reference import Cell, code_cell, notebook_file
from distill_lab.course.grading.selftest.made_up import MadeUp, all_points, no_points

NOISE = """
import sys, warnings
warnings.warn("this is only a warning")
print("so is this", file=sys.stderr)
sys.stderr.flush()
"""
PRINTS = "\nfor n in range(30_000):\n    print(n, 'x' * 100)\n"
MAGICS = "%%time\n%matplotlib inline\n!ls\nif True:\n    !ls\n"
# a no-break space and a byte order mark, in strings within f-strings
UNSEEN = "\ntext = 'a'\nprint(f\"{text.replace('\xa0', ' ')}{text.strip('\ufeff')}\")\n"
RUNS = '\nlab = begin("cpu")\nlab.run("data", "generate")\n'
LOOKS_AROUND = "import inspect, sys\nprint(sys.getrecursionlimit(), inspect.currentframe().f_back)"
LOOKS_AT_OURS = "import distill_lab.course.exercises as c\nprint(c.find, 'ctypes')"
ENTRANCES = ("import ", "from ")


def odd_but_right(lab: GradedLab, labs: Path) -> Iterator[MadeUp]:
    """Right answers, each to be given all points."""

    def solution() -> list[Cell]:
        """The code cells of the solved notebook."""
        data = (labs / "solutions" / f"{lab.notebook}.ipynb").read_bytes()
        return [
            code_cell(c["id"], c["source"]) for c in read_cells(data) if c["cell_type"] == "code"
        ]

    def answers_changed(change: Callable[[str], str]) -> list[Cell]:
        cells = solution()
        for cell in _answers(lab, cells):
            cell["source"] = change(cell["source"])
        return cells

    own_print = code_cell("mine", "def print(*texts):\n    pass")  # as `from rich import print`
    quits = [code_cell("mine", "quit()"), code_cell("mine-2", "exit")]
    words = [code_cell("mine", LOOKS_AROUND), code_cell("mine-2", LOOKS_AT_OURS)]
    as_tricks = "\nours = 1\ndef f_back():\n    return ours\n"
    for name, cells in (
        ("warns on stderr", answers_changed(lambda source: NOISE + source)),
        ("prints a lot", answers_changed(lambda source: source + PRINTS)),
        ("imports elsewhere", _imports_elsewhere(lab, solution())),
        ("helper behind the check", _helper(lab, solution())),
        ("cells in another order", solution()[::-1]),
        ("magics", answers_changed(lambda source: MAGICS + source)),
        ("imports left to the stubs", answers_changed(_without_imports)),
        ("looks at a run that is not there", _looks(lab, solution())),
        ("answered twice", _twice(lab, solution())),
        ("ids of metadata alone", [_without(cell, "id") for cell in solution()]),
        ("no ids", _without_ids(solution())),
        ("neither ids nor first lines", _without_ids(answers_changed(_without_first_line))),
        ("half an emoji", [*solution(), code_cell("mine", "print('\ud83d')")]),
        ("a print of its own", [own_print, *solution()]),
        ("a module that a cell writes", _module(lab, solution())),
        ("characters that nobody sees", answers_changed(lambda source: source + UNSEEN)),
        (
            "words that tricks use too",
            [words[0], *answers_changed(lambda s: s + as_tricks), words[1]],
        ),
        ("quits", [*quits, *solution()]),
    ):
        says = ("the last of them counts",) if name == "answered twice" else ()
        yield MadeUp(name, notebook_file(cells), all_points(lab), says, is_plain=True)
    for name, data in (
        ("format 3", _format_3(solution())),
        ("50 MB of output", _large(solution())),
        ("byte order mark", b"\xef\xbb\xbf" + notebook_file(solution())),
    ):
        yield MadeUp(name, data, all_points(lab), is_plain=True)


def unreadable(lab: GradedLab) -> Iterator[MadeUp]:
    """Files that are no notebooks, or not this lab's: nothing is due, and why is said."""

    def everywhere(source: str) -> bytes:
        return notebook_file([code_cell(lab.cell_of(one.name), source) for one in lab.exercises])

    deep = b'{"cells": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    for name, data, says in (
        ("empty", b"", "an empty file"),
        ("no JSON", b"<html>Sign in</html>", "begins with '<html>Sign in</html>'"),
        ("cut", notebook_file([code_cell("a", "x = 1")])[:-20], "which is JSON"),
        ("binary", bytes(range(128, 256)) * 9, "no text"),
        ("other JSON", b'[{"cells": []}]', "other JSON"),
        ("nested too deep", deep, "which is JSON"),
        ("no cells", notebook_file([]), "found none of its exercises"),
        ("odd cells", b'{"cells": [1, null, {}, {"source": [1]}], "metadata": 3}', "found none"),
        ("another notebook", notebook_file([code_cell("a", "print(1)")]), "found none of its"),
        ("no Python", everywhere("def (:\n"), "SyntaxError"),
        ("no function", everywhere("x = 1"), "raised    NameError: name"),
    ):
        yield MadeUp(name, data, no_points(lab), (says,))


def _answers(lab: GradedLab, cells: list[Cell]) -> Iterator[Cell]:
    ids = {lab.cell_of(exercise.name) for exercise in lab.exercises}
    return (cell for cell in cells if cell["id"] in ids)


def _without(cell: Cell, key: str) -> Cell:
    return {name: value for name, value in cell.items() if name != key}


def _without_ids(cells: list[Cell]) -> list[Cell]:
    return [{**cell, "id": f"other-{n}", "metadata": {}} for n, cell in enumerate(cells)]


def _without_first_line(source: str) -> str:
    return source.partition("\n")[2]


def _without_imports(source: str) -> str:
    """Functions alone, written over stubs that had been run: what those imported was there."""
    return "\n".join(text for text in definitions(source) if not text.startswith(ENTRANCES))


def _setup(cells: list[Cell]) -> Cell:
    return next(cell for cell in cells if cell["id"] == "setup")


def _imports_elsewhere(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    """All in the setup cell, which is changed so, and none where they were."""
    for cell in _answers(lab, cells):
        moved = [text for text in definitions(cell["source"]) if text.startswith(ENTRANCES)]
        cell["source"] = _without_imports(cell["source"])
        _setup(cells)["source"] += "\n" + "\n".join(moved)
    return cells


def _helper(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    """Each function calls one that is defined in the last cells."""
    helpers: list[Cell] = []
    for cell, exercise in zip(_answers(lab, cells), lab.exercises, strict=True):
        name = exercise.function
        inner = cell["source"].replace(f"def {name}(", f"def inner_{name}(")
        helpers.append(code_cell(f"mine-{len(helpers)}", inner))
        cell["source"] = f"def {name}(*arguments):\n    return inner_{name}(*arguments)\n"
    return [*cells, *helpers]


def _looks(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    """Statements that fail where there is no run, before the answer and behind it."""
    _setup(cells)["source"] += RUNS
    for cell in _answers(lab, cells):
        cell["source"] = f"print(lab.traces[0])\n{cell['source']}\nprint(lab.questions[0])\n"
    return cells


def _twice(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    """A first try, and the answer in a copy of the cell behind it."""
    first_try = "def {0}(*arguments):\n    return 'a first try'\n"
    tries = [
        code_cell(cell["id"], first_try.format(exercise.function))
        for cell, exercise in zip(_answers(lab, cells), lab.exercises, strict=True)
    ]
    return [*tries, *cells]


def _module(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    """Each answer comes from a file that a cell before it writes, with the imports that it has."""
    files: list[Cell] = []
    all_sources = [cell["source"] for cell in cells]
    answers = zip(_answers(lab, cells), lab.exercises, strict=True)
    for n, (cell, exercise) in enumerate(answers):
        used = {*names_used(cell["source"])}
        needed = [text for source in all_sources for text in imports(source, used)]
        lines = [text for text in needed if "distill_lab" not in text] + [cell["source"]]
        text = "\n".join([f"%%writefile answers_{n}.py", *lines, ""])
        files.append(code_cell(f"mine-{n}", text))
        cell["source"] = f"from answers_{n} import {exercise.function} as inner_{n}\n"
        cell["source"] += (
            f"def {exercise.function}(*arguments):\n    return inner_{n}(*arguments)\n"
        )
    return [*files, *cells]


def _format_3(cells: list[Cell]) -> bytes:
    """As notebooks were written before 2014."""
    inner = [{"cell_type": "code", "language": "python", "input": c["source"]} for c in cells]
    whole = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": inner}]}
    return json.dumps(whole).encode()


def _large(cells: list[Cell]) -> bytes:
    printed = {"output_type": "stream", "name": "stdout", "text": "x" * 50_000_000}
    return notebook_file([{**cells[0], "outputs": [printed]}, *cells[1:]])
