"""Keeps of the outputs only what the next build shows again, byte for byte.

Times, paths and memory addresses differ from run to run, and a widget shows nothing without its
kernel. A cell whose output is checked (`# NBVAL_CHECK_OUTPUT`) stays as it is.
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
    """Cleans a notebook that was run in the folder `work`: its outputs and metadata, in place."""
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
    return any(media_type.startswith(_WIDGET) for media_type in output.get("data", {}))


def _clean(output: Any, work: Path, exact: bool) -> None:
    if output.output_type == "stream":
        # of a progress bar, which rewrites its line, only the last state is kept
        lines = [line.rstrip("\r").rpartition("\r")[2] for line in output.text.split("\n")]
        output.text = "\n".join(lines) if exact else stable("\n".join(lines), work)
    for media_type, value in output.get("data", {}).items():
        if media_type.startswith("text/") and isinstance(value, str) and not exact:
            output.data[media_type] = stable(value, work)
        alt = output.metadata.get(media_type, {}).get("alt")
        if media_type.startswith("image/") and alt:  # not <IPython.core.display.Image object>
            output.data["text/plain"] = alt


def stable(text: str, work: Path) -> str:
    """The text without what differs from run to run."""
    short = {str(Path(__file__).parents[3]): "…", str(Path.home()): "~", sys.prefix: "…"}
    short |= {str(work): ".", str(work.resolve()): "."}
    for path in sorted(short, key=len, reverse=True):  # a folder before the one that holds it
        if len(path) > 1:
            text = text.replace(path, short[path])
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
