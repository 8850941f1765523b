"""Prints the notebooks' install cell: `python -m distill_lab.course.install_cell [REPOSITORY]`

The cell fetches only this package, and `distill_lab.course.colab_install` does the rest. So the
pins come from the package that is fetched: a notebook that a student saved months ago never asks
for outdated versions.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from distill_lab.run.records import LabError

_CELL = """\
# Install: a few minutes in Colab the first time, a second after that. Outside Colab: nothing.
import importlib.util
import subprocess
import sys

SOURCE = {source}
if importlib.util.find_spec("distill_lab") is None:
    print("Fetching", SOURCE)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", SOURCE]
    done = subprocess.run(pip, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit(f"{{done.stdout[-2000:]}}\\npip could not: see above, and check SOURCE.")
from distill_lab.install import install

install(SOURCE)
"""


def source(repository: str | None = None) -> str:
    """The cell's text. `repository` is OWNER/NAME or OWNER/NAME@TAG on GitHub, another repository's
    address, or the absolute path of a folder or wheel; by default, pyproject.toml's address."""
    return _CELL.format(source=json.dumps(pip_source(repository or own_repository())))


def pip_source(repository: str) -> str:
    """The address in the form that pip takes: a repository's begins with `git+`."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", repository):
        return f"git+https://github.com/{repository}"
    is_file = repository.startswith("http") and repository.endswith((".whl", ".zip", ".tar.gz"))
    if is_file or repository.startswith("git+") or Path(repository).is_absolute():
        return repository
    if repository.startswith("http"):
        return f"git+{repository}"
    raise LabError(
        "Expected a repository as OWNER/NAME, an address that begins with http, or an absolute "
        f"path; found {repository!r}."
    )


def own_repository() -> str:
    """The address in pyproject.toml's [project.urls], where a fork writes its own."""
    file = Path(__file__).parents[2] / "pyproject.toml"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    match = re.search(r'^Repository = "(.+)"$', text, re.MULTILINE)
    if not match:
        raise LabError(
            f"{file}: expected the repository's address under [project.urls], found none. Name it: "
            "python -m distill_lab.course.install_cell OWNER/NAME"
        )
    return match[1]


if __name__ == "__main__":
    print(source(*sys.argv[1:2]), end="")
