"""Lab 7's exercise predict_size: what a whole model takes, of which a part is quantized."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Mapping
from typing import Any

from distill_lab.course.exercises.exercise import Exercise, Function, Slip, Step, expect
from distill_lab.course.exercises.lab7.answer_types import WHOLE
from distill_lab.course.exercises.lab7.naming import unlike
from distill_lab.course.exercises.lab7.sizes import in_groups, n_scales
from distill_lab.models.quantization import scheme

Shapes = Mapping[str, tuple[int, ...]]
Case = tuple[Shapes, Mapping[str, str], list[str], int, int]  # the arguments of predict_size


def predict_size(
    parameters: Shapes,
    tied: Mapping[str, str],
    quantized: Collection[str],
    bits: int,
    group_size: int,
) -> int:
    """Bytes of a model's tensors: those in `quantized` symmetric, all others float32."""
    kept = {name: shape for name, shape in parameters.items() if name not in tied}
    of_group = in_groups(bits, group_size)
    return sum(
        scheme.size_bytes(shape, of_group) if name in quantized else 4 * math.prod(shape)
        for name, shape in kept.items()
    )


def _scales(case: Case) -> int:
    parameters, tied, quantized, _, group_size = case
    return sum(n_scales(parameters[name], group_size) for name in quantized if name not in tied)


def _others(case: Case) -> int:
    """How many parameters are not quantized."""
    parameters, tied, quantized, *_ = case
    names = parameters.keys() - tied.keys() - set(quantized)
    return sum(math.prod(parameters[name]) for name in names)


def _without(case: Case, names: Collection[str]) -> Case:
    kept = {name: shape for name, shape in case[0].items() if name not in names}
    return (kept, *case[1:])


def _instead(case: Case) -> dict[str, Any]:
    """What is often given, and its number; of equal numbers the first is named."""
    parameters, tied, quantized, bits, group_size = case
    right, scales, others = predict_size(*case), _scales(case), _others(case)
    matrices = [name for name, shape in parameters.items() if len(shape) == 2]
    vectors = parameters.keys() - set(matrices)
    embedding = [name for name in matrices if name not in quantized and name not in tied]
    of_codes = sum(math.prod(parameters[name]) for name in quantized if name not in tied)

    def total(names: Collection[str], bits: int = bits, size: int = group_size) -> int:
        return predict_size(parameters, tied, names, bits, size)

    return {
        _TWICE: predict_size(parameters, {}, quantized, bits, group_size),
        "The tensor that has two names is left out: it is stored once.":
            predict_size(*_without(case, tied.values())),
        "Every matrix is quantized here, the embedding too: only what is in `quantized` is.":
            total(matrices),
        _NO_SCALES: right - 2 * scales,
        _FLOAT32: right + 2 * scales,
        _VECTORS: predict_size(*_without(case, vectors)),
        "The embedding is left out: it is kept in float32.":
            predict_size(*_without(case, embedding)),
        "What is not quantized is left out: it is kept in float32.": right - 4 * others,
        _HALF: right - 2 * others,
        "What is not quantized takes 4 bytes a number, float32: these are its numbers.":
            right - 3 * others,
        "That is the model in float32: what is in `quantized` takes `bits` bits a number.":
            total([]),
        "Of the codes these are bits: 8 bits are a byte.": right + 7 * of_codes * bits // 8,
        "That is a byte for each code: 4 bits take half of one.":
            right + of_codes * (8 - bits) // 8,
        "The group size is not used: each group has a scale of its own.":
            total(quantized, size=0),
        "These are bits: 8 of them are a byte.": 8 * right,
    }  # fmt: skip


def _asked(function: Function, case: Case) -> None:
    parameters, tied, quantized, bits, group_size = case
    right = predict_size(*case)
    shown = (
        f"predict_size({dict(parameters)}, tied={tied}, quantized={quantized}, bits={bits}, "
        f"group_size={group_size})"
    )
    expect(function, case, right, unlike(_instead(case), right), shown)


def _case(rng: random.Random, bits: int, group_size: int = 0) -> Case:
    """A model of an embedding, a block and a norm, nothing tied."""
    width, unit = 16 * rng.randint(2, 4), group_size or 8
    inner, vocab = 3 * unit * rng.randint(2, 5), 8 * rng.randint(20, 90)
    width = width // unit * unit or unit
    parameters = {
        "embed": (vocab, width), "up": (inner, width), "up_bias": (inner,),
        "down": (width, inner), "norm": (width,),
    }  # fmt: skip
    return parameters, {}, ["up", "down"], bits, group_size


def _rows(function: Function, rng: random.Random) -> None:
    small = {"embed": (8, 4), "up": (2, 4), "norm": (4,)}
    _asked(function, (small, {}, ["up"], 8, 0))
    for bits in (8, 4):
        _asked(function, _case(rng, bits))


def _groups(function: Function, rng: random.Random) -> None:
    small = {"embed": (8, 64), "up": (2, 64)}
    _asked(function, (small, {}, ["up"], 4, 32))
    for bits, group_size in ((4, 32), (8, rng.choice((16, 32)))):
        _asked(function, _case(rng, bits, group_size))


def _tied(function: Function, rng: random.Random) -> None:
    """The head is the embedding: kept in float32, and then quantized under both names."""
    for both, width in zip((False, True), rng.sample((4, 8), 2), strict=True):
        parameters, _, quantized, bits, group_size = _case(rng, width)
        parameters = {**parameters, "head": parameters["embed"]}
        names = [*quantized, "embed", "head"] if both else quantized
        _asked(function, (parameters, {"head": "embed"}, names, bits, group_size))


def _plus(change: Any) -> Any:
    """A slip of so many bytes: change(case) is added."""
    return lambda f: lambda *case: f(*case) + change(case)


_TWICE = "What has two names is counted twice: the head is the embedding, stored once."
_NO_SCALES = "The scales are missing: each row, or each group, has one of 2 bytes."
_FLOAT32 = "A scale is a float16 here: 2 bytes, not 4."
_VECTORS = "Norms and biases are left out: they are kept in float32."
_HALF = "What is not quantized is float32 here: 4 bytes a number, not 2."
_WHAT = "codes and scales for what is quantized, float32 for all else"
PREDICT_SIZE = Exercise(
    "lab7",
    "predict_size",
    predict_size,
    (
        Step(_WHAT, 1, _rows),
        Step("a scale for each group", 1, _groups),
        Step("a tensor with two names counts once", 1, _tied),
    ),
    (
        "Go through the names one by one. Each is one of three kinds: another name of something, "
        "quantized, or kept as it is.",
        "math.prod(shape) is how many numbers a tensor has, whatever its shape; float32 is 4 bytes "
        "each.",
        "Your size_bytes(shape, bits, group_size, True) is what one quantized tensor takes, scales "
        "and all.",
    ),
    WHOLE,
    (
        Slip(_NO_SCALES, _WHAT, _plus(lambda case: 2 * _scales(case))),
        Slip(_FLOAT32, _WHAT, _plus(lambda case: -2 * _scales(case))),
        Slip(_HALF, _WHAT, _plus(lambda case: 2 * _others(case))),
        Slip(_VECTORS, _WHAT, _plus(lambda case: 4 * sum(
            shape[0] for shape in case[0].values() if len(shape) == 1))),
    ),
    minutes=10,
    difficulty="medium",
)  # fmt: skip
