"""Blocks of 32 weights against the package `gguf`, byte for byte, and against rows by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, quants
from torch import Tensor

from distill_lab.models.quantization.gguf_blocks import (
    q4_0_block,
    q4_0_weights,
    q8_0_block,
    q8_0_weights,
)

KINDS = {
    "Q8_0": (q8_0_block, q8_0_weights, 34),
    "Q4_0": (q4_0_block, q4_0_weights, 18),
}


def rows() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)

    def normal(n: int = 64) -> np.ndarray:
        return random.standard_normal((n, 64)).astype(np.float32)

    half_steps = random.integers(-16, 17, (64, 64)).astype(np.float32) / 2
    ties = {"Q8_0": half_steps.copy(), "Q4_0": half_steps.copy()}
    for kind, most in (("Q8_0", 127), ("Q4_0", 8)):  # a step is 1, so that halves are ties
        ties[kind][:, 0], ties[kind][:, 32] = most, -most
    largest = np.abs(normal()[:, :1]) + 1
    odd = {kind: half_steps * (largest / steps) for kind, steps in (("Q8_0", 127), ("Q4_0", 8))}
    for kind in odd:
        odd[kind][:, 0] = odd[kind][:, 32] = largest[:, 0]
    sizes = 10.0 ** random.integers(-30, 30, (64, 1))
    return {
        "random": normal(),
        "constant": np.full((16, 64), 0.37, np.float32),
        "constant below 0": np.full((16, 64), -1.5, np.float32),
        "zero": np.zeros((16, 64), np.float32),
        "minus zero": np.zeros((16, 64), np.float32) * -1,
        "huge: the scale is beyond float16": normal(16) * 1e37,
        "tiny: the scale is 0 in float16": normal(16) * np.float32(1e-35),
        "of all sizes": (normal() * sizes).astype(np.float32),
        "ties of Q8_0": ties["Q8_0"],
        "ties of Q4_0": ties["Q4_0"],
        "ties of Q8_0 but for a rounding": odd["Q8_0"],
        "ties of Q4_0 but for a rounding": odd["Q4_0"],
        "equal largest of both signs": np.tile(np.array([-3, 3, 1, 2], np.float32), (4, 16)),
    }


def blocks(array: np.ndarray, size: int) -> Tensor:
    return torch.from_numpy(array).reshape(len(array), -1, size)


@pytest.mark.parametrize("name", rows())
@pytest.mark.parametrize("kind", KINDS)
def test_bytes_and_weights_are_those_of_the_package_gguf(kind, name):
    to_bytes, to_weights, size = KINDS[kind]
    weights, code = rows()[name], GGMLQuantizationType[kind]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        expected = quants.quantize(weights, code)
        back = quants.dequantize(expected, code)
    assert np.array_equal(to_bytes(blocks(weights, 32)).reshape(len(weights), -1).numpy(), expected)
    made = to_weights(blocks(expected, size)).reshape(weights.shape).numpy()
    assert np.array_equal(made, back, equal_nan=True)


def one(to_bytes: Callable[[Tensor], Tensor], *values: float) -> tuple[float, list[int]]:
    """The scale and the code bytes of a block of these values and zeros."""
    made = to_bytes(torch.tensor([*values, *[0.0] * (32 - len(values))]))
    return made[:2].view(torch.float16).item(), made[2:].tolist()


def test_a_block_of_q8_0_by_hand():
    scale, codes = one(q8_0_block, 127.0, -127.0, 2.5, -2.5, 0.5)
    assert (scale, codes[:6]) == (1.0, [127, 256 - 127, 3, 256 - 3, 1, 0])


def test_a_block_of_q4_0_by_hand():
    """Weight 0 in the low half of byte 0, weight 16 in its high half; 0 is code 8."""
    scale, codes = one(q4_0_block, -8.0, 7.0, 1.0, *[0.0] * 13, 3.0)
    assert scale == 1.0
    assert codes[:4] == [0 | (11 << 4), 15 | (8 << 4), 9 | (8 << 4), 8 | (8 << 4)]
    scale, codes = one(q4_0_block, 8.0, -7.0)  # the largest is above 0: the scale is below
    assert (scale, codes[:2]) == (-1.0, [0 | (8 << 4), 15 | (8 << 4)])
