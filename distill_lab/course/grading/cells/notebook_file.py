"""A submission's file as cells. Whatever is wrong with it becomes a sentence for its student."""

from __future__ import annotations

import json
from typing import Any

from distill_lab.course.exercises import matching
from distill_lab.run.records import LabError

MOST_CELLS, MOST_CODE = 10_000, 1_000_000  # characters; a lab's notebook has some ten thousand


def read_cells(data: bytes) -> list[dict[str, Any]]:
    """The cells of a notebook, of any nbformat: source as one text, without outputs. LabError says
    what was found instead."""
    if not data.strip():
        raise LabError("Expected a notebook, found an empty file. Save it again and hand it in.")
    try:
        whole = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise LabError(
            "Expected a notebook (.ipynb), found a file that is no text. Hand in the notebook "
            "itself, not an archive or a picture of it."
        ) from None
    except (ValueError, RecursionError):
        begin = data[:40].decode("utf-8", "replace").split("\n")[0]
        raise LabError(
            f"Expected a notebook (.ipynb, which is JSON), found a text that begins with {begin!r}."
            " In Jupyter: File, Save; in Colab: File, Download, Download .ipynb."
        ) from None
    listed = _listed(whole)
    if listed is None:
        raise LabError("Expected a notebook with cells, found other JSON. Hand in the .ipynb file.")
    read = [_cell(cell) for cell in listed[: MOST_CELLS + 1] if isinstance(cell, dict)]
    size = sum(len(cell["source"]) for cell in read)
    if len(listed) > MOST_CELLS or size > MOST_CODE:
        raise LabError(
            f"Expected at most {MOST_CELLS:,} cells with {MOST_CODE:,} characters of text, found "
            f"{len(listed):,} with {size:,}. Data belongs in a file: take it out of the cells."
        )
    return read


def without_surrogates(text: str) -> str:
    """With `?` for halves of characters (JSON may spell them, and names of files have them for
    bytes that are no UTF-8): no file in UTF-8 can hold them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _listed(whole: Any) -> list[Any] | None:
    """The cells of format 4, or of the worksheets of format 3."""
    if not isinstance(whole, dict):
        return None
    if isinstance(whole.get("cells"), list):
        return whole["cells"]
    sheets = whole.get("worksheets")
    if not isinstance(sheets, list):
        return None
    listed = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)]
    return [cell for cells in listed if isinstance(cells, list) for cell in cells]


def _cell(cell: dict[str, Any]) -> dict[str, Any]:
    """What is looked at of a cell. Format 3 called its source `input`; a cell without a type that
    may hold code is taken for code."""
    source = matching.source_of({"source": cell.get("source", cell.get("input", ""))})
    metadata = cell.get("metadata")
    return {
        "cell_type": str(cell.get("cell_type", "code")),
        "id": without_surrogates(str(cell.get("id", ""))),
        "metadata": metadata if isinstance(metadata, dict) else {},
        "source": without_surrogates(source),
        "execution_count": cell.get("execution_count", cell.get("prompt_number")),
    }
