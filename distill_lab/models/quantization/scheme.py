"""How a weight matrix becomes whole numbers: how many bits, which weights share a scale, and how
many bytes that takes, with what is needed to read the codes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor

from distill_lab.run.records import LabError

Per = Literal["tensor", "row", "column", "group"]
LEAST_BITS, MOST_BITS = 2, 16


@dataclass(frozen=True, slots=True)
class Scheme:
    """`bits` a weight, 2 to 16, and the weights that share one scale and one zero point.

    A weight is (out, in), as in `nn.Linear`. `row` is what is called per channel: one scale for
    each output, which a product with integers takes out of its sum. `column` is the wrong axis, to
    compare. `group` has one for each `group_size` neighbours in a row. `symmetric` codes run from
    -2^(bits-1) and have the zero point 0; the others run from 0. LabError for what is no scheme.
    """

    bits: int = 8
    symmetric: bool = True
    per: Per = "row"
    group_size: int = 0

    def __post_init__(self) -> None:
        require_bits(self.bits)
        if self.per not in get_args(Per):
            raise LabError(
                f"Scheme: expected one scale per {', '.join(get_args(Per))}; found {self.per!r}. "
                "Name one of these."
            )
        if (self.per == "group") != (type(self.group_size) is int and self.group_size > 0):
            raise LabError(
                f"Scheme: expected a group size with per='group' and with nothing else, found "
                f"{self.group_size!r} with per={self.per!r}. Say Scheme(4, per='group', "
                "group_size=32)."
            )

    @property
    def code_range(self) -> tuple[int, int]:
        """The least and the greatest code."""
        least = -(2 ** (self.bits - 1)) if self.symmetric else 0
        return least, least + 2**self.bits - 1

    def sharing(self, weight: Tensor) -> Tensor:
        """The weight (out, in) as (G, n): the n weights of each row share a scale. LabError where
        the group does not divide the input's width."""
        if self.per == "group":
            require_group(weight.shape[1], self.group_size)
        ways = {
            "tensor": lambda: weight.reshape(1, -1),
            "row": lambda: weight,
            "column": lambda: weight.T,
            "group": lambda: weight.reshape(-1, self.group_size),
        }
        return ways[self.per]()

    def restored(self, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What `sharing` made (G, n), as a matrix of this shape (out, in) again."""
        return rows.T if self.per == "column" else rows.reshape(shape)

    def n_scales(self, shape: tuple[int, ...]) -> int:
        """How many scales a weight of this shape (out, in) has."""
        n_out, n_in = shape
        if self.per == "group":
            return n_out * (require_group(n_in, self.group_size) // self.group_size)
        return {"tensor": 1, "row": n_out, "column": n_in}[self.per]


def size_bytes(shape: tuple[int, ...], scheme: Scheme, scale_bytes: int = 2) -> int:
    """Bytes of a weight of this shape (out, in): codes packed without gaps, a scale of
    `scale_bytes` for each group (2: float16), and where the scheme is asymmetric a zero point,
    which is a code too.

    4 bits in groups of 32 are 4.5 bits a weight, as in GGUF's Q4_0.
    """
    codes = math.prod(shape) * scheme.bits
    n_scales = scheme.n_scales(shape)
    zero_points = 0 if scheme.symmetric else n_scales * scheme.bits
    return math.ceil(codes / 8) + n_scales * scale_bytes + math.ceil(zero_points / 8)


def require_bits(bits: Any) -> int:
    """LabError unless it is a whole number from 2 to 16: with one bit there would be no zero."""
    if type(bits) is not int or not LEAST_BITS <= bits <= MOST_BITS:
        raise LabError(
            f"Bits: expected a whole number from {LEAST_BITS} to {MOST_BITS}, found {bits!r}. "
            "Take 8 or 4."
        )
    return bits


def require_group(width: int, group_size: int) -> int:
    """The width. LabError unless the group's size divides it."""
    if width % group_size:
        raise LabError(
            f"Group: expected a size that divides the input's width {width}, found {group_size}. "
            "Take another size, or one scale a row."
        )
    return width
