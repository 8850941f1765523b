"""What whole numbers cost a CPU: products with a weight in three forms, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.course.quantization_lab import QuantizationLab
from distill_lab.models.quantization.quantize import quantize
from distill_lab.models.quantization.scheme import Scheme

ROUNDS, PRODUCTS = 9, 6
Product = Callable[[Tensor], Tensor]


def product_times(out: int = 1536, width: int = 576) -> list[tuple[str, float, float, float]]:
    """Of a weight of SmolLM2-135M's size in each form: bytes over those in float32, and the time of
    a product over float32's, with one token and with 64, on one thread."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(out, width, generator=draw)
    made = quantize(weight, Scheme(8))
    codes, half = made.codes.to(torch.int8), weight.bfloat16()
    forms: dict[str, tuple[float, Product]] = {
        "float32": (1.0, lambda x: F.linear(x, weight)),
        "bfloat16": (0.5, lambda x: F.linear(x.bfloat16(), half)),
        "int8, made floats each time": (
            (1 + 4 / width) / 4,  # a float32 scale a row
            lambda x: F.linear(x, codes.float()) * made.scale.T,  # a row's scale, out of the sum
        ),
    }
    products, threads = [product for _, product in forms.values()], torch.get_num_threads()
    torch.set_num_threads(1)  # else threads that wait for each other on a busy machine are timed
    try:
        one, many = (_times(products, n, width) for n in (1, 64))
    finally:
        torch.set_num_threads(threads)
    return [(name, size, one[n], many[n]) for n, (name, (size, _)) in enumerate(forms.items())]


@torch.inference_mode()
def _times(products: list[Product], tokens: int, width: int) -> list[float]:
    """Each product's time over the first one's: the median of rounds in which all take turns, but
    for the first round, which warms up."""
    inputs = torch.randn(tokens, width)
    rounds: list[list[float]] = []
    for _ in range(ROUNDS + 1):
        seconds: list[float] = []
        for product in products:
            begin = time.perf_counter()
            for _ in range(PRODUCTS):
                product(inputs)
            seconds.append(time.perf_counter() - begin)
        rounds.append([took / seconds[0] for took in seconds])
    return [median(of) for of in zip(*rounds[1:], strict=True)]


def times_beside_dense(lab: QuantizationLab) -> list[tuple[Any, ...]]:
    """Of each model of the report that computes in the form it is kept in: its name, peak memory in
    megabytes, and how many times as fast as the dense one it reads and makes tokens."""
    rows: list[tuple[Any, ...]] = []
    for name, model in lab.report["models"].items():
        costs = model["costs"]
        if "decode_times" in costs:
            times = (f"{costs[f'{part}_times']:.2f}" for part in ("prefill", "decode"))
            rows.append((name, f"{costs['peak_bytes'] / 1e6:.2f}", *times))
    return rows
