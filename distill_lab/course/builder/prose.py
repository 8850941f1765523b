"""Numbers in prose: each names its source, and the check compares it with that source.

In a source's text cells a figure is a placeholder, `{tiny.sft.em}`, or with a format
`{tiny.sft.em:.0f}`; the builder replaces it by the number. A number without a figure says what it
is, `{setting:8}`, and the builder keeps the number. In Markdown files the number comes first and a
comment after it: `43.8<!-- tiny.sft.em -->`, `8<!-- setting -->`. If a whole table is a figure, the
comment is on the line above it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from distill_lab.run.records import LabError

Figure = float | int | str

# What a number is that was not measured here: it follows from numbers beside it; it was chosen (a
# setting, a size, an example); it stands in the text that is named; it is an estimate, and says so.
MARKS = ("arithmetic", "setting", "cited", "rough")

_KEY = r"[A-Za-z][\w-]*(?:\.[\w-]+)+"
_HOLE = re.compile(rf"\{{(?:({_KEY})(?::([^{{}}:]+))?|({'|'.join(MARKS)}):([^{{}}]+))\}}")
_NUMBER = re.compile(r"\d(?:[\d,]*\d)?(?:\.\d+)?")
_MARKED = re.compile(rf"(−?{_NUMBER.pattern})<!-- ([\w.-]+) -->")
_BLOCK = re.compile(rf"^<!-- ({_KEY}) -->\n((?:.+\n?)*)", re.MULTILINE)

# Digits that count nothing: code, formulas and links; names, years, and places in a text.
_PLACES = "lab part section table stage step exit exercise sample seed".split()
_VERSIONED = "arXiv version SQuAD Python Linux Apache torch BY-SA".split()
_NAMES = re.compile(
    "|".join(
        (
            r"```.*?```|^    .*?$|`[^`]*`|\$\$.*?\$\$|\$[^$\n]+\$",
            r"\[[\d.]+\]\(|\]\([^)]*\)|https?://\S+|<summary>\d+\. |<[^>]+>",
            r"^#+ \d+\.|^\s*\d+\. |\(\d+ points?\)|\b\d+(?:\.\d+){2,}",  # 1.15.0
            rf"\b(?:(?i:{'|'.join(_PLACES)})s?|{'|'.join(_VERSIONED)}) \d[\d.]*"
            r"(?:(?:, | and | to | or )\d[\d.]*)*",  # tables 4, 5 and 6
            r"(?<![\d.])(?:19|20)\d\d(?!\d|\.\d)",  # years
            r"[A-Za-zα-ω_@²‖-]*[A-Za-z@²]-?\d[\w.]*(?:-[\w.]+)*",  # R1, Qwen2.5-0.5B, cons@64
            r"\b\d[\d.]*[A-Za-z]\w*|\b\d+-[a-z]+",  # 5a, 32B, 16-bit
            r"\b[A-Za-zα]+ = -?\d(?:[\d.]*\d)?",  # T = 1
        )
    ),
    re.MULTILINE | re.DOTALL,
)


def filled(text: str, figures: Mapping[str, Figure]) -> str:
    """A text cell with its figures in place, and without the marks of its other numbers.

    Raises LabError for a figure that no file has.
    """

    def number(hole: re.Match[str]) -> str:
        key, form, _, marked = hole.groups()
        if key is None:
            return marked
        if key not in figures:
            raise LabError(_unknown(key))
        return shown(figures[key], form)

    return _HOLE.sub(number, text)


def shown(figure: Figure, form: str | None = None) -> str:
    """A figure as text; by default whole numbers with thousands, others with one decimal."""
    if isinstance(figure, str):
        return figure
    return _minus(format(figure, form or (",d" if isinstance(figure, int) else ",.1f")))


def of_cell(text: str, figures: Mapping[str, Figure]) -> Iterator[str]:
    """Finds what is wrong with the numbers of a source's text cell."""
    keys = [hole[1] for hole in _HOLE.finditer(text)]
    yield from (_unknown(key) for key in keys if key and key not in figures)
    yield from _without_source(_HOLE.sub(" ", text), "{setting:…}")


def of_markdown(text: str, figures: Mapping[str, Figure]) -> Iterator[str]:
    """Finds what is wrong with the numbers of a Markdown file."""
    for key, table in _BLOCK.findall(text):
        if key not in figures:
            yield _unknown(key)
        elif table.strip() != figures[key]:
            yield f"expected the table {key} as in its source, found another. Copy it from there."
    text = _BLOCK.sub("\n", text)
    for number, key in _MARKED.findall(text):
        if key in MARKS:
            continue
        if key not in figures:
            yield _unknown(key)
        elif number != (expected := _with_decimals_of(number, figures[key])):
            yield f"expected {expected} as in {key}, found {number}. Correct it, or measure again."
    yield from _without_source(_MARKED.sub(" ", text), "<!-- setting -->")


def with_tables(text: str, figures: Mapping[str, Figure]) -> str:
    """A Markdown text with each of these tables in its place: below the comment that names it, up
    to the next empty line."""

    def table(place: re.Match[str]) -> str:
        found = figures.get(place[1], "")
        return f"<!-- {place[1]} -->\n{found}\n" if found else place[0]

    return _BLOCK.sub(table, text)


def _with_decimals_of(number: str, figure: Figure) -> str:
    decimals = len(number.partition(".")[2])
    return figure if isinstance(figure, str) else _minus(format(figure, f",.{decimals}f"))


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _without_source(text: str, mark: str) -> Iterator[str]:
    plain = _NAMES.sub(" ", text)
    for number in _NUMBER.finditer(plain):
        near = " ".join(plain[max(0, number.start() - 30) : number.end() + 20].split())
        yield (
            f"expected a source for the number {number[0]}, found none (… {near} …). Name its "
            f"figure, or say what it is: {mark}, or another of {', '.join(MARKS)}."
        )


def _unknown(key: str) -> str:
    return (
        f"expected a figure of lab_notebooks/figures, found none named {key}. Measure it, or "
        "correct the name."
    )
