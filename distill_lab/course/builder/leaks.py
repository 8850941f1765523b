"""Finds what must not be in a file that students get: lines of a solution, secrets, and paths of
the machine that it was made on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from distill_lab.course.builder.source import Source

_TOKEN = re.compile(r"\b(hf_|ghp_|gho_|ghs_|github_pat_|sk-|glpat-)\w{16,}")
# /content is Colab's own folder, the same for all
_PATH = re.compile(
    r"(?<![\w/.:~…-])(/(home|Users|root|tmp|private|var|opt|mnt|usr|work)/[\w./-]+"
    r"|[A-Z]:\\\\?\w[\w.\\]+)"
)
_WORDS = re.compile(r"\w+|[^\w\s]")
_OPERATORS = set("+-*/%@<>.[{&|")  # a line must have one of them to say how something is done


def solution_lines(notebook: Any, sources: Iterable[Source]) -> Iterator[str]:
    """Finds the telling lines of the sources' solutions in a student's notebook."""
    texts = [(cell.id, _squeezed(cell.source)) for cell in notebook.cells]
    lines = (
        (source.name, exercise.id, line)
        for source in sources
        for exercise in source.cells
        for line in exercise.solution
        if is_telling(line)
    )
    for name, exercise, line in lines:
        for id in (id for id, text in texts if _squeezed(line) in text):
            yield (
                f"cell {id}: expected nothing of the solution of {exercise} ({name}), found "
                f"`{line.strip()}`. Say it in another way."
            )


def is_telling(line: str) -> bool:
    """Whether a line of code gives something away: `return total` or `for a in b:` do not."""
    code = line.strip()
    words = _WORDS.findall(code)
    if not words or code.startswith("#"):
        return False
    return len(words) >= 10 or (len(words) >= 5 and bool(_OPERATORS & set(words)))


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def private(notebook: Any) -> Iterator[str]:
    """Finds secrets and absolute paths, in sources and in what was printed."""
    for cell in notebook.cells:
        text = "\n".join(_texts(cell))
        for pattern, what in ((_TOKEN, "token"), (_PATH, "absolute path")):
            if match := pattern.search(text):
                shown = match[0] if pattern is _PATH else match[0][:6] + "…"
                yield f"cell {cell.id}: expected no {what}, found {shown}. Take it out."


def _texts(cell: Any) -> Iterator[str]:
    yield cell.source
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        data = output.get("data", {})
        yield from (str(value) for name, value in data.items() if name.startswith("text/"))
