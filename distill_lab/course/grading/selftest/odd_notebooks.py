"""Made-up submissions of students who did nothing wrong, however odd their notebooks look, and of
those whose file did not survive the way here."""

from __future__ import annotations

import json
from collections.abc import Iterator
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


def odd_but_right(lab: GradedLab, labs: Path) -> Iterator[MadeUp]:
    """Right answers, each to be given all points."""
    full = all_points(lab)
    for name, change, says in (
        ("warns on stderr", _warns, ""),
        ("prints a lot", _prints, ""),
        ("imports elsewhere", _imports_elsewhere, ""),
        ("helper behind the check", _helper, ""),
        ("cells in another order", _reversed, ""),
        ("magics", _magics, ""),
        ("imports left to the stubs", _without_imports, ""),
        ("looks at a run that is not there", _looks, ""),
        ("answered twice", _twice, "the last of them counts"),
        ("ids of metadata alone", _as_colab, ""),
        ("no ids", _without_ids, ""),
        ("neither ids nor first lines", _without_first_lines, ""),
        ("half an emoji", _half_an_emoji, ""),
        ("a print of its own", _own_print, ""),
        ("a module that a cell writes", _module, ""),
        ("characters that nobody sees", _unseen, ""),
        ("words that tricks use too", _words, ""),
        ("quits", _quits, ""),
    ):
        changed = change(lab, solved(lab, labs))
        yield MadeUp(name, notebook_file(changed), full, (says,) if says else (), is_plain=True)
    for name, data in (
        ("format 3", _format_3(solved(lab, labs))),
        ("50 MB of output", _large(solved(lab, labs))),
        ("byte order mark", b"\xef\xbb\xbf" + notebook_file(solved(lab, labs))),
    ):
        yield MadeUp(name, data, full, is_plain=True)


def unreadable(lab: GradedLab) -> Iterator[MadeUp]:
    """Files that are no notebooks, or not this lab's: nothing is due, and why is said."""
    none = no_points(lab)
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
        ("no Python", notebook_file(_all(lab, "def (:\n")), "SyntaxError"),
        ("no function", notebook_file(_all(lab, "x = 1")), "raised    NameError: name"),
    ):
        yield MadeUp(name, data, none, (says,))


def solved(lab: GradedLab, labs: Path) -> list[Cell]:
    """The code cells of the solved notebook."""
    data = (labs / "solutions" / f"{lab.notebook}.ipynb").read_bytes()
    return [code_cell(c["id"], c["source"]) for c in read_cells(data) if c["cell_type"] == "code"]


def _answers(lab: GradedLab, cells: list[Cell]) -> Iterator[Cell]:
    ids = {lab.cell_of(one.name) for one in lab.exercises}
    return (one for one in cells if one["id"] in ids)


def _all(lab: GradedLab, source: str) -> list[Cell]:
    return [code_cell(lab.cell_of(one.name), source) for one in lab.exercises]


def _warns(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    for one in _answers(lab, cells):
        one["source"] = NOISE + one["source"]
    return cells


def _prints(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    for one in _answers(lab, cells):
        one["source"] += "\nfor n in range(30_000):\n    print(n, 'x' * 100)\n"
    return cells


def _imports_elsewhere(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    """Behind all of a run cell, which is changed so; and none where they were."""
    moved = []
    for one in _answers(lab, cells):
        found = [s for s in definitions(one["source"]) if s.startswith(("import ", "from "))]
        kept = [s for s in definitions(one["source"]) if s not in found]
        moved, one["source"] = [*moved, *found], "\n".join(kept)
    setup = next(one for one in cells if one["id"] == "setup")
    setup["source"] = "\n".join([setup["source"], *moved])
    return cells


def _helper(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    """Each function calls one that is defined in the last cell."""
    helpers = []
    for one, exercise in zip(_answers(lab, cells), lab.exercises, strict=True):
        name = exercise.function
        helpers.append(one["source"].replace(f"def {name}(", f"def inner_{name}("))
        one["source"] = f"def {name}(*arguments):\n    return inner_{name}(*arguments)\n"
    return [*cells, *(code_cell(f"mine-{n}", source) for n, source in enumerate(helpers))]


def _reversed(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    return cells[::-1]


def _magics(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    for one in _answers(lab, cells):
        one["source"] = f"%%time\n%matplotlib inline\n!ls\nif True:\n    !ls\n{one['source']}"
    return cells


def _without_imports(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    """Functions alone, written over stubs that had been run: what those imported was there."""
    for one in _answers(lab, cells):
        kept = definitions(one["source"])
        one["source"] = "\n".join(s for s in kept if not s.startswith(("import ", "from ")))
    return cells


def _looks(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    """Statements that fail where there is no run, before the answer and behind it."""
    setup = next(one for one in cells if one["id"] == "setup")
    setup["source"] += '\nlab = begin("cpu")\nlab.run("data", "generate")\n'
    for one in _answers(lab, cells):
        one["source"] = f"print(lab.traces[0])\n{one['source']}\nprint(lab.questions[0])\n"
    return cells


def _twice(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    """A first try, and the answer in a copy of the cell behind it."""
    first = [code_cell(one["id"], one["source"]) for one in _answers(lab, cells)]
    for one, exercise in zip(first, lab.exercises, strict=True):
        one["source"] = f"def {exercise.function}(*arguments):\n    return 'a first try'\n"
    return [*first, *cells]


def _as_colab(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    return [{key: value for key, value in one.items() if key != "id"} for one in cells]


def _without_ids(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    return [{**one, "id": f"other-{n}", "metadata": {}} for n, one in enumerate(cells)]


def _without_first_lines(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    for one in _answers(lab, cells):
        one["source"] = one["source"].partition("\n")[2]
    return _without_ids(lab, cells)


def _half_an_emoji(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    return [*cells, code_cell("mine", "print('\ud83d')")]


def _own_print(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    """As `from rich import print`, which shows its text in another way."""
    return [code_cell("mine", "def print(*texts):\n    pass"), *cells]


def _module(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    """Each answer comes from a file that a cell before it writes, with the imports that it has."""
    files, texts = [], [one["source"] for one in cells]
    for n, (one, exercise) in enumerate(zip(_answers(lab, cells), lab.exercises, strict=True)):
        name = exercise.function
        used = {*names_used(one["source"])}
        found = [s for text in texts for s in imports(text, used) if "distill_lab" not in s]
        source = "\n".join([*found, one["source"]])
        files.append(code_cell(f"mine-{n}", f"%%writefile answers_{n}.py\n{source}\n"))
        one["source"] = f"from answers_{n} import {name} as inner_{n}\n"
        one["source"] += f"def {name}(*arguments):\n    return inner_{n}(*arguments)\n"
    return [*files, *cells]


def _unseen(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    """A no-break space and a byte order mark, in strings within f-strings."""
    for one in _answers(lab, cells):
        one["source"] += "\ntext = 'a'\n"
        one["source"] += "print(f\"{text.replace('\xa0', ' ')}{text.strip('\ufeff')}\")\n"
    return cells


def _words(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    """In a cell that only looks around, and as a name in each answer's."""
    for one in _answers(lab, cells):
        one["source"] += "\nours = 1\ndef f_back():\n    return ours\n"
    look = "import inspect, sys\nprint(sys.getrecursionlimit(), inspect.currentframe().f_back)"
    ours = "import distill_lab.course.exercises as c\nprint(c.find, 'ctypes')"
    return [code_cell("mine", look), *cells, code_cell("mine-2", ours)]


def _quits(lab: GradedLab, cells: list[Cell]) -> list[Cell]:
    return [code_cell("mine", "quit()"), code_cell("mine-2", "exit"), *cells]


def _format_3(cells: list[Cell]) -> bytes:
    """As notebooks were written before 2014."""
    inner = [{"cell_type": "code", "language": "python", "input": c["source"]} for c in cells]
    whole = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": inner}]}
    return json.dumps(whole).encode()


def _large(cells: list[Cell]) -> bytes:
    printed = {"output_type": "stream", "name": "stdout", "text": "x" * 50_000_000}
    return notebook_file([{**cells[0], "outputs": [printed]}, *cells[1:]])
