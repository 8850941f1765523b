"""From a source to the files that students see: the notebook with stubs, the solved one before it
is run, and the manifest. The same source always gives the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distill_lab.course.exercises as checks
from distill_lab.course import install_cell
from distill_lab.course.builder.prose import filled
from distill_lab.course.builder.source import Cell, Source
from distill_lab.course.exercises import manifests
from distill_lab.run.records import LabError

# In Colab the profile is chosen by what is there: ask for the GPU that is free.
METADATA = {
    "accelerator": "GPU",
    "colab": {"gpuType": "T4", "provenance": []},
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_COLAB = "https://colab.research.google.com"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the repository lies. `given` is `--repository`; None: what pyproject.toml says."""

    given: str | None = None

    @property
    def text(self) -> str:
        return self.given or install_cell.own_repository()

    @property
    def page(self) -> str:
        """The repository as a web page (GitHub, where only OWNER/NAME was given)."""
        source = install_cell.pip_source(self.text).removeprefix("git+")
        return source.partition("@")[0].removesuffix(".git")

    def badge(self, path: str) -> str:
        """The Colab badge of the notebook at `path`; nothing where Colab cannot open it: outside
        GitHub."""
        found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", self.page)
        if not found:
            return ""
        branch = self.text.partition("@")[2] or "main"
        link = f"{_COLAB}/github/{found[1]}/blob/{branch}/lab_notebooks/{path}"
        return f"[![Open in Colab]({_COLAB}/assets/colab-badge.svg)]({link})"


def student(source: Source, address: Address) -> Any:
    """The student's notebook: stubs for solutions, no outputs."""
    return _notebook(source, address, f"{source.name}.ipynb", solved=False)


def solution(source: Source, address: Address) -> Any:
    """The solved notebook, not yet run."""
    return _notebook(source, address, f"solutions/{source.name}.ipynb", solved=True)


def _notebook(source: Source, address: Address, path: str, solved: bool) -> Any:
    from nbformat import from_dict
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    cells: list[Any] = []
    for cell in source.cells:
        new: Any = new_code_cell if cell.is_code else new_markdown_cell
        text = _text(source, cell, address, path, solved)
        cells.append(new(source=text, id=cell.id, metadata=_metadata(cell)))
    return new_notebook(cells=cells, metadata=from_dict(METADATA))


def _text(source: Source, cell: Cell, address: Address, path: str, solved: bool) -> str:
    if cell.role == "exercise":
        name = source.exercise_of(cell)
        first = [manifests.marker(name)] if name else []
        return "\n".join([*first, cell.solved if solved else cell.stub])
    if cell.role == "install":
        return install_cell.source(address.text).rstrip("\n")
    if cell.role == "text":
        text = cell.text.replace("{badge}", address.badge(path))
        try:
            return filled(text.replace("{repository}", address.page), source.figures)
        except LabError as error:
            raise LabError(f"{source.name}, cell {cell.id}: {error}") from None
    return cell.text


def _metadata(cell: Cell) -> dict[str, Any]:
    """The id stands here too: Colab keeps only that one. nbval reads the tags."""
    tags = [cell.role]
    if cell.role in ("install", "exercise"):
        tags.append("nbval-ignore-output")
    metadata: dict[str, Any] = {"id": cell.id, "role": cell.role, "tags": tags}
    if cell.locked or cell.role == "exercise":
        metadata["deletable"] = False
    if cell.locked:
        metadata["editable"] = False
    return metadata


def manifest(sources: Sequence[Source], address: Address) -> str:
    """For the grader, as JSON: each cell's id and role, points, and the hash of what is locked and
    of the stubs."""
    books = {source.name: _entry(source, address) for source in sources}
    whole = {"repository": address.given, "notebooks": books}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _entry(source: Source, address: Address) -> dict[str, Any]:
    cells = [_line(source, cell, address) for cell in source.cells]
    return {"points": sum(line.get("points", 0) for line in cells), "cells": cells}


def _line(source: Source, cell: Cell, address: Address) -> dict[str, Any]:
    line: dict[str, Any] = {"id": cell.id, "role": cell.role}
    exercise = source.exercise_of(cell)
    if exercise:
        line["exercise"] = exercise
    if cell.checks:
        line["points"] = checks.find(cell.checks).points
    if cell.locked or cell.role == "exercise":  # of the stub
        text = _text(source, cell, address, f"{source.name}.ipynb", solved=False)
        line["sha256"] = manifests.digest(text)
    return line


def text_of(notebook: Any) -> str:
    """A notebook's file: sorted keys, one space of indent, as nbformat and Jupyter write it."""
    import nbformat

    return str(nbformat.writes(notebook)) + "\n"


def student_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.ipynb"


def solution_file(folder: Path, name: str) -> Path:
    return folder / "solutions" / f"{name}.ipynb"
