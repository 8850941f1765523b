"""Makes the files from a source: the notebook with stubs, the solved notebook before it is run, and
the manifest. The same source always gives the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distill_lab.course import exercises, install_cell
from distill_lab.course.builder.prose import filled
from distill_lab.course.builder.source import ANNOUNCED, Cell, Source
from distill_lab.course.exercises import manifests
from distill_lab.run.records import LabError

# In Colab, `begin()` chooses the profile by the hardware: ask for the GPU that is free of charge.
METADATA = {
    "accelerator": "GPU",
    "colab": {"gpuType": "T4", "provenance": []},
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_COLAB = "https://colab.research.google.com"


@dataclass(frozen=True, slots=True)
class Address:
    """The repository's address: `given` is `--repository`, None stands for pyproject.toml's."""

    given: str | None = None

    @property
    def text(self) -> str:
        return self.given or install_cell.own_repository()

    @property
    def page(self) -> str:
        """The repository's web page, on GitHub if `text` is only OWNER/NAME."""
        source = install_cell.pip_source(self.text).removeprefix("git+")
        return source.partition("@")[0].removesuffix(".git")

    def badge(self, path: str) -> str:
        """The Colab badge of the notebook at `path`; "" outside GitHub, where Colab opens none."""
        match = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", self.page)
        if not match:
            return ""
        branch = self.text.partition("@")[2] or "main"
        link = f"{_COLAB}/github/{match[1]}/blob/{branch}/lab_notebooks/{path}"
        return f"[![Open in Colab]({_COLAB}/assets/colab-badge.svg)]({link})"


def path(source: Source, solved: bool) -> str:
    """Where a source's notebook lies in `lab_notebooks`: the student's, or the solved one."""
    return f"solutions/{source.name}.ipynb" if solved else f"{source.name}.ipynb"


def notebook(source: Source, address: Address, solved: bool) -> Any:
    """The student's notebook, with stubs; or the solved one. Neither has outputs."""
    from nbformat import from_dict
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    cells: list[Any] = []
    for cell in source.cells:
        new: Any = new_code_cell if cell.is_code else new_markdown_cell
        text = _text(source, cell, address, solved)
        cells.append(new(source=text, id=cell.id, metadata=_metadata(cell)))
    return new_notebook(cells=cells, metadata=from_dict(METADATA))


def _text(source: Source, cell: Cell, address: Address, solved: bool) -> str:
    if cell.role == "exercise":
        name = source.exercise_of(cell)
        first_line = f"{manifests.marker(name)}\n" if name else ""
        return first_line + (cell.solved if solved else cell.stub)
    if cell.role == "install":
        return install_cell.source(address.text).rstrip("\n")
    if cell.role == "text":
        text = cell.text.replace("{badge}", address.badge(path(source, solved)))
        if ANNOUNCED in text:
            text = text.replace(ANNOUNCED, _announcement(source, cell))
        try:
            return filled(text.replace("{repository}", address.page), source.figures)
        except LabError as error:
            raise LabError(f"{source.name}, cell {cell.id}: {error}") from None
    return cell.text


def _announcement(source: Source, cell: Cell) -> str:
    """What stands for `{exercise}`: number, points, minutes and difficulty of the next exercise."""
    of_source = [c for c in source.cells if c.role == "exercise"]
    later = [c for c in source.cells[source.cells.index(cell) :] if c.role == "exercise"]
    name = source.exercise_of(later[0]) if later else None
    if name is None:
        return ANNOUNCED  # `rules` says what is missing
    number = 1 + of_source.index(later[0])
    return f"**Exercise {number} ({exercises.find(name).worth}).**"


def _metadata(cell: Cell) -> dict[str, Any]:
    """The metadata repeats the id, because Colab keeps only this one. nbval reads the tags."""
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
    """The manifest, as JSON for the grader: each cell's id and role, the points, and the hashes of
    locked cells and stubs."""
    notebooks: dict[str, Any] = {}
    for source in sources:
        cells = [_manifest_cell(source, cell, address) for cell in source.cells]
        points = sum(cell.get("points", 0) for cell in cells)
        notebooks[source.name] = {"points": points, "cells": cells}
    whole = {"repository": address.given, "notebooks": notebooks}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _manifest_cell(source: Source, cell: Cell, address: Address) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": cell.id, "role": cell.role}
    if exercise := source.exercise_of(cell):
        entry["exercise"] = exercise
    if cell.checks:
        entry["points"] = exercises.find(cell.checks).points
    if cell.locked or cell.role == "exercise":
        entry["sha256"] = manifests.digest(_text(source, cell, address, solved=False))
    return entry


def text_of(notebook: Any) -> str:
    """A notebook as the text of its file: sorted keys, indented by one space, as Jupyter does."""
    import nbformat

    return str(nbformat.writes(notebook)) + "\n"
