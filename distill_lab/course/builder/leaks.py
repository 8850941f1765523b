"""What must not stand in a file that students get: lines of a solution, secrets, paths of the
machine that it was made on."""

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
_DOES = set("+-*/%@<>.[{&|")  # what a line must have to say how something is done


def solution_lines(notebook: Any, sources: Iterable[Source]) -> Iterator[str]:
    """Which telling lines of the sources' solutions stand in a student's notebook, and where."""
    texts = [(cell.id, _squeezed(cell.source)) for cell in notebook.cells]
    for source in sources:
        for exercise in (cell for cell in source.cells if cell.role == "exercise"):
            for line in filter(is_telling, exercise.solution):
                for id, text in texts:
                    if _squeezed(line) in text:
                        yield (
                            f"cell {id}: expected nothing of the solution of {exercise.id} "
                            f"({source.name}), found `{line.strip()}`. Say it otherwise."
                        )


def is_telling(line: str) -> bool:
    """Whether a line gives something away: `return total` or `for a in b:` do not."""
    code = line.strip()
    words = _WORDS.findall(code)
    if not words or code.startswith("#"):
        return False
    return len(words) >= 10 or (len(words) >= 5 and bool(_DOES & set(words)))


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def private(notebook: Any) -> Iterator[str]:
    """Secrets and absolute paths, in sources and in what was printed."""
    for cell in notebook.cells:
        for text in _texts(cell):
            for pattern, what in ((_TOKEN, "token"), (_PATH, "absolute path")):
                found = pattern.search(text)
                if found:
                    shown = found[0] if pattern is _PATH else found[0][:6] + "…"
                    yield f"cell {cell.id}: expected no {what}, found {shown}. Take it out."


def _texts(cell: Any) -> Iterator[str]:
    yield cell.source
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        for kind, value in output.get("data", {}).items():
            if kind.startswith("text/"):
                yield str(value)
