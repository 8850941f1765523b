"""Lab 7's exercises: ours agree with torch, with gguf and with tables by hand, and honest oddities
keep their points."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, quants

from distill_lab.course.exercises import find, report
from distill_lab.course.exercises.exercise import judge
from distill_lab.course.exercises.lab7.clipping import clip_search
from distill_lab.course.exercises.lab7.codes import quantize
from distill_lab.course.exercises.lab7.decoding import dequantize
from distill_lab.course.exercises.lab7.fake import fake_quant
from distill_lab.course.exercises.lab7.model_sizes import predict_size
from distill_lab.course.exercises.lab7.q8_0 import q8_0_block
from distill_lab.course.exercises.lab7.scales import scale_and_zero_point
from distill_lab.course.exercises.lab7.sizes import size_bytes
from distill_lab.course.exercises.lab7.traced import on_a_weight

SEEDS = range(5)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# -- ours


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_codes_and_weights_are_those_of_torch(bits, symmetric):
    rows = normal(6, 32)
    scale, zero_point = scale_and_zero_point(rows, bits, symmetric)
    codes = quantize(rows, scale, zero_point, bits, symmetric)
    low = -(2 ** (bits - 1)) if symmetric else 0
    ends = (low, low + 2**bits - 1)
    theirs = torch.fake_quantize_per_channel_affine(
        rows, scale[:, 0], zero_point[:, 0].int(), 0, *ends
    )
    is_clear = ((rows / scale).frac().abs() - 0.5).abs() > 1e-4  # -max|w| is between two codes
    ours = dequantize(codes, scale, zero_point)
    torch.testing.assert_close(ours[is_clear], theirs[is_clear])
    assert codes.min() >= low
    assert codes.max() <= ends[1]
    assert ((ours - rows).abs() <= 0.5001 * scale).all()
    if symmetric:
        assert torch.equal(fake_quant(rows, bits), ours)


@pytest.mark.parametrize(
    ("row", "symmetric", "scale", "zero_point"),
    [
        ([0.5, -1.5], True, 1.0, 0),
        ([0.5, -1.0, 2.0], False, 1.0, 1),
        ([2.0, 3.0], False, 1.0, 0),  # from 0, not from 2
        ([-1.0, -3.0], False, 1.0, 3),
    ],
)
def test_scales_of_two_bits_by_hand(row, symmetric, scale, zero_point):
    found = scale_and_zero_point(torch.tensor([row]), 2, symmetric)
    assert [part.item() for part in found] == [scale, zero_point]


def test_bytes_by_hand():
    assert size_bytes((3, 8), 4, 0, True) == 12 + 3 * 2
    assert size_bytes((3, 8), 4, 0, False) == 12 + 3 * 2 + 2
    assert size_bytes((3, 128), 4, 32, True) == 12 * 18  # Q4_0's blocks
    shapes = {"embed": (8, 4), "up": (2, 4), "norm": (4,), "head": (8, 4)}
    assert predict_size(shapes, {"head": "embed"}, ["up"], 8, 0) == 4 * 32 + (8 + 2 * 2) + 4 * 4
    assert predict_size(shapes, {}, ["up"], 8, 0) - 4 * 32 == 4 * 32 + 12 + 16


def test_the_bytes_of_a_block_are_those_of_gguf():
    weights = normal(32)
    theirs = quants.quantize(weights.numpy(), GGMLQuantizationType.Q8_0)
    assert q8_0_block(weights).tolist() == theirs.tolist()


def test_a_clip_by_hand():
    """Two bits: codes -2 to 1. The whole range has steps of 4 and makes 4 0 0 0 0 of it, half of
    the range 2 2 2 2 -2; a quarter 1 1 1 1 -2."""
    row = torch.tensor([[6.0, 2.0, 2.0, 2.0, -2.0]])
    assert clip_search(row, 2, [1.0, 0.25, 0.5]).tolist() == [[0.5]]
    assert clip_search(row, 2, [0.25, 1.0]).tolist() == [[1.0]]  # 20 against 28
    assert clip_search(row * 0, 2, [0.25, 0.5]).tolist() == [[0.5]]


def test_a_gradient_goes_through_as_it_came():
    gradient = normal(3, 4)
    made, through, kept = on_a_weight(fake_quant)(normal(3, 4) * 2, 3, gradient)
    assert len(made.unique()) <= 3 * 8
    assert torch.equal(through, gradient)
    assert kept


# -- answers of other kinds, which are right


def in_numpy(rows, bits, symmetric):
    rows = rows.numpy().astype(np.float64)
    if symmetric:
        scale = 2 * np.abs(rows).max(1, keepdims=True) / (2**bits - 1)
        return np.where(scale == 0, 1.0, scale), 0
    low, high = np.minimum(rows.min(1), 0)[:, None], np.maximum(rows.max(1), 0)[:, None]
    scale = np.where(low == high, 1.0, (high - low) / (2**bits - 1))
    return [scale, (2**bits - 1 - np.round(high / scale)) * (low != high)]


def in_place_on_the_rows(rows, bits, symmetric):
    """With a little added to each scale, so that none is 0."""
    if symmetric:
        rows.abs_()
        scale = (rows.max(1, keepdim=True).values / (2 ** (bits - 1) - 0.5)).add_(1e-12)
        return scale, torch.zeros(len(rows), 1, dtype=torch.int64)
    ends = torch.nn.functional.pad(rows, (0, 1)).aminmax(dim=1, keepdim=True)  # with a 0
    scale = (ends.max - ends.min) / (2**bits - 1) + 1e-12
    return scale, (-ends.min / scale).round().clamp(0, 2**bits - 1).int()


def codes_in_numpy(rows, scale, zero_point, bits, symmetric):
    codes = np.rint(rows.numpy().astype(np.float64) / scale.numpy() + zero_point.numpy())
    if symmetric:
        return np.clip(codes, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1).astype(np.int8)
    return np.clip(codes, 0, 2**bits - 1).astype(np.uint8)


def codes_one_by_one(rows, scale, zero_point, bits, symmetric):
    low = -(2 ** (bits - 1)) if symmetric else 0
    return [
        [min(max(round(w / s) + int(z), low), low + 2**bits - 1) for w in row]
        for row, [s], [z] in zip(rows.tolist(), scale.tolist(), zero_point.tolist(), strict=True)
    ]


def codes_in_place(rows, scale, zero_point, bits, symmetric):
    rows.div_(scale).round_().add_(zero_point)
    return rows.clamp_(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if symmetric else rows.clamp_(
        0, 2**bits - 1
    )  # fmt: skip


def in_double(codes, scale, zero_point):
    return (codes.double() - zero_point.double()) * scale.double()


def of_two_products(codes, scale, zero_point):
    return codes.numpy() * scale.numpy() - zero_point.numpy() * scale.numpy()


def bit_by_bit(shape, bits, group_size, symmetric):
    scales = sum(1 for _ in range(0, shape[0] * shape[1], group_size or shape[1]))
    whole = [-(-n * bits // 8) for n in (shape[0] * shape[1], 0 if symmetric else scales)]
    return np.int64(sum(whole) + 2 * scales)


def row_by_row(rows, bits, shrinks):
    found = []
    for row in rows.double().numpy():
        errors = {}
        for share in shrinks:
            scale = share * np.abs(row).max() / (2 ** (bits - 1) - 0.5) or 1.0
            codes = np.clip(np.round(row / scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            errors[share] = np.mean((codes * scale - row) ** 2)
        found.append([min(shrinks, key=lambda share: (errors[share], -share))])
    return found


def narrow_ones_first(rows, bits, shrinks):
    best, found = torch.full((len(rows), 1), torch.inf), torch.ones(len(rows), 1)
    for share in sorted(shrinks):
        scale = share * rows.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 0.5) + 1e-8
        codes = (rows / scale).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        error = (codes * scale - rows).norm(dim=1, keepdim=True)
        found[error <= best] = share
        best = torch.minimum(best, error)
    return found


class OwnBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, bits):
        scale = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 0.5)
        return (weight / scale).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[override]
        return gradient.clone(), None


def by_a_function_of_its_own(weight, bits):
    return OwnBackward.apply(weight, bits)


def with_numpy_inside(weight, bits):
    rows = weight.detach().double().numpy()
    scale = 2 * np.abs(rows).max(1, keepdims=True) / (2**bits - 1)
    made = np.clip(np.round(rows / scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale
    return weight - (weight - torch.from_numpy(made).to(weight.dtype)).detach()


def in_place_on_a_copy(weight, bits):
    made = weight.clone()
    with torch.no_grad():
        scale = made.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 0.5)
        made.data.div_(scale).round_().clamp_(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).mul_(scale)
    return made


def a_zero_with_a_gradient(weight, bits):
    return fake_quant(weight.detach(), bits) + (weight - weight.detach())


def by_struct(weights):
    scale = np.float32(np.abs(weights.numpy()).max()) / np.float32(127)
    codes = [
        int(math.copysign(math.floor(abs(w / scale) + 0.5), w)) if scale else 0
        for w in weights.numpy().astype(np.float64)
    ]
    return list(struct.pack("<e32b", scale, *codes))


def by_gguf(weights):
    with np.errstate(divide="ignore"):
        return quants.quantize(weights.numpy(), GGMLQuantizationType.Q8_0)


def as_two_bytes_and_more(weights):
    block = q8_0_block(weights)
    return block.reshape(2, 17).long()


def by_size_bytes(parameters, tied, quantized, bits, group_size):
    sizes = {
        name: size_bytes(shape, bits, group_size, True)
        if name in set(quantized)
        else torch.empty(shape, device="meta").nbytes
        for name, shape in parameters.items()
    }
    return float(sum(sizes.values()) - sum(sizes[name] for name in tied))


RIGHT = (
    *(("lab7.scale_and_zero_point", f) for f in (in_numpy, in_place_on_the_rows)),
    *(("lab7.quantize", f) for f in (codes_in_numpy, codes_one_by_one, codes_in_place)),
    *(("lab7.dequantize", f) for f in (in_double, of_two_products)),
    ("lab7.size_bytes", bit_by_bit),
    *(("lab7.clip_search", f) for f in (row_by_row, narrow_ones_first)),
    *(
        ("lab7.fake_quant", f)
        for f in (
            by_a_function_of_its_own,
            with_numpy_inside,
            in_place_on_a_copy,
            a_zero_with_a_gradient,
        )
    ),
    *(("lab7.q8_0_block", f) for f in (by_struct, by_gguf, as_two_bytes_and_more)),
    ("lab7.predict_size", by_size_bytes),
)


@pytest.mark.parametrize(
    ("name", "function"), [pytest.param(n, f, id=f"{n}: {f.__name__}") for n, f in RIGHT]
)
def test_an_honest_oddity_keeps_all_points(name, function):
    for seed in SEEDS:
        outcome = judge(find(name), function, seed)
        assert outcome.state == "right", report(find(name), outcome)
