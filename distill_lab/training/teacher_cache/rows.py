"""What a teacher cache keeps of a teacher's logits: one record of fixed size for each token.

Two kinds. `topk`: the k most likely tokens, and the mass of all others, which depends on the
temperature and is therefore stored for each that will be used (from the k alone it can only be
guessed, and wrongly). `sampled`: k draws from the softened distribution (Anshumann et al. 2025,
arXiv 2503.16870), with which the KL is right on average, where top-k sees all other tokens as one.
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

NOTHING = -1e4  # the logarithm of no probability, finite so that 0 * log 0 is 0
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


def row_dtype(kind: RowFormat) -> np.dtype[Any]:
    """The record of a token; 296 bytes for the top 64 of 151,936 tokens at two temperatures."""
    if not (0 < kind.k < 2**16 and 0 < kind.vocabulary <= _LARGEST_VOCABULARY):
        raise LabError(
            f"Teacher cache: expected k from 1 to 65,535 and at most {_LARGEST_VOCABULARY:,} "
            f"tokens, found k = {kind.k:,} of {kind.vocabulary:,} tokens."
        )
    n_temperatures, sampled = len(kind.temperatures), kind.name == "sampled"
    ids = (n_temperatures, kind.width) if sampled else (kind.width,)
    fields: list[Any] = [("low", "<u2", ids)]
    if kind.vocabulary > 2**16:
        fields.append(("high", "u1", (*ids[:-1], (kind.width + 1) // 2)))  # two nibbles a byte
    if sampled:
        fields.append(("count", "u1" if kind.k < 2**8 else "<u2", ids))
        fields.append(("negentropy", "<f4", (n_temperatures,)))  # sum of p log p
        return np.dtype(fields)
    fields.append(("gap", "<f2", ids))  # z - max(z), at temperature 1: softening is a division
    if kind.width < kind.vocabulary:
        fields.append(("tail", "<f4", (n_temperatures,)))  # log of the mass outside the k
    return np.dtype(fields)


def pack(rows: np.ndarray, ids: np.ndarray) -> None:
    """Writes token ids (..., k) into records: the low 16 bits, and the high 4, two a byte."""
    rows["low"] = ids & 0xFFFF
    if "high" in (rows.dtype.names or ()):
        nibbles = np.zeros((*ids.shape[:-1], 2 * rows["high"].shape[-1]), np.uint8)
        nibbles[..., : ids.shape[-1]] = ids >> 16
        rows["high"] = nibbles[..., ::2] | nibbles[..., 1::2] << 4


def unpack(rows: np.ndarray) -> np.ndarray:
    """The token ids (..., k) of records."""
    ids = rows["low"].astype(np.int64)
    if "high" in (rows.dtype.names or ()):
        high = np.stack([rows["high"] & 0xF, rows["high"] >> 4], -1)
        ids |= high.reshape(*ids.shape[:-1], -1)[..., : ids.shape[-1]].astype(np.int64) << 16
    return ids


@torch.no_grad()
def rows_of_logits(
    logits: Tensor, kind: RowFormat, uniforms: np.ndarray | None = None
) -> np.ndarray:
    """The records (n) of logits (n, V). `sampled` needs its uniform numbers, in [0, 1), of shape
    (n, temperatures, k)."""
    z = logits[:, : kind.vocabulary].float()  # cut before everything: padding takes no probability
    rows = np.zeros(len(z), row_dtype(kind))
    if kind.name == "topk":
        _keep_top(rows, z, kind)
    else:
        assert uniforms is not None
        # MPS has no float64
        _keep_draws(rows, z.cpu() if z.device.type == "mps" else z, kind, uniforms)
    return rows


def _keep_top(rows: np.ndarray, z: Tensor, kind: RowFormat) -> None:
    whole = kind.width == kind.vocabulary
    top, ids = z.topk(kind.width + (not whole))  # (n, k + 1), most likely first
    next_one, top, ids = top[:, -1:], top[:, : kind.width], ids[:, : kind.width]
    pack(rows, ids.cpu().numpy())
    gap = top - top[:, :1]
    rows["gap"] = gap.clamp(min=_LOWEST_GAP).cpu().numpy()
    if whole:
        return
    # from the likeliest of the others, so that none overflows
    below = (z - next_one.clamp(min=_FINITE)).scatter_(1, ids, -torch.inf)  # (n, V)
    room = torch.empty_like(below)
    for i, temperature in enumerate(kind.temperatures):
        of_top = (gap / temperature).logsumexp(-1)
        of_rest = torch.div(below, temperature, out=room).exp_().sum(-1).log()
        of_rest += (next_one - top[:, :1])[:, 0] / temperature
        # logsumexp(rest) - logsumexp(all), without a difference that cancels
        tail = -F.softplus(of_top - of_rest)
        rows["tail"][:, i] = tail.clamp(min=NOTHING).cpu().numpy()


def _keep_draws(rows: np.ndarray, z: Tensor, kind: RowFormat, uniforms: np.ndarray) -> None:
    drawn_ids = np.zeros((len(z), len(kind.temperatures), kind.width), np.int64)
    for i, temperature in enumerate(kind.temperatures):
        p = soften(z, temperature).exp()  # (n, V)
        cumulative = p.cumsum(-1, dtype=torch.float64)
        # (n, k): stretched over the sum, which rounding leaves a little off 1
        places = torch.from_numpy(uniforms[:, i]).to(z.device) * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, places, right=True).clamp_(max=kind.vocabulary - 1)
        counts = torch.zeros_like(p).scatter_add_(1, drawn, torch.ones_like(places, dtype=p.dtype))
        count, ids = counts.topk(kind.width)  # filled up with other ids, of count 0
        drawn_ids[:, i] = ids.cpu().numpy()
        rows["count"][:, i] = count.cpu().numpy()
        rows["negentropy"][:, i] = -torch.special.entr(p).sum(-1, dtype=torch.float64).cpu().numpy()
    pack(rows, drawn_ids)


def targets(rows: np.ndarray, kind: RowFormat, temperature: float) -> SparseTeacher:
    """What the loss compares with: records (n) softened by one of the kind's temperatures."""
    if temperature not in kind.temperatures:
        raise LabError(
            f"Teacher cache: expected one of the temperatures that it was made for, "
            f"{', '.join(f'{t:g}' for t in kind.temperatures)}, found {temperature:g}. "
            "Make another cache."
        )
    i = kind.temperatures.index(temperature)
    ids = torch.from_numpy(unpack(rows))
    if kind.name == "sampled":
        return _drawn(rows, ids[:, i], kind, i)
    # float16 leaves the k probabilities a little off: scaled to all that the tail leaves them
    log_p = (torch.from_numpy(rows["gap"].astype(np.float64)) / temperature).log_softmax(-1)
    if kind.width == kind.vocabulary:
        return SparseTeacher(ids, log_p.float(), None, kind.vocabulary)
    tail = torch.from_numpy(rows["tail"][:, i].astype(np.float64))  # (n)
    log_p = log_p + torch.log(-torch.expm1(tail))[:, None]
    return SparseTeacher(ids, log_p.float(), tail.float(), kind.vocabulary)


def _drawn(rows: np.ndarray, ids: Tensor, kind: RowFormat, i: int) -> SparseTeacher:
    share = torch.from_numpy(rows["count"][:, i].astype(np.float64)) / kind.k  # (n, k)
    log_share = share.log().clamp(min=NOTHING)
    # makes KL(share || q) the KL of the whole distribution, on average over draws
    offset = torch.from_numpy(rows["negentropy"][:, i].astype(np.float64))
    offset = offset - (share * log_share).sum(-1)
    return SparseTeacher(ids, log_share.float(), None, kind.vocabulary, offset.float())


def distances(
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: float,
    ks: Sequence[int],
    n_seeds: int,
) -> list[dict[str, Any]]:
    """How far the KL to what is kept is from the KL to all logits (n, V), for each k.

    A row has `kind`, `k`, `seed` (of the draws), and in nats `per_token`, the mean absolute
    difference, and `of_mean`, the difference of the means over tokens: that of draws averages out,
    that of top-k does not.
    """
    shared = min(teacher_logits.shape[-1], student_logits.shape[-1])
    z, student_logits = teacher_logits[:, :shared].cpu(), student_logits[:, :shared].cpu()
    log_p, log_q = soften(z, temperature), soften(student_logits, temperature)
    full = divergence(log_p, log_q, Objective())  # (n)
    tries: list[tuple[Any, int]] = [("topk", 0), *(("sampled", seed) for seed in range(n_seeds))]
    found: list[dict[str, Any]] = []
    for k in ks:
        for name, seed in tries:
            kind = RowFormat(name, k, (temperature,), shared)
            uniforms = np.random.Generator(np.random.PCG64(seed)).random((len(z), 1, k))
            kept = targets(rows_of_logits(z, kind, uniforms), kind, temperature)
            apart = divergence(*kept.outcomes(student_logits, temperature), Objective()) - full
            apart = apart if kept.offset is None else apart + kept.offset
            of_mean = abs(apart.mean().item())
            row = {"kind": name, "k": k, "seed": seed}
            found.append({**row, "per_token": apart.abs().mean().item(), "of_mean": of_mean})
    return found
