"""Whether what lies in `lab_notebooks` is what its sources say: nothing is run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distill_lab.course.builder import figures, leaks, prose, rules
from distill_lab.course.builder.make import (
    Address,
    manifest,
    solution,
    solution_file,
    student,
    student_file,
    text_of,
)
from distill_lab.course.builder.source import Source
from distill_lab.run.records import LabError

MOST_BYTES = 300_000  # of a student's notebook
MOST_BYTES_SOLVED = 2_000_000  # GitHub shows no notebook that is much larger
BUILD = "Run `distill-lab notebooks build`"


def findings(folder: Path, sources: Sequence[Source], address: Address) -> Iterator[str]:
    """One line each: where, what was expected, what was found, what to do."""
    for source in sources:
        yield from rules.findings(source)
        yield from _student(folder, source, sources, address)
        yield from _solution(folder, source, address)
    yield from _manifest(folder, sources, address)
    yield from _orphans(folder, sources)
    yield from numbers(folder, sources)


def numbers(folder: Path, sources: Sequence[Source]) -> Iterator[str]:
    """Numbers in the prose that have no source, or another value than it."""
    yield from figures.stale(folder)
    for source in sources:
        for cell in source.cells:
            said = prose.of_cell(cell.text, source.figures) if cell.role == "text" else ()
            yield from (f"source/{source.name}.py, cell {cell.id}: {text}" for text in said)
    values = figures.read(folder)
    for file in (folder.parent / "README.md", *sorted(folder.glob("reading/*.md"))):
        for text in prose.of_markdown(_read(file) or "", values):
            yield f"{file.relative_to(folder.parent)}: {text}"


def _student(
    folder: Path, source: Source, sources: Sequence[Source], address: Address
) -> Iterator[str]:
    file = student_file(folder, source.name)
    where = file.name
    text = _read(file)
    if text is None:
        yield f"{where}: expected the student's notebook, found none. {BUILD}."
        return
    if text != text_of(student(source, address)):
        yield f"{where}: expected what its source says, found other bytes. {BUILD}."
    if len(text.encode()) > MOST_BYTES:
        yield _too_large(where, text, MOST_BYTES)
    notebook = parsed(text)
    if notebook is None:
        yield f"{where}: expected a notebook of format 4.5, found another file. {BUILD}."
        return
    for said in (*leaks.solution_lines(notebook, sources), *leaks.private(notebook)):
        yield f"{where}, {said}"


def _solution(folder: Path, source: Source, address: Address) -> Iterator[str]:
    file = solution_file(folder, source.name)
    where = f"solutions/{file.name}"
    text = _read(file)
    notebook = parsed(text)
    if text is None or notebook is None:
        yield f"{where}: expected the solved notebook, found none of format 4.5. {BUILD}."
        return
    expected = with_outputs(solution(source, address), notebook)
    if expected is None or text != text_of(expected):
        yield f"{where}: expected the cells of its source, found others. {BUILD}."
    if len(text.encode()) > MOST_BYTES_SOLVED:
        yield _too_large(where, text, MOST_BYTES_SOLVED)
    for said in (*_outputs(notebook), *leaks.private(notebook)):
        yield f"{where}, {said}"


def with_outputs(built: Any, run: Any) -> Any | None:
    """`built` with the outputs of `run`; None where the two have other code cells."""
    new, old = code_cells(built), code_cells(run)
    if [cell.id for cell in new] != [cell.id for cell in old]:
        return None
    for to, of in zip(new, old, strict=True):
        to.outputs, to.execution_count = of.outputs, of.execution_count
    return built


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _outputs(notebook: Any) -> Iterator[str]:
    """nbval passes a cell that has no outputs: they must be there, of one run from top to end."""
    code = code_cells(notebook)
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        yield f"cell {code[0].id}: expected all cells run once, in order, found not. {BUILD}."
    for cell in code:
        said = "".join(o.get("text", "") for o in cell.outputs)
        if cell.metadata.get("role") == "check" and ": right" not in said:
            yield (
                f"cell {cell.id}: expected that its solution is right, found {said[:70]!r}. Mend "
                "the solution or the check, and build."
            )
        for output in cell.outputs:
            yield from (f"cell {cell.id}: {text}" for text in _output(output))


def _output(output: Any) -> Iterator[str]:
    if output.output_type == "error":
        yield f"expected no error, found {output.ename}: {output.evalue[:70]}. Mend it, and build."
    if output.get("name") == "stderr":
        yield f"expected nothing on stderr, found {output.text[:70]!r}. Mend what warns."
    for kind in output.get("data", {}):
        if kind.startswith("image/") and not output.metadata.get(kind, {}).get("alt"):
            yield (
                "expected a picture with a text for those who cannot see it, found none. Draw it "
                "in the package, and show it with distill_lab.notebook.show."
            )


def _manifest(folder: Path, sources: Sequence[Source], address: Address) -> Iterator[str]:
    try:
        expected = manifest(sources, address)
    except LabError as error:
        yield f"manifest.json: {error}"
        return
    if _read(folder / "manifest.json") != expected:
        yield f"manifest.json: expected what the sources say, found otherwise. {BUILD}."


def built_for(folder: Path) -> Address:
    """The address that the notebooks were built for, from the manifest; else the package's own."""
    try:
        given = json.loads(_read(folder / "manifest.json") or "")["repository"]
    except (ValueError, TypeError, KeyError):
        given = None
    return Address(given)


def _orphans(folder: Path, sources: Sequence[Source]) -> Iterator[str]:
    names = {source.name for source in sources}
    for file in sorted([*folder.glob("*.ipynb"), *folder.glob("solutions/*.ipynb")]):
        if file.stem not in names:
            where = file.relative_to(folder)
            yield f"{where}: expected source/{file.stem}.py, found none. Delete it or add that."


def _too_large(where: str, text: str, most: int) -> str:
    return (
        f"{where}: expected at most {most / 1000:,.0f} KB, found {len(text.encode()) / 1000:,.0f}. "
        "Show less, or smaller pictures."
    )


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def parsed(text: str | None) -> Any | None:
    """The notebook, if it is valid, of format 4.5 and without widgets' state."""
    import nbformat
    from nbformat.reader import NotJSONError

    if text is None:
        return None
    try:
        notebook = nbformat.reads(text, as_version=nbformat.NO_CONVERT)
        nbformat.validate(notebook)
    except (nbformat.ValidationError, NotJSONError, KeyError, AttributeError):
        return None
    is_ours = (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    return notebook if is_ours and "widgets" not in notebook.metadata else None


def solved_before(folder: Path, name: str) -> Any | None:
    """The solved notebook that lies there, if it is one."""
    return parsed(_read(solution_file(folder, name)))
