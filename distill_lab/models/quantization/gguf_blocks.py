"""GGUF's blocks of 32 weights, as llama.cpp and its package `gguf` write them, byte for byte.

Q8_0: a float16 scale and 32 int8 codes, 34 bytes, 8.5 bits a weight. Q4_0: a float16 scale and 32
codes of 4 bits, 18 bytes, 4.5 bits a weight. (ggml-quants.c, quantize_row_q8_0_ref and
quantize_row_q4_0_ref.)
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 32


def q8_0_block(weights: Tensor) -> Tensor:
    """Blocks (..., 32) of float32 as bytes (..., 34), uint8.

    The scale is max|w| / 127. Codes are rounded with the scale as it is in float32, of two equally
    near ones away from 0; what is kept of the scale is float16.
    """
    scale = weights.abs().amax(-1, keepdim=True) / 127  # (..., 1)
    codes = _away_from_zero(weights * _inverse(scale)).to(torch.int8)
    return torch.cat([_half_bytes(scale), codes.view(torch.uint8)], -1)


def q8_0_weights(blocks: Tensor) -> Tensor:
    """The weights (..., 32), float32, of bytes (..., 34)."""
    return _half(blocks) * blocks[..., 2:].contiguous().view(torch.int8).float()


def q4_0_block(weights: Tensor) -> Tensor:
    """Blocks (..., 32) of float32 as bytes (..., 18), uint8.

    The scale is that of the weight with the largest |w|, which becomes code 0, that is -8: so all
    16 codes, -8 to 7, are used. Byte j holds weight j in its low half, weight j + 16 in its high.
    """
    at = weights.abs().argmax(-1, keepdim=True)
    scale = weights.gather(-1, at) / -8  # (..., 1), with the sign of its weight turned
    codes = (weights * _inverse(scale) + 8.5).trunc().to(torch.uint8).clamp(0, 15)
    low, high = codes.chunk(2, -1)  # (..., 16) each
    return torch.cat([_half_bytes(scale), low | (high << 4)], -1)


def q4_0_weights(blocks: Tensor) -> Tensor:
    """The weights (..., 32), float32, of bytes (..., 18)."""
    codes = torch.cat([blocks[..., 2:] & 15, blocks[..., 2:] >> 4], -1)  # (..., 32)
    return _half(blocks) * (codes.float() - 8)


def _inverse(scale: Tensor) -> Tensor:
    """1 / scale, and 0 for a block of zeros."""
    return torch.where(scale == 0, 0, 1 / scale)


def _away_from_zero(values: Tensor) -> Tensor:
    """C's roundf: 2.5 becomes 3 and -2.5 becomes -3, where torch.round takes the even one."""
    whole = values.abs().floor()
    return values.sign() * (whole + (2 * (values.abs() - whole)).floor())


def _half_bytes(scale: Tensor) -> Tensor:
    """The two bytes (..., 2) of a scale (..., 1)."""
    return scale.half().view(torch.uint8)


def _half(blocks: Tensor) -> Tensor:
    """The scale (..., 1), float32, of blocks of bytes."""
    return blocks[..., :2].contiguous().view(torch.float16).float()
