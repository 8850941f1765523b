"""`solution("lab5c.kd_loss")`: our answer as the solved notebook has it, after two honest tries.

A try is a `check` of a function that is not the stub and whose code no earlier try had; comments
and docstrings are no code. Tries are counted in the kernel alone and kept nowhere: a file of tries
in a student's folder would be one more thing to lose, to copy or to edit, and whoever restarts the
kernel has two tries to make again, which takes a minute.

The solved notebooks are no part of the installed package: they are read from the checkout, or from
the repository that the package was installed from. While marks are given nothing is shown.
"""

from __future__ import annotations

import inspect
import json
from collections import defaultdict
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import CodeType
from typing import Any

import distill_lab
from distill_lab.course.exercises import manifests
from distill_lab.course.exercises.exercise import Exercise, Outcome
from distill_lab.run.records import LabError

TRIES = 2
FOLDER = "lab_notebooks/solutions"
_SECONDS = 20  # to wait for the repository
_tries: dict[str, set[Any]] = defaultdict(set)
_right: set[str] = set()
is_grading = False
"""The grader's kernel sets it, before a student's code runs."""


def count(exercise: Exercise, function: Callable[..., Any], outcome: Outcome) -> None:
    """Counts a check as a try, unless it is of the stub or of code that was tried before."""
    if outcome.state == "right":
        _right.add(exercise.name)
    if outcome.state != "not attempted":
        _tries[exercise.name].add(code_of(function))


def tries_left(name: str) -> int:
    """How many tries are missing before the solution is shown; none once an answer was right."""
    return 0 if name in _right else max(0, TRIES - len(_tries[name]))


def code_of(function: Callable[..., Any]) -> Any:
    """What a function does, to be compared: without its comments, docstring and names of locals."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return _parts(code) if code else type(function).__name__


def _parts(code: CodeType) -> Any:
    has_docstring = bool(code.co_consts) and isinstance(code.co_consts[0], str)
    constants = code.co_consts[1:] if has_docstring else code.co_consts
    # None is always there where there is no docstring, and else only if it is used
    parts = [_parts(c) if isinstance(c, CodeType) else repr(c) for c in constants if c is not None]
    return code.co_code, code.co_names, tuple(parts)


def text_of(exercise: Exercise) -> str:
    """Our answer, as its cell in the solved notebook has it. LabError where it cannot be found."""
    book, id = _cell_of(exercise.name)
    for cell in json.loads(_notebook(f"{book}.ipynb"))["cells"]:
        if cell["id"] == id:
            return "".join(cell["source"])
    raise LabError(f"{book}: expected the cell {id}, found none. Install distill_lab again.")


def _cell_of(name: str) -> tuple[str, str]:
    """The lab's name, and the id of the exercise's cell in it."""
    for book, entry in manifests.read().items():
        for cell in entry["cells"]:
            if cell["role"] == "exercise" and cell.get("exercise") == name:
                return book, cell["id"]
    raise LabError(f"Expected an exercise of a notebook, found {name!r}, which none has.")


def _notebook(name: str) -> str:
    """A solved notebook's text, from the checkout or else from the repository."""
    in_checkout = Path(distill_lab.__file__).parents[1] / FOLDER / name
    if in_checkout.exists():
        return in_checkout.read_text(encoding="utf-8")
    return fetched(f"{raw_address()}/{FOLDER}/{name}")


def fetched(address: str) -> str:
    """The text at an address. LabError where nothing can be read there."""
    import urllib.request  # the grader's kernel does without

    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
            return answer.read().decode("utf-8")
    except (OSError, ValueError) as error:
        raise LabError(
            f"Expected our solution at {address}, found {error}. Without a network, clone the "
            f"repository: it has the solved notebooks in {FOLDER}."
        ) from None


def raw_address(installed: metadata.PackageMetadata | None = None, origin: str = "") -> str:
    """Where GitHub has the files of the repository that this package was installed from, at the
    commit that pip noted (`origin`, the text of direct_url.json), else on its main branch."""
    try:
        found = metadata.distribution("distill-lab")
        installed, origin = installed or found.metadata, origin or _noted(found)
    except metadata.PackageNotFoundError:
        pass
    note = json.loads(origin or "{}")
    pages = (installed.get_all("Project-URL") or []) if installed else []
    own = [page.partition(", ")[2] for page in pages if page.startswith("Repository, ")]
    commit = note.get("vcs_info", {}).get("commit_id")
    page = note["url"] if commit else next(iter(own), "")
    if not page.startswith("https://github.com/"):
        raise LabError(
            f"Expected a repository on GitHub, with our solutions in {FOLDER}, found "
            f"{page or 'none'}. Clone the repository, and read them there."
        )
    path = page.removeprefix("https://github.com/").removesuffix("/").removesuffix(".git")
    return f"https://raw.githubusercontent.com/{path}/{commit or 'main'}"


def _noted(installed: metadata.Distribution) -> str:
    return installed.read_text("direct_url.json") or ""
