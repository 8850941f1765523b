"""Numbers in prose: each names its source, and the check holds it there.

In a source's text cells a figure is a placeholder, `{tiny.sft.em}` or with a format
`{tiny.sft.em:.0f}`; the builder puts the number there. A number that no figure is behind says what
it is, `{setting:8}`, and the builder leaves the number. In Markdown files the number stands first
and a comment behind it: `50.8<!-- tiny.sft.em -->`, `8<!-- setting -->`; a table that is a figure
as a whole has the comment on the line above it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from distill_lab.run.records import LabError

Figure = float | int | str

# What a number may be that was not measured here: follows from numbers beside it; was chosen (a
# setting, a size, an example); stands in the text that is named; is an estimate, and says so.
MARKS = ("arithmetic", "setting", "cited", "rough")

_KEY = r"[A-Za-z][\w-]*(?:\.[\w-]+)+"
_HOLE = re.compile(rf"\{{(?:({_KEY})(?::([^{{}}:]+))?|({'|'.join(MARKS)}):([^{{}}]+))\}}")
_NUMBER = re.compile(r"\d(?:[\d,]*\d)?(?:\.\d+)?")
_MARKED = re.compile(rf"({_NUMBER.pattern})<!-- ([\w.-]+) -->")
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
    """A text cell with its figures in place, and the words that mark other numbers taken out.

    LabError for a figure that no file has.
    """

    def number(hole: re.Match[str]) -> str:
        key, form, _, marked = hole.groups()
        return marked if key is None else shown(_figure(key, figures), form)

    return _HOLE.sub(number, text)


def shown(figure: Figure, form: str | None = None) -> str:
    """As it stands in a text: whole numbers with thousands, others with one decimal."""
    if isinstance(figure, str):
        return figure
    return format(figure, form or (",d" if isinstance(figure, int) else ",.1f")).replace("-", "−")


def _figure(key: str, figures: Mapping[str, Figure]) -> Figure:
    if key not in figures:
        raise LabError(
            f"expected a figure of lab_notebooks/figures, found none named {key}. Measure it, or "
            "mend the name."
        )
    return figures[key]


def of_cell(text: str, figures: Mapping[str, Figure]) -> Iterator[str]:
    """What is wrong with the numbers of a source's text cell."""
    for hole in _HOLE.finditer(text):
        if hole[1] and hole[1] not in figures:
            yield _unknown(hole[1])
    yield from _bare(_HOLE.sub(" ", text), "{setting:…}")


def of_markdown(text: str, figures: Mapping[str, Figure]) -> Iterator[str]:
    """What is wrong with the numbers of a Markdown file."""
    for block in _BLOCK.finditer(text):
        if block[1] not in figures:
            yield _unknown(block[1])
        elif block[2].strip() != figures[block[1]]:
            yield (
                f"expected the table {block[1]} as it is in its source, found another. Copy it "
                "from there."
            )
    text = _BLOCK.sub("\n", text)
    for number, key in _MARKED.findall(text):
        if key not in MARKS:
            yield from _held(number, key, figures)
    yield from _bare(_MARKED.sub(" ", text), "<!-- setting -->")


def _held(number: str, key: str, figures: Mapping[str, Figure]) -> Iterator[str]:
    """A number that is another than its source's, at the decimals that it is given with."""
    if key not in figures:
        yield _unknown(key)
        return
    figure, decimals = figures[key], len(number.partition(".")[2])
    expected = figure if isinstance(figure, str) else format(figure, f",.{decimals}f")
    if number != expected:
        yield f"expected {expected} as in {key}, found {number}. Mend it, or measure again."


def _bare(text: str, mark: str) -> Iterator[str]:
    """Numbers that say nothing of their source."""
    plain = _NAMES.sub(" ", text)
    for number in _NUMBER.finditer(plain):
        near = " ".join(plain[max(0, number.start() - 30) : number.end() + 20].split())
        yield (
            f"expected a source for the number {number[0]}, found none (… {near} …). Name its "
            f"figure, or what it is: {mark} or another of {', '.join(MARKS)}."
        )


def _unknown(key: str) -> str:
    return f"expected a figure that a file has, found {key}. Measure it, or mend the name."
