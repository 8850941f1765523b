"""What a teacher cache keeps of a teacher's logits: one record of fixed size for each token.

Two formats. `topk`: the k most likely tokens, and the mass of all others, which depends on the
temperature and is therefore stored for each one that will be used (from the k alone it can only be
guessed, and wrongly). `sampled`: k draws from the softened distribution (Anshumann et al. 2025,
arXiv 2503.16870); their KL is right on average, where top-k sees all other tokens as one.

In shape comments N are tokens, V the vocabulary, K the ids kept of each token, D the temperatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.losses.distillation import Objective, SparseTeacher, divergence, soften
from distill_lab.run.records import LabError

LOG_ZERO = -1e4  # the logarithm of no probability, finite so that 0 * log 0 is 0
_LOWEST_GAP = -6e4  # the end of float16
_FINITE = -1e30  # where a model gives logits of -inf
_LARGEST_VOCABULARY = 2**20  # ids of 16 + 4 bits


@dataclass(frozen=True, slots=True)
class RowFormat:
    """What is kept: `k` tokens (topk) or draws (sampled) a position, for these temperatures, of the
    first `vocabulary` tokens: those that teacher and student both have."""

    name: Literal["topk", "sampled"]
    k: int
    temperatures: tuple[float, ...]
    vocabulary: int

    @property
    def width(self) -> int:
        """How many ids a position has."""
        return min(self.k, self.vocabulary)


def row_dtype(row_format: RowFormat) -> np.dtype[Any]:
    """A token's record; 296 bytes for the top 64 of 151,936 tokens at two temperatures.

    LabError for a k or a vocabulary that the record has no room for.
    """
    k, vocabulary, width = row_format.k, row_format.vocabulary, row_format.width
    if not (0 < k < 2**16 and 0 < vocabulary <= _LARGEST_VOCABULARY):
        raise LabError(
            f"Teacher cache: expected k from 1 to 65,535 and at most {_LARGEST_VOCABULARY:,} "
            f"tokens, found k = {k:,} of {vocabulary:,} tokens."
        )
    n_temperatures, sampled = len(row_format.temperatures), row_format.name == "sampled"
    ids = (n_temperatures, width) if sampled else (width,)
    fields: list[Any] = [("low", "<u2", ids)]
    if vocabulary > 2**16:
        fields.append(("high", "u1", (*ids[:-1], (width + 1) // 2)))  # two ids' 4 bits a byte
    if sampled:
        fields.append(("count", "u1" if k < 2**8 else "<u2", ids))
        fields.append(("negentropy", "<f4", (n_temperatures,)))  # sum of p log p
        return np.dtype(fields)
    fields.append(("gap", "<f2", ids))  # z - max(z), at temperature 1: softening is a division
    if width < vocabulary:
        fields.append(("tail", "<f4", (n_temperatures,)))  # log of the mass outside the k
    return np.dtype(fields)


def pack_ids(rows: np.ndarray, ids: np.ndarray) -> None:
    """Writes token ids (N, K) or (N, D, K) into records: their low 16 bits, and the high 4."""
    rows["low"] = ids & 0xFFFF
    if "high" in (rows.dtype.names or ()):
        nibbles = np.zeros((*ids.shape[:-1], 2 * rows["high"].shape[-1]), np.uint8)
        nibbles[..., : ids.shape[-1]] = ids >> 16
        rows["high"] = nibbles[..., ::2] | nibbles[..., 1::2] << 4


def unpack_ids(rows: np.ndarray) -> np.ndarray:
    """The token ids of records, as `pack_ids` was given them."""
    ids = rows["low"].astype(np.int64)  # (N, K) or (N, D, K)
    if "high" in (rows.dtype.names or ()):
        high = np.stack([rows["high"] & 0xF, rows["high"] >> 4], -1)  # (..., K / 2 rounded up, 2)
        ids |= high.reshape(*ids.shape[:-1], -1)[..., : ids.shape[-1]].astype(np.int64) << 16
    return ids


@torch.no_grad()
def rows_of_logits(
    logits: Tensor, row_format: RowFormat, uniforms: np.ndarray | None = None
) -> np.ndarray:
    """The records (N) of logits (N, V or more). `sampled` needs `uniforms` (N, D, k), numbers in
    [0, 1)."""
    rows = np.zeros(len(logits), row_dtype(row_format))
    z = logits[:, : row_format.vocabulary].float()  # (N, V)
    if row_format.name == "topk":
        _write_top(rows, z, row_format)
    else:
        assert uniforms is not None
        # MPS has no float64
        _write_draws(rows, z.cpu() if z.device.type == "mps" else z, row_format, uniforms)
    return rows


def _write_top(rows: np.ndarray, z: Tensor, row_format: RowFormat) -> None:
    width, all_kept = row_format.width, row_format.width == row_format.vocabulary
    top, ids = z.topk(width + (not all_kept))  # (N, K + 1), most likely first
    next_one, top, ids = top[:, -1:], top[:, :width], ids[:, :width]  # (N, 1), (N, K), (N, K)
    pack_ids(rows, ids.cpu().numpy())
    gap = top - top[:, :1]  # (N, K)
    rows["gap"] = gap.clamp(min=_LOWEST_GAP).cpu().numpy()
    if all_kept:
        return
    # relative to the likeliest of the others, so that none overflows
    below = (z - next_one.clamp(min=_FINITE)).scatter_(1, ids, -torch.inf)  # (N, V)
    buffer = torch.empty_like(below)  # (N, V)
    for i, temperature in enumerate(row_format.temperatures):
        log_top = (gap / temperature).logsumexp(-1)  # (N)
        log_rest = torch.div(below, temperature, out=buffer).exp_().sum(-1).log()  # (N)
        log_rest += (next_one - top[:, :1])[:, 0] / temperature
        # logsumexp(rest) - logsumexp(all), without a difference that cancels
        tail = -F.softplus(log_top - log_rest)  # (N)
        rows["tail"][:, i] = tail.clamp(min=LOG_ZERO).cpu().numpy()


def _write_draws(rows: np.ndarray, z: Tensor, row_format: RowFormat, uniforms: np.ndarray) -> None:
    n_temperatures, last = len(row_format.temperatures), row_format.vocabulary - 1
    drawn_ids = np.zeros((len(z), n_temperatures, row_format.width), np.int64)  # (N, D, K)
    for i, temperature in enumerate(row_format.temperatures):
        p = soften(z, temperature).exp()  # (N, V)
        cumulative = p.cumsum(-1, dtype=torch.float64)  # (N, V)
        # stretched over the sum, which rounding leaves a little off 1
        heights = torch.from_numpy(uniforms[:, i]).to(z.device) * cumulative[:, -1:]  # (N, k)
        drawn = torch.searchsorted(cumulative, heights, right=True).clamp_(max=last)  # (N, k)
        ones = torch.ones_like(heights, dtype=p.dtype)  # (N, k)
        counts = torch.zeros_like(p).scatter_add_(1, drawn, ones)  # (N, V)
        count, ids = counts.topk(row_format.width)  # (N, K), filled up with other ids, of count 0
        drawn_ids[:, i] = ids.cpu().numpy()
        rows["count"][:, i] = count.cpu().numpy()
        rows["negentropy"][:, i] = -torch.special.entr(p).sum(-1, dtype=torch.float64).cpu().numpy()
    pack_ids(rows, drawn_ids)


def targets(rows: np.ndarray, row_format: RowFormat, temperature: float) -> SparseTeacher:
    """What the loss compares with: N records, softened by one of the format's temperatures.

    LabError for another temperature.
    """
    if temperature not in row_format.temperatures:
        raise LabError(
            f"Teacher cache: expected one of the temperatures that it was made for, "
            f"{', '.join(f'{t:g}' for t in row_format.temperatures)}, found {temperature:g}. "
            "Make another cache."
        )
    i, vocabulary = row_format.temperatures.index(temperature), row_format.vocabulary
    ids = torch.from_numpy(unpack_ids(rows))  # (N, K) or (N, D, K)
    if row_format.name == "sampled":
        share = _column(rows["count"], i) / row_format.k  # (N, K)
        log_share = share.log().clamp(min=LOG_ZERO)
        # makes KL(share || q) the KL of the whole distribution, on average over draws
        offset = _column(rows["negentropy"], i) - (share * log_share).sum(-1)  # (N)
        return SparseTeacher(ids[:, i], log_share.float(), None, vocabulary, offset.float())
    # float16 leaves the K probabilities a little off: scaled to all that the tail leaves them
    gap = torch.from_numpy(rows["gap"].astype(np.float64))  # (N, K)
    log_p = (gap / temperature).log_softmax(-1)
    if row_format.width == vocabulary:
        return SparseTeacher(ids, log_p.float(), None, vocabulary)
    tail = _column(rows["tail"], i)  # (N)
    log_p = log_p + torch.log(-torch.expm1(tail))[:, None]
    return SparseTeacher(ids, log_p.float(), tail.float(), vocabulary)


def _column(values: np.ndarray, i: int) -> Tensor:
    """What records hold for temperature i, in float64."""
    return torch.from_numpy(values[:, i].astype(np.float64))


def kl_errors(
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: float,
    ks: Sequence[int],
    n_seeds: int,
) -> list[dict[str, Any]]:
    """How far the KL to what is kept is from the KL to all logits (N, V), for each k.

    A row has `kind` (the format's name), `k`, `seed` (of the draws), and in nats `per_token`, the
    mean absolute difference, and `of_mean`, the difference of the means over tokens: that of draws
    averages out, that of top-k does not.
    """
    shared = min(teacher_logits.shape[-1], student_logits.shape[-1])
    z, student_logits = teacher_logits[:, :shared].cpu(), student_logits[:, :shared].cpu()
    log_p, log_q = soften(z, temperature), soften(student_logits, temperature)  # (N, V)
    whole = divergence(log_p, log_q, Objective())  # (N)
    formats: list[tuple[Any, int]] = [("topk", 0), *(("sampled", seed) for seed in range(n_seeds))]
    measured: list[dict[str, Any]] = []
    for k in ks:
        for name, seed in formats:
            row_format = RowFormat(name, k, (temperature,), shared)
            uniforms = np.random.Generator(np.random.PCG64(seed)).random((len(z), 1, k))
            kept = targets(rows_of_logits(z, row_format, uniforms), row_format, temperature)
            error = divergence(*kept.outcomes(student_logits, temperature), Objective()) - whole
            error = error if kept.offset is None else error + kept.offset  # (N)
            row = {"kind": name, "k": k, "seed": seed, "per_token": error.abs().mean().item()}
            measured.append({**row, "of_mean": abs(error.mean().item())})
    return measured
