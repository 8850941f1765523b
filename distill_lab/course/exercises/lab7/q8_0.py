"""Lab 7's exercise q8_0_block: 32 weights as the 34 bytes that llama.cpp reads."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from distill_lab.course.exercises.calling import result_of
from distill_lab.course.exercises.exercise import (
    Exercise,
    Function,
    Slip,
    Step,
    difference,
    on_results,
)
from distill_lab.course.exercises.lab7.answer_types import BYTES
from distill_lab.course.exercises.result_types import TENSOR
from distill_lab.models.quantization import gguf_blocks

BLOCK = gguf_blocks.BLOCK
SIZE = 34


def q8_0_block(weights: Tensor) -> Tensor:
    """The 34 bytes, uint8, of a block of 32 weights, float32."""
    return gguf_blocks.q8_0_block(weights)


# -- what is often given


def _bytes(
    weights: Tensor,
    scale: Tensor | None = None,
    rounded: Callable[[Tensor], Tensor] | None = None,
    stored: Tensor | None = None,
) -> Tensor:
    """Bytes of a block with another scale (), codes rounded otherwise, or another scale stored."""
    scale = weights.abs().max() / 127 if scale is None else scale
    ratio = weights / scale if scale != 0 else torch.zeros_like(weights)
    codes = (rounded or _away)(ratio)
    kept = scale.half() if stored is None else stored
    codes = ((codes + 128) % 256 - 128).to(torch.int8)
    return torch.cat([kept.reshape(1).view(torch.uint8), codes.view(torch.uint8)])


def _away(ratio: Tensor) -> Tensor:
    return ratio.sign() * (ratio.abs().double() + 0.5).floor()


def _instead(weights: Tensor) -> dict[str, Tensor]:
    """What is often given, and its bytes; of equal ones the first is named."""
    size, right = weights.abs().max(), q8_0_block(weights)
    scale, first = size / 127, right[:2]
    return {
        _EVEN: _bytes(weights, rounded=torch.round),
        _UP: _bytes(weights, rounded=lambda ratio: (ratio + 0.5).floor()),
        "What is behind the point is cut off: the nearest code is asked for.":
            _bytes(weights, rounded=torch.trunc),
        "The high byte of the scale comes first: a GGUF file has the low one first.":
            torch.cat([first.flip(0), right[2:]]),
        "The codes are made with the scale as a float16: it is rounded only where it is stored.":
            _bytes(weights, scale.half().float()),
        "Divided by 128: the codes of Q8_0 reach from -127 to 127.": _bytes(weights, size / 128),
        "Divided by 127.5: the codes of Q8_0 reach from -127 to 127.":
            _bytes(weights, size / 127.5),
        "The largest weight sets the scale: the largest size does, of either sign (abs()).":
            _bytes(weights, weights.max() / 127),
        "The scale is stored with a sign: it is max|w| / 127.":
            _bytes(weights, stored=-scale.half()),
        "The scale is stored as a bfloat16: a float16 is asked for.":
            _bytes(weights, stored=scale.bfloat16()),
        "One over the scale is stored: the scale is asked for.":
            _bytes(weights, stored=(1 / scale).half()),
        _LONG: torch.cat([scale.reshape(1).float().view(torch.uint8), right[2:]]),
        "The codes stand before the scale: the scale comes first.": torch.cat([right[2:], first]),
        "The scale is missing: two bytes before the codes.": right[2:],
        "The codes are counted from 128 up: they are int8, whose bytes .view(torch.uint8) shows.":
            torch.cat([first, right[2:] + 128]),
    }  # fmt: skip


# -- the check


def _shown(block: Tensor) -> str:
    numbers = block.tolist()
    shown = f"{numbers[:2]} {numbers[2:8]}"
    return shown.replace("]", " …]") if len(numbers) == SIZE else f"{len(numbers)} bytes, {shown}"


def _asked(function: Function, weights: Tensor, what: str) -> None:
    size = weights.abs().max().item()
    call = (
        f"q8_0_block of {what}: {[round(w, 6) for w in weights[:6].tolist()]} …, max|w| {size:.8g}"
    )
    right = q8_0_block(weights)
    yours = result_of(function, (weights,), call, _shown(right))
    if torch.equal(yours, right):
        return
    known = {
        name: other for name, other in _instead(weights).items() if not torch.equal(other, right)
    }
    names = [name for name, other in known.items() if torch.equal(yours, other)]
    says = names[0] if names else _difference(yours, right)
    raise difference(call, _shown(yours), _shown(right), says)


def _difference(yours: Tensor, right: Tensor) -> str:
    if len(yours) != len(right):
        return f"{len(yours)} bytes came: {SIZE} are asked for, 2 of the scale, 1 for each weight."
    place = int((yours != right).nonzero()[0])
    where = "of the scale" if place < 2 else f"the code of weight {place - 2}"
    return f"The first byte that differs is number {place}, {where}: {int(yours[place])}, and " \
        f"{int(right[place])} is expected."  # fmt: skip


def drawn(rng: random.Random) -> Tensor:
    """A block without ties. The largest weight is negative; its scale is so far off as a float16
    that some codes would differ if they were made with that."""
    while True:
        scale = torch.tensor(rng.uniform(0.01, 0.1))
        off = (scale.half().float() / scale - 1).item()
        if 3e-4 < abs(off) < 4.8e-4:
            break
    edge = -0.49 if off > 0 else 0.49  # with the float16 the next code would be nearer
    places = [rng.randint(112, 125) + edge for _ in range(3)]
    inner = [rng.randint(-126, 120) for _ in range(28)]
    places += [code + rng.choice((-1, 1)) * rng.uniform(0.1, 0.4) for code in inner]
    rng.shuffle(places)
    places.insert(rng.randrange(6), -127.0)
    return torch.tensor(places) * scale


def _block(function: Function, rng: random.Random) -> None:
    for _ in range(2):
        _asked(function, drawn(rng), "weights")


def _ties(function: Function, rng: random.Random) -> None:
    """The scale is a power of 2, so that halves are exact."""
    for signs in ((1, -1), (-1, 1)):
        first = [signs[n % 2] * (2 * rng.randint(0, 60) + 0.5) for n in range(5)]
        halves = [rng.randint(-126, 125) + 0.5 for _ in range(26)]
        weights = torch.tensor([*first, *halves, 127.0]) * 2.0 ** -rng.randint(3, 9)
        _asked(function, weights, "weights between two codes")


def _zeros(function: Function, rng: random.Random) -> None:
    """A block of zeros, and others, whose codes must only have the signs of their weights."""
    call, expected = "q8_0_block of 32 zeros", "34 zeros"
    yours = result_of(function, (torch.zeros(BLOCK),), call, expected)
    if len(yours) != SIZE or yours.any():
        says = "The scale of zeros is stored as 0, and each code is 0."
        raise difference(call, _shown(yours), expected, says)
    for _ in range(2):
        weights, call = drawn(rng), "q8_0_block of other weights"
        right = _shown(q8_0_block(weights))
        yours = result_of(function, (weights,), call, right)
        signs = yours[2:].view(torch.int8).sign()
        if len(yours) != SIZE or (signs * weights < 0).any() or not signs.any():
            raise difference(call, _shown(yours), right, "Mend what is said above first.")


def _unsigned(result: Any) -> Any:
    return TENSOR.plain(result).detach().int() % 256


_EVEN = "Of two equally near codes the even one is taken, as torch.round does: C's roundf takes "
_EVEN += "the one away from 0, 3 for 2.5 and -3 for -2.5."
_UP = "Of two equally near codes the greater is taken: away from 0 is meant, -3 for -2.5."
_LONG = "The scale is stored as a float32, of 4 bytes: a float16 has 2."
_INT8 = "These are numbers from -128 to 127: the same bytes as uint8 are asked for, "
_INT8 += ".view(torch.uint8)."
_ALL = "the scale as a float16, and 32 codes"
Q8_0_BLOCK = Exercise(
    "lab7",
    "q8_0_block",
    q8_0_block,
    (
        Step(_ALL, 2, _block),
        Step("of two equally near codes the one away from 0", 1, _ties),
        Step("a block of zeros", 1, _zeros),
    ),
    (
        "scale = weights.abs().max() / 127, and a code is w / scale, rounded. Ask first whether "
        "the scale is 0.",
        "x.sign() * (x.abs() + 0.5).floor() rounds halves away from 0.",
        "scale.half().reshape(1).view(torch.uint8) has two bytes, codes.to(torch.int8)"
        ".view(torch.uint8) 32; torch.cat puts them together.",
    ),
    BYTES,
    (Slip(_INT8, _ALL, on_results(_unsigned)),),
    minutes=20,
    difficulty="hard",
)
