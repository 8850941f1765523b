"""What is kept of the outputs: what the next build would show again, byte for byte.

Times, paths and addresses in memory differ from one run to the next, and a widget is nothing
without its kernel. A cell whose output is checked (`# NBVAL_CHECK_OUTPUT`) is left as it is.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from distill_lab.course.builder.make import METADATA

CHECKED = "# NBVAL_CHECK_OUTPUT"
_WIDGET = "application/vnd.jupyter.widget"
_NUMBER = r"\b[\d,]+(?:\.\d+)?(?: to [\d,]+(?:\.\d+)?)?"  # or a range
_PATTERNS = (
    (re.compile(r"\S*ipykernel_\d+/\d+\.py"), "<cell>"),
    (re.compile(r"\b0x[0-9a-f]{6,}\b"), "0x…"),
    (re.compile(_NUMBER + r"(?= ?(?:ms|s|seconds?|min|minutes?|h|hours?)\b)"), "…"),  # 12.3 s
    (re.compile(_NUMBER + r"(?= ?(?:\w+/s|\w+ a second)\b)"), "…"),  # 1,200 tokens/s
)


def clean(notebook: Any, work: Path) -> None:
    """Outputs and metadata of a notebook that was run in the folder `work`, in place."""
    from nbformat import from_dict

    notebook.metadata = from_dict(METADATA)  # the kernel writes its versions there
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        cell.outputs = [o for o in cell.outputs if not _is_widget(o)]
        for output in cell.outputs:
            _clean(output, work, exact=cell.source.startswith(CHECKED))


def _is_widget(output: Any) -> bool:
    return any(kind.startswith(_WIDGET) for kind in output.get("data", {}))


def _clean(output: Any, work: Path, exact: bool) -> None:
    if output.output_type == "stream":
        output.text = _last_of_each_line(output.text)
        output.text = output.text if exact else stable(output.text, work)
    for kind, value in output.get("data", {}).items():
        if kind.startswith("text/") and isinstance(value, str) and not exact:
            output.data[kind] = stable(value, work)
        alt = output.metadata.get(kind, {}).get("alt")
        if kind.startswith("image/") and alt:  # not <IPython.core.display.Image object>
            output.data["text/plain"] = alt


def _last_of_each_line(text: str) -> str:
    """What stands there after the carriage returns of a progress bar."""
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return "\n".join(lines)


def stable(text: str, work: Path) -> str:
    """A text without what differs from one run to the next."""
    places = {str(work): ".", str(work.resolve()): ".", sys.prefix: "…", str(Path.home()): "~"}
    repository = str(Path(__file__).parents[3])
    for place in sorted([*places, repository], key=len, reverse=True):
        if len(place) > 1:
            text = text.replace(place, places.get(place, "…"))
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text
