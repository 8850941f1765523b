"""Wrong answers to the exercises of Lab 6, each of which its check must catch and name. Those that
work on a model or an optimiser are in `lab6_models`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.course.exercises.exercise import Function, mutants_of
from distill_lab.course.exercises.lab6 import (
    BLOCK_INFLUENCE,
    MAGNITUDE_MASK,
    NM_MASK,
    PREDICT_DECODE_SPEED,
    WANDA_MASK,
)
from distill_lab.course.exercises.mutants.lab6_models import MODEL_MUTANTS

TENSOR, ROW, EQUAL = (step.title for step in MAGNITUDE_MASK.steps)
SCORE, ROWS, PADDING = (step.title for step in WANDA_MASK.steps)
FOUR, ANY, SAME = (step.title for step in NM_MASK.steps)
COSINE, TOKENS, LAST = (step.title for step in BLOCK_INFLUENCE.steps)
BLOCKS, BESIDE, ALL = (step.title for step in PREDICT_DECODE_SPEED.steps)


def _cut(scores: Tensor, k: int) -> Tensor:
    """False at the k lowest of each row."""
    places = scores.argsort(dim=-1, stable=True)[..., :k]
    return torch.ones_like(scores, dtype=torch.bool).scatter_(-1, places, False)


def _by_row(scores: Tensor, sparsity: float) -> Tensor:
    return _cut(scores, round(scores.shape[1] * sparsity))


def _by_tensor(scores: Tensor, sparsity: float) -> Tensor:
    return _by_row(scores.reshape(1, -1), sparsity).reshape(scores.shape)


def _magnitude(change: Callable[[Tensor, float, str], Tensor]) -> Function:
    """Magnitude's mask of `change`, which is given |W|."""
    return lambda weight, sparsity, group: change(weight.abs(), sparsity, group)


def _right(scores: Tensor, sparsity: float, group: str) -> Tensor:
    return (_by_tensor if group == "tensor" else _by_row)(scores, sparsity)


def above_threshold(weight: Tensor, sparsity: float, group: str) -> Tensor:
    scores = weight.abs().reshape(1, -1) if group == "tensor" else weight.abs()
    k = round(scores.shape[1] * sparsity)
    threshold = scores.kthvalue(k, dim=1, keepdim=True).values
    return (scores > threshold).reshape(weight.shape)


def from_threshold(weight: Tensor, sparsity: float, group: str) -> Tensor:
    scores = weight.abs().reshape(1, -1) if group == "tensor" else weight.abs()
    k = round(scores.shape[1] * sparsity)
    threshold = scores.kthvalue(k + 1, dim=1, keepdim=True).values
    return (scores >= threshold).reshape(weight.shape)


def one_too_many(scores: Tensor, sparsity: float, group: str) -> Tensor:
    flat = scores.reshape(1, -1) if group == "tensor" else scores
    return _cut(flat, round(flat.shape[1] * sparsity) + 1).reshape(scores.shape)


def _wanda(score: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Function:
    """Wanda's mask with another score: score(weight, inputs, attention mask)."""
    return lambda w, x, mask, sparsity: _by_row(score(w, x, mask), sparsity)


def _tokens(inputs: Tensor, attention_mask: Tensor) -> Tensor:
    return inputs[attention_mask.bool()]  # (tokens, in)


def wanda_by_tensor(weight: Tensor, inputs: Tensor, mask: Tensor, sparsity: float) -> Tensor:
    return _by_tensor(weight.abs() * _tokens(inputs, mask).norm(dim=0), sparsity)


def norm_of_each_sequence(weight: Tensor, inputs: Tensor, mask: Tensor) -> Tensor:
    return weight.abs() * (inputs * mask[..., None]).norm(dim=1).mean(0)


def _nm(scores: Tensor, n: int, m: int) -> Tensor:
    return _cut(scores.reshape(-1, m), m - n).reshape(scores.shape)


def nm_threshold(scores: Tensor, n: int, m: int) -> Tensor:
    groups = scores.reshape(-1, m)
    return (groups >= groups.sort(descending=True).values[:, n - 1 : n]).reshape(scores.shape)


def nm_apart(scores: Tensor, n: int, m: int) -> Tensor:
    out, width = scores.shape
    apart = scores.reshape(out, m, width // m).transpose(1, 2)
    return _nm(apart.reshape(out, width), n, m).reshape(apart.shape).transpose(1, 2).reshape(
        scores.shape
    )  # fmt: skip


def nm_of_rows(scores: Tensor, n: int, m: int) -> Tensor:
    return _cut(scores, scores.shape[1] * (m - n) // m)


def _influence(share: Callable[[Tensor, Tensor, Tensor], Tensor], normed: bool = False) -> Function:
    """share(in, out, attention mask) of each block."""

    def block_influence(hidden: list[Tensor], before_norm: Tensor, mask: Tensor) -> list[float]:
        states = hidden if normed else [*hidden[:-1], before_norm]
        return [float(share(a, b, mask)) for a, b in zip(states, states[1:], strict=False)]  # noqa: RUF007

    return block_influence


def _cosines(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a, b, dim=-1)  # (N, T)


def _mean(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    return 1 - _cosines(a, b)[mask.bool()].mean()


def from_the_first(hidden: list[Tensor], before_norm: Tensor, mask: Tensor) -> list[float]:
    return [float(_mean(hidden[0], b, mask)) for b in (*hidden[1:-1], before_norm)]


def proportional(blocks: list[int], seconds: list[float], dense: int, kept: int) -> float:
    return dense / kept


def _speed(line: Callable[[list[int], list[float]], tuple[float, float]]) -> Function:
    """The speed-up by another line: line(blocks, seconds) is (a, b)."""

    def predicted(blocks: list[int], seconds: list[float], dense: int, kept: int) -> float:
        a, b = line(blocks, seconds)
        return (a * dense + b) / (a * kept + b)

    return predicted


def _fitted(blocks: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    a, b = np.polyfit(blocks, seconds, 1)
    return float(a), float(b)


def through_the_ends(blocks: list[int], seconds: list[float]) -> tuple[float, float]:
    (low, first), (high, last) = min(zip(blocks, seconds)), max(zip(blocks, seconds))  # noqa: B905
    a = (last - first) / (high - low)
    return a, first - a * low


MUTANTS = (
    *mutants_of(
        "lab6.magnitude_mask",
        ("by row for the tensor", _magnitude(lambda s, sparsity, group: _by_row(s, sparsity)),
         (TENSOR,), "the mask by row"),
        ("by tensor for rows", _magnitude(lambda s, sparsity, group: _by_tensor(s, sparsity)),
         (ROW,), "the mask by tensor"),
        ("above a threshold", above_threshold, (EQUAL,), "takes all of them or none"),
        ("from a threshold", from_threshold, (EQUAL,), "takes all of them or none"),
        ("one too many", _magnitude(one_too_many), (TENSOR, ROW, EQUAL), "One too many is cut"),
        ("signed", _right, (TENSOR,), "not their sign"),
        ("turned round", _magnitude(lambda *case: ~_right(*case)), (TENSOR,), "other way round"),
        ("the largest cut", _magnitude(lambda s, *rest: _right(-s, *rest)), (TENSOR, ROW, EQUAL),
         "The largest weights are cut"),
        ("weights for a mask", lambda w, *rest: w * _right(w.abs(), *rest), (TENSOR,),
         "the mask is asked for"),
        ("columns", _magnitude(lambda s, sparsity, group: _right(s, sparsity, group)
                               if group == "tensor" else _by_row(s.T, sparsity).T
                               if len(s) > 1 else _by_row(s, sparsity)),
         (ROW,), "Each column by itself"),
    ),
    *mutants_of(
        "lab6.wanda_mask",
        ("per tensor", wanda_by_tensor, (ROWS,), "WandaSparsifier"),
        ("magnitude alone", _wanda(lambda w, x, mask: w.abs()), (SCORE, PADDING),
         "magnitude alone"),
        ("norm over the wrong axis",
         _wanda(lambda w, x, mask: w.abs() * _tokens(x, mask).norm(dim=1).mean()),
         (SCORE, PADDING), "wrong axis"),
        ("norm squared", _wanda(lambda w, x, mask: w.abs() * (_tokens(x, mask) ** 2).sum(0)),
         (SCORE,), "The norm is squared"),
        ("signed", _wanda(lambda w, x, mask: w * _tokens(x, mask).norm(dim=0)), (SCORE,),
         "The sign counts here"),
        ("padding counted", _wanda(lambda w, x, mask: w.abs() * x.flatten(0, 1).norm(dim=0)),
         (PADDING,), "padding is no input"),
        ("a norm of each sequence", _wanda(norm_of_each_sequence), (SCORE,),
         "A norm of each sequence"),
        ("sum of sizes", _wanda(lambda w, x, mask: w.abs() * _tokens(x, mask).abs().sum(0)),
         (SCORE,), "sum of the inputs' sizes"),
        ("norms alone", _wanda(lambda w, x, mask: _tokens(x, mask).norm(dim=0).expand_as(w)),
         (SCORE, ROWS), "norms alone"),
        ("turned round", lambda w, x, mask, sparsity: ~_by_row(
            w.abs() * _tokens(x, mask).norm(dim=0), sparsity), (SCORE,), "other way round"),
    ),
    *mutants_of(
        "lab6.nm_mask",
        ("along the outputs", lambda s, n, m: _nm(s.T, n, m).T if len(s) % m == 0 else s > s,
         (FOUR,), "along the outputs"),
        ("apart", nm_apart, (FOUR, ANY), "apart, not neighbours"),
        ("a whole row", nm_of_rows, (FOUR, ANY), "a whole row"),
        ("n are cut", lambda s, n, m: _nm(s, m - n, m), (ANY,), "n of m are cut"),
        ("always 2:4", lambda s, n, m: _nm(s, 2, 4) if s.shape[1] % 4 == 0 else s > s, (ANY,),
         "2:4, whatever"),
        ("from a threshold", nm_threshold, (SAME,), "takes all of them or none"),
        ("the worst kept", lambda s, n, m: _nm(-s, n, m), (FOUR,), "The lowest scores are kept"),
        ("turned round", lambda s, n, m: ~_nm(s, n, m), (FOUR,), "other way round"),
        ("in groups", lambda s, n, m: _cut(s.reshape(len(s), -1, m), m - n), (FOUR,),
         "in the shape of the scores"),
    ),
    *mutants_of(
        "lab6.block_influence",
        ("the cosine", _influence(lambda a, b, mask: 1 - _mean(a, b, mask)), (COSINE,),
         "That is the cosine"),
        ("behind the final norm", _influence(_mean, normed=True), (LAST,),
         "behind the final norm"),
        ("padding counted", _influence(lambda a, b, mask: 1 - _cosines(a, b).mean()), (TOKENS,),
         "Padding is counted"),
        ("padding divided by",
         _influence(lambda a, b, mask: ((1 - _cosines(a, b)) * mask).mean()), (TOKENS,),
         "still counts among the tokens"),
        ("the sum", _influence(lambda a, b, mask: (1 - _cosines(a, b))[mask.bool()].sum()),
         (TOKENS,), "sums over the tokens"),
        ("states averaged first",
         _influence(lambda a, b, mask: 1 - F.cosine_similarity(
             a[mask.bool()].mean(0), b[mask.bool()].mean(0), dim=-1)),
         (TOKENS,), "averaged first"),
        ("from the model's first state", from_the_first, (COSINE, TOKENS, LAST),
         "compared with the model's first"),
        ("the dot product",
         _influence(lambda a, b, mask: 1 - (a * b).sum(-1)[mask.bool()].mean()),
         (COSINE, TOKENS, LAST), "not divided by the two lengths"),
        ("one too many", lambda hidden, last, mask: _influence(_mean)([*hidden, last], last, mask),
         (COSINE, TOKENS, LAST), "one for each block"),
    ),
    *MODEL_MUTANTS,
    *mutants_of(
        "lab6.predict_decode_speed",
        ("proportional", proportional, (BESIDE, ALL), "head and embedding cost, is missing"),
        ("a line through 0",
         _speed(lambda blocks, seconds: (float(np.dot(blocks, seconds)), 0.0)), (BESIDE, ALL),
         "head and embedding cost, is missing"),
        ("through the ends", _speed(through_the_ends), (ALL,), "the most blocks alone"),
        ("swapped", _speed(lambda blocks, seconds: _fitted(seconds, blocks)),
         (BESIDE, ALL), "arguments of the fit are swapped"),
        ("upside down", lambda *case: 1 / _speed(_fitted)(*case), (BLOCKS,), "Upside down"),
        ("percent", lambda *case: 100 * _speed(_fitted)(*case), (BLOCKS,), "not percent"),
        ("by how much", lambda *case: _speed(_fitted)(*case) - 1, (BLOCKS,), "by how much"),
        ("what is saved", lambda *case: 1 - 1 / _speed(_fitted)(*case), (BLOCKS,), "saved"),
        ("seconds", lambda blocks, seconds, dense, kept: np.polyval(_fitted(blocks, seconds), kept),
         (BLOCKS, BESIDE, ALL), "seconds of one token"),
    ),
)  # fmt: skip
