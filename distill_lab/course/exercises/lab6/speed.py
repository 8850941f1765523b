"""Lab 6's exercise predict_decode_speed: a line through measured times says what blocks cost."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np

from distill_lab.course.exercises.exercise import (
    Exercise,
    Function,
    Slip,
    Step,
    expect,
    on_results,
)
from distill_lab.course.exercises.result_types import NUMBER

Case = tuple[list[int], list[float], int, int]  # the arguments of predict_decode_speed


def predict_decode_speed(
    blocks: Sequence[int], seconds: Sequence[float], dense: int, kept: int
) -> float:
    """How many times as fast as with `dense` blocks a token is decoded with `kept`: t = a L + b,
    fitted by least squares to what was measured."""
    a, b = np.polyfit(blocks, seconds, 1)
    return float((a * dense + b) / (a * kept + b))


def _lines(case: Case) -> Mapping[str, tuple[float, float]]:
    """(a, b) of other lines than that of least squares."""
    blocks, seconds, *_ = case
    (low, t_low), (high, t_high) = (pick(zip(blocks, seconds, strict=True)) for pick in (min, max))
    a = (t_high - t_low) / (high - low)
    first = (seconds[1] - seconds[0]) / (blocks[1] - blocks[0])
    through_0 = float(np.dot(blocks, seconds) / np.dot(blocks, blocks))
    turned, at_0 = np.polyfit(seconds, blocks, 1)
    return {
        _NO_B: (through_0, 0.0),
        "The line goes through the fewest and the most blocks alone: all measurements count.":
            (a, t_low - a * low),
        "The line goes through the first two measurements alone: all of them count.":
            (first, seconds[0] - first * blocks[0]),
        "The two arguments of the fit are swapped: seconds are what the line gives.":
            (float(turned), float(at_0)),
    }  # fmt: skip


def _instead(case: Case) -> dict[str, float]:
    """What is often given, and its number; of equal numbers the first is named."""
    blocks, seconds, dense, kept = case
    a, b = map(float, np.polyfit(blocks, seconds, 1))
    speed = (a * dense + b) / (a * kept + b)
    known = {
        _NO_B: dense / kept,
        _INVERSE: 1 / speed,
        _PERCENT: 100 * speed,
        "That is by how much it is faster: 1.2 times as fast is asked for as 1.2, not as 0.2.":
            speed - 1,
        "That is the share of the time that is saved.": 1 - 1 / speed,
        "These are the seconds of one token: how many times as fast is asked for.": a * kept + b,
        "These are tokens a second: how many times as fast is asked for.": 1 / (a * kept + b),
        "b is subtracted: the head and the embedding are paid for each token.":
            (a * dense - b) / (a * kept - b) if a * kept != b else 0.0,
    }  # fmt: skip
    for name, (other_a, other_b) in _lines(case).items():
        known[f"{name} "] = (other_a * dense + other_b) / (other_a * kept + other_b)
    return {name.strip(): value for name, value in known.items() if abs(value - speed) > 1e-6}


def _asked(function: Function, case: Case) -> None:
    expect(function, case, predict_decode_speed(*case), _instead(case), within=1e-5)


def _measured(a: float, b: float, blocks: Sequence[int]) -> list[float]:
    return [round(a * n + b, 10) for n in blocks]


def _blocks(rng: random.Random, n: int) -> list[int]:
    return sorted(rng.sample(range(4, 33), n), reverse=True)


def _through_0(function: Function, rng: random.Random) -> None:
    """Nothing but blocks costs time."""
    _asked(function, ([4, 2], [0.04, 0.02], 4, 2))
    blocks = _blocks(rng, 3)
    times = _measured(rng.uniform(0.001, 0.009), 0, blocks)
    _asked(function, (blocks, times, blocks[0], rng.randint(2, blocks[-1] - 1)))


def _with_b(function: Function, rng: random.Random) -> None:
    _asked(function, ([4, 2], [0.05, 0.03], 4, 2))
    blocks = _blocks(rng, 2)
    times = _measured(rng.uniform(0.001, 0.009), rng.uniform(0.01, 0.06), blocks)
    _asked(function, (blocks, times, 36, rng.randint(2, 30)))


def _noisy(function: Function, rng: random.Random) -> None:
    """Five measurements that lie on no line."""
    for _ in range(2):
        blocks = _blocks(rng, 5)
        a, b = rng.uniform(0.002, 0.009), rng.uniform(0.01, 0.06)
        noise = [rng.uniform(0.85, 1.15) for _ in blocks]
        pairs = zip(_measured(a, b, blocks), noise, strict=True)
        times = [round(t * factor, 5) for t, factor in pairs]
        rng.shuffle(order := list(range(5)))
        case = ([blocks[n] for n in order], [times[n] for n in order], 36, rng.randint(4, 30))
        _asked(function, case)


_NO_B = "As if a token's time were all in the blocks: b, which head and embedding cost, is missing."
_INVERSE = "Upside down: with fewer blocks a token takes less time, and the speed goes up."
_PERCENT = "A factor is asked for, 1.2, not percent."
_ALL = "blocks alone cost time (b = 0)"
PREDICT_DECODE_SPEED = Exercise(
    "lab6",
    "predict_decode_speed",
    predict_decode_speed,
    (
        Step(_ALL, 1, _through_0),
        Step("what each token costs beside the blocks stays", 1, _with_b),
        Step("all measurements count, none lies on the line", 1, _noisy),
    ),
    (
        "Two steps: find a and b from what was measured; then put both numbers of blocks into "
        "t = a L + b.",
        "np.polyfit(x, y, 1) gives slope and intercept of the line of least squares. What lies on "
        "the x-axis here?",
        "As fast as before times ... is the old time over the new one.",
    ),
    NUMBER,
    (
        Slip(_INVERSE, _ALL, on_results(lambda speed: 1 / float(speed))),
        Slip(_PERCENT, _ALL, on_results(lambda speed: float(speed) / 100)),
        Slip("That is by how much it is faster: 1.2 times as fast is asked for as 1.2, not as 0.2.",
             _ALL, on_results(lambda speed: float(speed) + 1)),
        Slip("That is the share of the time that is saved.", _ALL,
             on_results(lambda saved: 1 / (1 - float(saved)))),
    ),
    minutes=10,
    difficulty="easy",
)  # fmt: skip
