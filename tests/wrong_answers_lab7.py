"""Wrong answers to Lab 7 as students write them, as in `wrong_answers`: the exercise, what they
did, the function, and words of what they must be told. The checks' own mutants are others."""

# pyright: reportOptionalMemberAccess=false, reportUnusedExpression=false

from __future__ import annotations

import math
import struct

import numpy as np
import torch
from wrong_answers import collector

WRONG, wrong = collector()


def right_scale(rows, bits):
    scale = rows.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 0.5)
    return scale.clamp(min=1e-30)


def right_codes(ratio, bits):
    return ratio.round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


# -- scale_and_zero_point


@wrong("lab7.scale_and_zero_point", "no return", "Each call gave None")
def _(rows, bits, symmetric):
    rows.abs().amax(1, keepdim=True) / 127.5, 0


@wrong("lab7.scale_and_zero_point", "the scale alone", "Two tensors are asked for")
def _(rows, bits, symmetric):
    return right_scale(rows, bits)


@wrong("lab7.scale_and_zero_point", "of int8, whatever the bits", "expected")
def _(rows, bits, symmetric):
    return rows.abs().amax(1, keepdim=True) / 127.5, torch.zeros(len(rows), 1)


@wrong("lab7.scale_and_zero_point", "max() gives two things", "raised")
def _(rows, bits, symmetric):
    return rows.abs().max(1) / (2 ** (bits - 1) - 0.5), torch.zeros(len(rows), 1)


@wrong("lab7.scale_and_zero_point", "without keepdim, and without a guard", "keepdim=True")
def _(rows, bits, symmetric):
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    if symmetric:
        return rows.abs().amax(1) / (2 ** (bits - 1) - 0.5), torch.zeros(len(rows))
    scale = (high - low) / (2**bits - 1)
    return scale, (-low / scale).round()


@wrong("lab7.scale_and_zero_point", "the range of what is there", "0 must be in the range")
def _(rows, bits, symmetric):
    if symmetric:
        return right_scale(rows, bits), 0
    low, high = np.min(rows.numpy(), 1, keepdims=True), np.max(rows.numpy(), 1, keepdims=True)
    scale = np.maximum((high - low) / (2**bits - 1), 1e-12)
    return scale, np.clip(np.round(-low / scale), 0, 2**bits - 1)


@wrong("lab7.scale_and_zero_point", "a guard only for the symmetric", "has the scale 0")
def _(rows, bits, symmetric):
    low, high = rows.amin(1, keepdim=True).clamp(max=0), rows.amax(1, keepdim=True).clamp(min=0)
    if symmetric:
        return right_scale(rows, bits), torch.zeros(len(rows), 1)
    scale = (high - low) / (2**bits - 1)
    return scale, (-low / scale).round()


# -- quantize


@wrong("lab7.quantize", "no return", "Each call gave None")
def _(rows, scale, zero_point, bits, symmetric):
    (rows / scale).round().int()


@wrong("lab7.quantize", "int alone", "cut off")
def _(rows, scale, zero_point, bits, symmetric):
    codes = (rows / scale).int() + zero_point
    low = -(2 ** (bits - 1)) if symmetric else 0
    return codes.clamp(low, low + 2**bits - 1)


@wrong("lab7.quantize", "to int8 first", "wrap round")
def _(rows, scale, zero_point, bits, symmetric):
    codes = (rows / scale).round() + zero_point
    return codes.int().to(torch.int8).int()


@wrong("lab7.quantize", "NumPy's int8", "wrap round")
def _(rows, scale, zero_point, bits, symmetric):
    codes = np.round(rows.numpy() / scale.numpy()) + zero_point.numpy()
    return codes.astype(np.int64).astype(np.int8 if symmetric else np.uint8)


@wrong("lab7.quantize", "one range for both schemes", "that is the range")
def _(rows, scale, zero_point, bits, symmetric):
    codes = (rows / scale).round() + zero_point
    return codes.clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).int()


@wrong("lab7.quantize", "the range of -127", "it is left out")
def _(rows, scale, zero_point, bits, symmetric):
    most = 2 ** (bits - 1) - 1
    low, high = (-most, most) if symmetric else (0, 2**bits - 1)
    return ((rows / scale).round() + zero_point).clamp(low, high)


@wrong("lab7.quantize", "half added, and cut", "the even one is asked for")
def _(rows, scale, zero_point, bits, symmetric):
    low = -(2 ** (bits - 1)) if symmetric else 0
    codes = torch.floor(rows / scale + 0.5) + zero_point
    return codes.clamp(low, low + 2**bits - 1).int()


# -- dequantize


@wrong("lab7.dequantize", "no return", "Each call gave None")
def _(codes, scale, zero_point):
    (codes - zero_point) * scale


@wrong("lab7.dequantize", "no zero point", "is missing")
def _(codes, scale, zero_point):
    return codes.float() * scale


@wrong("lab7.dequantize", "as quantize has it", "is added")
def _(codes, scale, zero_point):
    return (codes + zero_point) * scale


@wrong("lab7.dequantize", "in bytes", "wrap round")
def _(codes, scale, zero_point):
    return (codes.to(torch.uint8) - zero_point) * scale


@wrong("lab7.dequantize", "in half precision", "16 bits")
def _(codes, scale, zero_point):
    return ((codes.half() - zero_point.half()) * scale.half()).float()


@wrong("lab7.dequantize", "codes counted from 1", "one step off")
def _(codes, scale, zero_point):
    return (codes - zero_point + 1) * scale


# -- size_bytes


@wrong("lab7.size_bytes", "no return", "Each call gave None")
def _(shape, bits, group_size, symmetric):
    math.prod(shape) * bits // 8


@wrong("lab7.size_bytes", "codes alone", "The scales are missing")
def _(shape, bits, group_size, symmetric):
    return math.ceil(math.prod(shape) * bits / 8)


@wrong("lab7.size_bytes", "float32 scales", "2 bytes, not 4")
def _(shape, bits, group_size, symmetric):
    scales = shape[0] * (shape[1] // group_size if group_size else 1)
    zero_points = 0 if symmetric else math.ceil(scales * bits / 8)
    return math.ceil(math.prod(shape) * bits / 8) + 4 * scales + zero_points


@wrong("lab7.size_bytes", "a group for a row", "group size is not used")
def _(shape, bits, group_size, symmetric):
    zero_points = 0 if symmetric else math.ceil(shape[0] * bits / 8)
    return math.ceil(math.prod(shape) * bits / 8) + 2 * shape[0] + zero_points


@wrong("lab7.size_bytes", "group of 0", "ZeroDivisionError")
def _(shape, bits, group_size, symmetric):
    scales = shape[0] * shape[1] // group_size
    return math.ceil(math.prod(shape) * bits / 8) + 2 * scales


@wrong("lab7.size_bytes", "halves of bytes", "Bytes are whole")
def _(shape, bits, group_size, symmetric):
    scales = shape[0] * (shape[1] // group_size if group_size else 1)
    return math.prod(shape) * bits / 8 + 2 * scales + (not symmetric) * scales * bits / 8


# -- clip_search


@wrong("lab7.clip_search", "no return", "Each call gave None")
def _(rows, bits, shrinks):
    torch.ones(len(rows), 1)


@wrong("lab7.clip_search", "one share for all", "all rows together")
def _(rows, bits, shrinks):
    errors = {}
    for share in sorted(shrinks, reverse=True):
        scale = share * right_scale(rows, bits)
        errors[share] = ((right_codes(rows / scale, bits) * scale - rows) ** 2).mean().item()
    return torch.full((len(rows), 1), min(errors, key=lambda share: errors[share]))


@wrong("lab7.clip_search", "the last of equals", "clipped for nothing")
def _(rows, bits, shrinks):
    best, found = torch.full((len(rows), 1), torch.inf), torch.ones(len(rows), 1)
    for share in sorted(shrinks, reverse=True):
        scale = share * right_scale(rows, bits)
        error = ((right_codes(rows / scale, bits) * scale - rows) ** 2).sum(1, keepdim=True)
        found[error <= best] = share
        best = torch.minimum(best, error)
    return found


@wrong("lab7.clip_search", "99 percent of the weights", "A percentile")
def _(rows, bits, shrinks):
    size = rows.abs().amax(1, keepdim=True).clamp(min=1e-12)
    return torch.quantile(rows.abs(), 0.99, dim=1, keepdim=True) / size


@wrong("lab7.clip_search", "not clamped: wider is never better", "expected")
def _(rows, bits, shrinks):
    errors = []
    for share in shrinks:
        scale = share * right_scale(rows, bits)
        errors.append(((rows / scale).round() * scale - rows).square().sum(1))
    return torch.tensor(shrinks)[torch.stack(errors).argmin(0)][:, None]


@wrong("lab7.clip_search", "places", "the shares that stand there")
def _(rows, bits, shrinks):
    errors = []
    for share in shrinks:
        scale = share * right_scale(rows, bits)
        errors.append((right_codes(rows / scale, bits) * scale - rows).square().sum(1))
    return torch.stack(errors).argmin(0)[:, None]


# -- fake_quant


@wrong("lab7.fake_quant", "no return", "return` missing")
def _(weight, bits):
    right_codes(weight / right_scale(weight, bits), bits)


@wrong("lab7.fake_quant", "NumPy", "which hands a gradient back")
def _(weight, bits):
    rows = weight.detach()
    return (right_codes(rows / right_scale(rows, bits), bits) * right_scale(rows, bits)).numpy()


@wrong("lab7.fake_quant", "rounded, no more", "round() is flat")
def _(weight, bits):
    scale = right_scale(weight, bits)
    return right_codes(weight / scale, bits) * scale


@wrong("lab7.fake_quant", "the whole detached", "No gradient reaches")
def _(weight, bits):
    scale = right_scale(weight, bits)
    rounded = right_codes(weight / scale, bits) * scale
    return (weight + (rounded - weight)).detach()


@wrong("lab7.fake_quant", "under no_grad", "No gradient reaches")
@torch.no_grad()
def _(weight, bits):
    scale = right_scale(weight, bits)
    return right_codes(weight / scale, bits) * scale


@wrong("lab7.fake_quant", "the difference turned round", "expected")
def _(weight, bits):
    scale = right_scale(weight, bits)
    rounded = right_codes(weight / scale, bits) * scale
    return rounded.detach() - (weight - rounded).detach()


@wrong("lab7.fake_quant", "on the weight's data", "work on a copy")
def _(weight, bits):
    scale = right_scale(weight.data, bits)
    weight.data.copy_(right_codes(weight.data / scale, bits) * scale)
    return weight


@wrong("lab7.fake_quant", "always float32", "number format")
def _(weight, bits):
    rows = weight.float()
    scale = right_scale(rows, bits)
    return rows + (right_codes(rows / scale, bits) * scale - rows).detach()


@wrong("lab7.fake_quant", "the scale learnt through", "learnt through")
def _(weight, bits):
    scale = right_scale(weight, bits)
    ratio = weight / scale
    top = 2 ** (bits - 1)
    ratio = ratio + (ratio.round().clamp(-top, top - 1) - ratio).detach()
    return ratio * scale


# -- q8_0_block


@wrong("lab7.q8_0_block", "no return", "Each call gave None")
def _(weights):
    weights.abs().max() / 127


@wrong("lab7.q8_0_block", "torch.round", "the even one is taken")
def _(weights):
    scale = weights.abs().max() / 127
    codes = (weights / scale).round() if scale else weights
    return torch.cat([scale.half()[None].view(torch.uint8), codes.char().view(torch.uint8)])


@wrong("lab7.q8_0_block", "the codes alone", "The scale is missing")
def _(weights):
    scale = (weights.abs().max() / 127).clamp(min=1e-30)
    ratio = weights / scale
    return (ratio.sign() * (ratio.abs() + 0.5).floor()).char().view(torch.uint8)


@wrong("lab7.q8_0_block", "network's order of bytes", "low one first")
def _(weights):
    scale = (weights.abs().max() / 127).item()
    ratio = weights / scale if scale else weights
    codes = (ratio.sign() * (ratio.abs() + 0.5).floor()).int().tolist()
    return list(struct.pack(">e32b", scale, *codes))


@wrong("lab7.q8_0_block", "a float32", "a float16 has 2")
def _(weights):
    scale = weights.abs().max() / 127
    ratio = weights / scale if scale else weights
    codes = ratio.sign() * (ratio.abs() + 0.5).floor()
    return torch.cat([scale[None].view(torch.uint8), codes.char().view(torch.uint8)])


@wrong("lab7.q8_0_block", "numbers, not bytes", "Whole numbers from 0 to 255")
def _(weights):
    scale = weights.abs().max() / 127
    return torch.cat([scale[None], weights / scale.clamp(min=1e-30)])


@wrong("lab7.q8_0_block", "with what was stored", "rounded only where it is stored")
def _(weights):
    scale = (weights.abs().max() / 127).half()
    ratio = weights / scale.float() if scale else weights
    codes = ratio.sign() * (ratio.abs() + 0.5).floor()
    return torch.cat([scale[None].view(torch.uint8), codes.char().view(torch.uint8)])


# -- predict_size


@wrong("lab7.predict_size", "no return", "Each call gave None")
def _(parameters, tied, quantized, bits, group_size):
    sum(math.prod(shape) for shape in parameters.values())


@wrong("lab7.predict_size", "every name", "counted twice")
def _(parameters, tied, quantized, bits, group_size):
    total = 0
    for name, (first, *rest) in parameters.items():
        n = first * math.prod(rest)
        scales = n // group_size if group_size else first
        total += n * bits // 8 + 2 * scales if name in quantized else 4 * n
    return total


@wrong("lab7.predict_size", "the scales forgotten", "The scales are missing")
def _(parameters, tied, quantized, bits, group_size):
    kept = {name: math.prod(s) for name, s in parameters.items() if name not in tied}
    return sum(n * bits / 8 if name in quantized else 4 * n for name, n in kept.items())


@wrong("lab7.predict_size", "a model of 16 bits", "4 bytes a number, not 2")
def _(parameters, tied, quantized, bits, group_size):
    total = 0
    for name in parameters.keys() - tied.keys():
        n = math.prod(parameters[name])
        scales = n // group_size if group_size else parameters[name][0]
        total += n * bits // 8 + 2 * scales if name in quantized else 2 * n
    return total


@wrong("lab7.predict_size", "vectors have no second side", "raised")
def _(parameters, tied, quantized, bits, group_size):
    total = 0
    for name in parameters.keys() - tied.keys():
        n_out, n_in = parameters[name]
        scales = n_out * (n_in // group_size if group_size else 1)
        n = n_out * n_in
        total += n * bits // 8 + 2 * scales if name in quantized else 4 * n
    return total


@wrong("lab7.predict_size", "all that is a matrix", "the embedding too")
def _(parameters, tied, quantized, bits, group_size):
    total = 0
    for name in parameters.keys() - tied.keys():
        shape, n = parameters[name], math.prod(parameters[name])
        scales = n // group_size if group_size else shape[0]
        total += n * bits // 8 + 2 * scales if len(shape) > 1 else 4 * n
    return total
