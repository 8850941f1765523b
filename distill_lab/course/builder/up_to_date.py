"""Compares the files in `lab_notebooks` with what their sources say. No notebook is run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distill_lab.course.builder import figures, leaks, make, prose, rules
from distill_lab.course.builder.source import Source
from distill_lab.run.records import LabError

MOST_BYTES = 300_000  # of a notebook's file, in which a solution's outputs count
BUILD = "Run `distill-lab notebooks build`"


def findings(folder: Path, sources: Sequence[Source], address: make.Address) -> Iterator[str]:
    """One line per finding: where, what was expected, what was found, what to do."""
    for source in sources:
        yield from rules.findings(source)
        for solved in (False, True):
            yield from _notebook(folder, source, sources, address, solved)
    yield from _manifest(folder, sources, address)
    names = {source.name for source in sources}
    for file in sorted([*folder.glob("*.ipynb"), *folder.glob("solutions/*.ipynb")]):
        if file.stem not in names:
            where = file.relative_to(folder)
            yield f"{where}: expected source/{file.stem}.py, found none. Delete it or add that."
    yield from numbers(folder, sources)
    yield from studies(folder)


def studies(folder: Path) -> Iterator[str]:
    """Finds what a study says that does not follow from its scores."""
    if (folder / figures.STUDIES).is_dir():
        from distill_lab.studies import results  # loads numpy

        yield from results.check(folder / figures.STUDIES)


def numbers(folder: Path, sources: Sequence[Source]) -> Iterator[str]:
    """Finds numbers in the prose that have no source, or not their source's value."""
    yield from figures.stale(folder)
    for source in sources:
        for cell in source.cells:
            wrong = prose.of_cell(cell.text, source.figures) if cell.role == "text" else ()
            yield from (f"source/{source.name}.py, cell {cell.id}: {line}" for line in wrong)
    values = figures.read(folder)
    written = [folder.parent / name for name in ("README.md", "docs/handbook.md")]
    for file in (*written, *sorted(folder.glob("reading/*.md"))):
        for line in prose.of_markdown(_read(file) or "", values):
            yield f"{file.relative_to(folder.parent)}: {line}"


def _notebook(
    folder: Path, source: Source, sources: Sequence[Source], address: make.Address, solved: bool
) -> Iterator[str]:
    name = make.path(source, solved)
    notebook, text = parsed(folder / name), _read(folder / name) or ""
    if notebook is None:
        yield f"{name}: expected a notebook of format 4.5, found none. {BUILD}."
        return
    built = make.notebook(source, address, solved)
    expected = with_outputs(built, notebook) if solved else built
    if expected is None or text != make.text_of(expected):
        yield f"{name}: expected what its source says, found something else. {BUILD}."
    if (size := len(text.encode())) > MOST_BYTES:
        yield (
            f"{name}: expected at most {MOST_BYTES / 1000:,.0f} KB, found {size / 1000:,.0f}. Show "
            "less, or smaller pictures."
        )
    wrong = _outputs(notebook) if solved else leaks.solution_lines(notebook, sources)
    yield from (f"{name}, {line}" for line in (*wrong, *leaks.private(notebook)))


def with_outputs(built: Any, run: Any) -> Any | None:
    """Gives `built` the outputs of `run`, and returns it; None if their code cells differ."""
    new, old = code_cells(built), code_cells(run)
    if [cell.id for cell in new] != [cell.id for cell in old]:
        return None
    for to_cell, from_cell in zip(new, old, strict=True):
        to_cell.outputs, to_cell.execution_count = from_cell.outputs, from_cell.execution_count
    return built


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _outputs(notebook: Any) -> Iterator[str]:
    """Each cell must have run, once and in order: nbval passes a cell that has no outputs."""
    code = code_cells(notebook)
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        yield f"cell {code[0].id}: expected all cells run once, in order, found not. {BUILD}."
    for cell in code:
        printed = "".join(output.get("text", "") for output in cell.outputs)
        if cell.metadata.get("role") == "check" and ": right" not in printed:
            yield (
                f"cell {cell.id}: expected that its solution is right, found {printed[:70]!r}. "
                "Correct the solution or the check, and build."
            )
        for output in cell.outputs:
            yield from (f"cell {cell.id}: {line}" for line in _output(output))


def _output(output: Any) -> Iterator[str]:
    if output.output_type == "error":
        yield f"expected no error, found {output.ename}: {output.evalue[:70]}. Correct it, build."
    if output.get("name") == "stderr":
        yield f"expected nothing on stderr, found {output.text[:70]!r}. Remove what warns."
    for media_type in output.get("data", {}):
        if media_type.startswith("image/") and not output.metadata.get(media_type, {}).get("alt"):
            yield (
                "expected a picture with a text for those who cannot see it, found none. Draw it "
                "in the package, and show it with distill_lab.notebook.show."
            )


def _manifest(folder: Path, sources: Sequence[Source], address: make.Address) -> Iterator[str]:
    try:
        expected = make.manifest(sources, address)
    except LabError as error:
        yield f"manifest.json: {error}"
        return
    if _read(folder / "manifest.json") != expected:
        yield f"manifest.json: expected what the sources say, found something else. {BUILD}."


def built_for(folder: Path) -> make.Address:
    """The address that the notebooks were built for, by their manifest; else pyproject.toml's."""
    try:
        given = json.loads(_read(folder / "manifest.json") or "")["repository"]
    except (ValueError, TypeError, KeyError):
        given = None
    return make.Address(given)


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def parsed(file: Path) -> Any | None:
    """The notebook in `file`; None unless it is valid, of format 4.5, without widgets' state."""
    import nbformat
    from nbformat.reader import NotJSONError

    try:
        notebook = nbformat.reads(_read(file) or "", as_version=nbformat.NO_CONVERT)
        nbformat.validate(notebook)
    except (nbformat.ValidationError, NotJSONError, KeyError, AttributeError):
        return None
    is_ours = (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    return notebook if is_ours and "widgets" not in notebook.metadata else None
