"""What `--prune.methods` names: `wanda:0.5`, `magnitude-row:2:4`, `blocks:2`, `neurons:0.5`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from distill_lab.run.records import LabError

SCORES = ("magnitude-tensor", "magnitude-row", "magnitude-global", "wanda", "wanda-one-shot")
_WITH_PATTERN = ("magnitude-row", "wanda", "wanda-one-shot")
BLOCKS, NEURONS = "blocks", "neurons"
_FORM = re.compile(r"(?P<name>[a-z-]+):(?P<amount>[^:]+)(?::(?P<of>[^:]+))?")


@dataclass(frozen=True, slots=True)
class Method:
    """One way to prune. `amount` is the share of zeros or of neurons, (n, m) of a pattern, or how
    many blocks go; `text` is what the user typed."""

    text: str
    name: str
    amount: float | tuple[int, int] | int

    @property
    def masks(self) -> bool:
        """Whether it leaves zeros where it found weights; else the model becomes smaller."""
        return self.name in SCORES

    @property
    def share(self) -> float | None:
        """The share of weights or neurons that go, 0 to 1; None where whole blocks are counted."""
        if isinstance(self.amount, tuple):
            return 1 - self.amount[0] / self.amount[1]
        return self.amount if isinstance(self.amount, float) else None

    @property
    def folder(self) -> str:
        """Its name as a folder's: no colon, which some file systems refuse."""
        return self.text.replace(":", "-")


def parse(text: str) -> Method:
    """The method that a text names. LabError where there is no such method, or no such amount."""
    match = _FORM.fullmatch(text)
    name = match["name"] if match else ""
    if match is None or name not in (*SCORES, BLOCKS, NEURONS):
        raise _error(text, f"a method and its amount, one of {', '.join(_EXAMPLES)}")
    if match["of"] is not None:
        return Method(text, name, _pattern(text, name, match["amount"], match["of"]))
    if name == BLOCKS:
        return Method(text, name, _whole(text, match["amount"], "a whole number of blocks"))
    return Method(text, name, _share(text, match["amount"]))


_EXAMPLES = (*(f"{name}:0.5" for name in SCORES), "wanda:2:4", "blocks:2", "neurons:0.5")


def parse_all(texts: Sequence[str], flag: str) -> list[Method]:
    """The methods of a setting, each named once. LabError for one that is named twice."""
    methods = [parse(text) for text in texts]
    twice = next((text for n, text in enumerate(texts) if text in texts[:n]), None)
    if twice:
        raise LabError(f"{flag}: expected each method once, found {twice} twice. Leave one out.")
    return methods


def _pattern(text: str, name: str, n: str, m: str) -> tuple[int, int]:
    if name not in _WITH_PATTERN:
        raise _error(text, f"n of m neighbours with {' or '.join(_WITH_PATTERN)} only")
    kept, of = (_whole(text, part, "whole numbers n:m, such as 2:4") for part in (n, m))
    if kept >= of:
        raise _error(text, "n of m neighbours with n below m, such as 2:4")
    return kept, of


def _share(text: str, amount: str) -> float:
    expected = "a share above 0 and below 1, such as 0.5"
    try:
        share = float(amount)
    except ValueError:
        raise _error(text, expected) from None
    if not 0 < share < 1:  # NaN is neither
        raise _error(text, expected)
    return share


def _whole(text: str, amount: str, expected: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", amount):
        raise _error(text, expected)
    return int(amount)


def _error(text: str, expected: str) -> LabError:
    return LabError(f"--prune.methods: expected {expected}; found {text!r}.")
