"""Lab 6's exercise block_influence: how far a block turns what goes through it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distill_lab.course.exercises.calling import result_of
from distill_lab.course.exercises.comparing import alike
from distill_lab.course.exercises.exercise import (
    Exercise,
    Function,
    Slip,
    Step,
    difference,
    expect,
    on_results,
)
from distill_lab.course.exercises.lab6.answer_types import NUMBERS

Case = tuple[list[Tensor], Tensor, Tensor]  # the arguments of block_influence


def block_influence(
    hidden_states: Sequence[Tensor], before_norm: Tensor, attention_mask: Tensor
) -> list[float]:
    """Of each block 1 - cosine of what goes in and what comes out, the mean over all tokens (Men et
    al. 2024, arXiv 2403.03853). The last of `hidden_states` is normed, so `before_norm` is taken.
    """
    states = [*hidden_states[:-1], before_norm]  # each (N, T, H)
    is_token = attention_mask.bool()
    cosines = [
        F.cosine_similarity(a[is_token].float(), b[is_token].float(), dim=-1).mean().item()
        for a, b in itertools.pairwise(states)
    ]
    return [1 - cosine for cosine in cosines]


def drawn(rng: random.Random, blocks: int, rows: int, tokens: int, padding: int) -> Case:
    """States of some blocks; each row but the first has up to so much padding at its end, where the
    states jump about. The final norm also turns what it gets: it has a weight for each feature."""
    draw = torch.Generator().manual_seed(rng.randrange(2**31))
    width = 6
    states = [torch.randn(rows, tokens + padding, width, generator=draw)]
    for _ in range(blocks):
        turned = torch.randn(states[0].shape, generator=draw) * rng.uniform(0.3, 1.5)
        states.append(states[-1] + turned)
    lengths = [tokens + padding] + [tokens + rng.randrange(padding or 1) for _ in range(rows - 1)]
    places = torch.arange(tokens + padding)
    attention_mask = torch.stack([(places < length).int() for length in lengths])
    for state in states:
        noise = 5 * torch.randn(state.shape, generator=draw)
        state[attention_mask == 0] = noise[attention_mask == 0]
    *hidden_states, before_norm = states
    weight = torch.linspace(-1, 3, width)
    normed = F.rms_norm(before_norm, (width,)) * weight
    return [*hidden_states, normed], before_norm, attention_mask


def _influence(states: Sequence[Tensor], counts: Tensor) -> list[float]:
    """The mean of 1 - cosine at the places (N, T) that count."""
    pairs = itertools.pairwise(states)
    return [float((1 - F.cosine_similarity(a, b, dim=-1))[counts.bool()].mean()) for a, b in pairs]


def _instead(case: Case) -> dict[str, Any]:
    """What is often written, and the influence of each block that it gives."""
    hidden_states, before_norm, attention_mask = case
    states, everywhere = [*hidden_states[:-1], before_norm], torch.ones_like(attention_mask)
    right, normed = (_influence(of, attention_mask) for of in (states, hidden_states))
    n_tokens, is_token = int(attention_mask.sum()), attention_mask.bool()
    means = [state[is_token].mean(0) for state in states]
    zeroed = [share * n_tokens / attention_mask.numel() for share in right]
    return {
        _COSINE: [1 - share for share in right],
        _NORMED: normed,
        _PADDED: _influence(states, everywhere),
        "Padding is set to 0, and still counts among the tokens that are divided by.": zeroed,
        "These are sums over the tokens: the mean is asked for.": [n_tokens * x for x in right],
        "The states are averaged first: each token has a cosine of its own.":
            [float(1 - F.cosine_similarity(a, b, dim=-1))
             for a, b in itertools.pairwise(means)],
        "Each state is compared with the model's first: what goes into the block is meant.":
            [_influence([states[0], state], attention_mask)[0] for state in states[1:]],
        "The dot product is not divided by the two lengths.":
            [float(1 - (a * b).sum(-1)[is_token].mean())
             for a, b in itertools.pairwise(states)],
    }  # fmt: skip


def _compared(function: Function, case: Case, places: slice) -> None:
    """Judges the blocks at these places."""
    _, before_norm, attention_mask = case
    right = block_influence(*case)
    n, t, _ = before_norm.shape
    which = "the last block" if places.start else "the blocks before the last"
    shown = (
        f"block_influence of {len(right)} blocks, {n} texts of at most {t} tokens, "
        f"{int(attention_mask.sum())} in all; {which}"
    )

    shares = result_of(function, case, shown, f"{len(right)} numbers, one for each block")
    if len(shares) != len(right):
        raise difference(shown, f"{len(shares)} numbers", f"{len(right)}, one for each block")
    if alike(shares[places], right[places], 1e-4):
        return
    known = {name: other[places] for name, other in _instead(case).items()}
    known = {name: other for name, other in known.items() if not alike(other, right[places], 1e-4)}
    expect(lambda *_: shares[places], (), right[places], known, shown, within=1e-4)


def _pairs(function: Function, rng: random.Random) -> None:
    """One token each: there is nothing to average."""
    one = torch.tensor([[[1.0, 0.0]]])
    two, three = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[0.0, 2.0]]])
    small: Case = ([one, two, three, three * 9], three, torch.ones(1, 1, dtype=torch.int))
    for case in (small, drawn(rng, rng.randint(2, 4), 1, 1, 0)):
        _compared(function, case, slice(0, -1))


def _tokens(function: Function, rng: random.Random) -> None:
    for rows, tokens, padding in ((1, 4, 0), (2, 3, 3), (3, 4, rng.randint(3, 5))):
        _compared(function, drawn(rng, rng.randint(2, 4), rows, tokens, padding), slice(0, -1))


def _last(function: Function, rng: random.Random) -> None:
    for _ in range(2):
        _compared(function, drawn(rng, rng.randint(2, 4), 1, 1, 0), slice(-1, None))


_COSINE = "That is the cosine: a block that changes nothing would have the greatest influence."
_NORMED = "The last block's output is taken behind the final norm, which turns it too: the last "
_NORMED += "block then looks more important than it is."
_PADDED = "Padding is counted among the tokens: what stands there is no text."
_TURNED = "one minus the cosine of what goes in and what comes out"
BLOCK_INFLUENCE = Exercise(
    "lab6",
    "block_influence",
    block_influence,
    (
        Step(_TURNED, 1, _pairs),
        Step("the mean over all tokens, and no padding", 1, _tokens),
        Step("the last block's output before the final norm", 1, _last),
    ),
    (
        "Put the states in a row: what goes into block 0, what comes out of it and goes into block "
        "1, and so on. Each two neighbours are a block.",
        "F.cosine_similarity(a, b, dim=-1) gives one number for each token, (N, T). Take those "
        "where attention_mask is 1, and average them.",
        "The last of hidden_states has been through the final norm: before_norm belongs in its "
        "place.",
    ),
    NUMBERS,
    (Slip(_COSINE, _TURNED, on_results(lambda shares: [1 - float(x) for x in shares])),),
    minutes=15,
    difficulty="medium",
)
