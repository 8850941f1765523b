"""What `--quantize.ways` names: `bfloat16`, `int8`, `nf4`, `q8_0`, `round-8`, `gptq-4-g32`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from distill_lab.run.records import LabError

if TYPE_CHECKING:  # a help text loads no torch
    from distill_lab.models.quantization.scheme import Scheme

Kind = Literal["float", "back end", "gguf", "codes"]
_NAMED: dict[str, Kind] = {
    "float32": "float", "bfloat16": "float", "float16": "float",
    "int8": "back end", "nf4": "back end",
    "f16": "gguf", "q8_0": "gguf", "q4_0": "gguf",
}  # fmt: skip
METHODS = ("round", "clip", "awq", "gptq")
_FORM = re.compile(r"(?P<method>[a-z]+)-(?P<bits>[0-9]{1,3})(?:-g(?P<group>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to keep a model: floats of fewer bits, packed by a back end, a GGUF file, or codes of
    ours by a `method`, with one scale a row, or one for `group` weights where that is not 0."""

    text: str
    kind: Kind
    method: str = ""
    bits: int = 0
    group: int = 0

    @property
    def computes(self) -> bool:
        """Whether it also computes in this form; files of the others are read back as floats, whose
        speed is no other than before."""
        return self.kind in ("float", "back end")

    @property
    def dtype(self) -> str | None:
        """In which it is loaded; None: as the dense model."""
        return self.text if self.kind == "float" else None

    @property
    def calibrated(self) -> bool:
        """Whether it reads texts to choose its codes."""
        return self.method in ("awq", "gptq")

    @property
    def plain(self) -> str:
        """The way of the same bits and groups that rounds and does no more."""
        return self.text.replace(self.method, "round", 1) if self.method else self.text

    def scheme(self) -> Scheme:
        """Of codes of ours. LabError where there is none with so many bits."""
        from distill_lab.models.quantization.scheme import Scheme

        per = "group" if self.group else "row"
        return Scheme(self.bits, per=per, group_size=self.group)


def parse(text: str, flag: str = "--quantize.ways") -> Way:
    """The way that a text names. LabError, with the setting's flag, where there is none, or none
    with so many bits."""
    if text in _NAMED:
        return Way(text, _NAMED[text])
    match = _FORM.fullmatch(text)
    if not match or match["method"] not in METHODS or match["group"] == "0":
        names = ", ".join(_NAMED)
        raise LabError(
            f"{flag}: expected one of {names}, or one of {', '.join(METHODS)} with its "
            f"bits and the size of its groups, such as round-8 or gptq-4-g32; found {text!r}."
        )
    bits = int(match["bits"])
    if not 2 <= bits <= 16:
        raise LabError(
            f"{flag}: expected 2 to 16 bits, found {bits} in {text!r}: with one there "
            "would be no zero. Take 8 or 4."
        )
    return Way(text, "codes", match["method"], bits, int(match["group"] or 0))


def parse_all(texts: Sequence[str], flag: str) -> list[Way]:
    """The ways of a setting, each named once. LabError for one that is named twice."""
    twice = next((text for n, text in enumerate(texts) if text in texts[:n]), None)
    if twice:
        raise LabError(f"{flag}: expected each way once, found {twice} twice. Leave one out.")
    return [parse(text, flag) for text in texts]
