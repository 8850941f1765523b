"""Lab 7's exercise clip_search: which share of its range costs each row the least."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distill_lab.course.exercises.comparing import Either
from distill_lab.course.exercises.exercise import (
    Exercise,
    Function,
    Slip,
    Step,
    expect,
    on_results,
)
from distill_lab.course.exercises.lab7.answer_types import FLOATS
from distill_lab.course.exercises.lab7.naming import unlike
from distill_lab.models.quantization import clipping
from distill_lab.models.quantization.quantize import dequantize, quantize
from distill_lab.models.quantization.scheme import Scheme

Case = tuple[Tensor, int, list[float]]  # the arguments of clip_search


def clip_search(rows: Tensor, bits: int, shrinks: Sequence[float]) -> Tensor:
    """For each row of (G, n) the share of its range with the least squared error, (G, 1)."""
    return clipping.best_shrinks(rows, Scheme(bits), shrinks)


# -- what is often given


def made_by_share(case: Case) -> list[Tensor]:
    """The rows (G, n) after quantization, for each of the shares."""
    rows, bits, shrinks = case
    return [dequantize(quantize(rows, Scheme(bits), shrink)) for shrink in shrinks]


def errors(case: Case, power: int = 2) -> Tensor:
    """(shares, G): the sum of |error|^power of each row at each share."""
    return torch.stack([(made - case[0]).abs().pow(power).sum(1) for made in made_by_share(case)])


def _of_least(costs: Tensor, shrinks: Sequence[float]) -> Tensor:
    """The share (G, 1) of the least cost, of (shares, G); of equal ones the first."""
    return torch.tensor([[shrinks[place]] for place in costs.min(0).indices.tolist()])


def _clipped(case: Case) -> Tensor:
    """(shares, G, n): what lies beyond the range."""
    rows, _, shrinks = case
    size = rows.abs().amax(1, keepdim=True)
    return torch.stack([rows.abs() > shrink * size for shrink in shrinks])


def _percentiles(case: Case) -> Either:
    """Shares that a percentile of the sizes gives, as they are and as the nearest share."""
    rows, _, shrinks = case
    size, found = rows.abs().amax(1, keepdim=True), []
    for q in (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999):
        share = rows.abs().quantile(q, dim=1, keepdim=True) / size  # (G, 1)
        found.append(share)
        nearest = (torch.tensor(shrinks)[:, None] - share.T).abs()  # (shares, G)
        found.append(_of_least(nearest, shrinks))
    return Either(found)


def _instead(case: Case) -> dict[str, Any]:
    """What is often given, and its result; of equal results the first is named."""
    rows, _, shrinks = case
    costs = errors(case)  # (shares, G)
    size, whole = rows.abs().amax(1, keepdim=True), costs.sum(1, keepdim=True)
    each = torch.stack([(made - rows).square() for made in made_by_share(case)])  # (shares, G, n)
    beyond = _clipped(case)
    largest = torch.stack([(made - rows).abs().amax(1) for made in made_by_share(case)])
    best = clip_search(*case)
    ours = costs.min(0)
    return {
        _TENSOR: _of_least(whole.expand_as(costs), shrinks),
        _CLIPPED: torch.full_like(best, max(shrinks)),
        _ROUNDED: torch.full_like(best, min(shrinks)),
        f"{_ROUNDED} ": _of_least((each * ~beyond).sum(2), shrinks),
        "The largest error decides here: the sum of the squared ones is asked for.":
            _of_least(largest, shrinks),
        "The sum of the errors' sizes decides here: their squares are asked for, in which one "
        "large error counts more than many small ones.": _of_least(errors(case, 1), shrinks),
        "The share with the greatest error is taken.": _of_least(-costs, shrinks),
        _PERCENTILE: _percentiles(case),
        "These are the errors: the shares that give them are asked for.": Either(
            (ours.values[:, None], ours.values[:, None] / rows.shape[1])),
        "These are places in the list: the shares that stand there are asked for.":
            ours.indices[:, None].float(),
        "These are scales, or ranges: the shares are asked for.": Either(
            (best * size, best * size / (2 ** (case[1] - 1) - 0.5))),
    }  # fmt: skip


def _asked(function: Function, case: Case, known: dict[str, Any] | None = None) -> None:
    right = clip_search(*case)
    expect(function, case, right, unlike({**(known or {}), **_instead(case)}, right))


# -- cases


@functools.lru_cache(maxsize=256)  # drawing takes longer than judging
def _drawn(seed: int, n_rows: int) -> Case:
    """Rows with one weight far out. Each row's best share is clearly the best, and below 1; several
    rows do not all have the same."""
    rng = random.Random(seed)
    while True:
        bits, width = rng.choice(((2, 24), (3, 40)))
        shrinks = [1.0, *_shares(rng)]
        rng.shuffle(shrinks)
        rows = torch.tensor([_with_outlier(rng, width) for _ in range(16)])
        costs = errors((rows, bits, shrinks)).sort(0).values  # (shares, 16)
        best = clip_search(rows, bits, shrinks)[:, 0]
        rows, best = (part[(costs[1] > 1.08 * costs[0]) & (best < 1)] for part in (rows, best))
        if len(rows) >= n_rows and (n_rows == 1 or len(best[:n_rows].unique()) > 1):
            return rows[:n_rows], bits, shrinks


def _shares(rng: random.Random) -> list[float]:
    """Four shares below 1, at least .07 apart."""
    return [round(0.25 + 0.17 * n + rng.uniform(0, 0.1), 2) for n in range(4)]


def _with_outlier(rng: random.Random, width: int) -> list[float]:
    """The largest weight is positive."""
    row = [rng.gauss(0, 1) for _ in range(width - 1)]
    row.append(max(map(abs, row)) * rng.uniform(1.05, 2.5))
    rng.shuffle(row)
    return [round(value, 2) for value in row]


def _telling(rng: random.Random) -> list[Case]:
    """Two cases of one row with other results; each known mistake shows in one of them, and that of
    the errors' sizes gives no share at the ends, as others do."""
    while True:
        cases = [_drawn(rng.randrange(2**31), 1) for _ in range(2)]
        results = [clip_search(*case) for case in cases]
        hidden = [
            _instead(case).keys() - unlike(_instead(case), right).keys()
            for case, right in zip(cases, results, strict=True)
        ]
        by_size = [_of_least(errors(case, 1), case[2]).item() for case in cases]
        is_inside = [min(case[2]) + 0.01 < n < 1 for case, n in zip(cases, by_size, strict=True)]
        is_telling = (hidden[0] & hidden[1]) <= {_TENSOR} and all(is_inside)
        if is_telling and not torch.equal(*results):
            return cases


def _one_row(function: Function, rng: random.Random) -> None:
    """One row at a time."""
    _asked(function, (torch.tensor([[6.0, 2.0, 2.0, 2.0, -2.0]]), 2, [1.0, 0.5]))
    for case in _telling(rng):
        _asked(function, case)


def _each_row(function: Function, rng: random.Random) -> None:
    for _ in range(2):
        _asked(function, _drawn(rng.randrange(2**31), 3))


def _equal(function: Function, rng: random.Random) -> None:
    """Rows of which the whole range and the half of it cost the same: one of zeros, and one with
    fifteen halves. (3 bits have 3.5 steps a side. Steps of 1 clip 0.5 of its 3.5, and miss each
    half; steps of 0.5 clip 2, and miss nothing.) With more halves the half is better, with none
    the whole."""
    for ascending in (True, False):
        n_halves, shrinks = {"none": 0, "equal": 15, "more": 19}, sorted((0.5, 1.0))
        kinds = ["zeros", *n_halves]
        rng.shuffle(kinds)
        rows = torch.zeros(len(kinds), 20)
        for row, kind in zip(rows, kinds, strict=True):
            if kind in n_halves:
                halves = [rng.choice((-0.5, 0.5)) for _ in range(n_halves[kind])]
                values = [3.5, *halves, *[0.0] * (19 - len(halves))]
                row.copy_(torch.tensor(rng.sample(values, 20)))
        case = rows * 2.0 ** rng.randint(0, 5), 3, shrinks if ascending else shrinks[::-1]
        narrowest = torch.tensor([[1.0 if kind == "none" else 0.5] for kind in kinds])
        _asked(function, case, {_ZEROS: _with_zeros(case), _NARROWEST: narrowest})


def _with_zeros(case: Case) -> Either:
    """What comes of a row of zeros without a guard, where all its errors are NaN."""
    right, found = clip_search(*case), []
    for share in (0.0, 1.0, torch.nan, torch.inf, case[2][0]):
        given = right.clone()
        given[case[0].abs().amax(1) == 0] = share
        found.append(given)
    return Either(found)


_TENSOR = "The error of all rows together decides here: each row has a share of its own."
_CLIPPED = "Only what is clipped is counted, and so the widest range is always taken: what is "
_CLIPPED += "rounded is an error too."
_ROUNDED = (
    "Only what is rounded is counted, and so the narrowest range is taken: what is clipped is "
)
_ROUNDED += "an error too."
_PERCENTILE = "A percentile of the sizes decides here: the least squared error is asked for, among "
_PERCENTILE += "the shares in `shrinks`."
_NARROWEST = (
    "Of equal errors the widest range is asked for, so that nothing is clipped for nothing."
)
_ZEROS = "A row of zeros has the scale 0, and so the errors NaN: give it a tiny scale."
_KEEPDIM = "One share for each row is asked for as (G, 1)."
_LEAST = "of a row, the share with the least squared error"
CLIP_SEARCH = Exercise(
    "lab7",
    "clip_search",
    clip_search,
    (
        Step(_LEAST, 1, _one_row),
        Step("each row by itself", 1, _each_row),
        Step("of equal errors the widest, also in a row of zeros", 1, _equal),
    ),
    (
        "For each share: scale, codes, weights again, and the error of each row. Keep the best "
        "error of each row so far, and the share that gave it.",
        "The scale of a share is share * max|w| / (2^(bits-1) - 0.5). The codes must be clamped: "
        "now something lies beyond the ends.",
        "share[error < best] = tried changes only the rows that became better. Go from the widest "
        "to the narrowest: then of equal errors the first stays.",
    ),
    FLOATS,
    (Slip(_KEEPDIM, _LEAST, on_results(lambda share: FLOATS.plain(share).reshape(-1, 1))),),
    minutes=15,
    difficulty="medium",
)
