"""Shows pictures and tables in a notebook, each also as a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distill_lab.reporting.plots import Plot


def show(*pictures: Plot) -> None:
    """Shows pictures with their alternative text in a notebook's output. Below each, the text is
    there again, folded, because some screen readers read only that."""
    from html import escape

    from IPython.display import Image, display  # type: ignore[attr-defined]

    for picture in pictures:
        if picture.png is None:
            print(picture.alt)
            continue
        display(Image(picture.png, alt=picture.alt))
        summary = f"<summary>The picture in words</summary>{escape(picture.alt)}"
        display({"text/html": f"<details>{summary}</details>", "text/plain": picture.alt}, raw=True)


def table(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> None:
    """Shows rows as a table: as HTML in a notebook, as Markdown where only text is shown. None
    becomes a dash."""
    from IPython.display import display

    display(as_table(rows, columns), raw=True)


def as_table(
    rows: Sequence[Sequence[Any]], columns: Sequence[str], caption: str = ""
) -> dict[str, str]:
    """The table in both forms, by media type; a caption stands above it."""
    from html import escape

    left = "style=text-align:left"
    cells = [[f"<td {left}>{escape(_cell(value))}</td>" for value in row] for row in rows]
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    head = "".join(f"<th>{escape(str(column))}</th>" for column in columns)
    above = f"<caption {left}>{escape(caption)}</caption>" if caption else ""
    plain = f"{caption}\n\n" if caption else ""
    return {
        "text/html": f"<table>{above}<tr>{head}</tr>{body}</table>",
        "text/plain": plain + markdown(rows, columns),
    }


def markdown(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> str:
    """Rows as a Markdown table. None becomes a dash."""
    lines = (columns, ["---"] * len(columns), *rows)
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: Any) -> str:
    return "–" if value is None else str(value)
